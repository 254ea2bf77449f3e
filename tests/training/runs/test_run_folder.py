"""A run deletes and overwrites only files that it wrote."""

import pytest
from tiny_model import TinyModel
from training_rows import make_config, make_features, make_triples

from paraclip.errors import UserError
from paraclip.training.folder import WRITTEN, RunFolder
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
@pytest.mark.parametrize("name", [*WRITTEN, "states/state-000000009.safetensors", "run.json"])
def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path, name, fresh):
    path = tmp_path / name.replace("*", "1")
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"mine": 1}\n')
    before = files(tmp_path)
    with pytest.raises(
        UserError, match=r"(written by a training run|run's record)\. Choose"
    ) as caught:
        tune(tmp_path, fresh=fresh)
    assert caught.value.where == str(path) and "--fresh" not in caught.value.hint
    assert {path: text for path, text in files(tmp_path).items() if path.name != ".lock"} == before


def test_a_finished_run_leaves_no_states_and_no_empty_folder_of_them(tmp_path):
    tune(tmp_path)
    assert not (tmp_path / "states").exists()
    assert (tmp_path / "last.md").exists() and (tmp_path / "best.md").exists()


def test_a_fresh_start_removes_all_that_the_run_wrote(tmp_path):
    tune(tmp_path)
    for name in ("problems.txt", "states/state-000000001.damaged", "inspect/step-1.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("by the run")
    (tmp_path / ".last.safetensors.77.part").write_text("half of it")
    RunFolder(tmp_path).clear_parts()
    RunFolder(tmp_path).clear()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
