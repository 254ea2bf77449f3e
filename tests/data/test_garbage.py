"""Generated garbage in every format: a reader gives a result or a `UserError`, nothing else."""

import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_files import draw

from paraclip.data.config import Columns
from paraclip.data.images import open_image
from paraclip.data.problems import Problems
from paraclip.data.reading import read_captions
from paraclip.data.rows import read_rows
from paraclip.data.triples import read_provenance, read_triples
from paraclip.errors import UserError
from paraclip.evaluation.benchmarks.aro import _read_cases
from paraclip.evaluation.benchmarks.image_text_retrieval import _read_split
from paraclip.evaluation.benchmarks.sugar_crepe import read_subset
from paraclip.evaluation.pairs import read_pairs, read_wordings
from paraclip.evaluation.pictures import read_pool

NAMES = st.sampled_from(
    ["caption", "caption2", "paraphrase_1", "paraphrase_2", "image", "image_id", "id", "index",
     "similarity_1", "file_name", "captions", "sentences", "variations", "images", "annotations",
     "lexical", "contrast", "filename", "filepath", "split", "generator", "", "a\nb", "\0"]
)  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["a.png", "test", "A cat.", "\0", "../a.png", "\ud800", "://", "tar://x::y",
                       10**400, "nan", "a" * 10_001])
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)
ROWS = st.dictionaries(NAMES, VALUES, max_size=8)
TABLES = st.lists(ROWS | VALUES, max_size=4)


def rows_of(path: Path) -> None:
    """Read all rows of a source, as they are and as captions with several choices of columns."""
    for columns in (None, Columns(), Columns(image=None)):
        problems = Problems(1.0)
        for where, values in read_rows(str(path), problems, columns):
            assert where.startswith(str(path)) and isinstance(values, dict)
    for row in read_captions(str(path), Columns(), Problems(1.0)):
        assert row.caption.strip() and f"{row.id}{row.image_id}{row.image}".encode()


USERS: list[Callable[[Path], Any]] = [
    lambda path: read_triples(path, Problems(1.0)),
    lambda path: read_pairs(path, problems=Problems(1.0)),
    lambda path: read_wordings(path, None, Problems(1.0)),
    lambda path: read_subset(path, Problems(1.0)),
    lambda path: _read_split(path, "label", "Get it.", Problems(1.0)),
    lambda path: _read_cases(path, Problems(1.0)),
]
"""What makes items of rows."""
SUFFIXES = ("csv", "tsv", "jsonl", "json", "parquet", "tar", "csv.gz", "json.xz", "png", "txt")


@contextmanager
def folder() -> Iterator[Path]:
    """A new folder for each example, with a picture in it."""
    with tempfile.TemporaryDirectory() as made:
        draw(Path(made) / "a.png")
        yield Path(made)


def feed(path: Path, *readers: Callable[[Path], Any]) -> None:
    """Let readers try the file; a `UserError` must be one line that says what to do."""
    for reader in readers or (rows_of,):
        problem = None
        try:
            reader(path)
        except UserError as error:
            problem = error
        if problem is not None:
            assert "\n" not in str(problem) and problem.where and problem.what and problem.hint


def as_picture(path: Path) -> None:
    """Decode a picture."""
    open_image(str(path), 8)


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(content=st.binary(max_size=300))
def test_bytes(suffix: str, content: bytes) -> None:
    with folder() as root:
        path = root / f"a.{suffix}"
        path.write_bytes(content)
        feed(path, rows_of, read_triples, read_provenance, read_pool, as_picture)


@given(table=TABLES, split=st.sampled_from(["\n", ",", "\t", '"']))
def test_delimited_nonsense(table: list[Any], split: str) -> None:
    lines = [split.join(map(str, row)) for row in table if isinstance(row, dict | list)]
    content = "\n".join(["caption,image,id,paraphrase_1", *lines])
    with folder() as root:
        for suffix in ("csv", "tsv"):
            text = content.replace(",", "\t") if suffix == "tsv" else content
            (root / f"a.{suffix}").write_bytes(text.encode("utf-8", "surrogatepass"))
            feed(root / f"a.{suffix}")


@given(
    table=TABLES,
    depth=st.sampled_from([0, 0, 0, 200, 20_000]),
    values=st.dictionaries(NAMES, VALUES, max_size=4),
)
def test_json_nonsense(table: list[Any], depth: int, values: dict[str, Any]) -> None:
    deep = "[" * depth + "]" * depth if depth else "1"
    with folder() as root:
        lines = [json.dumps(row) for row in table] + [deep]
        (root / "a.jsonl").write_text("\n".join(lines))
        feed(root / "a.jsonl")
        for value in (table, values, values | {"images": table, "annotations": values}):
            (root / "a.json").write_text(json.dumps(value))
            feed(root / "a.json")
        (root / "a.json").write_text(f"[{', '.join(lines)}]")
        feed(root / "a.json")


@given(table=st.lists(ROWS, max_size=4))
def test_rows_of_nonsense(table: list[dict[str, Any]]) -> None:
    with folder() as root:
        (root / "a.jsonl").write_text("\n".join(map(json.dumps, table)))
        (root / "a.json").write_text(json.dumps({"images": table}))
        feed(root / "a.jsonl", *USERS)
        feed(root / "a.json", *USERS)


COLUMNS = st.one_of(
    st.lists(st.text(max_size=4) | st.none(), min_size=3, max_size=3),
    st.lists(st.floats() | st.none(), min_size=3, max_size=3),
    st.lists(st.binary(max_size=4) | st.none(), min_size=3, max_size=3),
    st.lists(st.lists(st.text(max_size=3), max_size=2), min_size=3, max_size=3),
    st.lists(st.integers(-(2**31), 2**31 - 1), min_size=3, max_size=3).map(
        lambda days: pa.array(days, pa.int32()).cast(pa.date32())
    ),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3).map(
        lambda moments: pa.array(moments, pa.timestamp("us"))
    ),
)


@given(st.lists(st.tuples(NAMES, COLUMNS), max_size=8))
def test_parquet_nonsense(columns: list[tuple[str, Any]]) -> None:
    arrays = []
    for _, column in columns:
        try:
            arrays.append(pa.array(column))
        except (pa.ArrowException, UnicodeError):  # half of a surrogate pair
            arrays.append(pa.nulls(3))
    table = pa.Table.from_arrays(arrays, [name for name, _ in columns])
    with folder() as root:
        pq.write_table(table, root / "a.parquet")
        feed(root / "a.parquet", rows_of, *USERS)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a.png", "a.txt", "a.json", "b.json", "", "/", "a.", "../x.txt"]),
            st.binary(max_size=30) | VALUES.map(lambda value: json.dumps(value).encode()),
        ),
        max_size=5,
    ),
    st.dictionaries(
        st.sampled_from(["size", "path", "GNU.sparse.map", "GNU.sparse.major", "mtime", "x"]),
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5),
        max_size=2,
    ),
    st.integers(0, 3_000),
)
def test_shards_of_nonsense(
    members: list[tuple[str, bytes]], headers: dict[str, str], cut: int
) -> None:
    with folder() as root:
        path = root / "a.tar"
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
            for name, content in members:
                member = tarfile.TarInfo(name)
                member.size, member.pax_headers = len(content), headers
                archive.addfile(member, io.BytesIO(content))
        feed(path)
        path.write_bytes(path.read_bytes()[:-cut])
        feed(path)


@given(
    st.dictionaries(
        st.sampled_from(["a.png", "a.txt", "b.txt", "b.jpg", "c.webp", "c.txt", "readme.txt"]),
        st.binary(max_size=40),
        max_size=5,
    )
)
def test_folders_of_nonsense(files: dict[str, bytes]) -> None:
    with folder() as root:
        for name, content in files.items():
            (root / name).write_bytes(content)
        feed(root)
