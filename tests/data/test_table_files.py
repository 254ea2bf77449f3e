"""Captions from tables: CSV, TSV, JSONL, COCO's JSON and Parquet."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_files import lenient, put, read, table, texts

from forked import peak_memory
from paraclip.data import rows as rows_module
from paraclip.data.captions import BrokenRow, Columns, Problems
from paraclip.data.lines import bounded_lines
from paraclip.data.reading import read_captions
from paraclip.data.rows import READERS, good_rows, read_rows
from paraclip.errors import UserError
from tiny import draw

ROWS = [
    {"text": "A red kite", "file": "kite.png", "id": "k1", "image_id": "g"},
    {"text": 'Grüße, "Ahoi" 鳶', "file": "", "id": "k2", "image_id": "g"},
]
ENDINGS = ("csv", "tsv", "jsonl", "parquet")
NESTED = pytest.mark.parametrize("ending", ["jsonl", "parquet"])


@pytest.fixture(params=ENDINGS)
def ending(request: pytest.FixtureRequest) -> str:
    """Each kind of file in turn."""
    return str(request.param)


def first_row(ending: str) -> int:
    """The number of the first row; a header is a line too."""
    return 2 if ending in ("csv", "tsv") else 1


# --- every kind of table ---


def text_of(value: Any) -> str:
    """A text of any format: Parquet's are bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


@pytest.mark.parametrize("suffix", sorted({*READERS} - {".tar", ".txt"}))
def test_every_format_gives_the_same_rows_with_their_numbers(tmp_path: Path, suffix: str) -> None:
    source, first = table(tmp_path, suffix[1:], ROWS), first_row(suffix[1:])
    rows = list(read_rows(source, Problems(0.0)))
    assert [{k: text_of(v) for k, v in values.items()} for _, values in rows] == ROWS
    assert [where for where, _ in rows] == [f"{source}:{first}", f"{source}:{first + 1}"]


def test_broken_rows_of_reader_and_caller_are_counted_together(tmp_path: Path) -> None:
    def upper(values: dict[str, Any], where: str) -> str:
        if not values["a"]:
            raise BrokenRow("a is empty")
        return text_of(values["a"]).upper()

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


def test_named_columns_are_read(tmp_path: Path, ending: str) -> None:
    picture = draw(tmp_path / "kite.png")
    first, second = read(table(tmp_path, ending, ROWS), Columns(caption="text", image="file"))
    read_values = (first.id, first.caption, first.image_id, first.image)
    assert read_values == ("k1", "A red kite", "g", picture)
    assert (second.id, second.caption, second.image) == ("k2", 'Grüße, "Ahoi" 鳶', None)
    with pytest.raises(UserError, match=r"no column 'texte'.*Did you mean text"):
        read(table(tmp_path, ending, ROWS), Columns(caption="texte"))
    with pytest.raises(UserError, match="no column 'other'"):
        read(table(tmp_path, ending, ROWS), Columns(caption="text", image="other"))


def test_row_numbers_replace_missing_ids_and_pictures(tmp_path: Path, ending: str) -> None:
    source, first = table(tmp_path, ending, [{"caption": "1"}, {"caption": "2"}]), first_row(ending)
    rows = read(source)
    assert (
        [row.id for row in rows] == [row.image_id for row in rows] == [f"{first}", f"{first + 1}"]
    )
    assert rows[1].source == f"{source}:{first + 1}"


def test_pictures_are_relative_to_the_file_its_images_or_a_folder(
    tmp_path: Path, ending: str
) -> None:
    picture, far = draw(tmp_path / "images" / "sea.png"), draw(tmp_path / "far" / "sky.png")
    rows = [{"image": "sea.png", "caption": text} for text in ("The sea", "Water")]
    found = read(table(tmp_path, ending, rows))
    assert [(row.image, row.image_id) for row in found] == [(picture, "sea.png")] * 2
    source = table(tmp_path, ending, [{"image": "sky.png", "caption": "The sky"}])
    assert read(source, Columns(images=str(tmp_path / "far")))[0].image == far
    assert read(source, Columns(image=None))[0].image is None
    with pytest.raises(UserError, match=r"no picture 'sky.png' in .* \(--images"):
        read(source)
    remote = {"image": "https://example.org/sea.png", "caption": "The sea"}
    assert read(table(tmp_path, ending, [remote]))[0].image == remote["image"]


def test_equal_names_in_several_folders_are_different_pictures(tmp_path: Path, ending: str) -> None:
    for folder in ("a", "b"):
        draw(tmp_path / folder / "sea.png")
        rows = [
            {"image": name, "caption": "The sea"} for name in ("sea.png", "https://o.org/s.png")
        ]
        table(tmp_path / folder, ending, rows)
    found = read(f"{tmp_path}/*/*.{ending}")
    assert [row.image_id for row in found[::2]] == ["a/sea.png", "b/sea.png"]
    assert found[1].image_id == found[3].image_id == "https://o.org/s.png"
    found = read(f"{tmp_path}/*/*.{ending}", Columns(images=str(tmp_path / "a")))
    assert [row.image_id for row in found[::2]] == ["sea.png", "sea.png"]


def test_a_repeated_id_is_fatal_when_it_is_read(tmp_path: Path, ending: str) -> None:
    rows = [{"id": name, "caption": "The sea"} for name in ("a", "b", "a")]
    captions = read_captions(source := table(tmp_path, ending, rows), None, Problems(1.0))
    assert [next(captions).id, next(captions).id] == ["a", "b"]
    with pytest.raises(UserError, match="the id 'a' occurs twice") as caught:
        next(captions)
    assert caught.value.where == f"{source}:{first_row(ending) + 2}"


def test_empty_and_overlong_captions_are_skipped(tmp_path: Path, ending: str) -> None:
    captions = ["good", "", "  \u2003", "x" * 10_001, " x" * 5_000]
    rows = [{"caption": text, "n": "1"} for text in captions]
    good, problems = lenient(table(tmp_path, ending, rows))
    assert good == ["good", (" x" * 5_000).strip()]
    first = first_row(ending)
    assert [(int(where.rpartition(":")[2]) - first, what) for where, what in problems.listed] == [
        (1, "the caption is empty"), (2, "the caption is empty"),
        (3, "the caption is longer than 10,000 characters"),
    ]  # fmt: skip


def test_reading_a_long_file_needs_little_memory(tmp_path: Path, ending: str) -> None:
    rows = [{"caption": f"{row} " + "kite " * 200} for row in range(6_000)]
    source = table(tmp_path, ending, rows)
    del rows
    assert count_captions(source) == 6_000
    assert peak_memory(count_captions, source) < 2_800_000 < 6_000 * 1_000


def count_captions(source: Path) -> int:
    return sum(1 for _ in read_captions(source))


def test_a_row_that_is_not_utf8_is_skipped(tmp_path: Path, ending: str) -> None:
    source = table(tmp_path, ending, [{"caption": text} for text in ("One", "Zwölf", "Two")])
    if ending == "parquet":
        raw = pa.array([b"One", b"Zw\xf6lf", b"Two"], pa.binary())
        text = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
        pq.write_table(pa.table({"caption": text}), source)
    else:
        content = Path(source).read_bytes()
        content = content.replace(b"\\u00f6", b"\xf6").replace("ö".encode(), b"\xf6")
        Path(source).write_bytes(content)
    good, problems = lenient(source)
    assert good == ["One", "Two"]
    assert problems.count == 1 and "not UTF-8" in problems.listed[0][1]


@NESTED
def test_a_list_of_captions_gives_one_each(tmp_path: Path, ending: str) -> None:
    rows = read(table(tmp_path, ending, [{"id": "p", "caption": ["The sea", "Water"]}]))
    assert [(row.id, row.caption, row.image_id) for row in rows] == [
        ("p-1", "The sea", "p"), ("p-2", "Water", "p"),
    ]  # fmt: skip
    rows = [{"id": "p", "caption": ["One", "Two"]}, {"id": "p-2", "caption": ["Three"]}]
    assert len(read(table(tmp_path, ending, rows))) == 3
    # The row number of a row without its id might be the id of another row.
    rows = [{"id": "2", "caption": "One"}, {"id": None, "caption": "Two"}]
    good, problems = lenient(table(tmp_path, ending, rows))
    assert good == ["One"] and problems.listed[0][1] == "the id is empty"
    rows = [{"id": "p", "caption": ["One"]}, {"id": "p", "caption": ["Two"]}]
    with pytest.raises(UserError, match="'p-1' occurs twice"):
        read(table(tmp_path, ending, rows))


# --- CSV and TSV ---


@pytest.mark.parametrize(
    ("content", "rows", "broken"),
    [
        (
            "image,caption\n,One\n,two, or three\n\nalone\n,Four\n",
            [("2", "One"), ("6", "Four")],
            [(3, "has 3 fields where the header has 2"), (5, "has 1 fields")],
        ),
        ('caption,n\nOne,1\n"Two,2\nThree,3\n', [("2", "One")], [(3, "a quote that opens here")]),
        ('caption\r\n"One\r\nmore"\r\nTwo\r\n', [("2", "One\r\nmore"), ("4", "Two")], []),
        ('caption\n\n"One\n\n \nmore"\n  \nTwo\n', [("3", "One\n\n \nmore"), ("8", "Two")], []),
        ("caption,,\na,,\n", [("2", "a")], []),  # unused columns may share a name
        ("\ufeffcaption\nGrüße\n", [("2", "Grüße")], []),
        ("caption, image , id\na,,1\n", [("1", "a")], []),
        ("caption, image\na, none.png\nb,\n", [("3", "b")], [(2, "no picture ' none.png'")]),
    ],
)
def test_rows_of_csv(tmp_path: Path, content: str, rows: list, broken: list) -> None:
    source, problems = put(tmp_path / "a.csv", content), Problems(1.0)
    read_rows = [(row.id, row.caption) for row in read_captions(source, None, problems)]
    assert read_rows == rows
    assert len(problems.listed) == len(broken)
    for (where, what), (line, words) in zip(problems.listed, broken, strict=True):
        assert where == f"{source}:{line}" and words in what


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_overlong_lines_are_skipped_and_later_rows_keep_their_number(
    tmp_path: Path, name: str
) -> None:
    source = put(tmp_path / name, "caption\nOne\n" + "x" * (5 * 2**19) + "\nTwo\n")
    problems = Problems(1.0)
    assert [row.id for row in read_captions(source, None, problems)] == ["2", "4"]
    assert [where for where, _ in problems.listed] == [f"{source}:3"]


@given(st.lists(st.lists(st.text(), min_size=2, max_size=2).filter(any), min_size=1))
def test_csv_gives_back_what_was_written(rows: list[list[str]]) -> None:
    content = io.StringIO()
    csv.writer(content, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    stream = io.BytesIO(content.getvalue().encode("utf-8", "replace"))
    numbered = (
        (number, line.decode()) for number, line in bounded_lines(stream, "a", Problems(), True)
    )
    clean = [[text.encode("utf-8", "replace").decode() for text in row] for row in rows]
    assert [fields for _, fields in rows_module._csv_fields(numbered, "a", Problems())] == clean


def test_tsv_quotes() -> None:
    for field, text in (
        ('"said ""Ahoi"""', 'said "Ahoi"'), ('"plain"', "plain"), ('"', '"'), ("none", "none"),
        ('"two" and "three"', '"two" and "three"'), ('12" disc', '12" disc'),
    ):  # fmt: skip
        rows = rows_module._tsv_fields(iter([(1, f"{field}\tx\n")]), "a", Problems())
        assert list(rows) == [(1, [text, "x"])]


# --- JSON ---


def test_broken_json_lines_are_skipped(tmp_path: Path) -> None:
    broken = {
        "[1]": "not a JSON object", '{"caption"': "is not JSON", '{"text": "x"}': "no 'caption'",
        '{"caption": 1.5}': "not text", '{"caption": "\\ud83d"}': "half of a surrogate pair",
        "[" * 9_999: "nested deeper",
    }  # fmt: skip
    source = put(tmp_path / "a.jsonl", "\n".join(['{"caption": "One"}', "", *broken]))
    good, problems = lenient(source)
    assert good == ["One"] and problems.listed[0][0] == f"{source}:3"
    for (_, what), words in zip(problems.listed, broken.values(), strict=True):
        assert words in what


def test_the_official_layout_is_read_and_needs_images_unless_captions_are_alone(
    tmp_path: Path,
) -> None:
    draw(tmp_path / "a.jpg"), draw(tmp_path / "b.jpg")
    images: list[Any] = [{"id": 7, "file_name": "a.jpg"}, 3, {"id": 5}, {"file_name": "no id"}]
    images.append({"id": "8", "file_name": "b.jpg"})
    rows = [
        {"id": 70, "image_id": "7", "caption": "An apple. "}, 7, {"id": 2, "image_id": 7},
        {"id": 1, "image_id": 9, "caption": "Of no picture"},
        {"id": 80, "image_id": 8, "caption": "Grün"},
    ]  # fmt: skip
    layout = {"info": {}, "images": images, "licenses": [], "annotations": rows}
    source = put(tmp_path / "a.json", json.dumps(layout, ensure_ascii=False))
    problems = Problems(1.0)
    found = list(read_captions(source, None, problems))
    assert [(row.id, row.image_id, row.caption, row.image) for row in found] == [
        ("70", "7", "An apple.", f"{tmp_path}/a.jpg"), ("80", "8", "Grün", f"{tmp_path}/b.jpg"),
    ]  # fmt: skip
    assert [what for _, what in problems.listed] == [
        "is not a JSON object", "the caption is empty", "there is no image with the id 9",
    ]  # fmt: skip
    source = put(tmp_path / "b.json", json.dumps({"annotations": rows[:1]}))
    (row,) = read(source, Columns(image=None))
    assert (row.image, row.image_id) == (None, "7")
    with pytest.raises(UserError, match="has no 'images'"):
        read(source)


def test_annotations_have_ids_if_the_first_one_has(tmp_path: Path) -> None:
    images = [{"id": 7, "file_name": "a.jpg"}]
    rows = [{"image_id": 7, "caption": "Grüße"}, {"id": 1, "image_id": 7, "caption": "鳶"}]
    for annotations, ids in (
        (rows, ["none", "none"]),
        (rows[::-1], [1, None]),  # not row number 2, which may be another's id
    ):
        content = json.dumps({"annotations": annotations, "images": images})
        found = read_rows(put(tmp_path / "a.json", content), Problems(0.0), Columns())
        assert [values.get("id", "none") for _, values in found] == ids


def test_plain_lists_are_read(tmp_path: Path) -> None:
    picture = draw(tmp_path / "images" / "a.jpg")
    rows = [{"image_id": 42, "file_name": "a.jpg", "captions": ["One", "Two"]}, {"captions": ["3"]}]
    captions = read(put(tmp_path / "a.json", json.dumps(rows)))
    assert [(row.id, row.image_id, row.caption) for row in captions] == [
        ("42-1", "42", "One"), ("42-2", "42", "Two"), ("row 2-1", "row 2", "3"),
    ]  # fmt: skip
    assert captions[0].image == picture
    sentences = [{"raw": "One", "tokens": ["one"]}, {"raw": "Two"}]
    image = {"filename": "a.jpg", "sentences": sentences}  # as Karpathy's files have it
    captions = read(put(tmp_path / "k.json", json.dumps({"images": [image]})))
    assert [(row.caption, row.image) for row in captions] == [("One", picture), ("Two", picture)]
    other = put(tmp_path / "c.json", json.dumps([{"words": "One"}, 5, {"words": "Two"}]))
    good, problems = lenient(other, Columns(caption="words"))
    assert good == ["One", "Two"] and problems.listed[0][1] == "is not a JSON object"


def test_the_values_of_a_json_object_are_rows(tmp_path: Path) -> None:
    path, problems = tmp_path / "a.json", Problems(1.0)
    path.write_text(json.dumps({"x": ROWS[0], "y": [1], "z": None, "x2": ROWS[1]}))
    assert list(read_rows(str(path), problems)) == [(f"{path}:1", ROWS[0]), (f"{path}:4", ROWS[1])]
    assert problems.listed == [(f"{path}:{row}", "is not a JSON object") for row in (2, 3)]
    for content in ("{}", "[]"):
        path.write_text(content)
        assert list(read_rows(str(path), problems)) == []


# --- Parquet ---


def test_texts_are_bytes_for_every_kind_of_text(tmp_path: Path) -> None:
    # More rows than are read at once, so that the later ones are slices.
    values, expected = ["", "Grüße 鳶", None] * 700, [b"", "Grüße 鳶".encode(), None] * 700
    columns = [pa.array(values, kind) for kind in (pa.string(), pa.large_string())]
    lists = [[text, None] for text in values]
    columns += [columns[0].dictionary_encode(), pa.array(lists, pa.list_(pa.string()))]
    pq.write_table(pa.table(columns, list("abcd")), tmp_path / "a.parquet")
    found = [tuple(row.values()) for _, row in read_rows(str(tmp_path / "a.parquet"), Problems())]
    assert found == [(text, text, text, [text, None]) for text in expected]


def test_values_that_python_lacks_are_still_read(tmp_path: Path) -> None:
    days, moments = (pa.array([0, 2**31 - 1], pa.int32()), pa.array([0, 2**62]))
    late = [days.cast(pa.date32()), moments.cast(pa.timestamp("us"))]
    pq.write_table(pa.table(late, ["day", "moment"]), tmp_path / "a.parquet")
    rows = [row for _, row in read_rows(str(tmp_path / "a.parquet"), Problems())]
    assert rows[0]["day"].year == rows[0]["moment"].year == 1970
    assert isinstance(rows[1]["day"], pa.Scalar) and isinstance(rows[1]["moment"], pa.Scalar)


def test_pictures_inside_parquet_are_refused(tmp_path: Path) -> None:
    rows = [{"caption": "Sea", "image": {"bytes": b"123", "path": None}}]
    source = table(tmp_path, "parquet", rows)
    with pytest.raises(UserError, match="holds pictures, not their names"):
        read(source)
    assert texts(source, Columns(image=None)) == ["Sea"]
