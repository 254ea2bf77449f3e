"""Rows of tables in every format, repeated keys, and arrays from untrusted files."""

import contextlib
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from paraclip import arrays as stored
from paraclip.arrays import read_arrays
from paraclip.data.captions import BrokenRow
from paraclip.data.problems import Problems
from paraclip.data.rows import READERS, good_rows, read_rows
from paraclip.errors import UserError

ROWS = [{"a": "One", "b": 'Grüße, "Ahoi"'}, {"a": "鳶", "b": "x y"}]
OBJECTS = [json.dumps(row) for row in ROWS]
CONTENTS = {
    ".csv": 'a,b\nOne,"Grüße, ""Ahoi"""\n鳶,x y\n',
    ".tsv": 'a\tb\nOne\tGrüße, "Ahoi"\n鳶\t"x y"',
    ".jsonl": "\n".join(OBJECTS),
    ".ndjson": "\r\n".join(OBJECTS),
    ".json": f"[{', '.join(OBJECTS)}]",
}
KINDS = (np.float64, np.float16, np.int64, np.bool_, np.uint8)


def written(folder: Path, suffix: str) -> str:
    """The rows as a file of a format."""
    path = folder / f"rows{suffix}"
    if suffix in (".parquet", ".pq"):
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        path.write_text(CONTENTS[suffix], encoding="utf-8")
    return str(path)


def text_of(value: Any) -> str:
    """A text of any format: Parquet's are bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


def upper(values: dict[str, Any], where: str) -> str:
    """The first column in upper case; empty ones are broken."""
    if not (text := text_of(values["a"])):
        raise BrokenRow("a is empty")
    return text.upper()


@pytest.mark.parametrize("suffix", sorted({*READERS} - {".tar", ".txt"}))
def test_every_format_gives_the_same_rows_with_their_numbers(tmp_path: Path, suffix: str) -> None:
    source = written(tmp_path, suffix)
    rows = list(read_rows(source, Problems(0.0)))
    assert [{k: text_of(v) for k, v in values.items()} for _, values in rows] == ROWS
    first = 2 if suffix in (".csv", ".tsv") else 1  # the header is a line too
    assert [where for where, _ in rows] == [f"{source}:{first}", f"{source}:{first + 1}"]


def test_the_values_of_a_json_object_are_rows(tmp_path: Path) -> None:
    path, problems = tmp_path / "a.json", Problems(1.0)
    path.write_text(json.dumps({"x": ROWS[0], "y": [1], "z": None, "x2": ROWS[1]}))
    assert list(read_rows(str(path), problems)) == [(f"{path}:1", ROWS[0]), (f"{path}:4", ROWS[1])]
    assert problems.listed == [(f"{path}:{row}", "is not a JSON object") for row in (2, 3)]
    for content in ("{}", "[]"):
        path.write_text(content)
        assert list(read_rows(str(path), problems)) == []


def test_broken_rows_of_reader_and_caller_are_counted_together(tmp_path: Path) -> None:
    path, problems = tmp_path / "a.csv", Problems(1.0)
    path.write_text("a,b\none,1\n,2\ntwo\nthree,3\n")
    problems.add("elsewhere", "is broken", rows=2)
    assert good_rows(path, upper, problems, "Fix it.") == (["ONE", "THREE"], 2)
    assert problems.listed[1:] == [
        (f"{path}:3", "a is empty"),
        (f"{path}:4", "has 1 fields where the header has 2"),
    ]
    with pytest.raises(UserError, match=r"csv:3: a is empty \(2 of 4 rows are broken"):
        good_rows(path, upper, Problems(0.49), "Fix it.")
    path.write_text("a,b\n")
    with pytest.raises(UserError, match="contains no rows"):
        good_rows(path, upper, Problems(), "Fix it.")
    with pytest.raises(UserError, match="there is no such file"):
        good_rows(tmp_path / "none.csv", upper, Problems(), "Fix it.")


# --- arrays ---


@given(
    st.dictionaries(
        st.text(st.sampled_from("ab/. é日"), min_size=1, max_size=4),
        st.sampled_from(KINDS).flatmap(lambda kind: arrays(kind, array_shapes(max_side=3))),
        max_size=3,
    ),
    st.booleans(),
)
def test_arrays_come_back_as_they_were(content: dict[str, np.ndarray], small: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npz"
        (np.savez_compressed if small else np.savez)(path, **content)
        found = read_arrays(path)
    assert set(found) == set(content)
    for name, values in content.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)


def test_the_unpacked_size_is_limited_in_total(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, one=np.zeros(1000), two=np.zeros(1000))
    assert path.stat().st_size < 1000
    monkeypatch.setattr(stored, "LARGEST", 2 * 8128)
    assert set(read_arrays(path)) == {"one", "two"}
    monkeypatch.setattr(stored, "LARGEST", 2 * 8128 - 1)
    with pytest.raises(ValueError, match="it unpacks to more than 2 GiB"):
        read_arrays(path)


@given(place=st.integers(0), bit=st.integers(0, 7))
def test_a_flipped_bit_is_a_value_error_or_nothing(place: int, bit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npz"
        np.savez_compressed(path, one=np.arange(4.0))
        content = bytearray(path.read_bytes())
        content[place % len(content)] ^= 1 << bit
        path.write_bytes(content)
        with contextlib.suppress(ValueError):
            read_arrays(path)


def test_a_member_that_is_no_array_is_damage(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as packed:
        packed.writestr("bench/tuned/AO@10", b"text")
    with pytest.raises(ValueError, match="its member bench/tuned/AO@10 is not an array"):
        read_arrays(tmp_path / "a.npz")
