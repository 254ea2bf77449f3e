"""The triples of the study: the strong ones, and what stands in their place.

Files are written to a folder of the run; none of them is part of the repository. Rows with a
picture name it by its path, so that sources with and without pictures can be one file.
"""

import csv
import io
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import pyarrow.parquet as pq

from benchmarks.evaluation.flickr8k import training_captions
from paraclip.data.reading import read_captions
from paraclip.data.triples import (
    PROVENANCE,
    SCHEMA,
    attach_images,
    read_triples,
    scene_table,
    with_schema,
)
from paraclip.files import atomic_path, write_text
from paraclip.paraphrase.config import Filters, Limits
from paraclip.paraphrase.filters.checks import Question
from paraclip.paraphrase.filters.judge import Judge
from paraclip.starter import DRAWN, FIRST_EDITION, STARTER
from paraclip.starter.scenes import ENGLISH

Row = dict[str, Any]
SEED = 0
STARTER_KINDS = (
    "plain", "far", "short", "colloquial", "verbose", "technical", "typo", "other_person",
)  # fmt: skip
"""Kinds of wording of the starter set; the first two are its paraphrases."""


def strong(data: Path) -> list[Row]:
    """3,600 training captions of Flickr8k, reworded twice by a strong LLM."""
    table = read_triples(data / "paraphrases" / "flickr8k_train.jsonl")
    rows: list[Row] = attach_images(table, data / "flickr8k" / "images").to_pylist()
    return [{**row, "generator": "strong LLM"} for row in rows]


def strong_part(count: int) -> Callable[[Path], list[Row]]:
    """Some of them in random order; a smaller part is within a larger one."""

    def rows(data: Path) -> list[Row]:
        found = strong(data)
        return random.Random(SEED).sample(found, len(found))[:count]

    return rows


def people(data: Path) -> list[Row]:
    """The same captions, with two other people's captions of the same picture."""
    draw, others = random.Random(SEED), captions_by_picture(data)
    return [with_people(row, others, draw) for row in strong(data)]


def people_of_all(data: Path) -> list[Row]:
    """Three captions of each training picture, in place of paraphrases."""
    draw, found = random.Random(SEED), []
    for name, captions in captions_by_picture(data).items():
        texts = draw.sample(captions, 3)
        found.append(row_of(f"people {name}", name, texts, "people", data))
    return found


def web(data: Path) -> list[Row]:
    """398 alt-texts of the web, reworded twice by a strong LLM, without pictures."""
    table = read_triples(data / "paraphrases" / "web.jsonl")
    rows = table.to_pylist()
    return [{**row, "id": f"web {row['id']}", "generator": "strong LLM"} for row in rows]


def web_kept(filters: Filters) -> Callable[[Path], list[Row]]:
    """Those of the alt-texts whose two steps a choice of `generate --filters` keeps."""

    def rows(data: Path) -> list[Row]:
        judge, found = Judge(Limits(filters)), web(data)
        steps = [
            Question(source, answer, caption)
            for row in found
            for source, answer, caption in (
                (row["caption"], row["paraphrase_1"], ""),
                (row["paraphrase_1"], row["paraphrase_2"], row["caption"]),
            )
        ]
        passes = [verdict.reason is None for verdict in judge.judge(steps)]
        pairs = zip(found, passes[::2], passes[1::2], strict=True)
        return [row for row, first, second in pairs if first and second]

    return rows


def strong_as_many(filters: Filters) -> Callable[[Path], list[Row]]:
    """As many of the strong triples as alt-texts are kept, drawn once for all, without pictures."""

    def rows(data: Path) -> list[Row]:
        found = random.Random(SEED).sample(strong(data), len(web(data)))
        return [{**row, "image": None} for row in found[: len(web_kept(filters)(data))]]

    return rows


def starter(data: Path) -> list[Row]:
    """The starter set's first edition, without pictures and further wordings."""
    return read_triples(STARTER).slice(0, FIRST_EDITION).select(SCHEMA.names).to_pylist()


def scenes(times: float = 1) -> Callable[[Path], list[Row]]:
    """The everyday scenes that a run draws with the seed 0, or more of them."""
    return lambda data: scene_table(round(times * DRAWN)).to_pylist()


def scenes_de_fr(times: float = 1) -> Callable[[Path], list[Row]]:
    """The same scenes, or more of them, with German and French wordings."""
    return lambda data: scene_table(round(times * DRAWN), 0, (ENGLISH, "de", "fr")).to_pylist()


def wordings(count: int | None = None) -> Callable[[Path], list[Row]]:
    """The starter set, or rows drawn from it, with all wordings and without pictures."""

    def rows(data: Path) -> list[Row]:
        found = read_triples(STARTER).to_pylist()
        return found if count is None else random.Random(SEED).sample(found, count)

    return rows


def english_wordings(row: Row) -> list[tuple[str, str]]:
    """The English wordings of a row of the starter set: kind and text, the paraphrases first."""
    paraphrases = [row["paraphrase_1"], row["paraphrase_2"]]
    further = [
        (one["kind"], one["text"])
        for one in row["wordings"] or ()
        if one.get("lang") in (None, ENGLISH)
    ]
    return [*zip(STARTER_KINDS[:2], paraphrases, strict=True), *further]


def without(kind: str) -> Callable[[Path], list[Row]]:
    """The starter set without a kind of wording.

    Training draws three texts of a row by their places, whatever their columns. The last wording
    moves to the place of the one that is left out: all others keep their places, and are drawn in
    the steps in which they were drawn before.
    """

    def rows(data: Path) -> list[Row]:
        return [without_wording(row, kind) for row in wordings()(data)]

    return rows


def without_wording(row: Row, kind: str) -> Row:
    """A row of the starter set without a kind of wording, the last one in its place."""
    left = english_wordings(row)
    kinds = [one for one, _ in left]
    if kind not in kinds:
        return row
    last = left.pop()
    if last[0] != kind:
        left[kinds.index(kind)] = last
    (_, first), (_, second), *further = left
    english: list[dict[str, str | None]] = [
        {"text": text, "kind": name, "lang": None} for name, text in further
    ]
    foreign = [one for one in row["wordings"] if one["lang"] not in (None, ENGLISH)]
    return {**row, "paraphrase_1": first, "paraphrase_2": second, "wordings": english + foreign}


def translations(data: Path, split: str) -> list[dict[str, str]]:
    """Multi30k's rows of a split of Flickr8k: `image`, and a caption in `en`, `de`, `fr`, `cs`."""
    text = (data / "multi30k" / "flickr8k.tsv").read_text("utf-8")
    rows = csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)
    return [row for row in rows if row["split"] == split]


def translated(data: Path) -> list[Row]:
    """Multi30k's training captions with their German and French translations, without pictures.

    The caption stands in the place of both paraphrases: other people's captions of the picture
    mention other details, which the translations could not learn to rank by. L2 and L3 skip equal
    texts, and compare the caption with its translations.
    """
    return [
        {
            "id": row["image"], "image_id": row["image"], "image": None,
            "caption": row["en"], "paraphrase_1": row["en"], "paraphrase_2": row["en"],
            "wordings": [
                {"text": row[language], "kind": "translation", "lang": language}
                for language in ("de", "fr")
            ],
            "generator": "people",
        }
        for row in translations(data, "train")
    ]  # fmt: skip


def starter_translations(data: Path) -> list[Row]:
    """The rows of the starter set that have translations, with these as their only wordings."""
    found = []
    for row in wordings()(data):
        foreign = [one for one in row["wordings"] or () if one["lang"] not in (None, ENGLISH)]
        if foreign:
            same = {"paraphrase_1": row["caption"], "paraphrase_2": row["caption"]}
            found.append({**row, **same, "wordings": foreign})
    return found


def wrong(share: float) -> Callable[[Path], list[Row]]:
    """The strong triples with a share of rows whose paraphrases are those of another row."""

    def rows(data: Path) -> list[Row]:
        found = strong(data)
        chosen = random.Random(SEED).sample(range(len(found)), round(share * len(found)))
        texts = [(found[n]["paraphrase_1"], found[n]["paraphrase_2"]) for n in chosen]
        for number, (one, two) in zip(chosen, [*texts[1:], texts[0]], strict=True):
            found[number] |= {"paraphrase_1": one, "paraphrase_2": two}
        return found

    return rows


def placebo(data: Path) -> list[Row]:
    """The strong triples, every row with a paraphrase of each of two other rows.

    Rows are arranged in a random circle: neither L2 nor L3 compares a text with its own paraphrase.
    """
    found = strong(data)
    circle = random.Random(SEED).sample(found, len(found))
    texts = [(row["paraphrase_1"], row["paraphrase_2"]) for row in circle]
    for at, row in enumerate(circle, start=1):
        row["paraphrase_1"] = texts[at % len(texts)][0]
        row["paraphrase_2"] = texts[(at + 1) % len(texts)][1]
    return found


def together(*sources: Callable[[Path], list[Row]]) -> Callable[[Path], list[Row]]:
    """Several sources as one."""
    return lambda data: [row for source in sources for row in source(data)]


SOURCES: Mapping[str, Callable[[Path], list[Row]]] = {
    "strong": strong,
    "strong-900": strong_part(900),
    "strong-1800": strong_part(1800),
    "people": people,
    "strong+web": together(strong, web),
    "strong+starter": together(strong, starter),
    "strong+starter+web": together(strong, starter, web),
    "strong+people": together(strong, people_of_all),
    "everything": together(strong, people_of_all, starter, web),
    "placebo": placebo,
    "wrong10": wrong(0.1),
    "wrong20": wrong(0.2),
    "scenes": scenes(),
    "scenes-17400": scenes(1.74),
    "scenes-de-fr+wordings": together(scenes_de_fr(), wordings()),
    "scenes-30000-de-fr+wordings": together(scenes_de_fr(3), wordings()),
    "starter": starter,
    "scenes+wordings": together(scenes(), wordings()),
    "wordings": wordings(),
    "wordings-1500": wordings(1500),
    "wordings-3000": wordings(3000),
    "strong+wordings": together(strong, wordings()),
    **{f"wordings without {kind}": without(kind) for kind in STARTER_KINDS},
    **{f"web {name}": web_kept(name) for name in get_args(Filters)},
    **{f"as many as web {name}": strong_as_many(name) for name in get_args(Filters)},
    "multi30k": translated,
    "starter-translations": starter_translations,
}  # fmt: skip
"""Triples by the name that a grid gives them."""


def captions_by_picture(data: Path) -> dict[str, list[str]]:
    """The captions of each training picture of Flickr8k, by its file name; three at least."""
    found: dict[str, list[str]] = {}
    for row in training_captions(data):
        found.setdefault(Path(row.image or "").name, []).append(row.caption)
    return {name: texts for name, texts in found.items() if len(texts) >= 3}


def with_people(row: Row, others: Mapping[str, list[str]], draw: random.Random) -> Row:
    """A row with two other captions of its picture as its paraphrases."""
    name = Path(row["image"]).name
    texts = [text for text in others[name] if text != row["caption"]]
    one, two = draw.sample(texts, 2)
    return {**row, "paraphrase_1": one, "paraphrase_2": two, "generator": "people"}


def row_of(number: str, name: str, texts: list[str], generator: str, data: Path) -> Row:
    """A row of three texts of one picture."""
    caption, one, two = texts
    return {
        "id": number, "image_id": name, "image": str(data / "flickr8k" / "images" / name),
        "caption": caption, "paraphrase_1": one, "paraphrase_2": two, "generator": generator,
    }  # fmt: skip


def triples_file(name: str, data: Path, folder: Path) -> Path:
    """The file of a source, written anew since sources change; equal rows give equal bytes."""
    path = folder / f"{name}.parquet"
    rows = SOURCES[name](data)
    for number, row in enumerate(rows):
        row["id"] = str(number)  # sources may use the same numbers
    folder.mkdir(parents=True, exist_ok=True)
    made = {PROVENANCE: json.dumps({"source": name}).encode()}
    with atomic_path(path) as temporary:
        table = with_schema(rows).replace_schema_metadata(made)
        pq.write_table(table, temporary, compression="zstd")
    return path


def training_texts(data: Path) -> list[str]:
    """All training captions of Flickr8k, as texts that no row pairs with a picture."""
    return [row.caption for row in training_captions(data)]


def alt_texts(data: Path) -> list[str]:
    """Alternative texts of the web: LAION's and those of CC3M's validation set."""
    files = [data / "web_captions" / name for name in ("laion.tsv", "cc3m_val.tsv")]
    return [row.caption for file in files for row in read_captions(str(file))]


TEXTS: Mapping[str, Callable[[Path], list[str]]] = {
    "captions": training_texts,
    "alt-texts": alt_texts,
}
"""Texts without pictures and rewordings, by the name that a grid gives them."""


def texts_file(name: str, data: Path, folder: Path) -> Path:
    """The file of some texts, one a line, written anew."""
    path = folder / f"{name}.txt"
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(" ".join(text.split()) + "\n" for text in TEXTS[name](data)))
    return path
