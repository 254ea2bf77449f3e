"""The four shuffles of a caption's words in ARO's order tasks.

They follow the authors' `perturbations.py`: Penn tags of spaCy's `en_core_web_sm` mark nouns and
adjectives, and trigrams consist of NLTK's word tokens. Differences from the original:

* The random generator of a caption depends on the seed and the caption, so that a subset is
  shuffled like the whole set. The original uses one generator for all captions, whose state also
  depends on the model; its exact shuffles cannot be reproduced.
* NLTK splits sentences with a trained model; here a full stop, question or exclamation mark before
  a space ends a sentence (nearly all captions have one sentence).
* Any version of the spaCy model is accepted; versions differ in the tags of a few words.
"""

import re
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from paraclip.paraphrase.language.tagger import ADJECTIVES, NOUNS, Tagged, Tagger

LONGEST = 30  # maximum number of words of a caption, as in the original
PUNCTUATION = re.compile(r"[.!\"()*#:;~]")
SPACES = re.compile(r"\s{2,}")
SENTENCE = re.compile(r"(?<=[.!?])\s+")


def word_tokens(text: str) -> list[str]:
    """NLTK's Treebank tokens of each sentence of a text."""
    from nltk.tokenize import NLTKWordTokenizer

    tokenizer = NLTKWordTokenizer()
    parts = SENTENCE.split(text.strip())
    return [token for part in parts for token in tokenizer.tokenize(part)]


def normalised(caption: str) -> str:
    """Lower case, spaces for punctuation, at most 30 words: the original's `pre_caption`."""
    text = SPACES.sub(" ", PUNCTUATION.sub(" ", caption.lower())).rstrip("\n").strip(" ")
    return " ".join(text.split(" ")[:LONGEST])


def permuted(
    tokens: Sequence[str], indices: Sequence[int], random: np.random.Generator
) -> list[str]:
    """Return the tokens with those at the indices permuted."""
    shuffled = list(tokens)
    sources = random.permutation(np.asarray(indices, np.int64))
    for index, source in zip(indices, sources, strict=True):
        shuffled[index] = tokens[source]
    return shuffled


def nouns_and_adjectives(tagged: Tagged, words: list[str], random: np.random.Generator) -> str:
    """Permute the nouns, and separately the adjectives."""
    tokens = [token for token, _ in tagged]
    for tags in (NOUNS, ADJECTIVES):
        indices = [index for index, (_, tag) in enumerate(tagged) if tag in tags]
        tokens = permuted(tokens, indices, random)
    return " ".join(tokens)


def all_but_nouns_and_adjectives(
    tagged: Tagged, words: list[str], random: np.random.Generator
) -> str:
    """Permute all other words."""
    tokens = [token for token, _ in tagged]
    indices = [n for n, (_, tag) in enumerate(tagged) if tag not in NOUNS | ADJECTIVES]
    return " ".join(permuted(tokens, indices, random))


def within_trigrams(tagged: Tagged, words: list[str], random: np.random.Generator) -> str:
    """Permute the words of each trigram."""
    parts = [permuted(part, range(len(part)), random) for part in trigrams(words)]
    return " ".join(word for part in parts for word in part)


def trigrams_themselves(tagged: Tagged, words: list[str], random: np.random.Generator) -> str:
    """Permute the trigrams."""
    parts = trigrams(words)
    return " ".join(word for index in random.permutation(len(parts)) for word in parts[index])


def trigrams(words: list[str]) -> list[list[str]]:
    """Consecutive groups of three words; the last may be shorter."""
    return [words[start : start + 3] for start in range(0, len(words), 3)]


Shuffle = Callable[[Tagged, list[str], np.random.Generator], str]
SHUFFLES: dict[str, Shuffle] = {
    "shuffle_nouns_and_adj": nouns_and_adjectives,
    "shuffle_allbut_nouns_and_adj": all_but_nouns_and_adjectives,
    "shuffle_within_trigrams": within_trigrams,
    "shuffle_trigrams": trigrams_themselves,
}
"""The shuffles by the authors' names, in their order."""


def with_shuffles(captions: Sequence[str], tagger: Tagger, seed: int) -> list[list[str]]:
    """Each caption and its four shuffles, all normalised."""
    rows = []
    for caption, tagged in zip(captions, tagger.tag(captions), strict=True):
        random = np.random.default_rng([seed, zlib.crc32(caption.encode())])
        words = word_tokens(caption)
        shuffled = [shuffle(tagged, words, random) for shuffle in SHUFFLES.values()]
        rows.append([normalised(text) for text in (caption, *shuffled)])
    return rows
