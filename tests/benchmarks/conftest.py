"""The benchmarks are scripts: their folder is where they find each other."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))
# The tiny models, and the small data, are those of the other rooms' tests.
for room in ("models", "evaluation"):
    sys.path.append(str(Path(__file__).parents[1] / room))
torch.set_num_threads(1)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Runs a benchmark's `main` in a small size; returns what it wrote as JSON."""

    def run_benchmark(module: Any, *options: object) -> dict[str, Any]:
        words = [f"{module.__name__}.py", *map(str, options), "--out", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", words)
        module.main()
        written = tmp_path / f"{module.__name__}.json"
        assert written.with_suffix(".md").read_text().startswith("| ")
        return json.loads(written.read_text())

    return run_benchmark
