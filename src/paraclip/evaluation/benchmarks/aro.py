"""ARO (Yuksekgonul et al. 2023, ICLR): relations and attributes of Visual Genome, and word order.

Formula, data and limitations of each benchmark: docs/guide/evaluate.md. The macro means follow the
authors; the micro mean differs by many points, and papers confuse the two.

The shuffles of COCO-Order follow the authors' `perturbations.py`: Penn tags of spaCy's
`en_core_web_sm` mark nouns and adjectives, and trigrams consist of NLTK's word tokens. Differences
from the original:

* A shuffle that equals the caption tests nothing and is not compared; there, the tie is correct.
* The random generator of a caption depends on the seed and the caption, so that a subset is
  shuffled like the whole set. The original uses one generator for all captions, whose state also
  depends on the model; its exact shuffles cannot be reproduced.
* NLTK splits sentences with a trained model; here a full stop, question or exclamation mark before
  a space ends a sentence (nearly all captions have one sentence).
* Any version of the spaCy model is accepted; versions differ in the tags of a few words.
"""

import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from paraclip.arrays import Float, Integers
from paraclip.data.captions import BrokenRow, clean_text, require_columns
from paraclip.data.images import picture_key
from paraclip.data.problems import Problems
from paraclip.data.rows import good_rows
from paraclip.errors import UserError, not_installed, optional_import
from paraclip.evaluation.benchmark import Arithmetic, find_source, grouped
from paraclip.evaluation.benchmarks.choice import Choice, Item, true_is_nearest
from paraclip.evaluation.pictures import find_pictures
from paraclip.evaluation.statistics import Metric
from paraclip.files import file_hash, text_hash
from paraclip.models.wheels import TAGGER_FOLDER, TAGGER_PACKAGE, wheel_file

RELATION, ATTRIBUTION = "relation", "attribution"
_GET = (
    "Get visual_genome_relation.json, visual_genome_attribution.json and images/ (1 GB) into aro/ "
    "as https://github.com/mertyg/vision-language-models-are-bows says."
)
_LEAST_CASES = 25  # of a pair of attributes in the macro mean, as the authors have it
# Relations that the authors' notebook ("Replicate ARO!") excludes from the macro mean: symmetric
# relations, and many rare ones.
SYMMETRIC = frozenset(
    Path(__file__).with_name("aro_symmetric.txt").read_text(encoding="utf-8").splitlines()
)


def load(task: str, data: Path | None, how: Arithmetic) -> Choice:
    """Load VG-Relation or VG-Attribution from the data folder."""
    file = find_source(data, f"aro/visual_genome_{task}.json", _GET)
    folder = find_source(data, "aro/images", _GET)
    # The original contains duplicate cases without ids, which are counted as they occur.
    items, broken = good_rows(file, _read_case, Problems(how.max_broken), _GET)
    found = find_pictures([item.image for item in items], folder, None, how)
    count = sum(item.image in found.paths for item in items)
    facts = {
        "entries": file.name, "hash": file_hash(file), "count": count,
        "skipped": broken + len(items) - count,
    }  # fmt: skip
    pool = f"{{items}} entries of {file.name}, {{pictures}} pictures cut to boxes"
    figures = partial(accuracies, task)
    return Choice(f"aro-vg-{task}", pool, facts, items, found, figures, found.notes, how)


def _read_case(row: dict[str, Any], where: str) -> Item:
    """Make an item from a row of `visual_genome_relation.json` or `..._attribution.json`."""
    group = "relation_name" if "relation_name" in row else "attributes"
    sides = [f"bbox_{side}" for side in "xywh"]
    columns = ("image_path", "true_caption", "false_caption", group, *sides)
    require_columns(row, columns, where, _GET)
    x, y, width, height = (row[side] for side in sides)
    if not all(type(side) is int for side in (x, y, width, height)):  # True is no width
        raise BrokenRow(f"the box {[x, y, width, height]} is not of whole pixels")
    kind = row[group]
    if group == "attributes":
        if not isinstance(kind, list) or len(kind) != 2:
            raise BrokenRow("the attributes are not two")
        kind = "_".join(map(str, kind))
    image, true, false = (
        clean_text(row[name], name) for name in ("image_path", "true_caption", "false_caption")
    )
    return Item(image, (true, false), clean_text(kind, group), (x, y, width, height))


def accuracies(
    task: str, similar: Float, items: Sequence[Item], pictures: Integers
) -> tuple[list[Metric], list[str]]:
    """Return the authors' macro mean, the micro mean, each group's mean, and a note on coverage."""
    right, groups = true_is_nearest(similar), [item.group for item in items]  # both [items]
    if task == RELATION:
        label, groups_are, counted = "VG-R", "relations", sorted(set(groups) - SYMMETRIC)
    else:
        label, groups_are = "VG-A", "attribute pairs"
        counted = sorted(one for one, cases in Counter(groups).items() if cases >= _LEAST_CASES)
    members = np.array([group in counted for group in groups])
    coverage = f"{label} macro is over {len(counted)} of {len(set(groups))} {groups_are}"
    notes = [f"{coverage}, {int(members.sum()):,} of {len(groups):,} entries"]
    micro = Metric(f"{label} micro", right, clusters=pictures, headline=False)
    if not counted:
        return [micro], notes
    numbers = np.array([counted.index(group) for group in groups if group in counted])
    macro, _, *each = grouped(label, right[members], numbers, counted, pictures[members])
    return [replace(macro, name=f"{label} macro"), micro, *each], notes


_SEED = 1  # as in the authors' code
_COCO = "coco/coco_karpathy_test.json|coco/karpathy_test_captions.json"
_GET_COCO = (
    "Get https://storage.googleapis.com/sfr-vision-language-research/datasets/"
    "coco_karpathy_test.json into coco/ and the pictures of "
    "http://images.cocodataset.org/zips/val2014.zip into coco/val2014/."
)


def load_coco_order(data: Path | None, how: Arithmetic, tagger: "Tagger | None" = None) -> Choice:
    """Load COCO-Order on the pictures in `coco/`, or those of `captions.json` if present."""
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


NOUNS = frozenset(("NN", "NNS", "NNP", "NNPS"))
ADJECTIVES = frozenset(("JJ", "JJR", "JJS"))
TAGGERS = ("en_core_web_sm", TAGGER_PACKAGE)  # spaCy's own and its copy on PyPI

Tagged = list[tuple[str, str]]
"""Tokens of a caption with their Penn tags."""


class Tagger:
    """Tags parts of speech with spaCy's small English model; UserError without the extra `aro`.
    `name` is that of the model with its version, for the report."""

    def __init__(self) -> None:
        spacy = optional_import("spacy", "aro")
        model = next((name for name in TAGGERS if find_spec(name)), None)
        if model is None:
            raise not_installed(TAGGERS[0], "aro")
        if model == TAGGER_PACKAGE:
            wheel_file(TAGGER_PACKAGE, TAGGER_FOLDER)
        # Only the tagger is needed; parser, lemmatizer and named entities would take time.
        self.pipeline = spacy.load(model, exclude=["parser", "ner", "lemmatizer"])
        self.name = f"spaCy {version('spacy')}, {model} {self.pipeline.meta['version']}"

    def tag(self, texts: Iterable[str]) -> Iterator[Tagged]:
        """Tokens and tags of each text, in order."""
        for document in self.pipeline.pipe(texts, batch_size=256):
            yield [(token.text, token.tag_) for token in document]


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
    """Return the shuffles of a caption, given spaCy's tokens with tags and NLTK's words."""
    tokens, tags = [token for token, _ in tagged], [tag for _, tag in tagged]
    kinds = ([n for n, tag in enumerate(tags) if tag in kind] for kind in (NOUNS, ADJECTIVES))
    others = [n for n, tag in enumerate(tags) if tag not in NOUNS | ADJECTIVES]
    starts = range(0, len(words), 3)
    trigrams = [words[start : start + 3] for start in starts]
    return [
        _permute(tokens, kinds, random),
        _permute(tokens, [others], random),
        _permute(words, [range(len(words))[start : start + 3] for start in starts], random),
        " ".join(word for n in random.permutation(len(trigrams)) for word in trigrams[n]),
    ]


def with_shuffles(captions: Sequence[str], tagger: Tagger, seed: int) -> list[list[str]]:
    """Each caption and its four shuffles, all normalised."""
    tokenizer, rows = optional_import("nltk.tokenize", "aro").NLTKWordTokenizer(), []
    for caption, tagged in zip(captions, tagger.tag(captions), strict=True):
        random = np.random.default_rng([seed, zlib.crc32(caption.encode())])  # not `hash`: salted
        parts = _SENTENCE.split(caption.strip())
        words = [token for part in parts for token in tokenizer.tokenize(part)]
        rows.append([normalised(text) for text in (caption, *shuffles_of(tagged, words, random))])
    return rows
