"""Runs the benchmark scripts at a small size."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Runs a benchmark's `main` at a small size; returns the JSON that it wrote."""

    def run_benchmark(module: Any, *options: object) -> dict[str, Any]:
        name = module.__name__.rpartition(".")[2]
        words = [f"{name}.py", *map(str, options), "--out", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", words)
        module.main()
        (written,) = tmp_path.glob(f"*{name}.json")
        assert written.with_suffix(".md").read_text().startswith("| ")
        return json.loads(written.read_text())

    return run_benchmark
