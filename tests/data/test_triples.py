"""The triples file, Parquet and the paper's JSONL."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_files import draw, json_lines, put

from paraclip.data import triples
from paraclip.data.problems import Problems
from paraclip.data.triples import (
    SCHEMA,
    attach_images,
    read_provenance,
    read_triples,
    write_triples,
)
from paraclip.errors import UserError


def triple(name: str, **more: object) -> dict[str, object]:
    """A row."""
    texts = {"caption": f"Kite {name}", "paraphrase_1": "A kite.", "paraphrase_2": "Kites fly."}
    return {"id": name, "image_id": f"{name}.png", **texts, **more}


ROWS = [
    triple("a", image="/p/a.png", similarity_1=0.75, overlap_2=0.5, generator="builtin"),
    triple("b"),
]


def test_parquet_keeps_rows_and_provenance(tmp_path: Path) -> None:
    path = tmp_path / "new" / "triples.parquet"
    write_triples(path, ROWS, {"seed": 7, "generator": "Grüße"})
    table = read_triples(path)
    assert table.schema.equals(SCHEMA)
    assert table.to_pylist()[0] == {**dict.fromkeys(SCHEMA.names), **ROWS[0]}
    assert table["similarity_1"].to_pylist() == [0.75, None]
    assert read_provenance(path) == {"seed": 7, "generator": "Grüße"}
    assert json.loads(pq.read_schema(path).metadata[b"paraclip"])["seed"] == 7


def test_a_table_is_written_as_rows_are(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS).select(
        ["paraphrase_2", "caption", "paraphrase_1", "id", "image_id"]
    )
    write_triples(tmp_path / "a.parquet", table, {})
    read = read_triples(tmp_path / "a.parquet")
    assert read.schema.equals(SCHEMA)
    assert read["id"].to_pylist() == ["a", "b"] and read["generator"].null_count == 2


def test_the_papers_layout_is_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "triples.jsonl"
    write_triples(path, ROWS, {"seed": 7})
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    keys = ["index", "image_id", "caption", "paraphrase_1", "paraphrase_2"]
    assert list(lines[0]) == [*keys, "image"]
    assert [line["index"] for line in lines] == [0, 1]
    table = read_triples(path)
    assert table.schema.equals(SCHEMA)
    assert table["id"].to_pylist() == ["0", "1"]
    assert table["caption"].to_pylist() == ["Kite a", "Kite b"]
    assert table["image"].to_pylist() == ["/p/a.png", None]
    assert read_provenance(path) == {"seed": 7}
    write_triples(path, ROWS[1:], {})
    assert list(json.loads(path.read_text())) == keys


def test_missing_numbers_of_further_columns_can_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "triples.jsonl"
    scores = pa.table({"score": [float("nan"), 0.5], "list": [[float("-inf")], [1.0]]})
    write_triples(path, ROWS, {}, scores)
    read = read_triples(path, Problems(0.0), further=True)
    assert read["score"].to_pylist() == [None, 0.5] and read["list"].to_pylist() == [[None], [1.0]]


def test_numbered_rows_keep_their_number_in_the_papers_layout(tmp_path: Path) -> None:
    path = tmp_path / "triples.jsonl"
    write_triples(path, [triple("12"), triple("7")], {})
    assert read_triples(path)["id"].to_pylist() == ["12", "7"]
    write_triples(path, [triple("1"), triple("01")], {})
    assert read_triples(path)["id"].to_pylist() == ["0", "1"], "01 is not a number of its own"


text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@settings(max_examples=25)  # each writes four files
@given(st.lists(st.tuples(text, text, text), min_size=1, max_size=5))
def test_any_text_survives_both_forms(tmp_path_factory, rows: list[tuple[str, str, str]]) -> None:
    folder = tmp_path_factory.mktemp("triples")
    names = ("caption", "paraphrase_1", "paraphrase_2")
    made = [
        {
            "id": str(number),
            "image_id": "p",
            **{name: value.strip() for name, value in zip(names, row, strict=True)},
        }
        for number, row in enumerate(rows)
    ]
    for ending in ("parquet", "jsonl"):
        write_triples(folder / f"t.{ending}", made, {})
        table = read_triples(folder / f"t.{ending}").select(["id", "image_id", *names])
        assert table.to_pylist() == made


def test_rows_without_a_text_are_left_out_and_listed(tmp_path: Path) -> None:
    broken = [
        triple("c", caption=" "),
        triple("d", paraphrase_1=None),
        triple("e", paraphrase_2=""),
    ]
    rows = [triple("a"), *broken]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    json_lines(tmp_path / "a.jsonl", [*rows[1:], rows[0]])
    for name, first in (("a.parquet", 2), ("a.jsonl", 1)):
        problems = Problems(1.0)
        assert read_triples(tmp_path / name, problems)["id"].to_pylist() == ["a"]
        assert problems.count == 3
        assert problems.listed[0][0] == f"{tmp_path / name}:{first}"
        with pytest.raises(UserError, match="3 of 4 rows are broken"):
            read_triples(tmp_path / name)


def test_broken_paper_lines_are_listed(tmp_path: Path) -> None:
    content = json.dumps(triple("a")) + '\nnot JSON\n{"caption": "x"}\n'
    content += json.dumps(triple("b", similarity_1="high"))
    problems = Problems(1.0)
    table = read_triples(put(tmp_path / "a.jsonl", content), problems)
    assert table.num_rows == 1
    assert [what for _, what in problems.listed] == [
        "the line is not JSON (Expecting value at character 1)",
        "has no 'paraphrase_1'", "'similarity_1' is not a float",
    ]  # fmt: skip


def test_scores_in_json_lines_are_kept(tmp_path: Path) -> None:
    source = json_lines(tmp_path / "a.jsonl", [triple("a", similarity_1=1, image="/p/a.png")])
    (row,) = read_triples(source).to_pylist()
    assert row["similarity_1"] == 1.0 and row["image"] == "/p/a.png" and row["id"] == "a"


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_ids_that_are_there_twice_are_fatal(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    write_triples(path, [triple("3"), triple("4"), triple("3")], {})
    with pytest.raises(UserError, match="'3' occurs twice") as caught:
        read_triples(path)
    assert caught.value.where == f"{path}:3"


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_a_second_id_is_at_its_own_row_after_rows_that_were_skipped(
    tmp_path: Path, ending: str
) -> None:
    rows = [triple("3"), triple("4", paraphrase_1=" "), triple("5"), triple("3")]
    path = tmp_path / f"a.{ending}"
    if ending == "parquet":
        write_triples(path, rows, {})
    else:
        json_lines(path, rows)
    with pytest.raises(UserError, match="'3' occurs twice") as caught:
        read_triples(path, Problems(1.0))
    assert caught.value.where == f"{path}:4"


def test_files_that_are_not_triples_are_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "caption": ["Kite"]}), tmp_path / "half.parquet")
    put(tmp_path / "text.parquet", "hello")
    write_triples(tmp_path / "none.parquet", [], {})
    put(tmp_path / "none.jsonl", "")
    raw = pa.array([b"Zw\xf6lf"], pa.binary())
    latin = pa.Array.from_buffers(pa.string(), 1, raw.buffers())
    texts = dict.fromkeys(("id", "caption", "paraphrase_1", "paraphrase_2"), latin)
    pq.write_table(pa.table(texts), tmp_path / "latin.parquet")
    wrong_type = {**triple("a"), "similarity_1": ["x"]}
    pq.write_table(pa.Table.from_pylist([wrong_type]), tmp_path / "type.parquet")
    for name, what in {
        "missing.parquet": "there is no such file",
        ".": r"is a folder. Name its file, such as .*triples.parquet",
        "half.parquet": r"has no column 'paraphrase_1' \(it has id, caption\)",
        "text.parquet": "is not a Parquet file of triples",
        "type.parquet": "is not a Parquet file of triples",
        "latin.parquet": "is not a Parquet file of triples",
        "none.parquet": "contains no triples",
        "none.jsonl": "contains no triples",
    }.items():
        with pytest.raises(UserError, match=what) as caught:
            read_triples(tmp_path / name)
        assert caught.value.where == str(tmp_path / name)


def test_a_missing_image_id_is_the_id(tmp_path: Path) -> None:
    rows = [{**triple("a"), "image_id": None}, triple("b")]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert read_triples(tmp_path / "a.parquet")["image_id"].to_pylist() == ["a", "b.png"]
    pq.write_table(pa.Table.from_pylist(rows).drop(["image_id"]), tmp_path / "b.parquet")
    assert read_triples(tmp_path / "b.parquet")["image_id"].to_pylist() == ["a", "b"]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_an_empty_image_id_is_not_a_picture_that_rows_share(tmp_path: Path, kind: str) -> None:
    rows = [{**triple("a"), "image_id": None}, {**triple("b"), "image_id": ""}, triple("c")]
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        json_lines(path, rows)
    assert read_triples(path)["image_id"].to_pylist() == ["a", "b", "c.png"]


def test_lines_whose_id_is_null_are_known_by_their_number(tmp_path: Path) -> None:
    rows = [{**triple("a"), "id": None}, {**triple("b"), "id": None, "index": 7}]
    path = json_lines(tmp_path / "a.jsonl", rows)
    assert read_triples(path)["id"].to_pylist() == ["1", "7"]


def test_no_incomplete_file_is_left_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_disk(table: pa.Table, path: Path, **options: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    write_triples(tmp_path / "a.parquet", [triple("a")], {})
    monkeypatch.setattr(triples.pq, "write_table", fill_disk)
    with pytest.raises(UserError, match="the disk is full"):
        write_triples(tmp_path / "a.parquet", [triple("b")], {})
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]
    assert read_triples(tmp_path / "a.parquet")["id"].to_pylist() == ["a"]


def test_the_provenance_of_parquet_is_read_under_any_name(tmp_path: Path) -> None:
    write_triples(tmp_path / "a.parquet", ROWS, {"licence": "MIT"})
    other = (tmp_path / "a.parquet").rename(tmp_path / "a.pq")
    assert len(read_triples(other)) == 2 and read_provenance(other) == {"licence": "MIT"}


def test_no_provenance_is_empty(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([triple("a")]), tmp_path / "a.parquet")
    assert read_provenance(tmp_path / "a.parquet") == {}
    assert read_provenance(tmp_path / "a.jsonl") == {}
    put(tmp_path / "a.jsonl.provenance.json", "{broken")
    assert read_provenance(tmp_path / "a.jsonl") == {}


def test_images_are_found_by_their_id(tmp_path: Path) -> None:
    kite, swan = draw(tmp_path / "kite.png"), draw(tmp_path / "birds" / "swan.jpg")
    ids = ["kite", "kite.png", "birds/swan.jpg", "swan", "none", "kept"]
    rows = [triple(str(number)) | {"image_id": name} for number, name in enumerate(ids)]
    rows[5]["image"] = "/p/own.png"
    rows[3]["image"] = "moved/swan.jpg"  # written in another working folder
    table = attach_images(pa.Table.from_pylist(rows, SCHEMA), tmp_path)
    assert table["image"].to_pylist() == [kite, kite, swan, swan, None, "/p/own.png"]
    assert table.schema.equals(SCHEMA)
    with pytest.raises(UserError, match="no such folder"):
        attach_images(table, tmp_path / "none")


def test_a_folder_with_the_picture_of_no_triple_is_refused(tmp_path: Path) -> None:
    draw(tmp_path / "swan.png")
    table = pa.Table.from_pylist([triple("a") | {"image": None, "image_id": "kite"}], SCHEMA)
    with pytest.raises(UserError, match=r"no picture of any triple.*'kite'.*image_id"):
        attach_images(table, tmp_path)
    assert attach_images(table.slice(0, 0), tmp_path).num_rows == 0  # nothing is requested
