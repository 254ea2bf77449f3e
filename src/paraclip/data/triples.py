"""The triples file: each row has a caption and its two paraphrases, with provenance.

It is Parquet. The JSONL of the paper is read too: `index, image_id, caption, paraphrase_1,
paraphrase_2`. In both, a row may have further `wordings` of the same meaning: a list of objects
with a `text` and, optionally, its `kind` and its language (`lang`; without one, English). In JSONL,
the first English ones take the place of missing paraphrases, or the caption does if there are none.
"""

import json
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from paraclip import starter
from paraclip.data.captions import (
    BrokenRow,
    Caption,
    clean_text,
    label,
    picture_name,
    plain_text,
    require_columns,
)
from paraclip.data.images import PictureNames, picture_files
from paraclip.data.lines import is_remote, local_path
from paraclip.data.problems import Problems
from paraclip.data.rows import read_rows, refuse_equal_names, row_number
from paraclip.data.untrusted_json import parse_json_object
from paraclip.errors import UserError
from paraclip.files import atomic_path, check_input, read_bounded

TEXTS = ("caption", "paraphrase_1", "paraphrase_2")
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
ENGLISH = "en"
_MOST_WORDINGS = 64  # of a row
_LARGEST_SCORE = 3e38  # about the maximum of a 32-bit float
PROVENANCE = b"paraclip"
_JSON_LINES = (".jsonl", ".ndjson")
_REMAKE = "Make the triples with `paraclip generate`, or name another file."


def write_triples(
    path: Path | str, rows: pa.Table | Iterable[Mapping[str, Any]], provenance: Mapping[str, Any]
) -> None:
    """Write a complete Parquet file of triples, or none at all.

    Args:
        path: the file.
        rows: a table, or mappings; missing columns of SCHEMA become null, others than these and
            WORDINGS are left out.
        provenance: JSON-serialisable record of how the triples were made.

    Raises:
        UserError: the path cannot be written, or the disk is full.
    """
    metadata = {PROVENANCE: json.dumps(dict(provenance), ensure_ascii=False).encode()}
    table = with_schema(rows).replace_schema_metadata(metadata)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def with_schema(rows: pa.Table | Iterable[Mapping[str, Any]]) -> pa.Table:
    """A table with SCHEMA's columns, in its order, and WORDINGS if there are some.

    NaN (missing in pandas) is no text.
    """
    if not isinstance(rows, pa.Table):
        listed = [dict(row) for row in rows]
        some = any(row.get(WORDINGS.name) for row in listed)
        return pa.Table.from_pylist(listed, schema=SCHEMA.append(WORDINGS) if some else SCHEMA)
    schema = SCHEMA.append(WORDINGS) if WORDINGS.name in rows.column_names else SCHEMA
    columns = []
    for field in schema:
        if field.name not in rows.column_names:
            columns.append(pa.nulls(rows.num_rows, field.type))
            continue
        column = rows[field.name]
        if pa.types.is_floating(column.type) and pa.types.is_string(field.type):
            column = pc.if_else(pc.is_nan(column), None, column)
        columns.append(column.cast(field.type))
    return pa.table(columns, schema=schema)


def read_triples(path: Path | str, problems: Problems | None = None) -> pa.Table:
    """All triples of a file, with SCHEMA's columns and the Parquet metadata.

    A missing `image_id` is replaced by `image`, so that triples of one picture belong together.

    Args:
        path: Parquet, the paper's JSONL, or `starter` for the triples included in ParaCLIP.
        problems: lists rows that lack one of the three texts; they are skipped.

    Raises:
        UserError: the file is missing or does not contain triples, a column is missing, an id
            occurs twice, or too many rows are broken.
    """
    problems = Problems() if problems is None else problems
    path = Path(starter.resolve(path))
    check_input(path)
    if path.is_dir():
        raise UserError(path, "is a folder", f"Name its file, such as {path / 'triples.parquet'}.")
    if not path.is_file():
        raise UserError(path, "there is no such file", _REMAKE)
    read = _read_lines if path.suffix in _JSON_LINES else _read_parquet
    table = read(path, problems)
    if not table.num_rows:
        raise UserError(path, "contains no triples", _REMAKE)
    return table


def _read_parquet(path: Path, problems: Problems) -> pa.Table:
    """The triples of a Parquet file: rows with an id, three texts and a valid image name."""
    try:
        refuse_equal_names(pq.read_schema(path).names, path)
        stored = pq.read_table(path)
        stored.validate(full=True)  # also finds texts that are not UTF-8
        require_columns(stored.column_names, ("id", *TEXTS), path, _REMAKE)
        table = with_schema(stored).replace_schema_metadata(stored.schema.metadata)
    except (pa.ArrowException, OSError) as error:
        raise UserError(path, f"is not a Parquet file of triples ({error})", _REMAKE) from error
    if not table.num_rows:  # of no chunks, `indices_nonzero` of older pyarrows kills the process
        return table
    complete = _is_filled(table["id"])
    for name in TEXTS:
        complete = pc.and_(complete, _is_filled(table[name]))
    nul = pc.fill_null(pc.match_substring(table["image"], "\0"), False)
    for rows, what in (
        (pc.invert(complete), "the id, the caption or a paraphrase is empty"),
        (pc.and_(complete, nul), "the image name contains a NUL character"),
    ):
        for row in pc.indices_nonzero(rows).to_pylist():
            problems.add(f"{path}:{row + 1}", what)
    problems.check(table.num_rows)
    kept = pc.and_(complete, pc.invert(nul))
    table = table.filter(kept)
    ids = (name for chunk in table["id"].chunks for name in chunk.to_pylist())
    places = (f"{path}:{row + 1}" for row in pc.indices_nonzero(kept).to_pylist())
    _refuse_duplicates(zip(places, ids, strict=True))
    default = pc.if_else(_is_filled(table["image"]), table["image"], table["id"])
    image_ids = pc.if_else(_is_filled(table["image_id"]), table["image_id"], default)
    return with_column(table, "image_id", image_ids)


def with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    """The table with other values in one of its columns of text, of the same type."""
    index, kind = table.schema.get_field_index(name), table[name].type
    if isinstance(values, list):
        values = pa.array(values, pa.string())
    return table.set_column(index, table.schema.field(index), values.cast(kind))


def _is_filled(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Where a text contains more than white space."""
    return pc.fill_null(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(column)), 0), False)


def _read_lines(path: Path, problems: Problems) -> pa.Table:
    """The triples of a JSONL file in the paper's layout, with further keys of SCHEMA."""
    rows, places, before = [], [], problems.count
    for where, values in read_rows(str(path), problems):
        row: dict[str, Any] = {}
        try:
            row[WORDINGS.name] = further = _read_wordings(values.get(WORDINGS.name))
            english = [one for one in further if (one["lang"] or ENGLISH) == ENGLISH]
            has_further = bool(further)
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
            for name, kind in {"generator": str, **dict.fromkeys(_SCORES, float)}.items():
                value = values.get(name)
                if value is not None and not isinstance(value, kind | int):
                    raise BrokenRow(f"{label(name)} is not a {kind.__name__}")
                row[name] = None if value is None else kind(value)
                if kind is float and value is not None and abs(row[name]) > _LARGEST_SCORE:
                    raise BrokenRow(f"{label(name)} is too large")
            row["image"] = picture_name(values.get("image"))
        except BrokenRow as broken:
            problems.add(where, str(broken))
            continue
        row["id"] = _first_present(values.get("id"), values.get("index"), row_number(where))
        row["image_id"] = _first_present(values.get("image_id"), row["image"], row["id"])
        rows.append(row)
        places.append(where)
    problems.check(len(rows) + problems.count - before)
    _refuse_duplicates(zip(places, (row["id"] for row in rows), strict=True))
    return with_schema(rows)


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
            if one and one["text"] and (languages is None or (one["lang"] or ENGLISH) in languages)
        ]
        for found in rows[WORDINGS.name].to_pylist()
    ]


def _first_present(*values: Any) -> str:
    """The first value that is neither null nor empty: writers differ in empty cells."""
    return next(str(value) for value in values if value not in (None, ""))


def _refuse_duplicates(rows: Iterable[tuple[str, str]]) -> None:
    """Raise UserError for the first duplicate id, given where each row is and its id."""
    seen: set[int] = set()
    for where, name in rows:
        if (key := hash(name)) in seen:
            what = f"the id {label(name)} occurs twice"
            raise UserError(where, what, "Make the ids unique.")
        seen.add(key)


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


def attach_images(table: pa.Table, folder: Path | str) -> pa.Table:
    """Replace each missing `image` by the picture in `folder` that matches the `image_id`.

    Args:
        table: triples; an `image` that exists, or is a URL, stays.
        folder: pictures named by image id, with or without the suffix.

    Raises:
        UserError: the folder is missing, no triple has a picture afterwards, or an image id
            matches several different pictures.
    """
    folder = Path(folder)
    check_input(folder)
    if not folder.is_dir():
        raise UserError(folder, "there is no such folder", "Name the folder of the pictures.")
    pictures = PictureNames(picture_files(folder), folder)

    def picture(image: str | None, image_id: str) -> str | None:
        if image and (is_remote(image) or os.path.isfile(local_path(image))):
            return image
        return pictures.find(image_id) or image

    pairs = zip(table["image"].to_pylist(), table["image_id"].to_pylist(), strict=True)
    images = [picture(*pair) for pair in pairs]
    if images and not any(name is not None for name in images):
        what = f"contains no picture of any triple (the first is {table['image_id'][0].as_py()!r})"
        hint = "Name a folder whose file names match image_id, or omit the folder."
        raise UserError(folder, what, hint)
    return with_column(table, "image", images)


def with_starter(rows: pa.Table, count: int | None = None) -> pa.Table:
    """Append the starter set, or its first `count` triples; they have no pictures."""
    further = read_triples(starter.STARTER).slice(0, count)
    return pa.concat_tables([rows, further], promote_options="default")


def with_captions(triples: pa.Table, captions: Iterable[Caption]) -> pa.Table:
    """Append captions without paraphrases, as rows of three equal texts.

    L2 and L3 skip equal texts: L1 learns from their pictures, R and S from all of them.

    Args:
        triples: with SCHEMA's columns; further columns are null in the new rows.
        captions: those of the triples, with the same picture, are left out.
    """
    pictures = [resolved_picture(image) for image in triples["image"].to_pylist()]
    image_ids = dict(zip(pictures, triples["image_id"].to_pylist(), strict=True))
    known = set(zip(pictures, triples["caption"].to_pylist(), strict=True))
    rows = [
        {
            "id": f"caption {row.id}",
            # Ensures that no caption is a negative of its own picture.
            "image_id": image_ids.get(picture, row.image_id) if picture else row.image_id,
            "image": row.image,
            **dict.fromkeys(TEXTS, row.caption),
        }
        for row in captions
        for picture in [resolved_picture(row.image)]
        if picture is None or (picture, row.caption) not in known
    ]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    return pa.concat_tables([triples, table], promote_options="default")


def resolved_picture(image: str | None) -> str | None:
    """A common name for a picture that two sources may name differently."""
    return image if image is None or is_remote(image) else os.path.realpath(local_path(image))
