"""The folder of a run: resumed runs end with the same bits, and no file of a user is lost."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from run_processes import (
    SETTINGS,
    apart,
    killed_at_step,
    killed_while_writing,
)
from training_rows import Tuned, assert_same_outcome, stopped, tune

from extent import KILLS
from paraclip.commands.train import print_summary
from paraclip.data.captions import Problems
from paraclip.errors import UserError
from paraclip.models.tensors import hash_tensors
from paraclip.output_folder import RECORD
from paraclip.training import checkpoint as state
from paraclip.training.checkpoint import (
    FILES,
    FORMAT,
    Progress,
    RunFolder,
    open_run,
    save_state,
)
from tiny import TinyModel, make_triples


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Tuned:
    """A run of twelve steps with dropout, never interrupted."""
    return tune(tmp_path_factory.mktemp("whole"), **SETTINGS)


@pytest.mark.parametrize(("step", "seconds"), [(0, 0), (1, 0), (5, 0), (11, 0), (7, 1e9)])
def test_stopped_and_started_again_with_or_without_a_recent_state(tmp_path, whole, step, seconds):
    stopped(tmp_path, step, save_seconds=seconds, **SETTINGS)
    assert not (seconds and (tmp_path / "states").exists())
    assert_same_outcome(tune(tmp_path, **SETTINGS), whole)


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16"},
        {"micro_batch": 4, "text_temperature": 0.2, "image_loss_on": ("caption", "paraphrase_2")},
        {"loss_weights": {"L1": 0, "L2": 0}},
    ],
)
def test_every_variant_continues_where_it_stopped_again_and_again(tmp_path, changes):
    settings = {**SETTINGS, "epochs": 2, **changes}
    for step in (2, 4):
        stopped(tmp_path / "parts", step, **settings)
    parts = tune(tmp_path / "parts", **settings)
    assert_same_outcome(parts, tune(tmp_path / "whole", **settings))


@pytest.mark.parametrize(
    "step", sorted({(11 * kill) // max(1, KILLS - 1) for kill in range(KILLS)})
)
def test_killed_before_a_step(tmp_path, whole, step):
    assert apart(killed_at_step, tmp_path, step) == -signal.SIGKILL
    assert not (tmp_path / "last.safetensors").exists()
    assert_same_outcome(tune(tmp_path, **SETTINGS), whole)


@pytest.mark.parametrize(("name", "time"), [("state", 1), ("state", 3), ("last", 1), ("merged", 1)])
def test_killed_in_the_middle_of_a_write(tmp_path, whole, name, time):
    assert apart(killed_while_writing, tmp_path, name, time) == -signal.SIGKILL
    assert list(tmp_path.rglob(".*.part")), "half a file"
    assert_same_outcome(tune(tmp_path, **SETTINGS), whole)
    assert not list(tmp_path.rglob(".*.part"))


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_the_newest_state_is_damaged(tmp_path, whole, damage, capsys):
    stopped(tmp_path, 7, **SETTINGS)
    newest = sorted((tmp_path / "states").iterdir())[-1]
    content = newest.read_bytes()
    flipped = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
    newest.write_bytes({"cut": content[:-9], "flip": flipped, "empty": b""}[damage])
    stopped(tmp_path, 8, **SETTINGS)
    assert f"{newest.name} is damaged" in capsys.readouterr().err
    assert newest.with_suffix(".damaged").exists()
    assert_same_outcome(tune(tmp_path, **SETTINGS), whole)


def save(folder: Path, step: int) -> torch.nn.Parameter:
    """Write a state of one weight."""
    weight = torch.nn.Parameter(torch.full((2,), float(step)))
    save_state(folder, {"a": weight}, torch.optim.AdamW([weight]), Progress(step=step))
    return weight


def test_states_written_after_damaged_ones_are_kept_and_only_two_of_them(tmp_path):
    for step in (7, 8):
        (tmp_path / state._state_name(step)).write_bytes(b"damaged")
    (tmp_path / state._state_name(9)).mkdir()
    (tmp_path / state._state_name(10)).symlink_to(state._state_name(10))
    assert state._newest_state(tmp_path) is None
    for step in (1, 2, 4):
        save(tmp_path, step)
    tensors, progress = state._newest_state(tmp_path)
    assert progress == Progress(step=4) and tensors["weight.a"].tolist() == [4.0, 4.0]
    names = sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".safetensors")
    assert names == [state._state_name(2), state._state_name(4)]


def test_a_state_that_is_a_pipe_is_an_error(tmp_path):
    os.mkfifo(tmp_path / state._state_name(1))
    with pytest.raises(UserError, match="is a pipe"):
        state._newest_state(tmp_path)


@pytest.mark.parametrize("part", ["hash", "place"])
def test_a_state_that_lacks_a_part_or_has_another_place_is_damaged(tmp_path, part):
    path = tmp_path / state._state_name(3)
    facts = {"step": 3, "place": {"step": 3}, "hash": "0"}
    state._write_tensors(path, {"a": torch.ones(1)}, {k: v for k, v in facts.items() if k != part})
    with pytest.raises(ValueError, match=part):
        state._load_state(path)
    tensors = {"a": torch.ones(1)}
    state._write_tensors(path, tensors, {**facts, "hash": state._state_hash(tensors, {"step": 4})})
    with pytest.raises(ValueError, match="does not match"):
        state._load_state(path)


def test_a_line_of_the_log_that_was_cut_short_is_written_again(tmp_path, whole):
    stopped(tmp_path, 5, **SETTINGS)
    (tmp_path / "states" / state._state_name(5)).unlink()  # a state follows its line
    log = tmp_path / "metrics.jsonl"
    log.write_text(log.read_text()[:-20])
    assert_same_outcome(tune(tmp_path, **SETTINGS), whole)


def test_a_finished_run_gives_its_weights_trains_nothing_and_leaves_no_states(tmp_path, capsys):
    run = tune(tmp_path, epochs=1)
    assert (tmp_path / "last.md").exists() and not (tmp_path / "states").exists()
    state._write_tensors(tmp_path / "states" / "state-000006.safetensors", {}, {})  # of a late kill
    before = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir() if file.is_file()}
    again = tune(tmp_path, epochs=1)
    assert hash_tensors(again.model.state_dict()) == hash_tensors(run.model.state_dict())
    assert again.checkpoint == run.checkpoint and "finished already" in capsys.readouterr().err
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert not (tmp_path / "states").exists()


@pytest.mark.parametrize("finished", [True, False])
def test_another_run_in_the_folder_is_refused_and_fresh_replaces_it(tmp_path, finished):
    if finished:
        tune(tmp_path, **SETTINGS)
    else:
        stopped(tmp_path, 5, **SETTINGS)
    for others, differing in (
        ({"seed": 1}, r"seed \(there 0, now 1\).*--fresh"),
        ({"dropout": None}, "dropout"),  # the model's own is not the same as a number
        ({"triples": make_triples(23)}, "data"),
        ({"model": TinyModel(seed=1)}, "base"),
    ):
        with pytest.raises(UserError, match=f"other settings: {differing}"):
            tune(tmp_path, **SETTINGS | others)
    (tmp_path / "notes.txt").write_text("mine")
    assert len(tune(tmp_path, seed=1, fresh=True, **SETTINGS).steps) == 12
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_states_without_the_record_of_their_run_are_not_resumed(tmp_path):
    stopped(tmp_path / "run", 5, **SETTINGS)
    (tmp_path / "run" / "run.json").unlink()
    other = tune(tmp_path / "run", seed=1, **SETTINGS)
    assert_same_outcome(other, tune(tmp_path / "other", seed=1, **SETTINGS))


def test_only_the_runs_own_files_count_as_replaced(tmp_path):
    tune(tmp_path, epochs=1)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "last.safetensors").write_bytes(bytes(10**6))
    (tmp_path / "inspect").mkdir()
    (tmp_path / "inspect" / "step-1.safetensors").symlink_to("gone")
    assert 0 < RunFolder(tmp_path).count_bytes() < 10**6


def files(folder: Path) -> dict[Path, bytes]:
    """Every file of a folder with its content, without the lock and the record."""
    rest = {".lock", RECORD}
    found = (path for path in folder.rglob("*") if path.is_file() and path.name not in rest)
    return {path: path.read_bytes() for path in found}


FOREIGN = ["states/mine.txt", "notes.part", ".notes.part", "inspect/photo.png", "tensorboard/a.log"]


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
    assert files(tmp_path) == before


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("forged", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_files_of_something_else_are_refused_and_left_alone(tmp_path, name, forged, fresh):
    folder = RunFolder(tmp_path)
    if forged:  # a run's record does not make the files beside it a run's
        folder.files.write(folder.identity_file, json.dumps({"format": FORMAT, "identity": {}}))
    path = tmp_path / name.replace("*", "1")
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"mine": 1}\n')
    before = files(tmp_path)
    with pytest.raises(UserError, match="not written by") as caught:
        open_run(folder, {}, fresh)
    assert caught.value.where == str(path) and "--fresh" not in caught.value.hint
    assert files(tmp_path) == before


def test_a_fresh_start_removes_all_that_the_run_wrote(tmp_path):
    tune(tmp_path, epochs=1)
    problems = Problems()
    problems.add("a.png", "is broken")
    problems.write(tmp_path / "problems.txt", "training")
    for name in ("states/state-000000001.damaged", "inspect/step-1.safetensors"):
        RunFolder(tmp_path).files.record({tmp_path / name: None})
        state._write_tensors(tmp_path / name, {}, {})
    (tmp_path / ".last.safetensors.77.part").write_text("half of it")
    RunFolder(tmp_path).clear_parts()
    RunFolder(tmp_path).clear()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", RECORD]


@pytest.fixture
def finished(tmp_path: Path) -> RunFolder:
    """The folder of a finished run."""
    folder = RunFolder(tmp_path)
    open_run(folder, {"seed": 1}, fresh=False)
    folder.last.touch()
    folder.write_summary({"steps": 3})
    return folder


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff", b"[" * 100_000])
def test_a_damaged_summary_is_named(finished, content):
    assert finished.finished()["steps"] == 3
    finished.summary_file.write_bytes(content)
    with pytest.raises(UserError, match=r"summary\.json: .* or add --fresh to start over"):
        finished.finished()


def test_a_summary_without_a_value_is_named(finished):
    with pytest.raises(UserError, match=r"summary\.json: has no value 'rows'.* add --fresh"):
        print_summary(finished.last)


def test_a_damaged_record_of_the_run_is_named(finished):
    finished.identity_file.write_text("{}")
    with pytest.raises(UserError, match=r"run\.json: is not a run's record"):
        open_run(finished, {"seed": 1}, fresh=False)


def test_options_that_a_version_lacks_must_have_been_off(finished):
    open_run(finished, {"seed": 1, "new": 0.0, "newer": False}, fresh=False)
    with pytest.raises(UserError, match=r"new \(there None, now 0.5\)"):
        open_run(finished, {"seed": 1, "new": 0.5}, fresh=False)
