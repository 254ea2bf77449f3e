"""Texts with one fact changed by rule: faults for the checker.

The kinds follow SugarCrepe (Hsieh et al., NeurIPS 2023): two objects or two attributes swapped, or
one object, attribute, verb, preposition or number replaced. Words are swapped within a part of
speech, as in NegCLIP (Yuksekgonul et al., ICLR 2023), and replaced by words with the same tag from
other captions, so that a changed text reads like a caption. Words of the triple itself are never
inserted, because they could name the same thing.

They are not checked: some happen to be true of the picture, or are ungrammatical.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random

from paraclip.data.words import is_content
from recipes.tagger import ADJECTIVES, NOUNS, Tagged

VERB_TAGS = frozenset(("VB", "VBD", "VBG", "VBN", "VBP", "VBZ"))
NUMBER_TAGS = frozenset(("CD",))
PREPOSITION_TAGS = frozenset(("IN", "RP", "TO"))
OPPOSITES = {
    "above": "below", "across": "along", "behind": "in front of", "below": "above",
    "beside": "far from", "down": "up", "from": "to", "in": "outside", "inside": "outside",
    "into": "out of", "near": "far from", "on": "under", "outside": "inside", "over": "under",
    "through": "around", "toward": "away from", "towards": "away from", "under": "on",
    "up": "down", "with": "without",
}  # fmt: skip
DRAWS = 10
DAMPING = 0.75  # exponent of a word's count, so that frequent words are drawn less often


@dataclass(frozen=True)
class Draw:
    """The words and random numbers used by an edit.

    Args:
        vocabulary: words and their weights, by Penn tag.
        known: words that must not be inserted.
        random: random generator of the row.
    """

    vocabulary: Mapping[str, tuple[list[str], list[float]]]
    known: frozenset[str]
    random: Random

    def word(self, tag: str) -> str | None:
        """A word with that tag that the triple does not contain, or None."""
        choices, weights = self.vocabulary[tag]
        drawn = self.random.choices(choices, weights, k=DRAWS)
        return next((word for word in drawn if word not in self.known), None)


Edit = Callable[[Tagged, Draw], list[str] | None]
"""Returns the tokens with one fact changed, or None if the text has none to change."""


def swap(of: frozenset[str], between: frozenset[str]) -> Edit:
    """Swap two words with tags in `of` that have a word with a tag in `between` between them.

    Without one in between, the meaning would not change: "a dog and a cat", "black and white".
    """

    def edit(tagged: Tagged, draw: Draw) -> list[str] | None:
        tokens = [token for token, _ in tagged]
        pairs = [
            (first, second)
            for first, second in combinations(content_indices(tagged, of), 2)
            if tokens[first].lower() != tokens[second].lower()
            and any(tag in between for _, tag in tagged[first + 1 : second])
        ]
        if not pairs:
            return None
        first, second = draw.random.choice(pairs)
        one, other = tokens[first], tokens[second]
        return replace_at(replace_at(tokens, first, other), second, one)

    return edit


def replace(of: frozenset[str]) -> Edit:
    """Replace one word with a tag in `of` by another word with the same tag."""

    def edit(tagged: Tagged, draw: Draw) -> list[str] | None:
        indices = content_indices(tagged, of)
        if not indices:
            return None
        index = draw.random.choice(indices)
        word = draw.word(tagged[index][1])
        return None if word is None else replace_at([token for token, _ in tagged], index, word)

    return edit


def replace_preposition(tagged: Tagged, draw: Draw) -> list[str] | None:
    """Replace a preposition by its opposite."""
    indices = [
        index
        for index, (token, tag) in enumerate(tagged)
        if tag in PREPOSITION_TAGS and token.lower() in OPPOSITES
    ]
    if not indices:
        return None
    index = draw.random.choice(indices)
    tokens = [token for token, _ in tagged]
    return replace_at(tokens, index, OPPOSITES[tokens[index].lower()])


NEGATIVE_KINDS: dict[str, Edit] = {
    "swap_object": swap(NOUNS, VERB_TAGS | PREPOSITION_TAGS),
    "swap_attribute": swap(ADJECTIVES, NOUNS),
    "replace_object": replace(NOUNS),
    "replace_attribute": replace(ADJECTIVES),
    "replace_number": replace(NUMBER_TAGS),
    "replace_deed": replace(VERB_TAGS),
    "replace_place": replace_preposition,
}


def vocabulary_of(texts: Iterable[Tagged]) -> dict[str, tuple[list[str], list[float]]]:
    """Words of each tag and their weights."""
    counts: dict[str, Counter[str]] = {}
    for tagged in texts:
        for index in content_indices(tagged, NOUNS | ADJECTIVES | NUMBER_TAGS | VERB_TAGS):
            token, tag = tagged[index]
            counts.setdefault(tag, Counter())[token.lower()] += 1
    return {
        tag: (list(found), [count**DAMPING for count in found.values()])
        for tag, found in counts.items()
    }


def content_indices(tagged: Tagged, tags: frozenset[str]) -> list[int]:
    """Indices of the content words with these tags; only the last word of a compound noun."""
    return [
        index
        for index, (token, tag) in enumerate(tagged)
        if tag in tags
        and token.isalpha()
        and is_content(token.lower())
        and not (tag in NOUNS and index + 1 < len(tagged) and tagged[index + 1][1] in NOUNS)
    ]


def replace_at(tokens: list[str], index: int, word: str) -> list[str]:
    """The tokens with the word at the index replaced, and the article before it adapted."""
    changed = list(tokens)
    changed[index] = word
    if index and changed[index - 1].lower() in ("a", "an"):
        vowel = word[0].lower() in "aeiou"
        changed[index - 1] = changed[index - 1][0] + ("n" if vowel else "")
    return changed


def sentence(tokens: Sequence[str]) -> str:
    """Join tokens into a sentence with normal spacing and a capital first letter."""
    from nltk.tokenize.treebank import TreebankWordDetokenizer

    text = str(TreebankWordDetokenizer().detokenize(list(tokens)))
    text = text.replace(" - ", "-").replace(" .", ".")
    return text[:1].upper() + text[1:]
