"""The command line as a user meets it."""

import ast
import dataclasses
import inspect
import subprocess
import sys
import textwrap
from itertools import pairwise
from pathlib import Path

import pytest

from paraclip.cli import COMMANDS, main

HEAVY = (
    "torch", "transformers", "open_clip", "pyarrow", "matplotlib", "openai", "simplemma",
    "snowballstemmer",
)  # fmt: skip


def paraclip(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "paraclip", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from paraclip.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_help_names_every_command_with_its_summary(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    shown = capsys.readouterr().out
    assert stop.value.code == 0
    for name, command in COMMANDS.items():
        assert name in shown
        assert command.summary.split()[0] in shown


def explained(config: type) -> set[str]:
    """Fields of a config class and its bases that have a text under them."""
    found = set()
    for owner in config.__mro__[:-1]:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        assert isinstance(tree, ast.ClassDef)
        for field, below in pairwise(tree.body):
            text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and text:
                found.add(field.target.id)
    return found


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_option_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = COMMANDS[name].config
    fields = {field.name for field in dataclasses.fields(config)}
    assert fields <= explained(config)
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    assert COMMANDS[name].summary.split()[0] in capsys.readouterr().out


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_is_where_the_table_says(name: str) -> None:
    from importlib import import_module

    module, function = COMMANDS[name].place.split(":")
    assert callable(getattr(import_module(module), function))


def test_an_unknown_option_offers_the_nearest_and_exits_with_2() -> None:
    done = paraclip("train", "triples.parquet", "--bacth-size", "8")
    assert done.returncode == 2
    assert "--batch-size" in done.stderr


def test_an_unknown_command_exits_with_2_and_names_the_commands() -> None:
    done = paraclip("trian")
    assert done.returncode == 2
    assert "train" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("captions", "nowhere"),
        ("quickstart", "nowhere"),
        ("generate", "nowhere.csv", "--out", "triples"),
        ("align", "nowhere.csv"),
        ("train", "nowhere.parquet"),
        ("export", "nowhere.safetensors", "copy.safetensors"),
    ],
)
def test_a_wrong_path_is_one_line_that_names_it_and_code_2(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "paraclip", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("paraclip: ")
    assert done.stderr.count("\n") == 1
    assert "nowhere" in done.stderr
    assert not list(tmp_path.rglob("*.*")), "nothing half is left behind"


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("paraclip 0.")
