"""CSV, TSV, JSONL and Parquet: columns, ids, pictures, broken rows."""

import csv
import gzip
import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_files import draw, json_lines, lenient, put, read, texts

from paraclip.data import lines
from paraclip.data.captions import LONGEST_CAPTION, Record
from paraclip.data.config import Columns
from paraclip.data.lines import bounded_lines
from paraclip.data.problems import Problems
from paraclip.data.reading import READERS, read_captions
from paraclip.data.tables import csv_fields, tsv_fields
from paraclip.errors import UserError

ROWS = [
    {"text": "A red kite", "file": "kite.png", "id": "k1", "image_id": "g"},
    {"text": 'Grüße, "Ahoi" 鳶', "file": "", "id": "k2", "image_id": "g"},
]
NAMED = Columns(caption="text", image="file")


def table(folder: Path, ending: str, rows: list[dict]) -> str:
    """The same rows as a file of any kind."""
    path = folder / f"captions.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif ending == "jsonl":
        json_lines(path, rows)
    else:
        content = io.StringIO()
        separator = {"csv": ",", "tsv": "\t"}[ending]
        writer = csv.DictWriter(content, list(rows[0]), delimiter=separator)
        writer.writeheader()
        writer.writerows(rows)
        put(path, content.getvalue())
    return str(path)


@pytest.fixture(params=["csv", "tsv", "jsonl", "parquet"])
def ending(request: pytest.FixtureRequest) -> str:
    """Each kind of file in turn."""
    return str(request.param)


def test_named_columns_are_read(tmp_path: Path, ending: str) -> None:
    picture = draw(tmp_path / "kite.png")
    first, second = read(table(tmp_path, ending, ROWS), NAMED)
    assert (first.id, first.caption, first.image_id, first.image) == (
        "k1", "A red kite", "g", picture,
    )  # fmt: skip
    assert (second.id, second.caption, second.image) == ("k2", 'Grüße, "Ahoi" 鳶', None)


def test_a_missing_column_lists_the_available_ones(tmp_path: Path, ending: str) -> None:
    source = table(tmp_path, ending, ROWS)
    with pytest.raises(UserError, match="no column 'texte'") as caught:
        read(source, Columns(caption="texte"))
    assert caught.value.where == source
    assert "'file', 'id', 'image_id'" in caught.value.what
    assert "--caption-column" in caught.value.hint and "Did you mean text" in caught.value.hint
    with pytest.raises(UserError, match="no column 'other'"):
        read(source, Columns(caption="text", image="other"))


def test_the_row_number_replaces_a_missing_id_and_picture(tmp_path: Path, ending: str) -> None:
    source = table(tmp_path, ending, [{"caption": "One"}, {"caption": "Two"}])
    rows = read(source)
    first = 2 if ending in ("csv", "tsv") else 1  # the header is a line too
    assert [row.id for row in rows] == [str(first), str(first + 1)]
    assert [row.image_id for row in rows] == [row.id for row in rows]
    assert rows[1].source == f"{source}:{first + 1}"


def test_several_captions_share_a_picture(tmp_path: Path, ending: str) -> None:
    picture = draw(tmp_path / "images" / "sea.png")
    rows = [{"image": "sea.png", "caption": text} for text in ("The sea", "Water")]
    rows_read = read(table(tmp_path, ending, rows))
    assert [row.image for row in rows_read] == [picture] * 2
    assert [row.image_id for row in rows_read] == ["sea.png"] * 2
    assert len({row.id for row in rows_read}) == 2


def test_the_folder_of_pictures_can_be_named(tmp_path: Path, ending: str) -> None:
    picture = draw(tmp_path / "far" / "sea.png")
    source = table(tmp_path, ending, [{"image": "sea.png", "caption": "The sea"}])
    (row,) = read(source, Columns(images=str(tmp_path / "far")))
    assert row.image == picture
    with pytest.raises(UserError, match=r"there is no picture 'sea.png' in .* \(--images"):
        read(source)
    assert read(source, Columns(image=None))[0].image is None


def test_a_remote_picture_is_not_looked_for(tmp_path: Path, ending: str) -> None:
    rows = [{"image": "https://example.org/sea.png", "caption": "The sea"}]
    assert read(table(tmp_path, ending, rows))[0].image == "https://example.org/sea.png"


def test_an_id_that_occurs_twice_is_fatal(tmp_path: Path, ending: str) -> None:
    rows = [{"id": name, "caption": "The sea"} for name in ("a", "b", "a")]
    source = table(tmp_path, ending, rows)
    last = 4 if ending in ("csv", "tsv") else 3
    with pytest.raises(UserError, match="the id 'a' occurs twice") as caught:
        list(read_captions(source, None, Problems(1.0)))
    assert caught.value.where == f"{source}:{last}"


def test_empty_and_overlong_captions_are_skipped(tmp_path: Path, ending: str) -> None:
    captions = ["good", "", "  \u2003", "x" * (LONGEST_CAPTION + 1), " x" * 5_000]
    good, problems = lenient(
        table(tmp_path, ending, [{"caption": text, "n": "1"} for text in captions])
    )
    assert good == ["good", (" x" * 5_000).strip()]
    first = 3 if ending in ("csv", "tsv") else 2
    assert [where.rpartition(":")[2] for where, _ in problems.listed] == [
        str(first), str(first + 1), str(first + 2),
    ]  # fmt: skip
    assert [what for _, what in problems.listed] == [
        "the caption is empty",
        "the caption is empty",
        "the caption is longer than 10,000 characters",
    ]


def test_only_broken_rows_are_fatal(tmp_path: Path, ending: str) -> None:
    source = table(tmp_path, ending, [{"caption": "", "n": "1"}] * 3)
    with pytest.raises(UserError, match="the caption is empty"):
        list(read_captions(source))


def test_up_to_one_in_a_hundred_rows_may_be_broken(tmp_path: Path, ending: str) -> None:
    rows = [{"caption": f"Kite {row}", "n": "1"} for row in range(99)]
    source = table(tmp_path, ending, [*rows, {"caption": "", "n": "1"}])
    assert len(list(read_captions(source))) == 99
    with pytest.raises(UserError, match="1 of 100 rows are broken"):
        list(read_captions(source, None, Problems(0.009)))


def test_reading_a_long_file_needs_little_memory(tmp_path: Path, ending: str) -> None:
    rows = [{"caption": f"{row} " + "kite " * 200} for row in range(6_000)]
    source = table(tmp_path, ending, rows)
    del rows
    list(read_captions(source))  # whatever is set up once
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_captions(source)) == 6_000
        assert tracemalloc.get_traced_memory()[1] < 2_800_000 < 6_000 * 1_000
    finally:
        tracemalloc.stop()


def test_the_first_caption_comes_before_the_last_is_read(tmp_path: Path, ending: str) -> None:
    source = table(tmp_path, ending, [{"id": "same", "caption": "Kite"}] * 2)
    captions = read_captions(source)
    assert next(captions).id == "same"
    with pytest.raises(UserError):
        next(captions)


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_a_row_that_is_not_utf8_is_skipped(tmp_path: Path, ending: str) -> None:
    source = Path(table(tmp_path, ending, [{"caption": text} for text in ("One", "Zwölf", "Two")]))
    latin = source.read_bytes().replace(b"\\u00f6", b"\xf6").replace("ö".encode(), b"\xf6")
    source.write_bytes(latin)
    good, problems = lenient(str(source))
    assert good == ["One", "Two"]
    assert problems.count == 1 and "not UTF-8" in problems.listed[0][1]


def test_a_parquet_text_that_is_not_utf8_is_skipped(tmp_path: Path) -> None:
    raw = pa.array([b"One", b"Zw\xf6lf", b"Two"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    pq.write_table(pa.table({"caption": text}), tmp_path / "a.parquet")
    good, problems = lenient(str(tmp_path / "a.parquet"))
    assert good == ["One", "Two"] and problems.listed[0][1] == "the caption is not UTF-8"


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_every_kind_of_parquet_text_is_read(tmp_path: Path, kind: pa.DataType) -> None:
    column = pa.array(["One", "Zwölf"]).cast(kind)
    pq.write_table(pa.table({"caption": column, "id": [7, 8]}), tmp_path / "a.parquet")
    assert [(row.id, row.caption) for row in read(str(tmp_path / "a.parquet"))] == [
        ("7", "One"), ("8", "Zwölf"),
    ]  # fmt: skip


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_a_list_of_captions_gives_one_each(tmp_path: Path, ending: str) -> None:
    source = table(tmp_path, ending, [{"id": "p", "caption": ["The sea", "Water"]}])
    rows = read(source)
    assert [(row.id, row.caption, row.image_id) for row in rows] == [
        ("p-1", "The sea", "p"), ("p-2", "Water", "p"),
    ]  # fmt: skip


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_a_row_without_its_id_is_broken(tmp_path: Path, ending: str) -> None:
    # Its row number might be the id of another row.
    rows = [{"id": "2", "caption": "One"}, {"id": None, "caption": "Two"}]
    good, problems = lenient(table(tmp_path, ending, rows))
    assert good == ["One"] and problems.listed[0][1] == "the id is empty"


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_generated_ids_differ_from_given_ones(tmp_path: Path, ending: str) -> None:
    rows = [{"id": "p", "caption": ["One", "Two"]}, {"id": "p-2", "caption": ["Three"]}]
    assert len(read(table(tmp_path, ending, rows))) == 3
    rows = [{"id": "p", "caption": ["One"]}, {"id": "p", "caption": ["Two"]}]
    with pytest.raises(UserError, match="'p-1' occurs twice"):
        read(table(tmp_path, ending, rows))


def test_pictures_inside_parquet_are_refused(tmp_path: Path) -> None:
    rows = [{"caption": "Sea", "image": {"bytes": b"123", "path": None}}]
    source = table(tmp_path, "parquet", rows)
    with pytest.raises(UserError, match="holds pictures, not their names"):
        read(source)
    assert texts(source, Columns(image=None)) == ["Sea"]


def test_two_columns_of_the_captions_name_are_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "a.tsv", "caption\t\tcaption\n1\t2\t3\n")
    with pytest.raises(UserError, match=r"a\.tsv: has two columns called 'caption'"):
        list(read_captions(path))
    path = put(tmp_path / "b.csv", "caption,,\na,,\n")  # other columns may share a name
    assert [row.caption for row in read_captions(path)] == ["a"]


def test_a_broken_parquet_file_is_named(tmp_path: Path) -> None:
    source = put(tmp_path / "a.parquet", b"PAR1 but not really")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        read(source)


def test_broken_json_lines_are_skipped(tmp_path: Path) -> None:
    content = (
        '{"caption": "One"}\n\n[1]\n{"caption"\n{"text": "x"}\n{"caption": 1.5}\n' + "[" * 9_999
    )
    good, problems = lenient(put(tmp_path / "a.jsonl", content))
    assert good == ["One"]
    assert [what for _, what in problems.listed] == [
        "the line is not a JSON object",
        "the line is not JSON (Expecting ':' delimiter at character 12)",
        "has no 'caption'",
        "the caption is not text",
        "the line is nested deeper than 100 levels",
    ]  # fmt: skip
    assert problems.listed[0][0].endswith("a.jsonl:3")


@pytest.mark.parametrize("ending", ["jsonl", "json"])
def test_a_first_row_without_a_picture_hides_none_of_the_others(
    tmp_path: Path, ending: str
) -> None:
    picture = draw(tmp_path / "b.png")
    rows = [{"caption": "One"}, {"caption": "Two", "image": "b.png", "image_id": "b"}]
    content = json.dumps(rows) if ending == "json" else "\n".join(map(json.dumps, rows))
    first, second = read(put(tmp_path / f"a.{ending}", content))
    assert (first.image, first.image_id) == (None, "1")
    assert (second.image, second.image_id) == (picture, "b")


def test_half_a_surrogate_pair_is_not_utf8(tmp_path: Path) -> None:
    good, problems = lenient(
        put(tmp_path / "a.jsonl", '{"caption": "\\ud83d"}\n{"caption": "One"}')
    )
    assert good == ["One"] and "half of a surrogate pair" in problems.listed[0][1]


def test_csv_rows_of_other_lengths_are_skipped(tmp_path: Path) -> None:
    source = put(tmp_path / "a.csv", "image,caption\n,One\n,two, or three\n\nalone\n,Four\n")
    good, problems = lenient(source)
    assert good == ["One", "Four"]
    assert problems.listed == [
        (f"{source}:3", "has 3 fields where the header has 2"),
        (f"{source}:5", "has 1 fields where the header has 2"),
    ]


def test_an_open_quote_counts_all_lines_that_it_spans(tmp_path: Path) -> None:
    source = put(tmp_path / "a.csv", 'caption,n\nOne,1\n"Two,2\nThree,3\nFour,4\n')
    good, problems = lenient(source)
    assert good == ["One"]
    assert problems.count == 3 and problems.listed[0][0] == f"{source}:3"
    assert "a quote that opens here" in problems.listed[0][1]


def test_a_quoted_line_break_belongs_to_the_caption(tmp_path: Path) -> None:
    source = put(tmp_path / "a.csv", 'caption\r\n"One\r\nmore"\r\nTwo\r\n')
    rows = read(source)
    assert [row.caption for row in rows] == ["One\r\nmore", "Two"]
    assert [row.id for row in rows] == ["2", "4"]


def test_a_quoted_blank_line_belongs_to_the_caption(tmp_path: Path) -> None:
    source = put(tmp_path / "a.csv", 'caption\n\n"One\n\n \nmore"\n  \nTwo\n')
    rows = read(source)
    assert [row.caption for row in rows] == ["One\n\n \nmore", "Two"]
    assert [row.id for row in rows] == ["3", "8"]


@pytest.mark.parametrize("header", ['"caption"s,image\n', "caption,image\rOne,\r", '"caption\n'])
def test_a_header_that_cannot_be_read_is_named(tmp_path: Path, header: str) -> None:
    source = put(tmp_path / "a.csv", f"{header}One,a.png\n")
    with pytest.raises(UserError, match="first line that cannot be read") as caught:
        lenient(source)
    assert caught.value.where == source


def test_overlong_lines_are_skipped_and_later_rows_keep_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 64)
    for name in ("a.csv", "a.tsv"):
        source = put(tmp_path / name, "caption\nOne\n" + "x" * 200 + "\nTwo\n")
        problems = Problems(1.0)
        assert [row.id for row in read_captions(source, None, problems)] == ["2", "4"]
        assert problems.listed == [(f"{source}:3", "the line is longer than 1 MiB")]


def test_compressed_files_and_byte_order_marks_are_read(tmp_path: Path) -> None:
    content = "\ufeffcaption\nGrüße\n".encode()
    assert texts(put(tmp_path / "a.csv", content)) == ["Grüße"]
    assert texts(put(tmp_path / "a.csv.gz", gzip.compress(content))) == ["Grüße"]
    with pytest.raises(UserError, match="cannot be read to its end"):
        texts(put(tmp_path / "cut.csv.gz", gzip.compress(content * 99)[:-30]))


def test_utf16_is_reported_with_a_hint(tmp_path: Path) -> None:
    source = put(tmp_path / "a.csv", "caption\nOne\n".encode("utf-16"))
    with pytest.raises(UserError, match="is in UTF-16") as caught:
        read(source)
    assert "iconv" in caught.value.hint


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json"])
def test_an_empty_file_is_named(tmp_path: Path, name: str) -> None:
    source = put(tmp_path / name, "")
    with pytest.raises(UserError) as caught:
        read(source)
    assert caught.value.where == source


@given(st.lists(st.lists(st.text(), min_size=2, max_size=2).filter(any), min_size=1))
def test_csv_gives_back_what_was_written(rows: list[list[str]]) -> None:
    content = io.StringIO()
    csv.writer(content, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    numbered = bounded_lines(
        io.BytesIO(content.getvalue().encode("utf-8", "replace")), "a", Problems()
    )
    rows_read = csv_fields(((number, line.decode()) for number, line in numbered), "a", Problems())
    clean = [[text.encode("utf-8", "replace").decode() for text in row] for row in rows]
    assert [fields for _, fields in rows_read] == clean


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ('"said ""Ahoi"""', 'said "Ahoi"'),
        ('"plain"', "plain"),
        ('"two" and "three"', '"two" and "three"'),
        ('"', '"'),
        ("none", "none"),
        ('12" disc', '12" disc'),
    ],
)
def test_tsv_quotes(field: str, text: str) -> None:
    rows = tsv_fields(iter([(1, f"{field}\tx\n")]), "a", Problems())
    assert list(rows) == [(1, [text, "x"])]


def test_a_reader_is_added_by_one_line_in_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_notes(source: str, columns: Columns, problems: Problems) -> Iterator[Record]:
        for row, line in enumerate(Path(source).read_text().splitlines(), start=1):
            yield Record(f"{source}:{row}", row, line)

    source = put(tmp_path / "a.notes", "A kite\n\nA boat\n")
    with pytest.raises(UserError, match="a format that cannot be read"):
        read(source)
    monkeypatch.setitem(READERS, ".notes", read_notes)
    good, problems = lenient(source)
    assert good == ["A kite", "A boat"]
    assert problems.listed == [(f"{source}:2", "the caption is empty")]
