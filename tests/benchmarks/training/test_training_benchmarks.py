"""Complete runs of every training benchmark with a tiny model; their arithmetic is checked."""

from mmap import PAGESIZE, mmap

import numpy as np
import pytest

from benchmarks.machine import CPU, GIB, forget_peak, memory_in_use, peak_memory
from benchmarks.training import throughput as training_throughput
from benchmarks.training.steps import (
    made_up_triples,
    plain_step,
    random_clip,
    random_features,
)

pytestmark = pytest.mark.slow

TINY = ("--model", "tiny", "--threads", 1)


def touched(size: int) -> mmap:
    """Memory of the kernel's that the allocator does not keep once it is closed."""
    memory = mmap(-1, size)
    for page in range(0, size, PAGESIZE):
        memory[page] = 1
    return memory


def test_the_peak_is_what_was_held_since_it_was_forgotten():
    large = touched(GIB // 4)
    forget_peak(CPU)
    before = memory_in_use()
    large.close()
    touched(GIB // 16).close()
    assert peak_memory(CPU) - before < GIB // 32, "the large one was gone before"
    forget_peak(CPU)
    before = memory_in_use()
    touched(GIB // 4).close()
    assert peak_memory(CPU) - before == pytest.approx(GIB // 4, rel=0.05)


def test_plain_steps_and_ours_learn_alike(run):
    found = run(training_throughput, *TINY, "--batch", 8, "--rounds", 4)
    rows = found["rows"]
    curves = {row["step"]: row["losses"] for row in rows}
    plain = curves["plain open_clip: 77 tokens, image tower each step, fp32"]
    assert plain[3] != pytest.approx(plain[0], rel=0.01), "it learns"
    for name, losses in curves.items():
        tolerance = 1e-4 if "bf16" not in name and name != "paraclip" else 0.02
        assert losses == pytest.approx(plain, rel=tolerance), name
    assert rows[0]["ratio"] == 1.0 and 0 <= found["input_wait"] < 1


def test_the_plain_gradient_reaches_every_weight_of_the_tower():
    _, model = random_clip("tiny")
    plain = plain_step(model, made_up_triples(8), random_features(model, 8))
    plain.loss(np.arange(8)).backward()
    assert {id(weight) for weight in plain.weights} == {
        id(value) for value in (*model.text_tower.parameters(), model.logit_scale)
    }
    assert all(weight.grad is not None for weight in plain.weights)
