"""The triples file: a caption and its two paraphrases a row, with provenance.

Parquet is the native form. The paper's JSONL (`index, image_id, caption, paraphrase_1,
paraphrase_2`) is read and written too; it has no room for scores, and its provenance goes into
a file beside it.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from paraclip import starter
from paraclip.data.images import SUFFIXES
from paraclip.data.lines import bounded_lines, is_remote, open_source
from paraclip.data.named_pictures import one_of
from paraclip.data.parquet import refuse_equal_names
from paraclip.data.problems import Problems
from paraclip.data.record import BrokenRow, clean_text, json_object, label, picture_name
from paraclip.data.untrusted_json import parse_json_object
from paraclip.errors import UserError, nearest
from paraclip.files import atomic_path, check_input, read_bounded, write_text

TEXTS = ("caption", "paraphrase_1", "paraphrase_2")
SCORES = ("similarity_1", "similarity_2", "overlap_1", "overlap_2")
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("image_id", pa.string(), nullable=False),
        *(pa.field(name, pa.string(), nullable=False) for name in TEXTS),
        pa.field("image", pa.string()),
        *(pa.field(name, pa.float32()) for name in SCORES),
        pa.field("generator", pa.string()),
    ]
)
LARGEST_SCORE = 3e38  # of a number of 32 bits
PROVENANCE = b"paraclip"
REMAKE = "Make the triples with `paraclip generate`, or name another file."


def write_triples(
    path: Path | str,
    rows: pa.Table | Iterable[Mapping[str, Any]],
    provenance: Mapping[str, Any],
    extra: pa.Table | None = None,
) -> None:
    """Write triples whole or not at all: Parquet, or the paper's JSONL for a `.jsonl` path.

    Args:
        path: `.parquet`, or `.jsonl` (provenance then goes to `<path>.provenance.json`).
        rows: a table, or mappings; what SCHEMA has and they lack becomes null.
        provenance: JSON-able; how the triples were made.
        extra: further columns, such as hard negatives, with as many rows.

    Raises:
        UserError: the name has another ending, the place may not be written, the disk is full.
    """
    if Path(path).suffix not in (".parquet", ".jsonl"):
        raise UserError(path, "is called neither .parquet nor .jsonl", "Give it such a name.")
    table = fitted(rows)
    if extra is not None:
        for name in extra.column_names:
            table = table.append_column(name, extra[name])
    if str(path).endswith(".jsonl"):
        write_paper_lines(Path(path), table, provenance)
        return
    noted = {PROVENANCE: json.dumps(dict(provenance), ensure_ascii=False).encode()}
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata(noted), temporary, compression="zstd")


def fitted(rows: pa.Table | Iterable[Mapping[str, Any]]) -> pa.Table:
    """A table with exactly SCHEMA's columns, in its order."""
    if not isinstance(rows, pa.Table):
        return pa.Table.from_pylist([dict(row) for row in rows], schema=SCHEMA)
    columns = [
        cast(rows[field.name], field.type)
        if field.name in rows.column_names
        else pa.nulls(rows.num_rows, field.type)
        for field in SCHEMA
    ]
    return pa.table(columns, schema=SCHEMA)


def cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """The column in another type; where a text should be, NaN (a gap in pandas) is none."""
    if pa.types.is_floating(column.type) and pa.types.is_string(kind):
        column = pc.if_else(pc.is_nan(column), None, column)
    return column.cast(kind)


def write_paper_lines(path: Path, table: pa.Table, provenance: Mapping[str, Any]) -> None:
    """The paper's JSONL; `index` is our id where all ids are whole numbers, else the position."""
    ids = table["id"].to_pylist()
    numbers = range(len(ids))
    if all(name.isascii() and name.isdigit() for name in ids):
        numbers = [int(name) for name in ids]  # type: ignore[assignment]
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as lines:
        further = [name for name in table.column_names if name not in (*SCHEMA.names, "index")]
        texts = table.select(["image_id", *TEXTS, *further])
        for index, row in zip(numbers, texts.to_pylist(), strict=True):
            line = json.dumps({"index": index, **row}, ensure_ascii=False, default=str)
            lines.write(line + "\n")
    beside = path.with_name(f"{path.name}.provenance.json")
    write_text(beside, json.dumps(dict(provenance), ensure_ascii=False, indent=1) + "\n")


def read_triples(
    path: Path | str,
    problems: Problems | None = None,
    one_step: bool = False,
    extra: str | None = None,
    further: bool = False,
) -> pa.Table:
    """All triples of a file, with SCHEMA's columns; Parquet metadata is kept.

    Where no `image_id` is given it is the `image`: triples of one picture belong together.

    Args:
        path: Parquet, the paper's JSONL, or `starter` for the triples that ship with ParaCLIP.
        problems: where rows without one of the three texts are noted; they are left out.
        one_step: do not ask for paraphrase_2; it is taken to be paraphrase_1.
        extra: a further column of texts that is kept; a row may have none.
        further: keep all columns of a Parquet file and all keys of a JSONL file.

    Raises:
        UserError: no such file, not triples, a column is missing, ids are there twice, or more
            rows are broken than `problems` puts up with.
    """
    problems = Problems() if problems is None else problems
    path = Path(starter.resolve(path))
    check_input(path)
    if not path.is_file():
        raise UserError(path, "there is no such file", REMAKE)
    if path.suffix in (".jsonl", ".ndjson"):
        table = read_paper_lines(path, problems, one_step, extra, further)
    else:
        table = read_parquet(path, problems, one_step, extra, further)
    if not table.num_rows:
        raise UserError(path, "holds no triples", REMAKE)
    refuse_duplicates(path, table["id"])
    return table


def read_parquet(
    path: Path,
    problems: Problems,
    one_step: bool = False,
    extra: str | None = None,
    further: bool = False,
) -> pa.Table:
    """The triples of a Parquet file whose three texts are all there."""
    try:
        refuse_equal_names(pq.read_schema(path).names, path)
        found = pq.read_table(path)
        found.validate(full=True)  # texts that are not UTF-8, too
        if one_step and "paraphrase_1" in found.column_names:
            found = found.drop_columns({"paraphrase_2"} & set(found.column_names))
            found = found.append_column("paraphrase_2", found["paraphrase_1"])
        lacking = [name for name in ("id", *TEXTS) if name not in found.column_names]
        if lacking:
            has = ", ".join(found.column_names)
            raise UserError(path, f"has no column {label(lacking[0])} (it has {has})", REMAKE)
        if "image_id" not in found.column_names:
            found = found.append_column("image_id", pa.nulls(found.num_rows, pa.string()))
        table = fitted(found).replace_schema_metadata(found.schema.metadata)
        if extra is not None:
            table = table.append_column(extra, extra_column(path, found, extra))
        if further:
            for name in found.column_names:
                if name not in table.column_names:
                    table = table.append_column(name, found[name])
    except (pa.ArrowException, OSError) as error:
        raise UserError(path, f"is not a Parquet file of triples ({error})", REMAKE) from error
    return without_broken(path, table, problems)


def extra_column(path: Path, found: pa.Table, name: str) -> pa.ChunkedArray:
    """A column of texts beside the triples.

    Raises:
        UserError: there is none of that name, or every row of it is empty.
    """
    if name not in found.column_names:
        raise UserError(path, f"has no column {label(name)}", nearest(name, found.column_names))
    column = cast(found[name], pa.string())
    if column.null_count == len(column):
        raise UserError(path, f"has nothing in the column {label(name)}", "Name another column.")
    return column


def without_broken(path: Path, table: pa.Table, problems: Problems) -> pa.Table:
    """The rows with an id and three texts; the others are noted."""
    whole = None
    for name in ("id", *TEXTS):
        filled = is_filled(table[name])
        whole = filled if whole is None else pc.and_(whole, filled)
    for row in pc.indices_nonzero(pc.invert(whole)).to_pylist():
        problems.add(f"{path}:{row + 1}", "the id, the caption or a paraphrase is empty")
    nul = pc.fill_null(pc.match_substring(table["image"], "\0"), False)
    for row in pc.indices_nonzero(pc.and_(whole, nul)).to_pylist():
        problems.add(f"{path}:{row + 1}", "the image name holds a NUL character")
    problems.check(table.num_rows)
    table = table.filter(pc.and_(whole, pc.invert(nul)))
    named = pc.if_else(is_filled(table["image"]), table["image"], table["id"])
    filled_id = pc.if_else(is_filled(table["image_id"]), table["image_id"], named)
    place = table.schema.get_field_index("image_id")
    return table.set_column(place, SCHEMA.field("image_id"), filled_id)


def is_filled(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Where a column of texts holds more than space."""
    return pc.fill_null(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(column)), 0), False)


def read_paper_lines(
    path: Path,
    problems: Problems,
    one_step: bool = False,
    extra: str | None = None,
    further: bool = False,
) -> pa.Table:
    """The triples of a JSONL file in the paper's layout, or with SCHEMA's names."""
    rows, total, beside = [], 0, []
    with open_source(str(path)) as stream:
        for number, line in bounded_lines(stream, str(path), problems):
            total += 1
            try:
                found = json_object(line)
                if one_step and "paraphrase_1" in found:
                    found["paraphrase_2"] = found["paraphrase_1"]
                rows.append(paper_row(found, number))
                beside.append(found if extra or further else {})
            except BrokenRow as broken:
                problems.add(f"{path}:{number}", str(broken))
    problems.check(total)
    table = fitted(rows)
    if extra is not None:
        texts = [row.get(extra) for row in beside]
        texts = [text if isinstance(text, str) else None for text in texts]
        column = pa.table({extra: pa.array(texts, pa.string())})
        table = table.append_column(extra, extra_column(path, column, extra))
    names = dict.fromkeys(name for row in beside for name in row) if further else {}
    for name in names:
        if name not in (*table.column_names, "index"):
            table = table.append_column(name, any_column([row.get(name) for row in beside]))
    return table


def any_column(values: list[Any]) -> pa.Array:
    """A column of JSON values; where their types differ, of their JSON texts."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([None if value is None else json.dumps(value) for value in values])


def paper_row(found: dict[str, Any], number: int) -> dict[str, Any]:
    """A row of SCHEMA from an object of the paper's JSONL.

    Raises:
        BrokenRow: one of the three texts is missing, empty or not text.
    """
    row: dict[str, Any] = {}
    for name in TEXTS:
        if name not in found:
            raise BrokenRow(f"has no {label(name)}")
        row[name] = clean_text(found[name], name)
    row["id"] = first_present(found.get("id"), found.get("index"), number)
    optional = {"image": str, "generator": str, **dict.fromkeys(SCORES, float)}
    for name, kind in optional.items():
        value = found.get(name)
        if value is not None and not isinstance(value, kind | int):
            raise BrokenRow(f"{label(name)} is not a {kind.__name__}")
        row[name] = None if value is None else kind(value)
        if kind is float and value is not None and abs(row[name]) > LARGEST_SCORE:
            raise BrokenRow(f"{label(name)} is too large")
    row["image"] = picture_name(row["image"])
    row["image_id"] = first_present(found.get("image_id"), row["image"], row["id"])
    return row


def first_present(*values: Any) -> str:
    """The first of the values that is there: an empty cell comes as null from some writers."""
    return next(str(value) for value in values if value not in (None, ""))


def refuse_duplicates(path: Path, ids: pa.ChunkedArray) -> None:
    """Raise for the first id that is there twice."""
    seen: set[int] = set()
    names = (name for chunk in ids.chunks for name in chunk.to_pylist())
    for row, name in enumerate(names, start=1):
        if (key := hash(name)) in seen:
            hint = "Give every triple an id of its own."
            raise UserError(f"{path}:{row}", f"the id {label(name)} is there twice", hint)
        seen.add(key)


def read_provenance(path: Path | str) -> dict[str, Any]:
    """How the triples were made; empty where the file does not say."""
    path = Path(starter.resolve(path))
    try:
        if path.suffix == ".parquet":
            noted = (pq.read_schema(path).metadata or {}).get(PROVENANCE, b"{}")
        else:
            noted = read_bounded(path.with_name(f"{path.name}.provenance.json"))
        return parse_json_object(noted)
    except (OSError, ValueError, pa.ArrowException):
        return {}


def attach_images(table: pa.Table, folder: Path | str) -> pa.Table:
    """Fill `image` from `image_id` where `folder` has a file of that name.

    Args:
        table: triples; an `image` that is there already stays, unless there is no such file.
        folder: pictures named by image id, with or without the suffix.

    Raises:
        UserError: there is no such folder, no triple has a picture then, or an image id fits
            several different pictures.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(folder, "there is no such folder", "Name the folder of the pictures.")
    named: dict[str, list[str]] = {}
    exact: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            inside = path.relative_to(folder)
            exact[str(inside)] = str(path)
            for name in {path.stem, path.name, str(inside.with_suffix("")), str(inside)}:
                named.setdefault(name, []).append(str(path))

    def found(name: str) -> str | None:
        """The picture of that image id; its path inside the folder counts first."""
        if name in exact or name not in named:
            return exact.get(name)
        return one_of(name, named[name], folder)

    pairs = zip(table["image"].to_pylist(), table["image_id"].to_pylist(), strict=True)
    images = pa.array([place_of(image, name, found) for image, name in pairs], pa.string())
    if len(images) and images.null_count == len(images):
        what = f"holds the picture of no triple (the first is {table['image_id'][0].as_py()!r})"
        hint = "Name a folder whose files are called like the image_id, or name none."
        raise UserError(folder, what, hint)
    place = table.schema.get_field_index("image")
    return table.set_column(place, SCHEMA.field("image"), images)


def place_of(noted: str | None, name: str, find: Callable[[str], str | None]) -> str | None:
    """Where a picture is: as the triples note it, else as it is found by its image id."""
    if noted and (is_remote(noted) or os.path.isfile(noted)):
        return noted
    return find(name) or noted
