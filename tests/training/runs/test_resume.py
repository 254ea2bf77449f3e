"""An interrupted and resumed run ends with the same bits as an uninterrupted one."""

import os
import signal
from pathlib import Path

import pytest
import torch
from faults import SETTINGS, apart, killed_at_step, killed_while_writing
from tiny_model import TinyModel
from training_rows import make_config, make_features, make_triples, weights_of

from paraclip.errors import UserError
from paraclip.training import folder as state
from paraclip.training import loop
from paraclip.training.loop import train
from paraclip.training.metrics import MEASURED, read_metrics
from paraclip.training.prepare import TrainingData

pytestmark = pytest.mark.slow


class Stop(Exception):
    """The run is cut off here."""


def run(out: Path, stop_before: int | None = None, **changes: object) -> Path:
    """Train a new tiny model in `out`, up to a step or to the end."""
    take_step, triples = loop.take_step, make_triples()

    def step_or_stop(under_way, rows):
        if under_way.step == stop_before:
            raise Stop
        return take_step(under_way, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "take_step", step_or_stop)
        config = make_config(**(SETTINGS | changes))
        return train(TrainingData(TinyModel(), triples, make_features(triples)), config, out)


def outcome(out: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], list[object]]:
    """Weights of best and last, and the metrics without those of the machine."""
    steps = [
        {name: value for name, value in step.items() if name not in MEASURED}
        for step in read_metrics(out / "metrics.jsonl")
    ]
    return weights_of(out / "best.safetensors"), weights_of(out / "last.safetensors"), steps


def assert_same_outcome(one: Path, other: Path) -> None:
    for a, b in zip(outcome(one)[:2], outcome(other)[:2], strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert outcome(one)[2] == outcome(other)[2]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    run(out)
    return out


@pytest.mark.parametrize("stop_before", [0, 1, 2, 3, 5, 11])
def test_stopped_and_started_again(tmp_path, uninterrupted, stop_before):
    with pytest.raises(Stop):
        run(tmp_path, stop_before)
    run(tmp_path)
    assert_same_outcome(tmp_path, uninterrupted)


def test_stopped_again_and_again_in_half_precision(tmp_path):
    run(tmp_path / "whole", precision="bf16")
    for stop_before in (3, 4, 9):
        with pytest.raises(Stop):
            run(tmp_path / "parts", stop_before, precision="bf16")
    run(tmp_path / "parts", precision="bf16")
    assert_same_outcome(tmp_path / "parts", tmp_path / "whole")


@pytest.mark.parametrize("step", [0, 1, 6, 11])
def test_killed_in_the_middle_of_a_step(tmp_path, uninterrupted, step):
    assert apart(killed_at_step, tmp_path, step) == -signal.SIGKILL
    assert not (tmp_path / "last.safetensors").exists()
    run(tmp_path)
    assert_same_outcome(tmp_path, uninterrupted)


@pytest.mark.parametrize(("name", "time"), [("state", 1), ("state", 3), ("best", 1), ("last", 1)])
def test_killed_in_the_middle_of_a_write(tmp_path, uninterrupted, name, time):
    assert apart(killed_while_writing, tmp_path, name, time) == -signal.SIGKILL
    assert list(tmp_path.rglob(".*.part")), "half a file"
    run(tmp_path)
    assert_same_outcome(tmp_path, uninterrupted)
    assert not list(tmp_path.rglob(".*.part"))


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_the_newest_state_is_damaged(tmp_path, uninterrupted, damage, capsys):
    with pytest.raises(Stop):
        run(tmp_path, 7)
    newest = sorted((tmp_path / "states").iterdir())[-1]
    whole = newest.read_bytes()
    flipped = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
    newest.write_bytes({"cut": whole[:-9], "flip": flipped, "empty": b""}[damage])
    with pytest.raises(Stop):
        run(tmp_path, 8)
    assert f"{newest.name} is damaged" in capsys.readouterr().err
    assert newest.with_suffix(".damaged").exists()
    run(tmp_path)
    assert_same_outcome(tmp_path, uninterrupted)


def test_states_written_after_damaged_ones_are_kept(tmp_path):
    for step in (7, 8):
        (tmp_path / state.state_name(step)).write_bytes(b"damaged")
    (tmp_path / state.state_name(9)).mkdir()
    (tmp_path / state.state_name(10)).symlink_to(state.state_name(10))
    assert state.newest_state(tmp_path) is None
    state.save_state(tmp_path, 2, {"a": torch.ones(2)}, {"step": 2})
    tensors, place = state.newest_state(tmp_path)
    assert place == {"step": 2} and torch.equal(tensors["a"], torch.ones(2))
    state.save_state(tmp_path, 4, {"a": torch.zeros(2)}, {"step": 4})
    names = sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".safetensors")
    assert names == [state.state_name(2), state.state_name(4)]


def test_a_state_that_is_a_pipe_is_an_error(tmp_path):
    os.mkfifo(tmp_path / state.state_name(1))
    with pytest.raises(UserError, match="is a pipe"):
        state.newest_state(tmp_path)


@pytest.mark.parametrize("part", ["hash", "place"])
def test_a_state_that_lacks_a_part_or_has_another_place_is_damaged(tmp_path, part):
    path = tmp_path / state.state_name(3)
    facts = {"step": 3, "place": {"step": 3}, "hash": "0"}
    state.write_tensors(path, {"a": torch.ones(1)}, {k: v for k, v in facts.items() if k != part})
    with pytest.raises(ValueError, match=part):
        state.load_state(path)
    state.save_state(tmp_path, 3, {"a": torch.ones(1)}, {"step": 3})
    tensors, _ = state.load_state(path)
    state.write_tensors(path, tensors, {**facts, "hash": state.state_hash(tensors, {"step": 4})})
    with pytest.raises(ValueError, match="does not match"):
        state.load_state(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "sigmoid", "learn_text_temperature": True},
        {"micro_batch": 4, "text_temperature": 0.2, "image_loss_on": ("caption", "paraphrase_2")},
        {"weights": (0, 0, 1), "patience": 2},
    ],
)
def test_every_variant_continues_where_it_stopped(tmp_path, changes):
    run(tmp_path / "whole", **changes)
    with pytest.raises(Stop):
        run(tmp_path / "parts", 5, **changes)
    run(tmp_path / "parts", **changes)
    assert_same_outcome(tmp_path / "parts", tmp_path / "whole")


def test_a_line_of_the_log_that_was_cut_short_is_written_again(tmp_path, uninterrupted):
    with pytest.raises(Stop):
        run(tmp_path, 5)
    log = tmp_path / "metrics.jsonl"
    log.write_text(log.read_text()[:-20])
    run(tmp_path)
    assert_same_outcome(tmp_path, uninterrupted)


def test_a_finished_run_reports_it_and_trains_nothing(tmp_path, capsys):
    path = run(tmp_path)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert run(tmp_path, stop_before=0) == path
    assert "finished already" in capsys.readouterr().err
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == before
    assert not (tmp_path / "states").exists()


def test_states_left_by_a_kill_after_the_summary_are_removed(tmp_path):
    path = run(tmp_path)
    left = tmp_path / "states" / "state-000006.safetensors"
    left.parent.mkdir()
    state.write_tensors(left, {}, {})
    assert run(tmp_path, stop_before=0) == path
    assert not left.parent.exists() and path.exists()


@pytest.mark.parametrize("finished", [True, False])
def test_another_run_in_the_folder_is_refused_and_fresh_replaces_it(tmp_path, finished):
    if finished:
        run(tmp_path)
    else:
        with pytest.raises(Stop):
            run(tmp_path, 5)
    with pytest.raises(UserError, match=r"seed \(there 0, now 1\).*--fresh"):
        run(tmp_path, seed=1)
    (tmp_path / "notes.txt").write_text("mine")
    run(tmp_path, seed=1, fresh=True)
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 12
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_other_data_or_another_base_in_the_same_folder_is_refused(tmp_path):
    run(tmp_path)
    triples = make_triples(23)
    config = make_config(**SETTINGS)
    with pytest.raises(UserError, match="data"):
        train(TrainingData(TinyModel(), triples, make_features(triples)), config, tmp_path)
    triples = make_triples()
    with pytest.raises(UserError, match="base"):
        train(TrainingData(TinyModel(seed=1), triples, make_features(triples)), config, tmp_path)


def test_a_damaged_record_of_the_run_is_named(tmp_path):
    run(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match=r"run\.json: is not a run"):
        run(tmp_path)


def test_only_the_newest_two_states_are_kept(tmp_path):
    with pytest.raises(Stop):
        run(tmp_path, 9)
    names = [path.name for path in sorted((tmp_path / "states").iterdir())]
    assert names == [state.state_name(8), state.state_name(9)]
