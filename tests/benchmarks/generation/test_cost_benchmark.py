"""The cost estimate: sizes of published towers, and arithmetic checked by hand."""

import argparse

import pytest

from benchmarks.generation import cost

SLOPES = cost.Slopes(
    prompt_tokens=100, answer_tokens=20, text_tokens=10, pictures_per_second=1000 / 3.6
)
ASSUMED = argparse.Namespace(
    peak=1000.0, share=36.0, gpu_hour=2.0, input_price=0.5, output_price=1.5
)


def test_the_estimate_by_hand() -> None:
    found = cost.estimate(SLOPES, "ViT-B-32", ASSUMED)
    assert found["million_tokens"] == {"in": 500, "out": 100}
    assert found["money"]["generation"] == 500 * 0.5 + 100 * 1.5
    assert found["decoding_core_hours"] == pytest.approx(5)
    training = 5e6 * 3 * 10 * 6 * 12 * 12 * 512**2 / 360e12 / 3600
    assert found["gpu_hours"]["training"] == pytest.approx(training)
    hours = sum(found["gpu_hours"].values())
    assert found["money"]["gpu"] == pytest.approx(2 * hours)
    assumed = {**vars(ASSUMED), "input": 0.5, "output": 1.5}
    table = cost.as_table({"estimates": [found], "slopes": vars(SLOPES), "assumed": assumed})
    assert "| ViT-B-32 | 500 | 100 |" in table and "Assumed: 36.0 %" in table
