"""Complete runs of the training benchmarks with a tiny model."""

import pytest

from benchmarks.training import recipe as training_recipe
from benchmarks.training import throughput as training_throughput

TINY = ("--model", "tiny", "--threads", 1)


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.weights
def test_the_recipe_written_plainly_learns_as_ours(run):
    found = run(training_recipe, *TINY, "--batch", 8, "--bank", 50, "--rounds", 4)
    plain, ours = (row["losses"] for row in found["rows"])
    assert plain[3] < 0.8 * plain[0], "it learns"
    assert ours == pytest.approx(plain, rel=0.02)
