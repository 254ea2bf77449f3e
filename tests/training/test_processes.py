"""Two processes give the gradient and the run of one; one that dies stops the other."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from run_processes import train
from test_grad_cache import assert_same, gradient
from test_resume import Stop
from training_rows import weights_of

from paraclip.training import launch, loop
from paraclip.training.launch import placed
from paraclip.training.metrics_log import read_metrics
from paraclip.training.processes import ALONE, Processes, this_process

SCRIPT = Path(__file__).with_name("run_processes.py")


def start(count: int, folder: Path, what: str) -> list[subprocess.Popen[str]]:
    """So many processes of a run on this machine, as torchrun starts them."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    common = {
        "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "PARACLIP_QUIET": "1", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    return [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder), what], text=True,
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for rank in range(count)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """What two processes did: everything in one start, which takes the longest."""
    folder = tmp_path_factory.mktemp("several")
    take_step = loop.take_step

    def step_or_stop(run, rows):
        if run.step == 5:
            raise Stop
        return take_step(run, rows)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(loop, "take_step", step_or_stop)
        train(folder / "went_on")
    train(folder / "one")
    said = [process.communicate(timeout=120) for process in start(2, folder, "several")]
    assert (folder / "went_on" / "last.safetensors").exists(), said
    assert said[1] == ("", ""), "the second process is silent"
    return folder


@pytest.mark.parametrize("name", ["plain", "cached"])
def test_two_processes_give_the_gradient_of_one_on_an_uneven_batch(done, tmp_path, name):
    losses, wanted = gradient(tmp_path, 1000, 4, dropout=0.0)
    found = weights_of(done / f"{name}.safetensors")
    assert_same([found], [{**losses, **wanted}], 1e-9)
    assert "logit_scale" in found and "image_tower.head.weight" in found


@pytest.mark.parametrize("name", ["two", "cached", "went_on"])
def test_two_processes_train_as_one_also_where_one_process_began(done, name):
    one, other = (read_metrics(done / run / "metrics.jsonl") for run in ("one", name))
    assert [step["step"] for step in one] == [step["step"] for step in other]
    for figure in ("loss", "gradient_norm", "learning_rate", "logit_scale"):
        assert [s[figure] for s in other] == pytest.approx([s[figure] for s in one], rel=1e-3)
    tuned, same = (weights_of(done / run / "last.safetensors") for run in ("one", name))
    for weight, value in tuned.items():
        torch.testing.assert_close(same[weight], value, rtol=1e-3, atol=1e-4)


def test_a_process_that_dies_stops_the_others_with_one_message(tmp_path):
    processes = start(3, tmp_path, "dies")
    said = [process.communicate(timeout=100)[1] for process in processes]
    assert processes[1].returncode == -9
    assert processes[0].returncode == processes[2].returncode == launch.EXIT_CODE
    lines = [line for text in said for line in text.splitlines() if "paraclip:" in line]
    assert len(lines) == 1 and "process 1 of 3 died or failed" in lines[0]
    assert list((tmp_path / "dies" / "states").iterdir()), "a state to go on from"


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


def test_a_silent_process_is_noticed_and_one_that_is_done_is_not(monkeypatch):
    store, clock = Store(), [0.0]
    monkeypatch.setattr(launch, "BEAT", 1000.0)
    monkeypatch.setattr(launch.time, "monotonic", lambda: clock[0])
    heart = launch.Heart(store, Processes(0, 3), silence=30.0)
    store["paraclip/beat/1"], store["paraclip/beat/2"] = b"1", b"done"
    assert heart.gone() == set()
    clock[0] = 29.0
    assert heart.gone() == set()
    clock[0] = 31.0
    assert heart.gone() == {1}
    store["paraclip/beat/1"] = b"2"
    assert heart.gone() == set()
    store["paraclip/beat/1"] = b"failed"
    assert heart.gone() == {1}
    heart.stop("done")
    assert store["paraclip/beat/0"] == b"done"


def test_more_processes_than_rows_in_a_batch_are_refused(tmp_path, monkeypatch):
    from paraclip.errors import UserError
    from paraclip.training import run

    monkeypatch.setattr(run, "this_process", lambda: Processes(0, 9))
    with pytest.raises(UserError, match="9 processes"):
        train(tmp_path / "many")
