"""Small complete runs of the benchmarks against other training loops and across processes."""

import json
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from benchmarks.training import arithmetic, gpu, scaling
from benchmarks.training.steps import made_up_triples, random_clip
from paraclip.errors import UserError

TINY = {"model": "tiny", "batch": 12, "rounds": 2, "precision": "fp32"}


def test_two_processes_take_the_steps_of_one(tmp_path):
    two = scaling.measure(scaling.Case(2, 1), SimpleNamespace(**TINY))
    alone = SimpleNamespace(**TINY, threads=1, worker=tmp_path / "one.json")
    scaling.work(alone)
    one = json.loads(alone.worker.read_text())
    assert len(one["losses"]) == 3 and one["losses"][2] != pytest.approx(one["losses"][0], 0.01)
    assert scaling.unlike([one, two]) < scaling.TOLERANCE["fp32"]
    assert 0 < two["talking"] < 1 and one["talked"] == [0, 0]
    rows = [{**two, **one, "processes": 1, "threads": 1, "talking": 0.0}, two]
    assert "| 2 x 1 |" in scaling.as_table(rows)
    notes = scaling.notes([{**two, "processes": 1000}], SimpleNamespace(**TINY), 0.0)
    assert "1000 processes take turns" in notes


def test_losses_that_differ_are_an_error(monkeypatch):
    losses = iter([[2.0, 1.0], [2.0, 1.1], [2.0, 1.0]])
    monkeypatch.setattr(
        scaling, "measure", lambda case, chosen: {"losses": next(losses), "seconds": 1.0}
    )
    monkeypatch.setattr(sys, "argv", ["scaling.py", "--processes", "1", "2"])
    with pytest.raises(SystemExit, match=r"differ by 1\.0e-01"):
        scaling.main()


def test_talk_adds_up_the_seconds_of_every_call():
    talk = scaling.Talk()
    pause = talk.timed(time.sleep)
    pause(0.01)
    pause(0.02)
    assert talk.seconds >= 0.03


def test_the_whole_path_of_the_gpu_benchmark(run):
    found = run(gpu, "--device", "cpu", "--tiny")
    steps = [(row["step"], row["batch"]) for row in found["loops"]]
    assert len(steps) == 3 and ("open_clip, --lock-image", 8) in steps
    assert [row["step"] for row in found["ways"]] == ["paraclip, fp32", "paraclip, bf16"]
    assert all(row["triples_per_second"] > 0 for row in (*found["loops"], *found["ways"]))
    assert 0 < found["share"]["shares"]["step"] < 1
    assert found["plain"][0]["losses"] == pytest.approx(found["plain"][-1]["losses"], rel=0.02)


def test_every_arithmetic_is_timed_and_what_does_not_compile_is_passed_over(run, monkeypatch):
    def no_compiler(device):
        raise UserError("--compile", "no g++", "Install it.")

    monkeypatch.setattr("paraclip.training.run.check_compiler", no_compiler)
    found = run(arithmetic, "--model", "tiny", "--batch", 8, "--rounds", 1, "--threads", 1)
    assert [row["step"] for row in found["rows"]] == ["paraclip, fp32", "paraclip, bf16"]
    assert all(row["seconds"] > 0 and row["peak"] > 0 for row in found["rows"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_line_reports_it(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    assert gpu.main() == 2
    assert capsys.readouterr().err == "No CUDA device here: this benchmark needs one.\n"


def test_open_clip_s_loop_trains_the_text_tower_and_no_pictures():
    clip, _ = random_clip("tiny")
    before = {name: value.clone() for name, value in clip.state_dict().items()}
    gpu.TheirLoop(clip, 8, torch.device("cpu")).epoch(2)
    changed = {name for name, value in clip.state_dict().items() if value.ne(before[name]).any()}
    assert "token_embedding.weight" in changed and "logit_scale" in changed
    assert not [name for name in changed if name.startswith("visual.")]


def test_a_step_without_room_is_a_line_of_the_table():
    def steps(count):
        raise torch.OutOfMemoryError

    taken = gpu.measure(steps, 8, 1, torch.device("cpu"))
    assert taken is None
    assert gpu.as_row({"step": "ours", "batch": 8192}) == ["ours", "8,192", "has no room", "", ""]


@pytest.mark.weights
def test_sentence_transformers_gives_the_same_gradient(run):
    pytest.importorskip("sentence_transformers")
    from benchmarks.training import cached_mnrl

    sizes = ("--batch", 6, "--micro-batch", 4, "--rounds", 1, "--threads", 1)
    found = run(cached_mnrl, *sizes)
    assert 0 < found["difference"] < cached_mnrl.EQUAL
    assert [row["gradient"] for row in found["rows"]] == [
        f"{who}, {how}" for how in ("fp32", "bf16") for who in ("sentence-transformers", "paraclip")
    ]


@pytest.mark.weights
def test_gradients_of_other_weights_or_another_batch_are_distinguished(tmp_path):
    pytest.importorskip("sentence_transformers")
    from benchmarks.training import cached_mnrl

    one, other = {"a": torch.ones(2)}, {"a": torch.tensor([1.0, 2.0])}
    assert cached_mnrl.difference(one, one) == 0
    assert cached_mnrl.difference(one, other) == 0.5
    with pytest.raises(ValueError, match="other weights"):
        cached_mnrl.difference(one, {"b": torch.ones(2)})
    pairs = made_up_triples(8)
    here = cached_mnrl.theirs(pairs, 4, "fp32", tmp_path)()
    there = cached_mnrl.theirs(pairs.slice(2, 4), 4, "fp32", tmp_path)()
    assert cached_mnrl.difference(here, there) > 0.01
