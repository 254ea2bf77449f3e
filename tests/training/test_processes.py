"""Several processes give the gradient and the run of one; one that is gone stops the others."""

from pathlib import Path

import pytest
import torch
from gradients import VARIANTS, assert_same, gradient
from run_processes import FEW, RUNS, start, train
from test_resume import Stop
from training_rows import weights_of

from paraclip.errors import UserError
from paraclip.training import launch, loop
from paraclip.training.launch import own_device, placed
from paraclip.training.metrics_log import read_metrics
from paraclip.training.processes import ALONE, Processes, this_process


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """What three processes did, and beside it what one does."""
    folder = tmp_path_factory.mktemp("several")
    take_step = loop.take_step

    def step_or_stop(run, batch):
        if run.step == 5:
            raise Stop
        return take_step(run, batch)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(loop, "take_step", step_or_stop)
        train(folder / "went_on")
    for name, changes in RUNS.items():
        train(folder / "alone" / name, **changes)
    said = start(3, folder, "several")
    assert [code for code, _, _ in said] == [0, 0, 0], said
    assert said[1][1:] == said[2][1:] == ("", ""), "only the first speaks"
    return folder


@pytest.mark.parametrize("micro_batch", [1000, 2])
@pytest.mark.parametrize("variant", VARIANTS)
def test_processes_give_the_gradient_of_one_on_an_uneven_batch(
    done, tmp_path, variant, micro_batch
):
    losses, wanted = gradient(tmp_path, 1000, **(VARIANTS[variant] | {"dropout": 0.0}))
    found = weights_of(done / f"{variant}-{micro_batch}.safetensors")
    assert_same([found], [{**losses, **wanted}], 1e-9)
    assert "logit_scale" in found


def test_processes_without_any_row_of_a_loss_take_part_all_the_same(done, tmp_path):
    losses, wanted = gradient(tmp_path, 1000, FEW, weights=(1.0, 0.0, 0.0), dropout=0.0)
    assert_same([weights_of(done / "few.safetensors")], [{**losses, **wanted}], 1e-9)


@pytest.mark.parametrize("name", RUNS)
def test_processes_train_as_one_also_where_one_began(done, name):
    one, other = (read_metrics(done / run / "metrics.jsonl") for run in (f"alone/{name}", name))
    assert [step["step"] for step in one] == [step["step"] for step in other]
    for figure in ("loss", "gradient_norm", "learning_rate", "logit_scale"):
        assert [s[figure] for s in other] == pytest.approx([s[figure] for s in one], rel=1e-3)
    tuned, same = (weights_of(done / run / "last.safetensors") for run in (f"alone/{name}", name))
    for weight, value in tuned.items():
        torch.testing.assert_close(same[weight], value, rtol=1e-3, atol=1e-4)


def test_one_process_goes_on_where_several_stopped(tmp_path):
    train(tmp_path / "alone")
    assert start(2, tmp_path, "dies")[1][0] == -9
    train(tmp_path / "dies")
    one, other = (read_metrics(tmp_path / run / "metrics.jsonl") for run in ("alone", "dies"))
    assert [s["loss"] for s in other] == pytest.approx([s["loss"] for s in one], rel=1e-3)


@pytest.mark.parametrize(
    ("what", "codes", "line"),
    [
        ("dies", [3, -9, 3], "paraclip: process 1 of 3 died; all others stop."),
        ("fails", [2, 2, 2], "paraclip: picture.png: is broken. Mend it."),
        ("errs", [1, 1, 1], "IndexError: list index out of range"),
        ("apart", [2, 2, 2], "has other rows, weights or options than process 0"),
    ],
)
def test_where_one_is_gone_all_stop_and_one_says_why(tmp_path, what, codes, line):
    said = start(3, tmp_path, what)
    assert [code for code, _, _ in said] == codes
    errors = [text for _, _, text in said if text]
    assert len(errors) == 1 and line in errors[0]
    assert what == "errs" or errors[0].count("\n") == 1, "no traceback"
    assert what == "apart" or list((tmp_path / what / "states").iterdir()), "a state to go on from"


def test_alone_there_is_nothing_to_join_or_to_wait_for():
    assert this_process() == ALONE and ALONE.first and ALONE.share == (0, 1)
    rows = torch.ones(2, 3)
    assert ALONE.gather(rows, [2]) is rows and ALONE.told_by_first(4) == 4
    ALONE.wait()
    with ALONE.first_goes_first():
        ALONE.add_up([rows])
    assert torch.equal(rows, torch.ones(2, 3))
    with launch.joined("cpu") as (processes, device):
        assert (processes, device) == (ALONE, "cpu")


def test_places_given_by_torchrun_and_by_slurm():
    assert placed({}) == {}
    ours = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "0"}
    assert placed({**ours, "SLURM_PROCID": "9"}) == ours
    slurm = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1"}
    assert placed(slurm) == {}, "without MASTER_ADDR every task is a run of its own"
    assert placed({**slurm, "MASTER_ADDR": "node1"}) == {
        "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1",
    }  # fmt: skip


class Store(dict):
    """A store in this process."""

    def set(self, key, value):
        self[key] = value.encode()

    def get(self, key):
        return self[key]

    def check(self, keys):
        return all(key in self for key in keys)


def test_a_silent_process_is_noticed_and_one_that_speaks_again_is_not(monkeypatch):
    store, clock = Store(), [0.0]
    monkeypatch.setattr(launch, "BEAT", 1000.0)
    monkeypatch.setattr(launch.time, "monotonic", lambda: clock[0])
    heart = launch.Heartbeat(store, Processes(0, 3), silence=30.0)
    store["paraclip/beat/1"], store["paraclip/beat/2"] = b"1", b"1"
    assert heart.silent() == set()
    clock[0] = 29.0
    store["paraclip/beat/2"] = b"2"
    assert heart.silent() == set()
    clock[0] = 31.0
    assert heart.silent() == {1}
    store["paraclip/beat/1"] = b"2"
    assert heart.silent() == set()
    heart.stop()


def test_where_talking_fails_and_all_are_there_the_error_is_an_ordinary_one(monkeypatch):
    monkeypatch.setattr(launch, "DOUBT", 0.0)
    monkeypatch.setattr(launch, "BEAT", 0.01)
    heart = launch.Heartbeat(Store(), Processes(0, 1), silence=30.0)
    heart.find_out()
    assert heart.silence == 0.0
    heart.stop()


@pytest.mark.parametrize("device", ["cuda:1", "mps"])
def test_one_device_for_all_processes_is_refused(device):
    with pytest.raises(UserError, match=f"--device: {device} cannot serve several processes"):
        own_device(device, 0)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: None)
    assert [own_device("auto", 1), own_device("cuda", 0)] == ["cuda:1", "cuda:0"]
    with pytest.raises(UserError, match="which has 2 GPUs"):
        own_device("auto", 2)


def test_more_processes_than_rows_in_a_batch_are_refused(tmp_path, monkeypatch):
    from paraclip.training import run

    monkeypatch.setattr(run, "this_process", lambda: Processes(0, 9))
    with pytest.raises(UserError, match="9 processes"):
        train(tmp_path / "many")
