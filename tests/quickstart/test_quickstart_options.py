"""Options of the quickstart."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_models import draw, tiny_clip

from paraclip.data.captions import Caption
from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.quickstart.command import Job, sampled, split_source
from paraclip.quickstart.config import QuickstartConfig
from paraclip.quickstart.split import Split
from paraclip.training.folder import AnotherRun

ROWS = [Caption(f"{at}.png", f"thing {at}", f"{at}.png", f"{at}.png", "here") for at in range(50)]


def test_all_are_sampled_if_few() -> None:
    assert sampled(ROWS, QuickstartConfig(paraphrase=50)) == ROWS


def test_a_sample_keeps_the_order_and_is_deterministic() -> None:
    taken = sampled(ROWS, QuickstartConfig(paraphrase=20))
    assert len(taken) == 20
    assert (
        taken
        == [row for row in ROWS if row in taken]
        == sampled(ROWS, QuickstartConfig(paraphrase=20))
    )


def test_larger_samples_contain_smaller_ones_and_seeds_differ() -> None:
    few = sampled(ROWS, QuickstartConfig(paraphrase=10))
    assert set(few) < set(sampled(ROWS, QuickstartConfig(paraphrase=20)))
    assert few != sampled(ROWS, QuickstartConfig(paraphrase=10, seed=1))


def test_each_source_has_its_own_default_folder() -> None:
    assert QuickstartConfig().folder == Path("runs/quickstart")
    assert QuickstartConfig(source="pets/cats/").folder == Path("runs/quickstart-cats")
    assert QuickstartConfig(source="dogs.csv").folder == Path("runs/quickstart-dogs")
    assert QuickstartConfig(source="dogs.csv", out="here").folder == Path("here")


def test_fresh_reaches_every_stage() -> None:
    config = QuickstartConfig(fresh=True)
    assert config.generate_config(Path("b")).fresh


def test_control_and_tuned_differ_only_in_their_texts() -> None:
    tuned, control = (QuickstartConfig().train_options(is_) for is_ in (False, True))
    assert replace(control, control=False) == tuned
    assert control.control


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("held_out", 9), ("held_out", -5), ("align_epochs", 0), ("train_epochs", 0)),
        *(("batch_size", 1), ("paraphrase", 0), ("candidates", 0), ("seed", -1)),
        *(("learning_rate", 0.0), ("align_learning_rate", -1.0), ("text_temperature", math.inf)),
    ],
)
def test_invalid_options_are_refused_before_the_first_stage(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"--{name.replace('_', '-')}"):
        QuickstartConfig(**{name: value})


def pictures(folder: Path, count: int, text: str = "thing {}") -> Path:
    """Pictures of one colour each with a caption beside."""
    folder.mkdir()
    for number in range(count):
        draw(folder / f"{number}.png", "disc", "red")
        (folder / f"{number}.txt").write_text(text.format(number))
    return folder


def test_broken_rows_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = pictures(tmp_path / "pictures", 30)
    (folder / "7.png").unlink()
    draw(folder / "30.png", "disc", "red"), (folder / "30.txt").write_text("thing 30")
    config = QuickstartConfig(str(folder), str(tmp_path / "out"), max_broken=0.1)
    split = split_source(config, Problems(0.1))
    assert len(split.held_out) == 10 and "20 captions to learn from, 10" in capsys.readouterr().out
    listed = (tmp_path / "out" / "broken.txt").read_text()
    assert listed == f"{folder / '7.txt'}\tthere is no picture beside it\n"


def test_captions_without_a_picture_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pictures(tmp_path / "pictures", 30)
    rows = [f"thing {number},{folder}/{number}.png" for number in range(30)]
    (tmp_path / "a.csv").write_text("\n".join(["caption,image", *rows, "alone,", "too,"]))
    config = QuickstartConfig(str(tmp_path / "a.csv"), str(tmp_path / "out"))
    assert len(split_source(config, Problems()).learn) == 22
    assert "2 of them have no picture and are used" in capsys.readouterr().out


def test_pictures_that_all_share_a_caption_cannot_be_held_out(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "pictures", 31, "the same")
    with pytest.raises(UserError, match="only 0 pictures could be held out"):
        split_source(QuickstartConfig(str(folder), str(tmp_path / "out")), Problems())


def test_broken_pictures_are_listed_and_counted_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pictures(tmp_path / "pictures", 4)
    (folder / "2.png").write_bytes(b"not a picture")
    config = QuickstartConfig(str(folder), str(tmp_path / "out"), max_broken=0.5)
    images = sorted(str(path) for path in folder.glob("*.png"))
    rows = [Caption(name, "a picture", name, name, "here") for name in images]
    job = Job(config, config.folder, Split(rows, []), Problems(0.5))
    features = job.prepare_base(tiny_clip()).features
    assert torch.equal(features.isnan().all(1), torch.tensor([False, False, True, False]))
    assert job.problems.count == 1
    assert "1 broken rows or pictures" in capsys.readouterr().out
    assert "2.png" in (config.folder / "broken.txt").read_text()


def test_a_stage_whose_captions_changed_starts_from_scratch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = QuickstartConfig("here", str(tmp_path))
    job, runs = Job(config, tmp_path, Split([], []), Problems()), []

    def run(fresh: bool) -> Path:
        runs.append(fresh)
        if not fresh:
            raise AnotherRun(tmp_path, "another run lies here", "Choose another --out.")
        return tmp_path / "made"

    assert job.resumed_or_repeated("base", run) == tmp_path / "made" and runs == [False, True]
    assert "base starts from scratch" in capsys.readouterr().out
