"""Pairs from every kind of table; pools from folders, lists and vectors; refused inputs."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from paraclip.data.captions import Problems
from paraclip.errors import UserError
from paraclip.evaluation.pairs import read_pairs
from paraclip.evaluation.pictures import read_names, read_pool
from tiny import draw_pictures

ROWS = [
    {"id": "a", "caption": "a red hat, worn", "caption2": "someone wears a red hat"},
    {"id": "b", "caption": 'a "blue" door', "caption2": "a door, painted blue"},
]


def write(folder: Path, kind: str, rows: list[dict[str, object]] = ROWS) -> Path:
    path = folder / f"pairs.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path
    path.write_text(json.dumps(rows) if kind == "json" else "\n".join(map(json.dumps, rows)))
    return path


def test_a_folder_is_one_set_whose_ids_carry_the_file(tmp_path: Path) -> None:
    write(tmp_path, "json")
    write(tmp_path, "jsonl").rename(tmp_path / "other.jsonl")
    pairs = read_pairs(tmp_path)
    assert pairs.captions == tuple(row["caption"] for row in ROWS) * 2
    assert pairs.paraphrases == tuple(row["caption2"] for row in ROWS) * 2
    assert "caption and caption2" in pairs.name
    assert pairs.ids == ("other/a", "other/b", "pairs/a", "pairs/b")


def test_triples_give_the_first_step_unless_another_is_named(tmp_path: Path) -> None:
    row = {"index": 0, "caption": "x", "paraphrase_1": "y", "paraphrase_2": "z"}
    path = write(tmp_path, "jsonl", [row])
    assert read_pairs(path).paraphrases == ("y",)
    named = read_pairs(path, second="paraphrase_2")
    assert (named.captions, named.paraphrases) == (("x",), ("z",))
    assert read_pairs(path, "paraphrase_1", "paraphrase_2").captions == ("y",)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("column", ["image_id", "filename", "image"])
def test_pairs_of_one_picture_are_one_cluster(tmp_path: Path, column: str, kind: str) -> None:
    pictures = ["a.jpg", "b.jpg", "a.jpg", None, "", "7" if kind == "parquet" else 7]
    rows = [
        {"id": str(n), "caption": f"x{n}", "paraphrase": f"y{n}", column: picture}
        for n, picture in enumerate(pictures)
    ]
    pairs = read_pairs(write(tmp_path, kind, rows))
    assert pairs.clusters is not None
    first, second, third, *others = pairs.clusters.tolist()
    assert first == third != second and len({first, second, *others}) == 5
    other = {"caption": "x", "paraphrase": "y", column: {"bytes": None}}  # is not a name
    assert len(read_pairs(write(tmp_path, "jsonl", [other]))) == 1


@pytest.mark.parametrize("column", ["negative_caption", "negative", "contrast"])
def test_texts_of_another_meaning_are_read_if_all_rows_have_one(
    tmp_path: Path, column: str
) -> None:
    rows = [{**row, column: f"not {row['id']}"} for row in ROWS]
    assert read_pairs(write(tmp_path, "jsonl", rows)).negatives == ("not a", "not b")
    assert read_pairs(write(tmp_path, "jsonl", [*rows, {**ROWS[0], "id": "c"}])).negatives == ()


def test_broken_rows_are_skipped_while_few(tmp_path: Path) -> None:
    rows = [{"caption": f"x {n}", "paraphrase": "y"} for n in range(9)]
    path = write(tmp_path, "jsonl", [*rows, {"caption": "x", "paraphrase": " "}])
    assert read_pairs(path, problems=Problems(0.1)).skipped == 1
    with pytest.raises(UserError, match=r"jsonl:10: the paraphrase is empty \(1 of 10"):
        read_pairs(path)


def test_what_is_wrong_with_pairs_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file or folder"):
        read_pairs(tmp_path / "none.csv")
    with pytest.raises(UserError, match="contains no file of pairs"):
        read_pairs(tmp_path)
    twice = write(tmp_path, "jsonl", [ROWS[0], ROWS[0]])
    with pytest.raises(UserError, match=r"jsonl:2: id 'a' occurs twice \(first at .*jsonl:1\)"):
        read_pairs(twice)
    other = write(tmp_path, "jsonl", [{"caption": "x", "text": "y"}])
    with pytest.raises(UserError, match=r"has no column 'caption2' .*--columns"):
        read_pairs(other)
    with pytest.raises(UserError, match=r"has no column 'wrong'"):
        read_pairs(other, "wrong", "text")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(UserError, match="contains no pairs"):
        read_pairs(tmp_path / "empty.jsonl")


def test_a_folder_pool_is_in_the_order_of_names(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "set" / "deep", 2)
    (tmp_path / "set" / "notes.txt").write_text("no picture")
    pool = read_pool(tmp_path / "set")
    assert len(pool) == 8
    assert list(pool.references) == sorted(pool.references)
    assert pool.describe().startswith("8 pictures of ")


def test_a_list_of_names_keeps_its_order(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "images", 1)
    listed = tmp_path / "some.txt"
    listed.write_text("white_0.png\nblue_0.png\n\n")
    pool = read_pool(listed)
    assert pool.references[0] == str(tmp_path / "images" / "white_0.png")
    assert read_pool(listed, tmp_path / "images").references == pool.references
    listed.write_text("a.png\nb.png\na.png\n")
    with pytest.raises(UserError, match=r"txt:3: 'a.png' occurs twice \(first in line 1\)"):
        read_pool(listed)
    listed.write_text("a" * 300 + "\n")
    assert read_pool(listed).references == (str(tmp_path / ("a" * 300)),)
    listed.write_text("\n")
    with pytest.raises(UserError, match="names no pictures"):
        read_pool(listed)
    with pytest.raises(UserError, match=r"images: cannot be read \(Is a directory\). Name a text"):
        read_names(tmp_path / "images")


def test_one_missing_picture_does_not_hide_the_folder_of_the_others(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "images", 1)
    listed = tmp_path / "some.txt"
    listed.write_text("lost.png\nwhite_0.png\nblue_0.png\n")
    folders = {Path(reference).parent for reference in read_pool(listed).references}
    assert folders == {tmp_path / "images"}


def test_a_picture_whose_name_is_not_utf_8_is_reported(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "set", 1)
    os.rename(tmp_path / "set" / "red_0.png", os.fsencode(tmp_path / "set") + b"/caf\xe9.png")
    with pytest.raises(UserError, match=r"caf\\udce9.png: is a name that is not UTF-8. Rename it"):
        read_pool(tmp_path / "set")


def test_names_may_contain_other_line_separators(tmp_path: Path) -> None:
    names = ["a\u2028b.jpg", "c\x0bd.jpg", "e\x85.jpg"]
    for ending in ("\n", "\r\n", "\r"):
        (tmp_path / "names.txt").write_bytes((ending.join(names) + ending).encode())
        assert read_names(tmp_path / "names.txt") == names


def test_vectors_are_mapped_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "pool.npy"
    vectors = np.eye(4, 3, dtype=np.float32)
    vectors[3, 0] = 1
    np.save(path, vectors)
    pool = read_pool(path)
    assert isinstance(pool.vectors, np.memmap)
    assert pool.describe() == "4 cached vectors of pool.npy"
    for row, value, message in [(2, np.nan, "not finite, the first is number 2"), (1, 3, "npy:1")]:
        broken = vectors.copy()
        broken[row, 1] = value
        np.save(path, broken)
        with pytest.raises(UserError, match=message):
            read_pool(path)
    np.save(path, np.arange(4))
    with pytest.raises(UserError, match="is not a matrix of floats"):
        read_pool(path)


def test_what_is_not_a_pool_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such pool"):
        read_pool(tmp_path / "none")
    with pytest.raises(UserError, match="contains no pictures"):
        read_pool(tmp_path)
    (tmp_path / "pool.csv").write_text("x")
    with pytest.raises(UserError, match="is not a pool"):
        read_pool(tmp_path / "pool.csv")
