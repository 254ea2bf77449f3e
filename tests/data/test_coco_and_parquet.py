"""COCO JSON and Parquet, read directly: which keys, which columns, which values."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_files import put

from paraclip.data.captions import Record
from paraclip.data.config import Columns
from paraclip.data.problems import Problems
from paraclip.data.tables import (
    ROWS_AT_ONCE,
    python_values,
    read_coco,
    read_parquet,
    usual_names,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def coco(path: Path, content: object, columns: Columns | None = None) -> list[Record]:
    """The records of a JSON file with this content, which has no broken rows."""
    source = put(path, json.dumps(content, ensure_ascii=False))
    return list(read_coco(source, columns or Columns(), Problems(0.0)))


def written(path: Path, **columns: object) -> str:
    """A Parquet file of these columns."""
    pq.write_table(pa.table(columns), path)
    return str(path)


# --- COCO JSON ---


@pytest.mark.parametrize(
    ("keys", "caption", "image"),
    [
        (("sentences", "caption", "captions", "image", "filename", "file_name"),
         "captions", "file_name"),
        (("sentences", "caption", "image", "filename"), "caption", "filename"),
        (("sentences", "image"), "sentences", "image"),
        ((), "caption", "image"),
    ],
)  # fmt: skip
def test_the_usual_keys_of_a_list_are_found_in_a_fixed_order(
    keys: tuple[str, ...], caption: str, image: str
) -> None:
    values = dict.fromkeys(keys, "x")
    found = usual_names(values, Columns())
    assert (found.caption, found.image) == (caption, image)
    named = Columns(caption="text", image="photo")
    assert usual_names(values, named) == named
    assert usual_names(values, Columns(image=None)).image is None


def test_a_list_of_captions_has_the_id_of_its_picture(tmp_path: Path) -> None:
    elements = [{"image_id": 3, "captions": ["One", "Two"]}, {"image_id": 4, "captions": "Three"}]
    rows = coco(tmp_path / "a.json", elements)
    assert [(row.id, row.image_id) for row in rows] == [(3, 3), (None, 4)]
    (row,) = coco(tmp_path / "b.json", [{"id": "x", "image_id": 3, "captions": ["One"]}])
    assert (row.id, row.where) == ("x", f"{tmp_path}/b.json:1")


def test_annotations_may_precede_the_images_and_ids_match_as_text(tmp_path: Path) -> None:
    images = [{"id": "7", "file_name": "a.jpg"}, {"id": 8, "file_name": 9}, 3, {"id": 5}]
    images += [{"file_name": "no id"}, {"id": 8, "file_name": "b.jpg"}]
    annotations = [{"id": 1, "image_id": 7, "caption": "Grüße"}, {"image_id": "8", "caption": "鳶"}]
    annotations[1]["id"] = 2
    rows = coco(tmp_path / "a.json", {"annotations": annotations, "images": images})
    assert [(row.image, row.image_id, row.id) for row in rows] == [
        ("a.jpg", 7, 1), ("b.jpg", "8", 2),
    ]  # fmt: skip
    assert rows[1].where == f"{tmp_path}/a.json: annotation 2"


def test_annotations_have_ids_if_the_first_one_has(tmp_path: Path) -> None:
    images = [{"id": 7, "file_name": "a.jpg"}]
    rows = [{"image_id": 7, "caption": "Grüße"}, {"id": 1, "image_id": 7, "caption": "鳶"}]
    numbered = coco(tmp_path / "a.json", {"annotations": rows, "images": images})
    assert [row.id for row in numbered] == [None, None]
    keyed = coco(tmp_path / "b.json", {"annotations": rows[::-1], "images": images})
    assert [row.id for row in keyed] == [1, ""]  # not row number 2, which may be another's id


def test_columns_of_annotations_can_be_named(tmp_path: Path) -> None:
    rows = [{"image_id": 7, "caption": "Grüße", "text": "鳶", "id": "k"}]
    content = {"annotations": rows, "images": [{"id": 7, "file_name": "a.jpg"}]}
    (row,) = coco(tmp_path / "a.json", content, Columns(caption="text", image="other"))
    assert (row.caption, row.id, row.image, row.image_id) == ("鳶", "k", "a.jpg", 7)


# --- Parquet ---


def test_rows_are_numbered_across_batches(tmp_path: Path) -> None:
    count = 2 * ROWS_AT_ONCE + 1
    source = written(tmp_path / "a.parquet", caption=[f"{row}" for row in range(count)])
    rows = list(read_parquet(source, Columns(), Problems()))
    assert [row.row for row in rows] == list(range(1, count + 1))
    assert rows[-1].where == f"{source}:{count}" and rows[-1].caption == f"{count - 1}".encode()


@given(st.lists(TEXTS | st.none(), max_size=6), st.integers(0, 6))
def test_texts_are_bytes_for_every_kind_of_text(values: list[str | None], start: int) -> None:
    expected = [value if value is None else value.encode() for value in values]
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        column = pa.array(values, kind)
        assert python_values(column) == expected
        assert python_values(column.slice(start)) == expected[start:]
    assert python_values(pa.array(values, pa.string()).dictionary_encode()) == expected
    assert python_values(pa.array([expected, None], pa.list_(pa.string()))) == [expected, None]
