"""Variations: rows of one kind each, real pictures, and refused inputs."""

import json
from pathlib import Path

import numpy as np
import pytest

from paraclip.data.captions import Problems
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Arithmetic
from paraclip.evaluation.benchmarks.variations import Variations
from paraclip.evaluation.pairs import read_wordings
from paraclip.evaluation.pictures import read_pool
from tiny import ColourEncoder, draw_pictures

KINDS = ("lexical", "typo")
ROWS = [
    {
        "image_id": "red_0.png",
        "caption": "red",
        "variations": {"lexical": "red red", "typo": "blue", "contrast": "green"},
    },
    {
        "image_id": "blue_1.png",
        "caption": "blue",
        "variations": {"lexical": "blue", "typo": "white", "contrast": "blue"},
    },
]


def write_rows(folder: Path, rows: list[dict[str, object]] = ROWS) -> Path:
    path = folder / "variations.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    draw_pictures(tmp_path / "pictures")
    return tmp_path / "pictures"


def test_the_correct_picture_of_each_pair_is_known(pictures: Path, tmp_path: Path) -> None:
    wordings = read_wordings(write_rows(tmp_path), KINDS)
    shown = (
        Variations("v", wordings, read_pool(pictures), (1, 5)).score(ColourEncoder(), None).shown
    )
    assert shown is not None
    names = [Path(shown.references[position]).name for position in shown.answers]
    assert names == ["red_0.png", "red_0.png", "blue_1.png", "blue_1.png"]


def test_rows_may_have_one_kind_each(pictures: Path, tmp_path: Path) -> None:
    kinds = [("idiom", "red"), ("jargon", "blue"), ("idiom", "red")]
    rows = [
        {
            "image": f"red_{number}.png",
            "caption": "red",
            "variations": {kind: text, "contrast": "a"},
        }
        for number, (kind, text) in enumerate(kinds)
    ]
    wordings = read_wordings(write_rows(tmp_path, rows), None)
    found = Variations("probes", wordings, read_pool(pictures), 5).score(ColourEncoder(), None)
    values = {metric.name: metric.value() for metric in found.metrics}
    assert (values["R@5 idiom"], values["R@5 jargon"], values["R@5"]) == (1, 0, 0.5)
    assert found.notes[0] == "rewordings of each kind: idiom 2, jargon 1"


def test_captions_of_one_picture_are_no_further_evidence(pictures: Path, tmp_path: Path) -> None:
    texts = {"lexical": "red", "typo": "blue", "contrast": "green"}
    rows = [
        {"image_id": name, "caption": f"red {number}", "variations": texts}
        for name in ("red_0.png", "red_1.png")
        for number in range(9)
    ]
    wordings = read_wordings(write_rows(tmp_path, rows), KINDS)
    scores = Variations("v", wordings, read_pool(pictures), 5).score(ColourEncoder(), None)
    assert {len(np.unique(metric.clusters)) for metric in scores.metrics} == {2}


def test_what_is_wrong_with_the_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"jsonl:3: 'red_0.png' occurs twice .*jsonl:1"):
        read_wordings(write_rows(tmp_path, [*ROWS, ROWS[0]]), KINDS)
    with pytest.raises(UserError, match="has no rewording among"):
        only = {"image_id": "a", "caption": "b", "variations": {"contrast": "c"}}
        read_wordings(write_rows(tmp_path, [only]), None)
    for kind, words in (
        ("margin", "called 'margin', which is"), ("negative", "called 'negative', which is"),
        ("k" * 101, "more than 100"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=words):
            only = {"image_id": "a", "caption": "b", "variations": {kind: "c", "contrast": "d"}}
            read_wordings(write_rows(tmp_path, [only]), None)


def test_a_pool_without_any_of_the_pictures_is_refused(pictures: Path, tmp_path: Path) -> None:
    wordings = read_wordings(write_rows(tmp_path, [{**ROWS[0], "image_id": "gone.png"}]), KINDS)
    with pytest.raises(UserError, match="contains the picture of none of the 1 captions"):
        Variations("v", wordings, read_pool(pictures), 5, Arithmetic(max_broken=1.0))


def test_a_broken_picture_takes_its_captions_along(pictures: Path, tmp_path: Path) -> None:
    (pictures / "blue_1.png").write_bytes(b"no picture")
    wordings = read_wordings(write_rows(tmp_path), KINDS, Problems())
    how = Arithmetic(max_broken=0.1)
    scores = Variations("v", wordings, read_pool(pictures), 5, how).score(ColourEncoder(), None)
    assert scores.arrays["item"].tolist() == [0, 0]
    values = {metric.name: metric.value() for metric in scores.metrics}
    assert values["R@5 plain caption"] == 1
    wordings = read_wordings(write_rows(tmp_path, ROWS[1:]), KINDS)
    alone = Variations("v", wordings, read_pool(pictures), 5, how)
    with pytest.raises(UserError, match="the pictures of all 1 captions are broken"):
        alone.score(ColourEncoder(), None)


def test_a_pool_of_vectors_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "pool.npy", np.eye(6, dtype=np.float32))
    wordings, pool = read_wordings(write_rows(tmp_path), KINDS), read_pool(tmp_path / "pool.npy")
    with pytest.raises(UserError, match="is a pool of vectors"):
        Variations("v", wordings, pool, 2)
