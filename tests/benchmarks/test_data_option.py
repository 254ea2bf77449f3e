"""The folder of the research data must be given where it is needed; it is never guessed."""

import argparse
import sys
from pathlib import Path

import pytest

from benchmarks.machine import parse_with_data


def test_data_is_named_by_the_option_or_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def data_of(*words: str, needed: bool = True) -> str | None:
        monkeypatch.setattr(sys, "argv", ["script", *words])
        return parse_with_data(argparse.ArgumentParser(), lambda _: needed).data

    monkeypatch.delenv("PARACLIP_DATA", raising=False)
    for words in ((), ("--data", str(tmp_path / "nowhere"))):
        with pytest.raises(SystemExit) as stop:
            data_of(*words)
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert stop.value.code == 2 and "--data" in last
    assert data_of(needed=False) is None
    assert data_of("--data", str(tmp_path)) == str(tmp_path)
    monkeypatch.setenv("PARACLIP_DATA", str(tmp_path))
    assert data_of() == str(tmp_path)
