"""The one reader of data files: rows of any format as dictionaries, one at a time.

CSV, TSV, JSON lines, Parquet, shards and folders are streamed. A `.json` file is parsed as a whole,
within bounds of its size, its depth and the number of its values. Broken rows are skipped and
listed.
"""

import csv
import gc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from paraclip.data.captions import BrokenRow, Columns, Problems, choose_columns, label
from paraclip.data.lines import DECOMPRESSORS, bounded_lines, is_remote, open_source
from paraclip.data.shards import read_folder, read_shard
from paraclip.data.untrusted_json import BadJson, parse_json, parse_json_object
from paraclip.errors import UserError
from paraclip.files import check_file
from paraclip.plugins import Table

_Item = TypeVar("_Item")
Values = dict[str, Any]
"""Values of a row by column name; texts may be bytes, whose encoding is not yet checked."""
InMemory = Iterable[Mapping[str, Any]]
"""Rows in memory: dictionaries, a `datasets.Dataset`, or what has Arrow's interface, as a
`pyarrow.Table` and the data frames of pandas and polars have."""
_Rows = Iterator[tuple[str, Values]]  # where each row is, and its values
_Fields = Iterator[tuple[int, list[str]]]  # number of a row's first line, and its fields
_Splitter = Callable[[Iterator[tuple[int, str]], str, Problems], _Fields]
_ROWS_AT_ONCE = 1024  # of a Parquet file, as Python objects
LARGEST_JSON = 2**28  # bytes; COCO's largest file of captions has 144 MB
MOST_VALUES = 2**24  # of a JSON file; COCO's has 11 million, which take 1 GB
_CHECK_HEADER = "It must name the columns, with closed quotes, and end in a line feed."
_LAYOUT = 'It must hold {"images": [...], "annotations": [...]} or a list of objects.'
# Keys of the picture and the caption in plain lists; the first key that an element has is read.
_IMAGE_NAMES = ("file_name", "filename", "image")
_CAPTION_NAMES = ("captions", "caption", "sentences")


def read_rows(source: str | InMemory, problems: Problems, columns: Columns | None = None) -> _Rows:
    """Yield where each row is, for messages, and its values.

    Where is the file and, at its end, the row's number (`captions.csv:12`) or key.

    Args:
        source: file, URL or folder; without `columns`, also the rows themselves.
        problems: lists broken rows, which are skipped.
        columns: yield `caption`, `image`, `id` and `image_id` instead of a file's own columns, as
            far as the file has them; only these are read of a Parquet file.

    Raises:
        UserError: the file is missing, broken, out of bounds or of an unknown format, a column is
            missing, or two have one name.
    """
    if isinstance(source, str):
        yield from reader_of(source)(source, problems, columns)
    else:
        yield from _read_memory(source, problems)


def reader_of(source: str) -> Callable[[str, Problems, Columns | None], _Rows]:
    """The reader for a folder or the suffix of a file; raises UserError if there is none."""
    if is_folder(source):
        return read_folder
    suffixes = [suffix.lower() for suffix in Path(source).suffixes]
    compressed = bool(suffixes) and suffixes[-1] in DECOMPRESSORS
    if compressed:
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    if compressed and suffix == ".tar":
        what = "is a compressed tar file, whose pictures cannot be read one by one"
        raise UserError(source, what, f"Decompress it to {Path(source).stem}.")
    if suffix in READERS:
        return READERS[suffix]
    hint = f"Name a folder, or a file that ends in {', '.join(READERS)}."
    raise UserError(source, "has a format that cannot be read", hint)


def _read_memory(rows: InMemory, problems: Problems) -> _Rows:
    if hasattr(rows, "__arrow_c_stream__"):
        try:
            table = pa.table(rows)
        except pa.ArrowException as error:  # such as numbers and texts in one column
            first = str(error).splitlines()[0]
            raise UserError("rows", first, "Give each column values of one type.") from error
        batches = table.to_batches(max_chunksize=_ROWS_AT_ONCE)
        rows = (row for batch in batches for row in batch.to_pylist())
    if not isinstance(rows, Iterable):
        hint = "Give a file, a list of dictionaries, or a table."
        raise UserError("rows", f"a {type(rows).__name__} has none", hint)
    for number, values in enumerate(rows, 1):
        where = f"row {number}"
        if isinstance(values, Mapping):
            paths = {name: str(one) for name, one in values.items() if isinstance(one, Path)}
            yield where, {**values, **paths}
        else:
            problems.add(where, "is not a dictionary")


def is_folder(source: str) -> bool:
    """Whether the path or URL is a local folder."""
    return not is_remote(source) and Path(source).is_dir()


def row_number(where: str) -> str:
    """The number of a row, which ends `where`."""
    return where[max(where.rfind(":"), where.rfind(" ")) + 1 :]


def read_items(
    source: str | InMemory,
    make: Callable[[Values, str], _Item],
    problems: Problems,
    columns: Columns | None = None,
) -> Iterator[tuple[str, _Item]]:
    """Yield where each row is, and what `make` makes of its values and where they are.

    Rows for which it raises BrokenRow are listed and skipped; see `read_rows`.
    """
    for where, values in read_rows(source, problems, columns):
        try:
            item = make(values, where)
        except BrokenRow as broken:
            problems.add(where, str(broken))
        else:
            yield where, item


def good_rows(
    source: str | Path, make: Callable[[Values, str], _Item], problems: Problems, hint: str
) -> tuple[list[_Item], int]:
    """Return the items of a file (see `read_items`), and the number of invalid rows.

    Raises UserError, with the hint how to get the file, if it is missing or has no valid row, or
    too many rows are broken.
    """
    check_file(source, hint)
    before = problems.count
    items = [item for _, item in read_items(str(source), make, problems)]
    skipped = problems.count - before
    problems.check(len(items) + skipped)
    if not items:
        raise UserError(source, "contains no rows", hint)
    return items, skipped


# --- CSV, TSV and lines of text ---


def _read_delimited(
    source: str, problems: Problems, columns: Columns | None, split: _Splitter
) -> _Rows:
    """Rows with as many fields as the header; `_csv_fields` or `_tsv_fields` splits the lines."""
    with open_source(source) as stream:
        # Bytes that are not UTF-8 become lone surrogates, for which `plain_text` refuses their row.
        lines = (
            (number, line.decode("utf-8", "surrogateescape"))
            for number, line in bounded_lines(stream, source, problems, headed=True)
        )
        before = problems.count  # the header is read first, so a problem until then is its own
        rows = split(lines, source, problems)
        _, header = next(rows, (0, []))
        if problems.count > before:
            raise UserError(source, "has a first line that cannot be read", _CHECK_HEADER)
        if not header:
            raise UserError(source, "is empty", "Its first line must name the columns.")
        header = [name.strip() for name in header]
        chosen = choose_columns(header, columns, source) if columns else None
        # Columns that are not read may share a name.
        _refuse_equal_names([name for name in header if not chosen or name in chosen], source)
        for number, fields in rows:
            where = f"{source}:{number}"
            if len(fields) == len(header):
                values = dict(zip(header, fields, strict=True))
                yield where, chosen.pick(values) if chosen else values
            else:
                what = f"has {len(fields)} fields where the header has {len(header)}"
                problems.add(where, what)


def _csv_fields(lines: Iterator[tuple[int, str]], source: str, problems: Problems) -> _Fields:
    """Number of the first line and fields of each row; other rows are added to `problems`."""
    last = 0  # line of the file; `reader.line_num` does not count the overlong ones

    def counted() -> Iterator[str]:
        nonlocal last
        for number, line in lines:
            last = number
            yield line

    # Without `strict`, a quote that never closes takes in the rest of the file, as one good field.
    reader = csv.reader(counted(), strict=True)
    while True:
        before = reader.line_num
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            lost = reader.line_num - before
            what = f"is not CSV ({error})"
            if lost > 1:
                what = f"a quote that opens here is not closed properly and spans {lost:,} lines"
            problems.add(f"{source}:{last - lost + 1}", what, rows=lost)
            continue  # the reader begins anew with the next line
        # Blank lines are no rows; of one with spaces, `csv` makes a field.
        if fields and not (len(fields) == 1 and fields[0].isspace()):
            yield last - (reader.line_num - before) + 1, fields


def _tsv_fields(lines: Iterator[tuple[int, str]], source: str, problems: Problems) -> _Fields:
    """Number and fields of each line; quotes are part of the text.

    Only fields that are quoted as a whole, as pandas writes them, are unquoted.
    """
    for number, line in lines:
        if line.strip():
            yield number, [_unquoted(field) for field in line.rstrip("\r\n").split("\t")]


def _unquoted(field: str) -> str:
    """The field without the quotes around it, if all quotes inside are doubled."""
    if len(field) < 2 or not (field.startswith('"') and field.endswith('"')):
        return field
    parts = field[1:-1].split('""')
    return field if any('"' in part for part in parts) else '"'.join(parts)


def _read_plain_lines(source: str, problems: Problems, columns: Columns | None) -> _Rows:
    """A caption in each line that is not blank."""
    with open_source(source) as stream:
        for number, line in bounded_lines(stream, source, problems):
            if line.strip():
                yield f"{source}:{number}", {"caption": line}


# --- JSON ---


def _read_json_lines(source: str, problems: Problems, columns: Columns | None) -> _Rows:
    """An object in each line; the first determines the keys of the caption and the id."""
    chosen = None
    with open_source(source) as stream:
        for number, line in bounded_lines(stream, source, problems):
            if not line.strip():
                continue
            where = f"{source}:{number}"
            try:
                values = parse_json_object(line)
            except BadJson as error:
                problems.add(where, f"the line {error}")
                continue
            if columns is None:
                yield where, values
                continue
            chosen = chosen or choose_columns(values, columns, source)
            if chosen.caption in values:
                yield where, chosen.pick(values)
            else:
                problems.add(where, f"has no {label(chosen.caption)}")


def _read_json(source: str, problems: Problems, columns: Columns | None) -> _Rows:
    """The objects of a list or of an object, COCO's annotations, or Karpathy's images.

    In plain lists, the picture and the caption have one of several usual keys. Without an `id`, the
    id of a list of captions is its image id.
    """
    whole = _parse_file(source)
    kind = _kind_of(whole, source)
    names: dict[str, str] = {}
    # COCO: an annotation names its picture by the id of an entry of `images`.
    if kind == "annotation" and columns and columns.image:
        if not isinstance(whole.get("images"), list):
            raise UserError(source, "has no 'images'", _LAYOUT)
        names = {
            str(one["id"]): str(one["file_name"])
            for one in whole["images"]
            if isinstance(one, dict) and "id" in one and "file_name" in one
        }
    listed = whole[f"{kind}s"] if kind else whole.values() if isinstance(whole, dict) else whole
    chosen, keyed = None, False
    for row, values in enumerate(listed, start=1):
        where = f"{source}: {kind} {row}" if kind else f"{source}:{row}"
        if not isinstance(values, dict):
            problems.add(where, "is not a JSON object")
            continue
        if columns is None:
            yield where, values
            continue
        if chosen is None:
            # An annotation has no name of a picture, and must not be refused for that.
            own = columns if kind != "annotation" else replace(columns, image=None)
            usual = _CAPTION_NAMES if columns.caption == "caption" else ()
            caption = next((name for name in usual if name in values), columns.caption)
            chosen = choose_columns(values, replace(own, caption=caption), source)
            keyed = chosen.id is None and "image_id" in values
        found = chosen.pick(values)
        if kind == "annotation" and columns.image:
            found["image"] = names.get(str(values.get("image_id")))
            if found["image"] is None:
                problems.add(where, f"there is no image with the id {values.get('image_id')!r}")
                continue
        elif columns.image == "image":
            found["image"] = next((values[name] for name in _IMAGE_NAMES if name in values), None)
        if isinstance(found["caption"], list):  # Karpathy's sentences are objects
            found["caption"] = [
                one.get("raw") if isinstance(one, dict) else one for one in found["caption"]
            ]
        if keyed and isinstance(found["caption"], list):
            # another picture may have the row's number as its id
            found["id"] = f"row {row}" if found["image_id"] is None else found["image_id"]
        yield where, found


def _kind_of(whole: Any, source: str) -> str:
    """Which list of a JSON file holds the rows; "" if the file itself is one or an object of rows.

    Raises UserError for any other value.
    """
    if not isinstance(whole, dict | list):
        raise UserError(source, "is neither a list nor an object", _LAYOUT)
    if isinstance(whole, dict):
        # COCO has both lists, and its captions are in the first.
        for kind in ("annotation", "image"):
            if isinstance(whole.get(f"{kind}s"), list):
                return kind
    return ""


def _parse_file(source: str) -> Any:
    """The value of a JSON file; raises UserError. Lone surrogates remain, for a check by row."""
    with open_source(source) as stream, _collected_later():
        try:
            # One byte more shows a file that is too long.
            return parse_json(stream.read(LARGEST_JSON + 1), LARGEST_JSON, MOST_VALUES)
        except BadJson as error:
            hint = "Make the file again; if it is large, as JSON lines (.jsonl)."
            raise UserError(source, str(error), hint) from error


@contextmanager
def _collected_later() -> Iterator[None]:
    """Pause the search for cycles, which JSON has not; it would take most of the time."""
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()


# --- Parquet ---


def _read_parquet(source: str, problems: Problems, columns: Columns | None) -> _Rows:
    """Rows of a Parquet file; of given columns, only these are read."""
    with open_source(source) as stream, _parquet_errors(source):
        # Pre-buffering, which is the default, would hold a whole row group.
        file = pq.ParquetFile(stream, buffer_size=2**20, pre_buffer=False)
        names = file.schema_arrow.names
        _refuse_equal_names(names, source)
        chosen = choose_columns(names, columns, source) if columns else None
        if chosen:
            # The file may lack some of the chosen ones.
            names = [name for name in names if name in chosen]
            if chosen.image in names:
                _refuse_pictures(file.schema_arrow.field(chosen.image), source)
        row = 0
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=names):
            for fields in zip(*(_python_values(batch.column(name)) for name in names), strict=True):
                row += 1
                values = dict(zip(names, fields, strict=True))
                yield f"{source}:{row}", chosen.pick(values) if chosen else values


@contextmanager
def _parquet_errors(source: str) -> Iterator[None]:
    """Raise UserError for a Parquet file that is broken."""
    try:
        yield
    # pyarrow decodes names of columns that are no UTF-8 without a check of its own.
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        hint = "Make or fetch the file again."
        raise UserError(source, f"cannot be read as Parquet ({first})", hint) from error


def _refuse_pictures(field: pa.Field, source: str) -> None:
    """Raise UserError for a column of pictures in place of their names."""
    tests = (pa.types.is_struct, pa.types.is_binary, pa.types.is_large_binary)
    if any(test(field.type) for test in tests):
        what = f"column {label(field.name)} holds pictures, not their names"
        hint = "Save them as files and name these, or give --image-column None."
        raise UserError(source, what, hint)


def _refuse_equal_names(names: Sequence[str], source: object) -> None:
    """Raise UserError if two columns of a file have the same name."""
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        what = f"has two columns called {label(twice)}"
        raise UserError(source, what, "Rename one or leave it out.")


def _python_values(column: pa.Array) -> list[Any]:
    """The column's values; texts as bytes, since the encoding is checked row by row.

    A value that Python does not have, such as a date after 9999, remains an Arrow scalar.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_string(kind):
        column = column.cast(pa.binary())
    elif pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        column = column.cast(pa.large_binary())
    elif pa.types.is_list(kind) and pa.types.is_string(kind.value_type):
        column = column.cast(pa.list_(pa.binary()))
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        return [_python_value(value) for value in column]


def _python_value(value: pa.Scalar) -> Any:
    """The value, or the scalar itself."""
    try:
        return value.as_py()
    except (ValueError, OverflowError):
        return value


READERS: Table[Callable[[str, Problems, Columns | None], _Rows]] = Table(
    "readers",
    {
        ".csv": partial(_read_delimited, split=_csv_fields),
        ".tsv": partial(_read_delimited, split=_tsv_fields),
        ".jsonl": _read_json_lines,
        ".ndjson": _read_json_lines,
        ".parquet": _read_parquet,
        ".pq": _read_parquet,
        ".json": _read_json,
        ".tar": read_shard,
        ".txt": _read_plain_lines,
    },
)
"""The reader of each kind of file. Arguments: those of `read_rows`."""
