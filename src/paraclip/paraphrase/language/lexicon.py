"""Small word lists of English as used in captions: numbers, colours, negation, kinds of things.

They are not a dictionary. A word that is not listed is compared by its vector
(`filters/judge.py`). A listed word is judged more exactly: "pooch" is a dog and "pony" is not,
however close their vectors are.
"""

from importlib.resources import files


def listed(text: str) -> frozenset[str]:
    """The words of a space-separated list."""
    return frozenset(text.split())


STOP_WORDS = listed(
    """
    a an the this that these those there here it its he him his she her hers they them their
    theirs i me my we us our you your who whom whose which what where when while as if than then
    so and or but nor of in on at to from by for with within into onto upon over under above
    below beneath underneath across through along around about against among amid amidst between
    behind beside besides near nearby next up down off out inside outside during after before
    past toward towards via per is are was were be been being am has have had having do does
    doing did done can could will would shall should may might must get gets getting got gotten
    make makes making made some any each every all other others another both either one ones
    someone something somebody also too very just only still own same such more most much many
    several few lot lots s t d ll m re ve back side front top bottom middle center set together
    apart ahead away who'd who's that's it's there's he's she's they're not no without
    """
)

# Carrier phrases ("a photo showing"): a picture may always be called one, and people wear clothes
# whether or not a caption says so.
CARRIER_WORDS = listed(
    """
    picture pictures photo photos photograph image images shot stock show shows showing
    wear wears wearing worn dressed clad there here located placed seen view it itself
    atop doing being has using who named called kind
    """
)
COUPLES = listed("couple couples parents grandparents newlyweds spouses twins")  # both genders
GENDER_WORDS = {"male": listed("he him his"), "female": listed("she her hers")}
EITHER_GENDER = listed("fellow fellows sibling siblings")  # though listed under male or female
YOUNG = listed("young youthful")  # describes children, but is not a noun for them

# Words for which simplemma's dictionary gives another meaning than captions do.
LEMMAS = {
    "leaves": "leaf", "lay": "lie", "lays": "lie", "laid": "lie", "laying": "lie", "lied": "lie",
    "people": "person", "ground": "ground", "rose": "rose", "felt": "felt", "better": "better",
    "bikes": "bicycle", "bike": "bicycle", "bikers": "biker", "biking": "bicycle",
    "biked": "bicycle", "bicycler": "bicyclist", "shot": "shoot", "shots": "shoot",
    "shod": "shoe", "tv": "television", "tvs": "television",
    "singing": "sing", "swinging": "swing", "springing": "spring", "winging": "wing",
    "ridding": "ride", "fixes": "fix", "crosses": "cross", "bloke": "bloke",
    "shorts": "shorts", "glasses": "glasses", "pants": "pants",
}  # fmt: skip

# Lemmas that Snowball would merge with another word ("pants" with "panting").
UNSTEMMED = listed("pants shorts glasses business numerous barely hardly wing karate pearly")

# A word and its derivations, where no rule can decide: "climber" comes from "climb", but "flower"
# not from "flow".
_FAMILIES = """
    bake baker; bat batter; bath bathe bather; beach beachy; bicycle bicyclist biker cycle cyclist;
    big bigger biggest; blow blower; bounce bouncy; box boxer; build builder; bump bumpy;
    bush bushy; camp camper; catch catcher; climb climber; cloud cloudy; curl curly; dance dancer;
    dirt dirty; dive diver; drive driver; drum drummer; dust dusty; farm farmer; fight fighter;
    flower flowery; foam foamy; fog foggy; fur furry; golf golfer; grass grassy; hair hairy;
    hike hiker; hit hitter; hunt hunter; hurdle hurdler; ice icy; jog jogger; juggle juggler;
    jump jumper; kick kicker; leaf leafy; light lit; mess messy; mist misty; mud muddy;
    paddle paddler; paint painter; photo photograph photography photographic photographer;
    pitch pitcher; play player; race racer; rain rainy; ride rider; rock rocky; row rower;
    run runner; rust rusty; sand sandy; shade shady; shadow shadowy; shine shiny; shoot shooter;
    shop shopper; sing singer; skate skater; ski skier; sleep sleepy asleep; smoke smoky;
    snow snowy; speak speaker; speed speedy; stone stony; stripe striped stripy; sun sunny;
    surf surfer; swim swimmer; teach teacher; throw thrower; travel traveler traveller;
    trek trekker; view viewer; walk walker; water watery; windsurf windsurfer; wood wooden woody;
    wool woolen woollen wooly; work worker; wrestle wrestler; write writer
"""
DERIVED = {
    word: family.split()[0] for family in _FAMILIES.split(";") for word in family.split()[1:]
}

NUMBERS = {
    "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8",
    "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "thirteen": "13", "fourteen": "14",
    "fifteen": "15", "sixteen": "16", "seventeen": "17", "eighteen": "18", "nineteen": "19",
    "twenty": "20", "thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70",
    "eighty": "80", "ninety": "90", "hundred": "100", "thousand": "1000", "million": "1000000",
    "dozen": "12", "duo": "2", "trio": "3", "triplets": "3", "quartet": "4", "quintet": "5",
    "pair": "2", "twosome": "2", "threesome": "3", "foursome": "4", "zero": "0",
}  # fmt: skip

LOOSE_NUMBERS = {
    "both": "2", "couple": "2", "couples": "2", "another": "2", "double": "2", "twin": "2",
    "twins": "2", "pairs": "2", "twice": "2", "other": "2", "triple": "3", "dozens": "12",
    "one": "1", "single": "1", "a": "1", "an": "1", "lone": "1", "solo": "1", "half": "2",
}  # fmt: skip

NEGATIONS = listed(
    """
    no not never without none nobody nothing nowhere neither nor cannot hardly
    """
)
NO_NEGATION = frozenset({("nothing", "but"), ("not", "far"), ("not", "only")})
LACKS = listed(
    """
    bare barefoot barefooted barechested bareheaded topless naked nude lacking lacks missing
    absent free empty off unable fails failing refuses unwilling instead minus
    vacant deserted silent ignore ignores ignoring refusing only just lone unless
    """
)
UNNEGATED = listed(
    """
    cordless endless flightless headless homeless motionless priceless seamless sleeveless spotless
    stainless strapless timeless tireless wireless less unless regardless nevertheless nonetheless
    """
)  # end in -less, but negate nothing that a caption would state otherwise

COLOURS = {
    "red": "red crimson scarlet ruby vermilion reddish maroon burgundy",
    "blue": "blue azure navy cobalt bluish sapphire indigo",
    "green": "green emerald greenish olive",
    "yellow": "yellow yellowish amber",
    "orange": "orange",
    "purple": "purple violet lavender lilac mauve magenta",
    "pink": "pink pinkish fuchsia rosy",
    "brown": "brown brownish chestnut beige tan tawny bronze",
    "black": "black blackish ebony jet",
    "white": "white whitish ivory",
    "grey": "grey gray greyish grayish silver silvery charcoal",
    "gold": "gold golden",
    "turquoise": "turquoise teal aqua cyan aquamarine",
}
COLOUR_LIKENESS = {
    "red": "rust cherry wine rose fiery",
    "blue": "sky denim turquoise teal aqua cyan aquamarine violet",
    "green": "lime grassy leafy mint turquoise teal verdant foam",
    "yellow": "blond blonde gold golden lemon fair sunny mustard flaxen",
    "orange": "tangerine peach amber fiery rust pumpkin apricot coral",
    "purple": "plum grape pink",
    "pink": "rose salmon magenta coral purple",
    "brown": "chocolate coffee cocoa dark sandy khaki golden copper caramel mocha rust",
    "black": "dark inky raven onyx sable coal midnight charcoal",
    "white": "snow snowy pale cream milky light fair pearl bleached cloud",
    "grey": "silver slate dark ash ashen steel white metallic",
    "gold": "yellow blond blonde amber honey",
    "turquoise": "blue green",
}
COLOUR_OF = {word: family for family, listed in COLOURS.items() for word in listed.split()}
LIKE_COLOUR = {
    word: {family for family, likes in COLOUR_LIKENESS.items() if word in likes.split()}
    for likenesses in COLOUR_LIKENESS.values()
    for word in likenesses.split()
}

# A caption that names a kind may be reworded with its parent ("pony" as "animal"). A word for a
# kind that the caption does not name ("canine" for "pony") is new content.

EXCLUSIVE_PARENTS = frozenset({"animal", "bird", "fish", "insect", "vehicle", "ball", "food"})
EXCLUSIVE = listed(
    """
    male female animal vehicle skateboard snowboard surfboard skis sled hockey bone frisbee toy
    phone camera book guitar drum piano umbrella chair bench bed couch sit stand lie climb swim
    sleep eat read write sing dance kiss fight cry indoors outdoors lake river sea pool flower
    building
    """
)


CONCEPTS_OF: dict[str, frozenset[str]] = {}
"""Concepts of each word listed in `concepts.txt`."""
CONCEPTS_OF_VERB: dict[str, frozenset[str]] = {}
"""The same for the words under `[verbs]` alone."""
WITH_PARENTS: dict[str, frozenset[str]] = {}
"""Each concept with all its ancestors, itself included."""
EXCLUSIVE_CONCEPTS = set(EXCLUSIVE)
"""Groups of concepts that exclude each other."""


def _read_concepts(text: str) -> None:
    """Fill the tables from lines `name < parent: words`."""
    tables = [CONCEPTS_OF]
    for line in text.splitlines():
        if line.startswith("["):
            tables = [CONCEPTS_OF, CONCEPTS_OF_VERB] if line == "[verbs]" else [CONCEPTS_OF]
        elif line and not line.startswith("#"):
            head, words = line.split(":")
            name, _, parent = (part.strip() for part in head.partition("<"))
            above = WITH_PARENTS.get(parent, frozenset())
            WITH_PARENTS[name] = WITH_PARENTS.get(name, frozenset()) | above | {name}
            if parent in EXCLUSIVE_PARENTS:
                EXCLUSIVE_CONCEPTS.add(name)
            for table in tables:
                for word in words.split():
                    table[word] = table.get(word, frozenset()) | {name}


_read_concepts(files("paraclip.paraphrase.language").joinpath("concepts.txt").read_text("utf-8"))
