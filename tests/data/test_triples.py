"""The triples file, the paper's JSONL, and rows that are added."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from source_files import as_file, json_lines, put

from paraclip.data.captions import Problems
from paraclip.data.triples import (
    SCHEMA,
    TEXTS,
    attach_images,
    choose_wordings,
    read_provenance,
    read_triples,
    with_schema,
    with_texts,
)
from paraclip.errors import UserError
from tiny import draw, write_triples


def triple(name: str, **more: object) -> dict[str, object]:
    """A row."""
    texts = {"caption": f"Kite {name}", "paraphrase_1": "A kite.", "paraphrase_2": "Kites fly."}
    return {"id": name, "image_id": f"{name}.png", **texts, **more}


ROWS = [
    triple("a", image="/p/a.png", similarity_1=0.75, overlap_2=0.5, generator="builtin"),
    triple("b"),
]
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXT = st.text(CHARACTERS, min_size=1).filter(str.strip)


@pytest.fixture(params=["parquet", "jsonl"])
def ending(request: pytest.FixtureRequest) -> str:
    """Both kinds of file."""
    return str(request.param)


def stored(path: Path, rows: list[dict]) -> Path:
    """The rows as a file of the kind that its name states."""
    return Path(put(path, as_file(rows, path.suffix)))


def test_parquet_keeps_rows_and_provenance(tmp_path: Path) -> None:
    path = tmp_path / "new" / "triples.parquet"
    write_triples(path, ROWS, {"seed": 7, "generator": "Grüße"})
    table = read_triples(path)
    assert table.schema.equals(SCHEMA)
    assert table.to_pylist()[0] == {**dict.fromkeys(SCHEMA.names), **ROWS[0]}
    assert table["similarity_1"].to_pylist() == [0.75, None]
    assert json.loads(pq.read_schema(path).metadata[b"paraclip"])["seed"] == 7
    other = path.rename(tmp_path / "a.pq")
    assert read_provenance(other) == {"seed": 7, "generator": "Grüße"}
    columns = ["paraphrase_2", "caption", "paraphrase_1", "id", "image_id"]
    pq.write_table(pa.Table.from_pylist(ROWS).select(columns), path)
    read = read_triples(path)
    assert read.schema.equals(SCHEMA)
    assert read["id"].to_pylist() == ["a", "b"] and read["generator"].null_count == 2
    stored(tmp_path / "b.parquet", ROWS)
    put(tmp_path / "broken.jsonl.provenance.json", "{broken")
    for name in ("b.parquet", "none.parquet", "none.jsonl", "broken.jsonl"):
        assert read_provenance(tmp_path / name) == {}


def test_the_papers_layout_is_read(tmp_path: Path) -> None:
    rows = [
        {"index": 7, **{name: ROWS[0][name] for name in ("image_id", *TEXTS)}},
        triple("b", similarity_1=1, image="/p/b.png"), {**triple("c"), "id": None},
    ]  # fmt: skip
    table = read_triples(json_lines(tmp_path / "a.jsonl", rows))
    assert table.schema.equals(SCHEMA) and table["id"].to_pylist() == ["7", "b", "3"]
    assert table["image"].to_pylist() == [None, "/p/b.png", None]
    assert table["similarity_1"].to_pylist() == [None, 1.0, None]
    assert table["caption"].to_pylist() == ["Kite a", "Kite b", "Kite c"]


@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=5))
def test_any_text_survives_both_forms(tmp_path_factory, rows: list[tuple[str, str, str]]) -> None:
    folder = tmp_path_factory.mktemp("triples")
    made = [
        {"id": f"{n}", "image_id": "p", **dict(zip(TEXTS, (x.strip() for x in row), strict=True))}
        for n, row in enumerate(rows)
    ]
    write_triples(folder / "t.parquet", made)
    json_lines(folder / "t.jsonl", made)
    for name in ("t.parquet", "t.jsonl"):
        table = read_triples(folder / name).select(["id", "image_id", *TEXTS])
        assert table.to_pylist() == made


def test_rows_without_a_text_are_left_out_and_listed(tmp_path: Path, ending: str) -> None:
    broken = [triple("c", caption=" "), triple("d", paraphrase_1=None), triple("a")]
    path = stored(tmp_path / f"a.{ending}", [triple("a"), *broken])
    with pytest.raises(UserError, match="'a' occurs twice") as caught:
        read_triples(path, Problems(1.0))
    assert caught.value.where == f"{path}:4"
    path, problems = stored(tmp_path / f"b.{ending}", [triple("a"), *broken[:2]]), Problems(1.0)
    assert read_triples(path, problems)["id"].to_pylist() == ["a"]
    assert [where for where, _ in problems.listed] == [f"{path}:{row}" for row in (2, 3)]
    with pytest.raises(UserError, match="2 of 3 rows are broken"):
        read_triples(path)


def test_files_that_are_not_triples_are_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "caption": ["Kite"]}), tmp_path / "half.parquet")
    put(tmp_path / "none.jsonl", ""), put(tmp_path / "line.jsonl", "not JSON")
    write_triples(tmp_path / "none.parquet", [])
    raw = pa.array([b"Zw\xf6lf"], pa.binary())
    latin = pa.Array.from_buffers(pa.string(), 1, raw.buffers())
    pq.write_table(pa.table(dict.fromkeys(("id", *TEXTS), latin)), tmp_path / "latin.parquet")
    stored(tmp_path / "type.parquet", [{**triple("a"), "similarity_1": ["x"]}])
    stored(tmp_path / "list.jsonl", [triple("a", image=["x"])])
    for name, what in {
        "missing.parquet": "there is no such file",
        ".": r"is a folder. Name its file, such as .*triples.parquet",
        "half.parquet": "has no 'paraphrase_1'",
        "type.parquet": "'similarity_1' is not a number",
        "latin.parquet": "is not UTF-8",
        "line.jsonl": "is not JSON",
        "list.jsonl": "the image name is not text",
        "none.parquet": "contains no triples",
        "none.jsonl": "contains no triples",
    }.items():
        with pytest.raises(UserError, match=what) as caught:
            read_triples(tmp_path / name)
        assert caught.value.where.startswith(str(tmp_path / name))


def test_an_image_id_is_replaced_by_the_image_or_the_id(tmp_path: Path, ending: str) -> None:
    rows = [{**triple("a"), "image_id": None}, {**triple("b"), "image_id": ""}, triple("c")]
    rows.append({**triple("d", image="x"), "image_id": None})
    path = stored(tmp_path / f"a.{ending}", rows)
    assert read_triples(path)["image_id"].to_pylist() == ["a", "b", "c.png", "x"]
    rows = [{key: value for key, value in row.items() if key != "image_id"} for row in rows]
    path = stored(tmp_path / f"b.{ending}", rows)
    assert read_triples(path)["image_id"].to_pylist() == ["a", "b", "c", "x"]


def test_a_table_that_arrow_refuses() -> None:
    class Mixed:
        """Like a data frame with numbers and texts in one column."""

        def __arrow_c_stream__(self, schema: object = None) -> object:
            raise pa.ArrowInvalid("Could not convert 'b' to int64")

    with pytest.raises(UserError, match="rows: Could not convert 'b'"):
        read_triples(Mixed())


# --- pictures ---


def test_pictures_of_one_name_are_resolved_or_refused(tmp_path: Path) -> None:
    for folder, colour in (("x", "red"), ("y", "blue")):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (4, 4), colour).save(tmp_path / folder / "1.png")
    table = pa.Table.from_pylist([triple("1") | {"image_id": "y/1.png"}], SCHEMA)
    assert attach_images(table, tmp_path)["image"].to_pylist() == [f"{tmp_path}/y/1.png"]
    for name in ("1", "1.png"):
        table = pa.Table.from_pylist([triple("1") | {"image_id": name}], SCHEMA)
        with pytest.raises(UserError, match=f"2 different pictures are named '{name}'"):
            attach_images(table, tmp_path)
    (tmp_path / "y/1.png").write_bytes((tmp_path / "x/1.png").read_bytes())
    assert attach_images(table, tmp_path)["image"].null_count == 0  # copies are one picture


def test_images_are_found_by_their_id(tmp_path: Path) -> None:
    kite, swan = draw(tmp_path / "kite.png"), draw(tmp_path / "birds" / "swan.jpg")
    ids = ["kite", "kite.png", "birds/swan.jpg", "swan", "none", "kept"]
    rows = [triple(str(number)) | {"image_id": name} for number, name in enumerate(ids)]
    rows[5]["image"] = "https://example.org/own.png"
    rows[3]["image"] = "moved/swan.jpg"  # written in another working folder
    table = attach_images(pa.Table.from_pylist(rows, SCHEMA), tmp_path)
    assert table["image"].to_pylist() == [kite, kite, swan, swan, None, rows[5]["image"]]
    with pytest.raises(UserError, match="no such folder"):
        attach_images(table, tmp_path / "none")
    for image in (None, "moved/boat.png"):
        other = pa.Table.from_pylist([triple("a") | {"image_id": "boat", "image": image}], SCHEMA)
        with pytest.raises(UserError, match=r"no picture of any triple.*'boat'.*image_id"):
            attach_images(other, tmp_path)
        assert attach_images(other, tmp_path, required=False).equals(other)


# --- further texts ---


def test_texts_are_appended_as_rows_of_one_text_without_a_picture() -> None:
    rows = with_texts(with_schema([triple("a")]), ["Sail", "Boat"]).to_pylist()
    assert [row["caption"] for row in rows] == ["Kite a", "Sail", "Boat"]
    for row in rows[1:]:
        assert {row[name] for name in TEXTS} == {row["caption"]} and row["image"] is None
    assert len({row["image_id"] for row in rows}) == 3


def test_further_wordings_are_read_and_stand_in_for_missing_paraphrases(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [
        {"id": "1", "caption": "a", "paraphrase_1": "b", "paraphrase_2": "c",
         "wordings": [{"text": "d", "kind": "short"}, {"text": "e", "lang": "de"}]},
        {"id": "2", "caption": "f", "wordings": [{"text": "g"}, {"text": "h"}, {"text": "i"}]},
        {"id": "3", "caption": "j", "paraphrase_1": "k", "paraphrase_2": "l"},
        {"id": "4", "caption": "m",
         "wordings": [{"text": "n", "lang": "de"}, {"text": "o"}, {"text": "p", "lang": "fr"}]},
    ]  # fmt: skip
    path.write_text("\n".join(map(json.dumps, rows)))
    table = read_triples(path)
    assert table["paraphrase_1"].to_pylist() == ["b", "g", "k", "o"], "English alone stands in"
    assert table["paraphrase_2"].to_pylist() == ["c", "h", "l", "m"]
    assert choose_wordings(table, ("en",)) == [[("d", "en")], [("i", "en")], [], []]
    assert choose_wordings(table, ("de",)) == [[("e", "de")], [], [], [("n", "de")]]
    again = tmp_path / "rows.parquet"
    write_triples(again, table.to_pylist())
    assert choose_wordings(read_triples(again), ("en", "de"))[0] == [("d", "en"), ("e", "de")]


@pytest.mark.parametrize("wordings", ["a", [1], [{"text": ""}], [{"text": "a"}] * 65, []])
def test_broken_wordings_are_named(tmp_path, wordings):
    good = {"caption": "a", "paraphrase_1": "b", "paraphrase_2": "c"}
    bad = {"caption": "a", "wordings": wordings}
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, [good] * 1 + [bad])))
    problems = Problems(0.9)
    assert len(read_triples(path, problems)) == 1 and problems.count == 1
