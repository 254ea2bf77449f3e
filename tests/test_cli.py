"""The command line as a user sees it."""

import ast
import dataclasses
import errno
import inspect
import os
import subprocess
import sys
import textwrap
from itertools import pairwise
from pathlib import Path

import pytest

from paraclip.cli import COMMANDS, main, parse
from paraclip.data.config import CaptionsConfig, Columns
from paraclip.errors import UserError
from paraclip.evaluation.config import EvaluateConfig

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
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert name in shown
        assert command.summary.split()[0] in shown


def explained(config: type) -> set[str]:
    """Fields of a config class and its bases that have a docstring."""
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
def test_every_option_has_help(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = COMMANDS[name].options_class()
    fields = {field.name for field in dataclasses.fields(config)}
    assert fields <= explained(config)
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    assert COMMANDS[name].example in capsys.readouterr().out


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_is_where_the_table_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import import_module

    called = []
    command = COMMANDS[name]
    word = name.replace("-", "_")
    module, function = (command.place or f"commands.{word}:{word}_command").split(":")
    monkeypatch.setattr(import_module(f"paraclip.{module}"), function, called.append)
    command.run(name, "options")
    assert called == ["options"]


def test_an_unknown_option_offers_the_nearest_and_exits_with_2() -> None:
    done = paraclip("train", "triples.parquet", "--bacth-size", "8")
    assert done.returncode == 2
    assert "--batch-size" in done.stderr


def test_version_is_offered_where_it_is_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 2
    assert "--version" in capsys.readouterr().err
    assert main(["--help"]) == 0
    assert "--version" in capsys.readouterr().out


def test_an_unknown_command_offers_the_nearest_and_exits_with_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["trian"]) == 2
    assert capsys.readouterr().err == "paraclip: trian: is not a command. Did you mean train?\n"


@pytest.mark.parametrize("name", list(COMMANDS))
def test_help_shows_an_option_that_may_be_left_out_by_the_type_of_its_value(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([name, "--help"])
    shown = capsys.readouterr().out
    assert "{None}" not in shown and "default: )" not in shown
    assert "default: None" not in shown and "default: False" not in shown


def test_help_is_wrapped_to_the_width_of_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    [line] = [line for line in capsys.readouterr().out.splitlines() if "--batch-size INT" in line]
    assert "have the same size. Larger batches have more negatives. (default: 256)" in line


def test_what_may_be_left_out_may_be_given_as_none() -> None:
    words = ["captions", "a.csv", "--image-column", "None"]
    assert parse(words).columns == Columns(image=None)
    assert parse(["ablate", "grid.toml", "--precision", "bf16"]).precision == "bf16"
    with pytest.raises(SystemExit):
        parse(["ablate", "grid.toml", "--precision", "fp8"])


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ("evaluate mini --k 0", "--k: 0"),
        ("evaluate mini --k 10 -1", "--k: -1"),
        ("evaluate mini --resamples 0", "--resamples: 0"),
        ("evaluate mini --resamples 1000000000000", "--resamples: 1000000000000"),
        ("evaluate mini --max-broken 1.5", "--max-broken: 1.5"),
        ("evaluate mini --max-broken nan", "--max-broken: nan"),
        ("merge a b --alpha 2", "--alpha: 2.0"),
        ("merge a b --sweep 0.5 -0.5", "--sweep: -0.5"),
        ("captions a.csv --show -1", "--show: -1"),
        ("captions a.csv --max-broken -1", "--max-broken: -1.0"),
        ("ablate grid.toml --resamples 0", "--resamples: 0"),
        ("ablate grid.toml --seeds 0 -1", "--seeds: -1"),
    ],
)
def test_a_value_out_of_range_is_one_line_that_names_its_option(
    words: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"paraclip: {option} is not valid. It should be ")
    assert shown.count("\n") == 1


def test_python_gets_the_same_check_as_the_command_line() -> None:
    with pytest.raises(UserError, match="--resamples: 0 is not valid"):
        EvaluateConfig(models=("mini",), resamples=0)
    with pytest.raises(UserError, match=r"--k: 10 is not valid. It should be a valid tuple"):
        EvaluateConfig(models=("mini",), k=10)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"--columns: .* an instance of Columns"):
        CaptionsConfig("a.csv", columns={"caption": "text"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("caf\udce9.csv", r"caf\udce9.csv: is not UTF-8. Rename the file or folder."),
        ("a\0b", r"a\x00b: contains a NUL character. Check the name."),
    ],
)
@pytest.mark.parametrize("command", ["captions", "evaluate", "export"])
def test_a_path_that_is_not_text_is_one_line(
    command: str, word: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, word]) == 2
    assert capsys.readouterr().err == f"paraclip: {complaint}\n"


def written(folder: Path, text: str) -> str:
    path = folder / "a.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def shown_by(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = f"paraclip() {{ '{sys.executable}' -m paraclip \"$@\"; }}; {script}"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False,
        env={**os.environ, "PARACLIP_QUIET": "1", **environment},
    )  # fmt: skip


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["--help", "--version", "captions CAPTIONS --image-column None"])
def test_a_full_standard_output_is_one_line_and_code_2(
    words: str, unbuffered: str, tmp_path: Path
) -> None:
    words = words.replace("CAPTIONS", written(tmp_path, "caption\nA dog.\n"))
    done = shown_by(f"paraclip {words} > /dev/full", PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 2
    assert done.stderr == (
        "paraclip: standard output cannot be written (No space left on device).\n"
    )


def test_a_reader_that_leaves_is_not_a_fault() -> None:
    done = shown_by("(sleep 0.5; paraclip --help) | true", PYTHONUNBUFFERED="1")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_without_the_characters_gets_escapes(tmp_path: Path) -> None:
    source = written(tmp_path, "caption\nA caf\u00e9 \u2192 a b\u00e4r.\n")
    done = shown_by(f"paraclip captions {source} --image-column None", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "A caf\\xe9 \\u2192 a b\\xe4r." in done.stdout


def test_an_interruption_is_one_line_and_code_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(arguments: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("paraclip.cli.work", interrupted)
    for words, hint in [
        (["index", "pictures"], "; run the same command again to resume"),
        (["generate", "a.csv", "--fresh"], "; run the same command without --fresh to resume"),
        (["audit", "report", "sheet.jsonl"], ""),
        (["search", "words"], ""),
        ([], ""),
    ]:
        assert main(words) == 130
        assert capsys.readouterr().err == f"\nparaclip: interrupted{hint}.\n"


def test_an_error_of_another_file_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(arguments: list[str]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "elsewhere")

    monkeypatch.setattr("paraclip.cli.work", full)
    with pytest.raises(OSError, match="elsewhere"):
        main([])


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


def test_version_prints_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("paraclip 0.")


def test_an_import_that_ctrl_c_broke_is_an_interruption(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(arguments: list[str]) -> None:
        try:
            try:
                raise KeyboardInterrupt
            except KeyboardInterrupt as cause:
                raise ImportError("initialization failed") from cause
        except ImportError as error:
            raise UserError("onnxruntime", "is not installed", "Install it.") from error

    monkeypatch.setattr("paraclip.cli.work", broken)
    assert main(["search", "a dog"]) == 130
    assert capsys.readouterr().err == "\nparaclip: interrupted.\n"
