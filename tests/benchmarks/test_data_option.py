"""The folder of the research data must be given; it is never guessed."""

import argparse
import importlib
import sys
from pathlib import Path

import pytest

from benchmarks.machine import parse_with_data

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["benchmarks", "recipe"])
def parse(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Parses arguments as the benchmarks or the paraphraser recipe do."""
    monkeypatch.delenv("PARACLIP_DATA", raising=False)
    chosen = parse_with_data
    if request.param == "recipe":
        monkeypatch.syspath_prepend(str(ROOT / "recipes" / "paraphraser"))
        chosen = importlib.import_module("examples").parse_with_data

    def parse_words(*words: str) -> argparse.Namespace:
        monkeypatch.setattr(sys, "argv", ["script", *words])
        return chosen(argparse.ArgumentParser())

    yield parse_words
    sys.modules.pop("examples", None)


def test_data_is_named_by_the_option_or_the_variable(
    parse, tmp_path: Path, monkeypatch, capsys
) -> None:
    with pytest.raises(SystemExit) as stop:
        parse()
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 2 and "--data FOLDER" in last and "PARACLIP_DATA" in last
    (tmp_path / "paraphrases").mkdir()
    monkeypatch.setenv("PARACLIP_DATA", str(tmp_path))
    assert str(parse("--data", str(tmp_path)).data) == str(tmp_path)
    assert str(parse().data).startswith(str(tmp_path))
