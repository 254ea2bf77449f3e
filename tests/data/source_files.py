"""Creates small captions files and shards for tests."""

import csv
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from paraclip.data.captions import Caption, Columns, Problems
from paraclip.data.reading import read_captions


def put(path: Path, content: str | bytes) -> str:
    """Write a file and its parent folders; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def json_lines(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    """A JSONL file."""
    return put(path, as_file(rows, ".jsonl"))


def shard(path: Path, members: dict[str, bytes]) -> str:
    """A tar file."""
    return put(path, tarred(members))


def tarred(members: dict[str, bytes]) -> bytes:
    """The content of a tar file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def table(folder: Path, ending: str, rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a file of any kind."""
    return put(folder / f"captions.{ending}", as_file(rows, f".{ending}"))


def as_file(rows: Sequence[dict[str, Any]], suffix: str) -> bytes:
    """Rows in any format of `READERS`; of a text, only their captions."""
    if suffix in (".parquet", ".pq"):
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {name: _column([row.get(name) for row in rows]) for name in names}
        pq.write_table(pa.table(columns), file := io.BytesIO())
        return file.getvalue()
    if suffix in (".csv", ".tsv"):
        text = io.StringIO()
        names = dict.fromkeys(name for row in rows for name in row)
        writer = csv.DictWriter(text, list(names), delimiter="," if suffix == ".csv" else "\t")
        writer.writeheader()
        writer.writerows(rows)
        return _text(text.getvalue())
    if suffix == ".tar":
        return tarred({name: text for n, row in enumerate(rows) for name, text in _members(n, row)})
    if suffix == ".txt":
        return b"\n".join(_text(row.get("caption")) for row in rows)
    lines = [json.dumps(row) for row in rows]
    if suffix == ".json":
        return f"[{', '.join(lines)}]".encode()
    return "".join(line + ("\r\n" if suffix == ".ndjson" else "\n") for line in lines).encode()


def _members(number: int, row: dict[str, Any]) -> list[tuple[str, bytes]]:
    """A picture, and its caption as text, or all of the row if it has none."""
    caption, picture = row.get("caption"), (f"{number}.png", b"...")
    if isinstance(caption, str):
        return [picture, (f"{number}.txt", _text(caption))]
    return [picture, (f"{number}.json", json.dumps(row).encode())]


def _text(value: object) -> bytes:
    return str(value).encode("utf-8", "surrogatepass")


def _column(values: list[Any]) -> pa.Array:
    """Values as Parquet has them; empty if they have no common type, or none that it knows."""
    try:
        column = pa.array(values)
        pq.write_table(pa.table({"column": column}), io.BytesIO())  # no struct without fields
    except (pa.ArrowException, UnicodeError, OverflowError):
        return pa.nulls(len(values))
    return column


def read(source: str, columns: Columns | None = None, share: float = 0.0) -> list[Caption]:
    """All captions; broken rows are tolerated only up to `share`."""
    return list(read_captions(source, columns, Problems(share)))


def texts(source: str, columns: Columns | None = None) -> list[str]:
    """The texts of all captions."""
    return [row.caption for row in read(source, columns)]


def lenient(source: str, columns: Columns | None = None) -> tuple[list[str], Problems]:
    """The texts of all valid captions, and the problems."""
    problems = Problems(1.0)
    return [row.caption for row in read_captions(source, columns, problems)], problems
