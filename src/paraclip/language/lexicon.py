"""Small word lists of English as captions use it: numbers, colours, negation, kinds of things.

They are no dictionary. A word that is not here is judged by its vector (`filters.py`); a word that
is here is judged better: "pooch" is a dog and "pony" is not, however near their vectors lie.
"""

from importlib.resources import files


def listed(text: str) -> frozenset[str]:
    """The words of a text that is a list."""
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

# Words of the frame that a caption hangs in: a picture may always be called one, and what is worn
# is worn whether it is said or not.
FRAME = listed(
    """
    picture pictures photo photos photograph image images shot stock show shows showing
    wear wears wearing worn dressed clad there here located placed seen view it itself
    atop doing being has using who named called kind
    """
)
YOUNG = listed("young youthful")  # said of whoever is a child, without being a word for one

IRREGULAR = {
    "men": "man", "women": "woman", "children": "child", "feet": "foot", "teeth": "tooth",
    "geese": "goose", "mice": "mouse", "wolves": "wolf", "leaves": "leaf", "knives": "knife",
    "people": "person", "persons": "person", "ran": "run", "sat": "sit", "stood": "stand",
    "lay": "lie", "lying": "lie", "lies": "lie", "laid": "lie", "held": "hold", "wore": "wear",
    "worn": "wear", "rode": "ride", "ridden": "ride", "threw": "throw", "thrown": "throw",
    "caught": "catch", "swam": "swim", "ate": "eat", "eaten": "eat", "drank": "drink",
    "fell": "fall", "fallen": "fall", "flew": "fly", "flown": "fly", "flies": "fly",
    "blew": "blow", "blown": "blow", "took": "take", "taken": "take", "wrote": "write",
    "written": "write", "drove": "drive", "driven": "drive", "slept": "sleep", "sang": "sing",
    "shook": "shake", "hung": "hang", "swung": "swing", "sprang": "spring", "leapt": "leap",
    "bent": "bend", "built": "build", "fought": "fight", "spoke": "speak", "tied": "tie",
    "tying": "tie", "dying": "die", "wooden": "wood", "woolen": "wool", "photography": "photo",
    "photograph": "photo", "photographs": "photo", "photographic": "photo", "bike": "bicycle",
    "bikes": "bicycle", "biking": "bicycle", "biker": "bicycle", "bicyclist": "bicycle",
    "cyclist": "bicycle", "cycling": "bicycle", "tv": "television", "snowy": "snow",
    "sunny": "sun", "lit": "light", "shone": "shine", "shot": "shoot", "shod": "shoe",
}  # fmt: skip

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
LACKS = listed(
    """
    bare barefoot barefooted barechested bareheaded topless naked nude lacking lacks missing
    absent free empty off unable fails failing refuses unwilling instead minus
    """
)

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


def _like_colour() -> dict[str, set[str]]:
    families: dict[str, set[str]] = {}
    for family, listed in COLOUR_LIKENESS.items():
        for word in listed.split():
            families.setdefault(word, set()).add(family)
    return families


LIKE_COLOUR = _like_colour()

# One line a concept: name, what it is a kind of, and the words for it. A caption that names a kind
# may be reworded with its parent ("pony" as "animal"); a word for a kind that the caption does not
# name ("canine" for "pony") is new content.

EXCLUSIVE_PARENTS = frozenset({"animal", "bird", "fish", "insect", "vehicle", "ball", "food"})
EXCLUSIVE = listed(
    """
    male female animal vehicle skateboard snowboard surfboard skis sled hockey bone frisbee toy
    phone camera book guitar drum piano umbrella chair bench bed couch sit stand lie climb swim
    sleep eat read write sing dance kiss fight cry indoors outdoors lake river sea pool flower
    building
    """
)


CONCEPT_LINES = [
    line
    for line in files("paraclip.language").joinpath("concepts.txt").read_text("utf-8").splitlines()
    if not line.startswith("#")
]


def _read_concepts() -> tuple[dict[str, frozenset[str]], dict[str, frozenset[str]], set[str]]:
    """Words to concepts, concepts to themselves with all parents, and the exclusive concepts."""
    of_word: dict[str, set[str]] = {}
    with_parents: dict[str, frozenset[str]] = {}
    exclusive = set(EXCLUSIVE)
    for line in CONCEPT_LINES:
        head, listed = line.split(":")
        name, _, parent = (part.strip() for part in head.partition("<"))
        known = with_parents.get(parent, frozenset()) | with_parents.get(name, frozenset())
        with_parents[name] = known | {name}
        if parent in EXCLUSIVE_PARENTS:
            exclusive.add(name)
        for word in listed.split():
            of_word.setdefault(word, set()).add(name)
    return {word: frozenset(found) for word, found in of_word.items()}, with_parents, exclusive


CONCEPTS_OF, WITH_PARENTS, EXCLUSIVE_CONCEPTS = _read_concepts()
