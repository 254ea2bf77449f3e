"""SugarCrepe and SugarCrepe++: figures by hand, weights of kinds, and rows without pictures."""

import json
from pathlib import Path

import pytest
from text_sets import write_json, write_sugar_crepe_pp

from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Arithmetic
from paraclip.evaluation.benchmarks.sugar_crepe import (
    KINDS_OF_CHANGE,
    SugarCrepePlusPlus,
    load_sugar_crepe,
    load_sugar_crepe_pp,
    read_subsets,
)
from tiny import ColourEncoder, draw_pictures


def row(image: str, caption: str, negative: str) -> dict[str, str]:
    return {"filename": f"{image}.png", "caption": caption, "negative_caption": negative}


GOOD, BAD, TIE = row("red_0", "red", "blue"), row("blue_0", "red", "blue"), row("red_1", "a", "a")


def write(folder: Path, **kinds: list) -> Path:
    """A data folder; kinds that are not given hold one row that the colour model gets."""
    draw_pictures(folder / "coco" / "images")
    for name in KINDS_OF_CHANGE:
        content = {str(number): one for number, one in enumerate(kinds.get(name, [GOOD]))}
        write_json(folder / "sugar_crepe" / f"{name}.json", content)
    return folder


def test_the_mean_is_over_kinds_and_a_tie_is_wrong(tmp_path: Path) -> None:
    write(tmp_path, add_att=[GOOD, GOOD, GOOD, BAD], swap_obj=[TIE, BAD])
    benchmark = load_sugar_crepe(tmp_path, Arithmetic())
    found = {m.name: m.value() for m in benchmark.score(ColourEncoder(), None).metrics}
    assert found["SugarCrepe add_att"] == 3 / 4 and found["SugarCrepe swap_obj"] == 0
    assert found["SugarCrepe"] == pytest.approx((3 / 4 + 5 + 0) / 7)
    assert found["SugarCrepe micro"] == pytest.approx(8 / 11)
    assert benchmark.pool.startswith("11 rows over 3 pictures (add_att 4, add_obj 1,")


def test_rows_without_a_listed_picture_are_counted_and_left_out(tmp_path: Path) -> None:
    write(tmp_path, add_obj=[GOOD, row("elsewhere", "red", "blue")])
    with pytest.raises(UserError, match=r"elsewhere.png: there is no such picture"):
        load_sugar_crepe(tmp_path, Arithmetic())
    write_json(tmp_path / "coco/captions.json", [{"file_name": "red_0.png"}])
    notes = load_sugar_crepe(tmp_path, Arithmetic()).score(ColourEncoder(), None).notes
    assert notes == [
        "the folder is a part of the set: 1 of 2 pictures", "7 of 8 rows have their picture here",
    ]  # fmt: skip


@pytest.fixture
def plus_plus(tmp_path: Path) -> Path:
    """Rows of SugarCrepe++ with pictures: two that the colour model gets, one not."""
    draw_pictures(tmp_path / "coco" / "images")
    rows = [
        ("red_0.png", "a red hat", "hat of red", "a blue hat"),
        ("red_1.png", "a blue hat", "a red hat", "a red cap"),
        ("blue_1.png", "a blue sea", "sea of blue", "a red sea"),
    ]
    names = ("filename", "caption", "caption2", "negative_caption")
    content = [{"id": n, **dict(zip(names, one, strict=True))} for n, one in enumerate(rows)]
    write_json(tmp_path / "sugar_crepe_pp" / "swap_obj.json", content)
    return tmp_path


def test_both_wordings_must_beat_the_negative_in_the_picture(plus_plus: Path) -> None:
    scores = load_sugar_crepe_pp(plus_plus, Arithmetic()).score(ColourEncoder(noise=0.1), None)
    assert scores.arrays["itt_right"].tolist() == [1, 0, 1]
    found = {metric.name: metric for metric in scores.metrics}
    assert found["ITT"].value() == found["ITT swap_obj"].value() == pytest.approx(2 / 3)
    assert found["ITT Swap"].value() == found["ITT"].value() and "ITT Replace" not in found
    assert scores.notes == ["ITT is of 3 of 3 rows, over 3 pictures"]


def test_replace_and_swap_are_reported_apart_each_subset_with_equal_weight(plus_plus: Path) -> None:
    folder = plus_plus / "sugar_crepe_pp"
    rows = json.loads((folder / "swap_obj.json").read_text())
    write_json(folder / "replace_att.json", rows[:1])
    write_json(folder / "replace_obj.json", rows[1:])
    scores = load_sugar_crepe_pp(plus_plus, Arithmetic()).score(ColourEncoder(noise=0.1), None)
    found = {metric.name: metric.value() for metric in scores.metrics}
    assert found["ITT Replace"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["ITT Swap"] == pytest.approx(2 / 3)
    assert found["TOT Replace"] == (found["TOT replace_att"] + found["TOT replace_obj"]) / 2


def test_a_part_of_the_pictures_gives_a_part_of_the_rows_and_no_headline(plus_plus: Path) -> None:
    write_json(plus_plus / "coco/captions.json", [{"file_name": "red_1.png"}])
    scores = load_sugar_crepe_pp(plus_plus, Arithmetic()).score(ColourEncoder(noise=0.1), None)
    found = {metric.name: metric for metric in scores.metrics}
    assert found["ITT"].value() == 0 and not found["ITT"].headline
    assert len(found["TOT"].items) == 3
    assert scores.notes[-1] == "ITT is of 1 of 3 rows, over 1 pictures"


def test_tot_by_hand_continues_without_pictures_and_reports_it(tmp_path: Path) -> None:
    write_sugar_crepe_pp(tmp_path / "sugar_crepe_pp")
    benchmark = load_sugar_crepe_pp(tmp_path, Arithmetic())
    assert "5 rows, text only (replace_att 4, swap_obj 1; without replace_obj" in benchmark.pool
    scores = benchmark.score(ColourEncoder(noise=0.2), None)
    assert {metric.name: metric.value() for metric in scores.metrics} == pytest.approx({
        "TOT": (3 / 4 + 1) / 2, "TOT micro": 4 / 5, "TOT Replace": 3 / 4, "TOT Swap": 1,
        "TOT replace_att": 3 / 4, "TOT swap_obj": 1,
    })  # fmt: skip
    assert scores.notes[0].startswith("ITT is left out: ")


def test_rows_of_one_picture_are_resampled_together(tmp_path: Path) -> None:
    file = write_sugar_crepe_pp(tmp_path) / "replace_att.json"
    rows = json.loads(file.read_text())
    for row, name in zip(rows, ("a.jpg", "b.jpg", "a.jpg", ""), strict=True):
        row["filename"] = name
    write_json(file, rows)
    scores = SugarCrepePlusPlus(read_subsets(tmp_path)).score(ColourEncoder(), None)
    found = {metric.name: metric.clusters for metric in scores.metrics}
    first, second, third, fourth, other = found["TOT micro"].tolist()
    assert first == third and len({first, second, fourth, other}) == 4
    assert found["TOT replace_att"].tolist() == [first, second, third, fourth]
    assert found["TOT"].tolist() == found["TOT micro"].tolist()


def test_a_folder_without_any_subset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"contains no SugarCrepe\+\+ file .*Get the JSON files"):
        read_subsets(tmp_path)
