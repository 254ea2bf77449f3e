"""The triples file: each row has a caption and its two paraphrases, with provenance.

It is Parquet. JSON lines with the keys of the paper's official script are read too: `index,
image_id, caption, paraphrase_1, paraphrase_2`. In both, a row may have further `wordings` of the
same meaning: a list of objects with a `text` and, optionally, its `kind` and its language (`lang`;
without one, English). In JSON lines, the first English ones take the place of missing paraphrases,
or the caption does if there are none.
"""

import json
import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from math import isnan
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from paraclip import starter
from paraclip.data.captions import BrokenRow, Problems, clean_text, label, plain_text
from paraclip.data.images import PictureNames, picture_files
from paraclip.data.lines import is_remote, local_path
from paraclip.data.rows import InMemory, Values, read_items, row_number
from paraclip.data.untrusted_json import parse_json_object
from paraclip.errors import UserError
from paraclip.files import cache_folder, check_file, check_input, read_bounded, text_hash
from paraclip.output_folder import OutputFolder
from paraclip.starter import TEXTS
from paraclip.starter.scenes import ENGLISH, grammar_hash, scenes

# Of each step: similarity of meaning (MiniLM) and share of common words.
_SCORES = ("similarity_1", "similarity_2", "overlap_1", "overlap_2")
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        *(pa.field(name, pa.string(), nullable=False) for name in TEXTS),
        pa.field("image", pa.string()),
        *(pa.field(name, pa.float32()) for name in _SCORES),
        pa.field("generator", pa.string()),
    ]
)
WORDINGS = pa.field(
    "wordings",
    pa.list_(pa.struct([("text", pa.string()), ("kind", pa.string()), ("lang", pa.string())])),
)
"""Further wordings of a row; a column only of files that have some."""
CONTRAST = pa.field("contrast", pa.string())
"""A text with another meaning in nearly the same words, for `evaluate --pairs`."""
FURTHER_SCHEMA = SCHEMA.append(WORDINGS).append(CONTRAST)
_MOST_WORDINGS = 64  # of a row
_ROWS_AT_ONCE = 10_000
_LARGEST_SCORE = 3e38  # about the maximum of a 32-bit float
PROVENANCE = b"paraclip"  # key in Parquet's metadata, whose keys are bytes
_JSON_LINES = (".jsonl", ".ndjson")
_REMAKE = "Make the triples with `paraclip generate`, or name another file."


def with_schema(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """A table with SCHEMA's columns, in its order, and WORDINGS if there are some."""
    listed = [dict(row) for row in rows]
    some = any(row.get(WORDINGS.name) for row in listed)
    # With a schema, a column of nulls alone keeps its type.
    return pa.Table.from_pylist(listed, schema=SCHEMA.append(WORDINGS) if some else SCHEMA)


def read_triples(source: Path | str | InMemory, problems: Problems | None = None) -> pa.Table:
    """All triples of a source, with SCHEMA's columns, and WORDINGS if there are some: Parquet,
    JSON lines, `starter` for the triples included in ParaCLIP, or the rows themselves.

    A missing `image_id` is replaced by `image`, so that triples of one picture belong together.
    Rows that lack one of the three texts are listed and skipped. Raises UserError if the file is
    missing, broken or without triples, an id occurs twice, or too many rows are broken.
    """
    problems = Problems() if problems is None else problems
    if isinstance(source, Path | str):
        source = str(check_triples(source))
    before, seen = problems.count, set[int]()
    tables, rows = [SCHEMA.empty_table()], list[dict[str, Any]]()
    for where, row in read_items(source, _make_triple, problems):
        if (key := hash(row["id"])) in seen:
            what = f"the id {label(row['id'])} occurs twice"
            raise UserError(where, what, "Make the ids unique.")
        seen.add(key)
        rows.append(row)
        if len(rows) == _ROWS_AT_ONCE:  # as dictionaries, all of them would take gigabytes
            tables.append(with_schema(rows))
            rows = []
    problems.check(len(seen) + problems.count - before)
    if not seen:
        named = source if isinstance(source, str) else "triples"
        raise UserError(named, "contains no triples", _REMAKE)
    return pa.concat_tables([*tables, with_schema(rows)], promote_options="default")


def check_triples(path: Path | str) -> Path:
    """The file of triples that a name stands for; raises UserError if there is none."""
    path = Path(starter.resolve(path))
    if path.is_dir():
        raise UserError(path, "is a folder", f"Name its file, such as {path / 'triples.parquet'}.")
    check_file(path, _REMAKE)
    return path


def _make_triple(values: Values, where: str) -> dict[str, Any]:
    """A row of SCHEMA and WORDINGS; raises BrokenRow if it lacks a text or has a wrong value."""
    missing = [name for name, value in values.items() if isinstance(value, float) and isnan(value)]
    values = {name: value for name, value in values.items() if name not in missing}
    row: dict[str, Any] = {WORDINGS.name: (further := _read_wordings(values.get(WORDINGS.name)))}
    english = [one for one in further if (one["lang"] or ENGLISH) == ENGLISH]
    has_further = bool(further)  # `further` loses those that become paraphrases
    name: str
    for name in TEXTS:
        if name in values:
            row[name] = clean_text(values[name], name)
        elif name == TEXTS[0] or not has_further:
            raise BrokenRow(f"has no {label(name)}")
        elif english:
            further.remove(first := english.pop(0))
            row[name] = first["text"]
        else:  # L2 and L3 skip equal texts
            row[name] = row[TEXTS[0]]
    for name in _SCORES:
        value = values.get(name)
        if value is not None and not isinstance(value, float | int):
            raise BrokenRow(f"{label(name)} is not a number")
        row[name] = None if value is None else float(value)
        if value is not None and abs(row[name]) > _LARGEST_SCORE:
            raise BrokenRow(f"{label(name)} is too large")
    row["generator"] = plain_text(values.get("generator"), "generator")
    row["image"] = plain_text(values.get("image"), "image name")
    names = {name: plain_text(values.get(name), name) for name in ("id", "index", "image_id")}
    # Writers differ in empty cells.
    row["id"] = names["id"] or names["index"] or row_number(where)
    row["image_id"] = names["image_id"] or row["image"] or row["id"]
    return row


def with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    """The table with other values in one of its columns of text, of the same type."""
    index, kind = table.schema.get_field_index(name), table[name].type
    if isinstance(values, list):
        values = pa.array(values, pa.string())
    return table.set_column(index, table.schema.field(index), values.cast(kind))


def _read_wordings(value: Any) -> list[dict[str, Any]]:
    """The further wordings of a row; raises BrokenRow if they are not a list of texts."""
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > _MOST_WORDINGS:
        raise BrokenRow(f"the wordings are not a list of at most {_MOST_WORDINGS}")
    if not all(isinstance(one, dict) for one in value):
        raise BrokenRow('a wording is not an object such as {"text": "a small dog"}')
    return [
        {
            "text": clean_text(one.get("text"), "wording"),
            **{name: plain_text(one.get(name), name) for name in ("kind", "lang")},
        }
        for one in value
    ]


def choose_wordings(
    rows: pa.Table, languages: Collection[str] | None = None
) -> list[list[tuple[str, str]]]:
    """The further wordings of each row in some or all languages: their text and language."""
    if WORDINGS.name not in rows.column_names:
        return [[] for _ in range(len(rows))]
    return [
        [
            (one["text"], one["lang"] or ENGLISH)
            for one in found or ()
            if languages is None or (one["lang"] or ENGLISH) in languages
        ]
        for found in rows[WORDINGS.name].to_pylist()
    ]


def read_provenance(path: Path | str) -> dict[str, Any]:
    """How the triples were made; empty if that is not recorded.

    Parquet holds it in its metadata; JSONL has a file `<path>.provenance.json` next to it.
    """
    path = Path(starter.resolve(path))
    try:
        if path.suffix in _JSON_LINES:
            return parse_json_object(read_bounded(path.with_name(f"{path.name}.provenance.json")))
        return parse_json_object((pq.read_schema(path).metadata or {}).get(PROVENANCE, b"{}"))
    except (OSError, ValueError, pa.ArrowException):
        return {}


def attach_images(table: pa.Table, folder: Path | str, required: bool = True) -> pa.Table:
    """Replace each missing `image` by the picture in `folder` whose name, with or without the
    suffix, is the `image_id`; one that exists, or is a URL, stays.

    Raises UserError if the folder is missing, an image id matches several different pictures, or
    pictures are `required` and no triple has one afterwards.
    """
    folder = Path(folder)
    check_input(folder)
    if not folder.is_dir():
        raise UserError(folder, "there is no such folder", "Name the folder of the pictures.")
    pictures = PictureNames(picture_files(folder), folder)

    def picture(image: str | None, image_id: str) -> str | None:
        if image and (is_remote(image) or os.path.isfile(local_path(image))):
            return image
        return pictures.find(image_id)

    named = table["image"].to_pylist()
    found = list(map(picture, named, table["image_id"].to_pylist()))
    if required and found and not any(found):
        what = f"contains no picture of any triple (the first is {table['image_id'][0].as_py()!r})"
        hint = "Name a folder whose file names match image_id, or omit the folder."
        raise UserError(folder, what, hint)
    # A name that leads nowhere stays, for the message of whoever opens it.
    return with_column(
        table, "image", [one or name for one, name in zip(found, named, strict=True)]
    )


def scene_table(count: int, seed: int = 0, languages: Collection[str] = (ENGLISH,)) -> pa.Table:
    """Everyday scenes as triples: those of `paraclip.scenes`, without their contrasts.

    They are kept in the cache, by all that determines them; a damaged file is replaced.
    """
    facts = json.dumps([grammar_hash(), count, seed, list(languages)])
    folder = OutputFolder(cache_folder() / "scenes", "scenes")
    kept = folder.path / f"{text_hash(facts)}.parquet"
    with suppress(UserError, OSError, pa.ArrowException):  # they are drawn again
        if folder.owns(kept):
            return pq.read_table(kept)
    rows = scenes(count, seed=seed, languages=languages)
    table = with_schema({**row, "image_id": row["id"], "generator": "scenes"} for row in rows)
    with suppress(UserError), folder.replacing(kept) as temporary:  # a run can do without
        pq.write_table(table, temporary, compression="zstd")
    return table


def with_starter(rows: pa.Table) -> pa.Table:
    """Append the starter set, whose triples have no pictures."""
    # Fills the columns that one of them lacks with nulls.
    return pa.concat_tables([rows, read_triples(starter.STARTER)], promote_options="default")


def with_texts(rows: pa.Table, texts: Iterable[str]) -> pa.Table:
    """Append texts without pictures, each as a row of three equal ones.

    L2 and L3 skip equal texts: R and S alone learn from them.
    """
    # Names of their own: rows of several files may have equal ones.
    added = [
        {"id": f"text {number}", "image_id": f"text {number}", **dict.fromkeys(TEXTS, text)}
        for number, text in enumerate(texts, 1)
    ]
    return pa.concat_tables([rows, with_schema(added)], promote_options="default")


def resolved_picture(image: str | None) -> str | None:
    """A common name for a picture that two sources may name differently."""
    return image if image is None or is_remote(image) else os.path.realpath(local_path(image))
