"""Several processes match a single one; if one process exits, the others stop."""

import os
import re
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from gradients import VARIANTS, Step, assert_same
from run_processes import ALIKE, FEW, RUNS, start
from training_rows import Tuned, stopped, tune, weights_of

from paraclip.errors import UserError
from paraclip.training import train as loop
from paraclip.training.distributed import ALONE, Processes, each_process, this_process
from tiny import LOSS_PACKAGE, install


def assert_trained_alike(one: Tuned, other: Tuned) -> None:
    """Assert that two runs agree but for rounding."""
    assert [step["step"] for step in one.steps] == [step["step"] for step in other.steps]
    for figure in ("loss", "gradient_norm", "learning_rate", "logit_scale"):
        found, wanted = ([step[figure] for step in run.steps] for run in (other, one))
        assert found == pytest.approx(wanted, rel=1e-3)
    for weight, value in one.outcome()[0].items():
        torch.testing.assert_close(other.outcome()[0][weight], value, rtol=1e-3, atol=1e-4)


def run_in(folder: Path) -> Tuned:
    """A finished run in a folder."""
    return Tuned(None, folder, folder / "last.safetensors")  # type: ignore[arg-type]


def test_two_processes_train_as_one(tmp_path):
    assert [code for code, _, _ in start(2, tmp_path, "alike")] == [0, 0]
    assert_trained_alike(tune(tmp_path / "alone", **ALIKE), run_in(tmp_path / "alike"))


def test_a_loss_of_a_package_trains_in_two_processes_as_in_one(tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    entries = "closeness = closer:Closeness\ncareless = closer:Careless"
    install(tmp_path / "site", "closer", LOSS_PACKAGE, losses=entries)
    assert [code for code, _, _ in start(2, tmp_path, "closeness")] == [0, 0]
    monkeypatch.syspath_prepend(tmp_path / "site")
    alone = tune(tmp_path / "alone", loss_weights={"closeness": 1.0}, **ALIKE)
    assert all(step["closeness"] > 0 for step in alone.steps)
    assert_trained_alike(alone, run_in(tmp_path / "closeness"))
    refused = start(2, tmp_path, "careless")  # it would count twice
    assert [code for code, _, _ in refused] == [2, 2] and "loss careless" in refused[0][2]
    assert not (tmp_path / "careless" / "metrics.jsonl").read_text()


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """The results of runs in three processes; one of the runs was begun by one."""
    folder = tmp_path_factory.mktemp("several")
    stopped(folder / "went_on", 4, **ALIKE)
    said = start(3, folder, "several")
    assert [code for code, _, _ in said] == [0, 0, 0], said
    assert said[1][1:] == said[2][1:] == ("", ""), "only the first speaks"
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("micro_batch", [1000, 2])
@pytest.mark.parametrize("variant", VARIANTS)
def test_processes_give_the_gradient_of_one_on_an_uneven_batch(
    done, tmp_path, variant, micro_batch
):
    losses, wanted = Step(tmp_path, **{**VARIANTS[variant], "dropout": 0.0}).gradient()
    found = weights_of(done / f"{variant}-{micro_batch}.safetensors")
    assert_same([found], [{**losses, **wanted}], 1e-9)
    assert "logit_scale" in found


@pytest.mark.slow
def test_processes_without_any_row_of_a_loss_take_part_all_the_same(done, tmp_path):
    losses, wanted = Step(tmp_path, loss_weights={"L2": 0.0, "L3": 0.0}, dropout=0.0).gradient(FEW)
    assert_same([weights_of(done / "few.safetensors")], [{**losses, **wanted}], 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_processes_train_as_one_also_where_one_began(done, tmp_path, name):
    assert_trained_alike(tune(tmp_path, **ALIKE, **RUNS[name]), run_in(done / name))


ERROR = r"(?s).*Traceback.*IndexError: list index out of range\n"
FEW_STEPS = r"(paraclip: 6 steps .*\n)?"
LOST = (
    FEW_STEPS
    + r"paraclip: processes: process \d of 3 lost another one, which failed or died\. .*\n"
)
BROKEN = r"paraclip: picture\.png: is broken\. Fix it\.\n"
OTHERS = r"paraclip: processes: process \d has other rows, weights or options than process 0\. .*\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "codes", "errors"),
    [
        ("dies", [2, -9, 2], [LOST, "", LOST]),
        ("fails", [2, 2, 2], [LOST, BROKEN, LOST]),
        ("errs", [1, 2, 2], [ERROR, LOST, LOST]),
        ("apart", [2, 2, 2], [LOST, OTHERS, OTHERS]),
    ],
)
def test_where_one_is_gone_all_end_by_themselves_and_report_why(tmp_path, what, codes, errors):
    outputs = start(3, tmp_path, what)
    assert [code for code, _, _ in outputs] == codes
    for (_, _, text), wanted in zip(outputs, errors, strict=True):
        assert re.fullmatch(wanted, text), text
    cleaned = [(tmp_path / f"{what}-{rank}-cleaned").exists() for rank in range(3)]
    assert cleaned == [code > 0 for code in codes], "nobody skips its clean-up but the killed one"
    if what != "apart":  # one process goes on from the state of three
        assert list((tmp_path / what / "states").iterdir())
        assert_trained_alike(tune(tmp_path / "alone", **ALIKE), tune(tmp_path / what, **ALIKE))


def test_alone_there_is_nothing_to_join_or_to_wait_for():
    assert this_process() == ALONE and ALONE.first and ALONE.share == (0, 1)
    rows = torch.ones(2, 3)
    assert ALONE.gather(rows, [2]) is rows and ALONE.from_first(4) == 4
    ALONE.wait()
    with ALONE.first_goes_first():
        ALONE.add_up([rows])
    assert torch.equal(rows, torch.ones(2, 3))


SLURM = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1"}
OURS = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "0"}


@pytest.fixture
def joined(monkeypatch):
    """On a machine with two GPUs: the ranks with which this process joined others, and devices."""
    seen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: None)
    monkeypatch.setattr(
        dist, "init_process_group", lambda *_, **__: seen.extend(map(os.environ.get, OURS))
    )
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)

    def join(environment, device="auto"):
        monkeypatch.setattr(os, "environ", dict(environment))
        seen.clear()
        with each_process(device) as own:
            seen.append(own)
        return seen

    return join


def test_places_given_by_torchrun_and_by_slurm(joined):
    assert joined({}) == ["auto"]
    assert joined({**OURS, "SLURM_PROCID": "9"}) == ["1", "4", "0", "cuda:0"]
    assert joined(SLURM) == ["auto"], "without MASTER_ADDR every task is a run of its own"
    assert joined({**SLURM, "MASTER_ADDR": "node1"}, "cuda") == ["3", "4", "1", "cuda:1"]


@pytest.mark.parametrize("device", ["cuda:1", "mps"])
def test_one_device_for_all_processes_is_refused(joined, device):
    with pytest.raises(UserError, match=f"--device: {device} cannot serve several processes"):
        joined(OURS, device)


def test_more_processes_than_gpus_are_refused(joined):
    with pytest.raises(UserError, match="which has 2 GPUs"):
        joined({**OURS, "LOCAL_RANK": "2"})


def test_more_processes_than_rows_in_a_batch_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "this_process", lambda: Processes(0, 9))
    monkeypatch.setattr(Processes, "check_alike", lambda self, identity: None)
    monkeypatch.setattr(Processes, "from_first", lambda self, value: value)
    with pytest.raises(UserError, match="9 processes"):
        tune(tmp_path / "many")
