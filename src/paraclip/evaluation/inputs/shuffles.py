"""The four ways in which ARO puts a caption's words out of order.

After the authors' `perturbations.py`: nouns and adjectives are found by the Penn tags of spaCy's
`en_core_web_sm`, trigrams are of NLTK's word tokens. Where this differs from the original:

* Every caption has a random stream of its own, from the seed and the caption, so that a part of the
  set is shuffled as the whole is. The original draws one stream through all captions, which also
  depends on what the model drew before; its very shuffles cannot be had again.
* NLTK parts sentences with a trained model before it parts words; here a full stop, question or
  exclamation mark before a blank does (captions have one sentence, nearly always).
* The spaCy model is whatever version is installed; tags of other versions differ in a few words.
"""

import re
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from paraclip.language.tagger import ADJECTIVES, NOUNS, Tagged, Tagger

LONGEST = 30  # words of a caption, as in the original
PUNCTUATION = re.compile(r"[.!\"()*#:;~]")
BLANKS = re.compile(r"\s{2,}")
SENTENCE = re.compile(r"(?<=[.!?])\s+")


def word_tokens(text: str) -> list[str]:
    """NLTK's Treebank tokens of each sentence of a text."""
    from nltk.tokenize import NLTKWordTokenizer

    tokenizer = NLTKWordTokenizer()
    parts = SENTENCE.split(text.strip())
    return [token for part in parts for token in tokenizer.tokenize(part)]


def plain(caption: str) -> str:
    """Lower case, punctuation as blanks, 30 words at most: the original's `pre_caption`."""
    text = BLANKS.sub(" ", PUNCTUATION.sub(" ", caption.lower())).rstrip("\n").strip(" ")
    return " ".join(text.split(" ")[:LONGEST])


def shuffle_places(
    tokens: Sequence[str], places: Sequence[int], random: np.random.Generator
) -> list[str]:
    """The tokens, those at the places changed around among themselves."""
    shuffled = list(tokens)
    for place, source in zip(places, random.permutation(np.asarray(places, np.int64)), strict=True):
        shuffled[place] = tokens[source]
    return shuffled


def nouns_and_adjectives(tagged: Tagged, words: list[str], random: np.random.Generator) -> str:
    """Nouns among nouns, adjectives among adjectives."""
    tokens = [token for token, _ in tagged]
    for kind in (NOUNS, ADJECTIVES):
        places = [place for place, (_, tag) in enumerate(tagged) if tag in kind]
        tokens = shuffle_places(tokens, places, random)
    return " ".join(tokens)


def all_but_nouns_and_adjectives(
    tagged: Tagged, words: list[str], random: np.random.Generator
) -> str:
    """All others among themselves."""
    tokens = [token for token, _ in tagged]
    places = [n for n, (_, tag) in enumerate(tagged) if tag not in NOUNS | ADJECTIVES]
    return " ".join(shuffle_places(tokens, places, random))


def within_trigrams(tagged: Tagged, words: list[str], random: np.random.Generator) -> str:
    """Words within each three."""
    parts = [shuffle_places(part, range(len(part)), random) for part in trigrams(words)]
    return " ".join(word for part in parts for word in part)


def trigrams_themselves(tagged: Tagged, words: list[str], random: np.random.Generator) -> str:
    """The threes, each as it is."""
    parts = trigrams(words)
    return " ".join(word for place in random.permutation(len(parts)) for word in parts[place])


def trigrams(words: list[str]) -> list[list[str]]:
    """Threes of words one after the other; the last may be shorter."""
    return [words[start : start + 3] for start in range(0, len(words), 3)]


Shuffle = Callable[[Tagged, list[str], np.random.Generator], str]
SHUFFLES: dict[str, Shuffle] = {
    "shuffle_nouns_and_adj": nouns_and_adjectives,
    "shuffle_allbut_nouns_and_adj": all_but_nouns_and_adjectives,
    "shuffle_within_trigrams": within_trigrams,
    "shuffle_trigrams": trigrams_themselves,
}
"""By the authors' names, in their order."""


def options(captions: Sequence[str], tagger: Tagger, seed: int) -> list[list[str]]:
    """For each caption itself and its four shuffles, all made plain."""
    found = []
    for caption, tagged in zip(captions, tagger.tag(captions), strict=True):
        random = np.random.default_rng([seed, zlib.crc32(caption.encode())])
        words = word_tokens(caption)
        shuffled = [shuffle(tagged, words, random) for shuffle in SHUFFLES.values()]
        found.append([plain(text) for text in (caption, *shuffled)])
    return found
