"""Hard negatives by rule: a text of a triple with one thing in it made false.

The kinds are SugarCrepe's (Hsieh et al., NeurIPS 2023): two things or two attributes exchanged, or
one thing, attribute, deed, place or number replaced. Words are exchanged within a part of speech,
as NegCLIP does (Yuksekgonul et al., ICLR 2023), and replaced by words of the same tag that other
captions use, so that a negative reads like a caption. A word that stands anywhere in the triple
replaces none: it could be another word for the same thing.

No reader checks them: now and then a negative is true of the picture after all, or no English.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random

from paraclip.data.triples import TEXTS
from paraclip.language.tagger import ADJECTIVES, NOUNS, Tagged, Tagger
from paraclip.language.words import is_content, words
from paraclip.progress import track

VERBS = frozenset(("VB", "VBD", "VBG", "VBN", "VBP", "VBZ"))
NUMBERS = frozenset(("CD",))
PLACES = frozenset(("IN", "RP", "TO"))
OPPOSITES = {
    "above": "below", "across": "along", "behind": "in front of", "below": "above",
    "beside": "far from", "down": "up", "from": "to", "in": "outside", "inside": "outside",
    "into": "out of", "near": "far from", "on": "under", "outside": "inside", "over": "under",
    "through": "around", "toward": "away from", "towards": "away from", "under": "on",
    "up": "down", "with": "without",
}  # fmt: skip
DRAWS = 10
DAMPING = 0.75  # of a word's count, so that the commonest are not drawn all the time


@dataclass(frozen=True)
class Negative:
    """A hard negative.

    Args:
        text: nearly the words of its source, with another meaning.
        kind: of KINDS.
    """

    text: str
    kind: str


@dataclass(frozen=True)
class Draw:
    """What an edit chooses from.

    Args:
        vocabulary: for each Penn tag, words and their weights.
        known: words that must not come in.
        random: of this row alone.
    """

    vocabulary: Mapping[str, tuple[list[str], list[float]]]
    known: frozenset[str]
    random: Random

    def word(self, tag: str) -> str | None:
        """A word of that tag which the triple does not hold; None where none is found."""
        choices, weights = self.vocabulary[tag]
        drawn = self.random.choices(choices, weights, k=DRAWS)
        return next((word for word in drawn if word not in self.known), None)


Edit = Callable[[Tagged, Draw], list[str] | None]
"""The tokens with one thing made false, or None where the text has no such thing."""


def exchange(of: frozenset[str], between: frozenset[str]) -> Edit:
    """Exchange two words of the tags `of`, if one of `between` stands between them.

    Without it nothing would be made false: "a dog and a cat", "black and white".
    """

    def edit(tagged: Tagged, draw: Draw) -> list[str] | None:
        tokens = [token for token, _ in tagged]
        pairs = [
            (first, second)
            for first, second in combinations(said(tagged, of), 2)
            if tokens[first].lower() != tokens[second].lower()
            and any(tag in between for _, tag in tagged[first + 1 : second])
        ]
        if not pairs:
            return None
        first, second = draw.random.choice(pairs)
        one, other = tokens[first], tokens[second]
        return put(put(tokens, first, other), second, one)

    return edit


def replace(of: frozenset[str]) -> Edit:
    """Put another word of the same tag in the place of one of the tags `of`."""

    def edit(tagged: Tagged, draw: Draw) -> list[str] | None:
        places = said(tagged, of)
        if not places:
            return None
        place = draw.random.choice(places)
        word = draw.word(tagged[place][1])
        return None if word is None else put([token for token, _ in tagged], place, word)

    return edit


def replace_place(tagged: Tagged, draw: Draw) -> list[str] | None:
    """Put its opposite in the place of a preposition."""
    places = [
        place
        for place, (token, tag) in enumerate(tagged)
        if tag in PLACES and token.lower() in OPPOSITES
    ]
    if not places:
        return None
    place = draw.random.choice(places)
    tokens = [token for token, _ in tagged]
    return put(tokens, place, OPPOSITES[tokens[place].lower()])


KINDS: dict[str, Edit] = {
    "swap_object": exchange(NOUNS, VERBS | PLACES),
    "swap_attribute": exchange(ADJECTIVES, NOUNS),
    "replace_object": replace(NOUNS),
    "replace_attribute": replace(ADJECTIVES),
    "replace_number": replace(NUMBERS),
    "replace_deed": replace(VERBS),
    "replace_place": replace_place,
}


def hard_negatives(
    rows: Sequence[Mapping[str, str]], tagger: Tagger, source: str = "paraphrase_1", seed: int = 0
) -> list[Negative | None]:
    """A negative for each row, of a kind drawn from those that its text allows.

    Args:
        rows: triples with caption, paraphrase_1, paraphrase_2.
        tagger: tells parts of speech.
        source: which of the three texts is made false.
        seed: decides kind, place and word; each row has a random stream of its own.

    Returns:
        One for each row; None where the text allows no kind.
    """
    texts = tagger.tag(row[source] for row in rows)
    tagged = list(track(texts, "parts of speech", len(rows), "text"))
    vocabulary = vocabulary_of(tagged)
    found = []
    for row, tokens in zip(rows, tagged, strict=True):
        known = frozenset(word for name in TEXTS for word in words(row[name]))
        draw = Draw(vocabulary, known, Random(f"{seed} {row[source]}"))
        found.append(negative(tokens, draw))
    return found


def negative(tagged: Tagged, draw: Draw) -> Negative | None:
    """The first kind, in an order drawn at random, that the text allows."""
    tagged = [(begin_small(token, tag), tag) for token, tag in tagged[:1]] + tagged[1:]
    for kind in draw.random.sample(list(KINDS), len(KINDS)):
        tokens = KINDS[kind](tagged, draw)
        if tokens is not None:
            return Negative(sentence(tokens), kind)
    return None


def begin_small(token: str, tag: str) -> str:
    """The first token as it stands within a sentence."""
    return token if tag in ("NNP", "NNPS") or token.isupper() else token.lower()


def vocabulary_of(texts: Iterable[Tagged]) -> dict[str, tuple[list[str], list[float]]]:
    """Words of each tag and their weights."""
    counts: dict[str, Counter[str]] = {}
    for tagged in texts:
        for place in said(tagged, NOUNS | ADJECTIVES | NUMBERS | VERBS):
            token, tag = tagged[place]
            counts.setdefault(tag, Counter())[token.lower()] += 1
    return {
        tag: (list(found), [count**DAMPING for count in found.values()])
        for tag, found in counts.items()
    }


def said(tagged: Tagged, tags: frozenset[str]) -> list[int]:
    """Places of the words of these tags that say something; of a compound noun the last word."""
    return [
        place
        for place, (token, tag) in enumerate(tagged)
        if tag in tags
        and token.isalpha()
        and is_content(token.lower())
        and not (tag in NOUNS and place + 1 < len(tagged) and tagged[place + 1][1] in NOUNS)
    ]


def put(tokens: list[str], place: int, word: str) -> list[str]:
    """The tokens with another word at the place, and an article before it that fits."""
    changed = list(tokens)
    changed[place] = word
    if place and changed[place - 1].lower() in ("a", "an"):
        vowel = word[0].lower() in "aeiou"
        changed[place - 1] = changed[place - 1][0] + ("n" if vowel else "")
    return changed


def sentence(tokens: Sequence[str]) -> str:
    """Tokens as one writes them: blanks where they belong, a capital first letter."""
    from nltk.tokenize.treebank import TreebankWordDetokenizer

    text = str(TreebankWordDetokenizer().detokenize(list(tokens)))
    text = text.replace(" - ", "-").replace(" .", ".")
    return text[:1].upper() + text[1:]
