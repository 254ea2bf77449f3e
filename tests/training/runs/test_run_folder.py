"""A run deletes and overwrites only files that it wrote."""

import json
from pathlib import Path

import pytest
from tiny_model import TinyModel
from training_rows import make_config, make_features, make_triples

from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.training.folder import FORMAT, OWNED, RunFolder, write_tensors
from paraclip.training.loop import train
from paraclip.training.prepare import TrainingData

pytestmark = pytest.mark.slow


def tune(out, **changes):
    triples = make_triples()
    train(TrainingData(TinyModel(), triples, make_features(triples)), make_config(**changes), out)


def files(folder):
    """Every file of a folder with its content."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


FOREIGN = [
    "states/mine.txt",
    "notes.part",
    ".notes.part",
    "inspect/photo.png",
    "tensorboard/my.log",
]


@pytest.mark.parametrize("fresh", [False, True])
def test_what_a_run_did_not_write_stays(tmp_path, fresh):
    for name in FOREIGN:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a user's")
    before = files(tmp_path)
    tune(tmp_path, epochs=1)
    tune(tmp_path, epochs=1, fresh=fresh)
    assert before.items() <= files(tmp_path).items()
    RunFolder(tmp_path).clear()
    assert {path: text for path, text in files(tmp_path).items() if path.name != ".lock"} == before


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("forged", [False, True])
@pytest.mark.parametrize("name", OWNED)
def test_files_of_something_else_are_refused_and_left_alone(tmp_path, name, forged, fresh):
    if forged:  # a record does not make the files beside it a run's
        record = {"format": FORMAT, "identity": {}}
        (tmp_path / "run.json").write_text(json.dumps(record))
    path = tmp_path / name.replace("*", "1")
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"mine": 1}\n')
    before = files(tmp_path)
    with pytest.raises(UserError, match="not written by") as caught:
        tune(tmp_path, fresh=fresh)
    assert caught.value.where == str(path) and "--fresh" not in caught.value.hint
    assert {path: text for path, text in files(tmp_path).items() if path.name != ".lock"} == before


def test_an_edited_card_of_a_finished_run_survives_a_rerun_and_refuses_a_fresh_start(tmp_path):
    tune(tmp_path, epochs=1)
    (tmp_path / "last.md").write_text("# My model\n")
    tune(tmp_path, epochs=1)
    with pytest.raises(UserError, match=r"last\.md: exists and was not written"):
        tune(tmp_path, epochs=1, fresh=True)
    assert (tmp_path / "last.md").read_text() == "# My model\n"


def test_a_folder_that_cannot_be_made_is_one_line():
    with pytest.raises(UserError, match=r"^/proc/x"):
        tune(Path("/proc/x"))


def test_a_finished_run_leaves_no_states_and_no_empty_folder_of_them(tmp_path):
    tune(tmp_path)
    assert not (tmp_path / "states").exists()
    assert (tmp_path / "last.md").exists() and (tmp_path / "best.md").exists()


def test_a_fresh_start_removes_all_that_the_run_wrote(tmp_path):
    tune(tmp_path)
    problems = Problems()
    problems.add("a.png", "is broken")
    problems.write(tmp_path / "problems.txt")
    for name in ("states/state-000000001.damaged", "inspect/step-1.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_tensors(tmp_path / name, {}, {})
    (tmp_path / ".last.safetensors.77.part").write_text("half of it")
    RunFolder(tmp_path).clear_parts()
    RunFolder(tmp_path).clear()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
