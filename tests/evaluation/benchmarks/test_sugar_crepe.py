"""SugarCrepe and SugarCrepe++ with pictures: figures by hand, references, refused inputs."""

import json
from pathlib import Path

import pytest
from text_sets import write_sugar_crepe_pp

from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Arithmetic
from paraclip.evaluation.benchmarks.sugar_crepe import (
    _KINDS,
    _read_kinds,
    load_sugar_crepe,
    load_sugar_crepe_pp,
)
from tiny import ColourEncoder, draw_pictures


def row(image: str, caption: str, negative: str) -> dict[str, str]:
    return {"filename": f"{image}.png", "caption": caption, "negative_caption": negative}


GOOD, BAD, TIE = row("red_0", "red", "blue"), row("blue_0", "red", "blue"), row("red_1", "a", "a")


def write(folder: Path, **kinds: list) -> Path:
    """A data folder; kinds that are not given hold one row that the colour model gets."""
    (folder / "sugar_crepe").mkdir(parents=True, exist_ok=True)
    draw_pictures(folder / "coco" / "images")
    for name in _KINDS:
        rows = kinds.get(name, [GOOD])
        content = {str(number): one for number, one in enumerate(rows)}
        (folder / "sugar_crepe" / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_the_mean_is_over_kinds_and_a_tie_is_wrong(tmp_path: Path) -> None:
    write(tmp_path, add_att=[GOOD, GOOD, GOOD, BAD], swap_obj=[TIE, BAD])
    benchmark = load_sugar_crepe(tmp_path, Arithmetic())
    found = {m.name: m for m in benchmark.score(ColourEncoder(), None).metrics}
    assert found["SugarCrepe add_att"].value() == 3 / 4
    assert found["SugarCrepe swap_obj"].value() == 0
    assert found["SugarCrepe"].value() == pytest.approx((3 / 4 + 5 + 0) / 7)
    assert found["SugarCrepe micro"].value() == pytest.approx(8 / 11)
    assert benchmark.pool.startswith("11 rows over 3 pictures (add_att 4, add_obj 1,")
    assert [name for name, metric in found.items() if metric.headline] == ["SugarCrepe"]


def test_rows_without_a_listed_picture_are_counted_and_left_out(tmp_path: Path) -> None:
    write(tmp_path, add_obj=[GOOD, row("elsewhere", "red", "blue")])
    with pytest.raises(UserError, match=r"elsewhere.png: there is no such picture"):
        load_sugar_crepe(tmp_path, Arithmetic())
    listed = [{"file_name": "red_0.png"}, {"file_name": "blue_0.png"}]
    (tmp_path / "coco" / "captions.json").write_text(json.dumps(listed))
    notes = load_sugar_crepe(tmp_path, Arithmetic()).score(ColourEncoder(), None).notes
    assert notes == [
        "the folder is a part of the set: 1 of 2 pictures", "7 of 8 rows have their picture here",
    ]  # fmt: skip


def test_a_half_downloaded_set_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "sugar_crepe" / "swap_att.json").unlink()
    (tmp_path / "sugar_crepe" / "add_obj.json").unlink()
    match = r"2 of the seven files are missing: add_obj.json, swap_att.json. Get the seven"
    with pytest.raises(UserError, match=match):
        load_sugar_crepe(tmp_path, Arithmetic())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"7": {}}', r"json:1: has no column 'filename' .*Get the seven"),
        ("{}", "contains no rows"),
        ('{"7": 3}', "contains no rows"),
        (f'{{"7": {json.dumps({**GOOD, "caption": ""})}}}', "contains no rows"),
        ('{"7": ', "is not JSON"),
    ],
)
def test_what_is_wrong_with_a_file_is_reported(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path)
    (tmp_path / "sugar_crepe" / "add_att.json").write_text(text)
    with pytest.raises(UserError, match=message):
        _read_kinds(tmp_path / "sugar_crepe", Problems())


def write_plus_plus(folder: Path) -> Path:
    """Rows of SugarCrepe++ with pictures: two that the colour model gets, one not, one without."""
    draw_pictures(folder / "coco" / "images")
    rows = [
        ("red_0", "a red hat", "hat of red", "a blue hat"),
        ("red_1", "a blue hat", "a red hat", "a red cap"),
        ("blue_1", "a blue sea", "sea of blue", "a red sea"),
    ]
    names = ("filename", "caption", "caption2", "negative_caption")
    content = [{"id": n, **dict(zip(names, one, strict=True))} for n, one in enumerate(rows)]
    for one in content:
        one["filename"] += ".png"
    (folder / "sugar_crepe_pp").mkdir()
    (folder / "sugar_crepe_pp" / "swap_obj.json").write_text(json.dumps(content))
    return folder


def test_both_wordings_must_beat_the_negative_in_the_picture(tmp_path: Path) -> None:
    benchmark = load_sugar_crepe_pp(write_plus_plus(tmp_path), Arithmetic())
    assert "3 rows; ITT on 3 of them (swap_obj 3" in benchmark.pool
    scores = benchmark.score(ColourEncoder(noise=0.1), None)
    assert scores.arrays["itt_right"].tolist() == [1, 0, 1]
    found = {metric.name: metric for metric in scores.metrics}
    assert found["ITT"].value() == found["ITT swap_obj"].value() == pytest.approx(2 / 3)
    assert [name for name, metric in found.items() if metric.headline] == ["TOT", "ITT"]
    assert found["ITT Swap"].value() == found["ITT"].value() and "ITT Replace" not in found
    assert scores.notes == ["ITT is of 3 of 3 rows, over 3 pictures"]


def test_replace_and_swap_are_reported_apart_each_subset_with_equal_weight(tmp_path: Path) -> None:
    folder = write_plus_plus(tmp_path) / "sugar_crepe_pp"
    rows = json.loads((folder / "swap_obj.json").read_text())
    (folder / "replace_att.json").write_text(json.dumps(rows[:1]))
    (folder / "replace_obj.json").write_text(json.dumps(rows[1:]))
    scores = load_sugar_crepe_pp(tmp_path, Arithmetic()).score(ColourEncoder(noise=0.1), None)
    found = {metric.name: metric.value() for metric in scores.metrics}
    assert found["ITT Replace"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["ITT Swap"] == pytest.approx(2 / 3)
    assert found["TOT Replace"] == (found["TOT replace_att"] + found["TOT replace_obj"]) / 2


def test_a_part_of_the_pictures_gives_a_part_of_the_rows_and_no_headline(tmp_path: Path) -> None:
    write_plus_plus(tmp_path)
    (tmp_path / "coco" / "captions.json").write_text('[{"file_name": "red_1.png"}]')
    scores = load_sugar_crepe_pp(tmp_path, Arithmetic()).score(ColourEncoder(noise=0.1), None)
    found = {metric.name: metric for metric in scores.metrics}
    assert found["ITT"].value() == 0 and not found["ITT"].headline
    assert len(found["TOT"].items) == 3
    assert scores.notes[-1] == "ITT is of 1 of 3 rows, over 1 pictures"


def test_tot_continues_without_pictures_and_reports_it(tmp_path: Path) -> None:
    write_sugar_crepe_pp(tmp_path / "sugar_crepe_pp")
    scores = load_sugar_crepe_pp(tmp_path, Arithmetic()).score(ColourEncoder(), None)
    assert all(metric.name.startswith("TOT") for metric in scores.metrics)
    assert scores.notes[0].startswith("ITT is left out: ")
