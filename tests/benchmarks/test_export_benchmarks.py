"""The benchmarks of exports and of the index: their rows, and the Python of an environment."""

import sys
from pathlib import Path

import pytest

from benchmarks.export.loaders import environments

pytestmark = pytest.mark.slow


def test_a_python_that_leads_nowhere_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, lines in (
        ("python3.97", "exit 127"),
        ("python3.98", f'exec "{sys.executable}" "$@"'),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{lines}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(environments, "LATEST", 99)
    assert environments.python_for((3, 97)) == str(tmp_path / "python3.98")
    assert environments.python_for((3, 99)) is None
    assert environments.python_for((3, 11)) == sys.executable
