"""Options of the quickstart, and the stages that read the user's data."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_models import draw, tiny_clip

from paraclip.data.problems import Problems
from paraclip.data.reading import read_captions
from paraclip.data.triples import SCHEMA
from paraclip.errors import UserError
from paraclip.models import features
from paraclip.quickstart import run
from paraclip.quickstart.config import QuickstartConfig
from paraclip.quickstart.run import _Job, _split_source
from paraclip.training.checkpoint import AnotherRun


def test_each_source_has_its_own_default_folder(tmp_path: Path) -> None:
    assert QuickstartConfig().folder == Path("runs/quickstart")
    assert QuickstartConfig(source="pets/cats/").folder == Path("runs/quickstart-cats")
    assert QuickstartConfig(source="dogs.csv").folder == Path("runs/quickstart-dogs")
    assert QuickstartConfig(source="dogs.csv", out="here").folder == Path("here")
    for name in ("pets.2024", "pets.2025"):
        (tmp_path / name).mkdir()
        config = QuickstartConfig(source=str(tmp_path / name))
        assert config.folder == Path(f"runs/quickstart-{name}")


def test_without_the_starter_set_no_model_names_it(tmp_path: Path) -> None:
    for count, models in ((0, []), (1, ["tuned"])):
        job = _Job(QuickstartConfig("here", str(tmp_path), starter=count))
        named = [name for name in ("control", "tuned") if "starter" in job.facts(name)]
        assert named == models


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("held_out", 9), ("held_out", -5), ("epochs", 0), ("starter", 3001), ("starter", -1)),
        *(("paraphrase", 0), ("seed", -1), ("max_broken", 2.0), ("max_broken", math.nan)),
    ],
)
def test_invalid_options_are_refused_before_the_first_stage(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"--{name.replace('_', '-')}"):
        QuickstartConfig(**{name: value})


def pictures(folder: Path, count: int, text: str = "thing {}") -> Path:
    """Pictures of one colour each, with a caption file next to each."""
    folder.mkdir()
    for number in range(count):
        draw(folder / f"{number}.png", "disc", "red")
        (folder / f"{number}.txt").write_text(text.format(number))
    return folder


def split_of(config: QuickstartConfig) -> object:
    job, problems = _Job(config), Problems(config.max_broken)
    captions = list(read_captions(str(config.source), problems=problems))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "load_model", lambda name, device: tiny_clip())
        return _split_source(job, str(config.source), captions, problems)


def test_broken_rows_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = pictures(tmp_path / "pictures", 30)
    (folder / "7.png").unlink()
    draw(folder / "30.png", "disc", "red"), (folder / "30.txt").write_text("thing 30")
    config = QuickstartConfig(str(folder), str(tmp_path / "out"), max_broken=0.1)
    split = split_of(config)
    assert len(split.held_out) == 10 and "20 captions to learn from, 10" in capsys.readouterr().out
    listed = (tmp_path / "out" / "broken.txt").read_text()
    assert listed.startswith(f"{folder / '7.txt'}\tthere is no picture with this name\n")


def test_broken_pictures_are_in_no_part_and_listed_beside_broken_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pictures(tmp_path / "pictures", 40)
    config = QuickstartConfig(str(folder), str(tmp_path / "out"), max_broken=0.06)
    whole = split_of(config)
    (folder / f"{Path(whole.learn[0].image).stem}.txt").write_text("")
    broken = Path(whole.held_out[0].image)  # 1 of 13, but less than 6 % of all
    broken.write_bytes(b"damaged")
    split = split_of(config)
    assert {str(broken)}.isdisjoint(row.image for row in [*split.learn, *split.held_out])
    assert len(split.held_out) == 12 and len(split.learn) == 26
    assert "2 broken rows or pictures are skipped" in capsys.readouterr().out
    listed = (tmp_path / "out" / "broken.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in listed[:2]] == [
        str(folder / f"{Path(whole.learn[0].image).stem}.txt"), str(broken),
    ]  # fmt: skip
    with pytest.raises(UserError, match="2 of 40 rows are broken"):
        split_of(replace(config, max_broken=0.03))


def test_pictures_are_decoded_once_for_the_check_and_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pictures(tmp_path / "pictures", 30)
    split_of(QuickstartConfig(str(folder), str(tmp_path / "out")))
    monkeypatch.setattr(features, "open_image", lambda *_: pytest.fail("decoded again"))
    names = sorted(map(str, folder.glob("*.png")))
    found = features.image_features(tiny_clip(), names, tmp_path / "out" / "features")
    assert len(found) == 30 and found[:].isfinite().all()


def test_captions_without_a_picture_are_counted_and_one_caption_for_all_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pictures(tmp_path / "pictures", 30)
    rows = [f"thing {number},{folder}/{number}.png" for number in range(30)]
    (tmp_path / "a.csv").write_text("\n".join(["caption,image", *rows, "alone,", "too,"]))
    config = QuickstartConfig(str(tmp_path / "a.csv"), str(tmp_path / "out"))
    assert len(split_of(config).learn) == 22
    assert "2 of them have no picture and are left out" in capsys.readouterr().out
    folder = pictures(tmp_path / "alike", 31, "the same")
    with pytest.raises(UserError, match="only 0 pictures could be held out"):
        split_of(QuickstartConfig(str(folder), str(tmp_path / "out")))


def test_a_stage_whose_captions_changed_starts_from_scratch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def train(data: object, options: object, out: Path, fresh: bool) -> Path:
        started.append(fresh)
        if not fresh:
            raise AnotherRun(out, "belongs to a run with other settings", "Choose another --out.")
        return out / "made"

    for name in ("prepare", "load_model"):
        monkeypatch.setattr(run, name, lambda *words, **_: words[0])
    monkeypatch.setattr(run, "train", train)
    job = _Job(QuickstartConfig("here", str(tmp_path), starter=0))
    assert job.train("control", SCHEMA.empty_table()) == str(tmp_path / "control" / "made")
    assert started == [False, True] and "starts from scratch" in capsys.readouterr().out


def test_a_report_of_the_user_is_refused_before_the_first_stage(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.md").write_text("My notes.")
    with pytest.raises(UserError, match=r"report\.md"):
        run.run_quickstart(QuickstartConfig("nowhere", str(tmp_path)))


def test_control_and_tuned_differ_only_in_their_texts() -> None:
    tuned, control = (QuickstartConfig().train_options(is_) for is_ in (False, True))
    assert control.control and replace(control, control=False) == tuned
