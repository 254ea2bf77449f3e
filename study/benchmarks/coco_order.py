"""COCO-Order of ARO (Yuksekgonul et al. 2023, ICLR): a caption, or shuffles of its words?

Formula, data and limitations: README.md. The shuffles follow the authors' `perturbations.py`: Penn
tags of spaCy's `en_core_web_sm` mark nouns and adjectives, and trigrams consist of NLTK's word
tokens. Differences from the original:

* A shuffle that equals the caption tests nothing and is not compared; there, the tie is correct.
* The random generator of a caption depends on the seed and the caption, so that a subset is
  shuffled like the whole set. The original uses one generator for all captions, whose state also
  depends on the model; its exact shuffles cannot be reproduced.
* NLTK splits sentences with a trained model; here a full stop, question or exclamation mark before
  a space ends a sentence (nearly all captions have one sentence).
"""

import json
import re
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paraclip.arrays import Float, Integers
from paraclip.data.captions import BrokenRow, Problems, clean_text, require_columns
from paraclip.data.images import picture_key
from paraclip.data.rows import good_rows
from paraclip.errors import UserError, optional_import
from paraclip.evaluation.benchmark import Arithmetic, find_source
from paraclip.evaluation.benchmarks.choice import Choice, Item
from paraclip.evaluation.pictures import find_pictures
from paraclip.evaluation.statistics import Metric
from paraclip.files import file_hash, text_hash
from recipes.tagger import ADJECTIVES, NOUNS, Tagged, Tagger

_SEED = 1  # as in the authors' code
_COCO = ("coco/coco_karpathy_test.json", "coco/karpathy_test_captions.json")
_GET_COCO = (
    "Get https://storage.googleapis.com/sfr-vision-language-research/datasets/"
    "coco_karpathy_test.json into coco/ and the pictures of "
    "http://images.cocodataset.org/zips/val2014.zip into coco/val2014/."
)


def load(data: Path | None, how: Arithmetic, tagger: Tagger | None = None) -> Choice:
    """Load the captions of the pictures in `coco/`, or those of `captions.json` if present."""
    file = find_source(data, _COCO, _GET_COCO)
    captions, skipped = read_cases(file, Problems(how.max_broken))
    whole, made_of, notes = sum(map(len, captions.values())), file_hash(file), []
    listed = file.parent / "captions.json"
    if listed.exists():
        captions, note = _on_sample(captions, file.name, listed, Problems(how.max_broken))
        made_of, notes = text_hash(f"{made_of} {file_hash(listed)}"), [note]
    found = find_pictures(list(captions), file.parent, listed, how)
    tagger = tagger or Tagger()
    images = [image for image, texts in captions.items() if image in found.paths for _ in texts]
    shuffled = with_shuffles(
        [text for image in dict.fromkeys(images) for text in captions[image]], tagger, _SEED
    )
    pairs = zip(images, shuffled, strict=True)
    items = [Item(image, tuple(texts)) for image, texts in pairs if len(set(texts)) > 1]
    if not items:
        hint = "Give captions of several different words."
        raise UserError(file.name, "contains no caption that a shuffle changes", hint)
    notes += found.notes
    if same := len(shuffled) - len(items):
        notes.append(f"{same:,} captions left out that no shuffle changes")
    facts = {
        "captions": file.name, "hash": made_of, "skipped": skipped,
        "count": len(items), "whole_count": whole,
        "options_hash": text_hash(json.dumps([item.texts for item in items])),
        "tagger": tagger.name, "seed": _SEED,
    }  # fmt: skip
    pool = "{items} captions of {pictures} pictures, each with four shuffles"
    return Choice("aro-coco-order", pool, facts, items, found, precision, notes, how)


def read_cases(file: Path, problems: Problems) -> tuple[dict[str, list[str]], int]:
    """Read a Karpathy test file, whose entries have `image` and a list `caption`.

    Returns:
        The captions of each picture by its name, in file order, and the number of broken entries.
    """
    captions: dict[str, list[str]] = {}

    def take(row: dict[str, Any], where: str) -> None:
        require_columns(row, ("image", "caption"), where, _GET_COCO)
        image, texts = clean_text(row["image"], "image"), _texts_of(row["caption"])
        if image in captions:
            raise UserError(where, f"{image!r} occurs twice", "Remove one.")
        captions[image] = texts

    _, skipped = good_rows(file, take, problems, _GET_COCO)
    return captions, skipped


def _on_sample(
    captions: dict[str, list[str]], name: str, listed: Path, problems: Problems
) -> tuple[dict[str, list[str]], str]:
    """Select the pictures of a list, which has captions of its own for those outside the set."""
    by_key = {picture_key(image): texts for image, texts in captions.items()}
    kept: dict[str, list[str]] = {}

    def take(row: dict[str, Any], where: str) -> None:
        image = str(row.get("file_name"))
        if image in kept:
            raise UserError(where, f"{image!r} occurs twice", "Remove one.")
        kept[image] = by_key.get(picture_key(image)) or _texts_of(row.get("captions"))

    good_rows(listed, take, problems, _GET_COCO)
    own = sum(picture_key(image) not in by_key for image in kept)
    return kept, (
        f"{listed.name} names {len(kept):,} pictures: {len(kept) - own:,} of the {len(by_key):,} "
        f"of {name}, and {own:,} others with captions of their own"
    )


def _texts_of(captions: Any) -> list[str]:
    """Return the cleaned captions of one picture; raises BrokenRow if they are not texts."""
    if not isinstance(captions, list) or not captions:
        raise BrokenRow("the captions are not a list")
    return [clean_text(caption) for caption in captions]


def precision(
    similar: Float, items: Sequence[Item], pictures: Integers
) -> tuple[list[Metric], list[str]]:
    """Return Precision@1, and how often the caption beats each kind of shuffle.

    A shuffle that equals the caption is not compared with it.
    """
    # Both [items, shuffles].
    changed = np.array([[text != one.texts[0] for text in one.texts[1:]] for one in items], bool)
    beaten = similar[:, :1] > similar[:, 1:]
    first = (beaten | ~changed).all(axis=1).astype(np.float64)
    results = [Metric("COCO-Order", first, clusters=pictures)]
    for number, shuffle in enumerate(_SHUFFLES):
        real, name = changed[:, number], f"COCO-Order {shuffle}"
        values = beaten[real, number].astype(np.float64)
        results.append(Metric(name, values, clusters=pictures[real], headline=False))
    return results, []


_LONGEST = 30  # maximum number of words of a caption, as in the original
_PUNCTUATION = re.compile(r"[.!\"()*#:;~]")
_SPACES = re.compile(r"\s{2,}")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def normalised(caption: str) -> str:
    """Lower case, spaces for punctuation, at most 30 words: the original's `pre_caption`."""
    text = _SPACES.sub(" ", _PUNCTUATION.sub(" ", caption.lower())).rstrip("\n").strip(" ")
    return " ".join(text.split(" ")[:_LONGEST])


def _permute(
    tokens: Sequence[str], groups: Iterable[Sequence[int]], random: np.random.Generator
) -> str:
    """Return the tokens as a text, with those of each group of positions permuted."""
    shuffled = list(tokens)
    for positions in groups:
        sources = random.permutation(np.asarray(positions, np.int64))
        for position, source in zip(positions, sources, strict=True):
            shuffled[position] = tokens[source]
    return " ".join(shuffled)


_SHUFFLES = (
    "shuffle_nouns_and_adj", "shuffle_allbut_nouns_and_adj", "shuffle_within_trigrams",
    "shuffle_trigrams",
)  # fmt: skip
"""The authors' names of the shuffles, in their order."""


def shuffles_of(tagged: Tagged, words: Sequence[str], random: np.random.Generator) -> list[str]:
    """Return the shuffles of a caption, given spaCy's tokens with tags and NLTK's words.

    Each draws from where the one before it left the generator: the order of the draws is part of
    the benchmark, and with another one, every figure changes.
    """
    tokens = [token for token, _ in tagged]
    nouns = [place for place, (_, tag) in enumerate(tagged) if tag in NOUNS]
    adjectives = [place for place, (_, tag) in enumerate(tagged) if tag in ADJECTIVES]
    others = [place for place, (_, tag) in enumerate(tagged) if tag not in NOUNS | ADJECTIVES]
    trigrams = [range(len(words))[start : start + 3] for start in range(0, len(words), 3)]

    nouns_and_adjectives = _permute(tokens, [nouns, adjectives], random)
    all_but_these = _permute(tokens, [others], random)
    within_trigrams = _permute(words, trigrams, random)
    order = random.permutation(len(trigrams))
    whole_trigrams = " ".join(words[place] for number in order for place in trigrams[number])
    return [nouns_and_adjectives, all_but_these, within_trigrams, whole_trigrams]


def with_shuffles(captions: Sequence[str], tagger: Tagger, seed: int) -> list[list[str]]:
    """Each caption and its four shuffles, all normalised."""
    tokenizer, rows = optional_import("nltk.tokenize", "recipes").NLTKWordTokenizer(), []
    for caption, tagged in zip(captions, tagger.tag(captions), strict=True):
        random = np.random.default_rng([seed, zlib.crc32(caption.encode())])  # not `hash`: salted
        parts = _SENTENCE.split(caption.strip())
        words = [token for part in parts for token in tokenizer.tokenize(part)]
        rows.append([normalised(text) for text in (caption, *shuffles_of(tagged, words, random))])
    return rows
