"""The command line as a user sees it."""

import ast
import dataclasses
import errno
import inspect
import os
import shlex
import subprocess
import sys
import tempfile
import textwrap
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import get_type_hints

import pytest
import tyro

from paraclip import options, usage
from paraclip.cli import main, parse
from paraclip.commands import COMMANDS
from paraclip.commands.evaluate import EvaluateConfig
from paraclip.commands.train import TrainConfig
from paraclip.data.captions import Columns
from paraclip.errors import UserError
from paraclip.options import read_options
from paraclip.version import __version__

HEAVY = (
    "torch", "transformers", "open_clip", "pyarrow", "matplotlib", "openai", "pydantic",
    "paraclip.training",
)  # fmt: skip


def help_of(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_help_imports_nothing_heavy_and_names_every_command() -> None:
    code = (
        "import sys; from paraclip.cli import main; main(['--help'])\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *shown, imported = done.stdout.splitlines()
    assert imported == "[]"
    for name, command in COMMANDS.items():
        assert f"  {name.ljust(max(map(len, COMMANDS)))}  {command.summary}" in shown
    assert {command.group + ":" for command in COMMANDS.values()} <= set(shown)
    assert "--version" in done.stdout


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
def test_the_help_of_a_command(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = COMMANDS[name].options_class()
    assert {field.name for field in dataclasses.fields(config)} <= explained(config)
    monkeypatch.setenv("COLUMNS", "110")
    shown = help_of(name, capsys)
    assert COMMANDS[name].example in shown
    assert "{None}" not in shown and "default: )" not in shown
    assert "default: None" not in shown and "default: False" not in shown
    assert ", --no-" not in shown, "flags have one form"
    assert shown.count("\n") <= 60


MOST_OPTIONS = {
    "quickstart": 8, "index": 12, "search": 12, "serve": 6, "export": 9, "swap-check": 13,
    "swap": 7, "push": 3,
    "generate": 29, "train": 21, "merge": 4, "evaluate": 17, "audit": 4,
}  # fmt: skip


def options_of(config: type) -> int:
    """Number of options that the command line shows, with those of nested classes."""
    types, full = get_type_hints(config), get_type_hints(config, include_extras=True)
    shown = [
        types[field.name]
        for field in dataclasses.fields(config)
        if tyro.conf.Suppress not in getattr(full[field.name], "__metadata__", ())
    ]
    return sum(options_of(one) if dataclasses.is_dataclass(one) else 1 for one in shown)


@pytest.mark.parametrize(("name", "most"), MOST_OPTIONS.items())
def test_a_command_has_few_options(name: str, most: int) -> None:
    assert options_of(COMMANDS[name].options_class()) <= most


def test_all_commands_have_few_options() -> None:
    assert sum(options_of(command.options_class()) for command in COMMANDS.values()) <= 142


@pytest.mark.parametrize("word", ["-q", "--quiet"])
@pytest.mark.parametrize("name", list(COMMANDS))
def test_an_example_is_a_call_of_its_command_which_can_be_quiet(
    name: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARACLIP_QUIET", "0")
    quiet: list[str | None] = []
    module = name.replace("-", "_")
    function = f"paraclip.commands.{module}.{module}_command"
    monkeypatch.setattr(function, lambda _: quiet.append(os.getenv("PARACLIP_QUIET")))
    program, *words = shlex.split(COMMANDS[name].example)
    assert program == "paraclip" and words[0] == name
    assert main([*words, word]) == 0
    assert quiet == ["1"]


def test_what_follows_two_hyphens_is_no_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARACLIP_QUIET", "0")
    given: list[list[str]] = []
    monkeypatch.setattr("paraclip.cli.parse", given.append)
    monkeypatch.setattr("paraclip.commands.search.search_command", lambda _: None)
    for words in (["search", "--", "-q"], ["search", "-q", "--", "--quiet", "-q"]):
        assert main(words) == 0
        assert os.environ["PARACLIP_QUIET"] == ("0" if len(given) == 1 else "1")
    assert given == [["search", "--", "-q"], ["search", "--", "--quiet", "-q"]]


def test_every_new_name_of_an_option_is_one() -> None:
    for old, new in options._RENAMED.items():
        command, _, name = old.rpartition(" ")
        known = map(usage._options_of, [command] if command else COMMANDS)
        assert new.isupper() or any(
            f"--{new}" in given and f"--{name}" not in given for given in known
        ), old


def test_words_that_only_the_parser_refuses_get_its_reason_in_one_line() -> None:
    box = "\u256d\u2500 Value error \u2500\u256e\n\u2502 why \u2502\n"
    error = usage.usage_error("index", ["pictures"], box)
    assert str(error).startswith("index: Value error why. See")


@pytest.mark.parametrize("word", ["--help", "-h", "--version"])
def test_words_after_help_and_version_are_no_error(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word, "train"]) == 0
    assert ("paraclip 0." if word == "--version" else "usage: paraclip") in capsys.readouterr().out


def test_help_is_wrapped_to_the_width_of_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    shown = help_of("train", capsys)
    [line] = [line for line in shown.splitlines() if "--images STR" in line]
    assert "another machine." in line


def test_what_may_be_left_out_may_be_given_as_none() -> None:
    words = ["generate", "a.csv", "--out", "o", "--image-column", "None"]
    assert parse(words).columns == Columns(image=None)
    assert parse(["evaluate", "mini", "--pairs", "None"]).pairs is None


def test_none_is_no_choice(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"'None' is not valid.* 'immich'"):
        parse(["export", "mini", "out", "--for", "None"])
    assert "None" not in help_of("export", capsys)


def test_python_gets_the_same_check_as_the_command_line() -> None:
    for given, reason in [
        ({"resamples": 0}, "--resamples: 0 is not valid"),
        ({"k": 10}, "--k: 10 is not valid"),
    ]:
        with pytest.raises(UserError, match=reason):
            EvaluateConfig(models=("mini",), **given)  # type: ignore[arg-type]


def shown_by(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The script with `paraclip`, in interpreters of their own: streams belong to them."""
    command = f"paraclip() {{ '{sys.executable}' -m paraclip \"$@\"; }}; {script}"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False,
        env={**os.environ, "PARACLIP_QUIET": "1", **environment},
    )  # fmt: skip


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["--help", "--version", "export --help"])
def test_a_full_standard_output_is_one_line_and_code_2(words: str, unbuffered: str) -> None:
    done = shown_by(f"paraclip {words} > /dev/full", PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 2
    assert done.stderr == (
        "paraclip: standard output cannot be written (No space left on device).\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        *((words, 0) for words in ("--help >&-", "export --help >&-", "export --help >&- 2>&-")),
        *((f"search x --index nowhere {to}", 2) for to in ("2> /dev/full", "2>&-", ">&- 2>&-")),
        ("search x --nosuch 2> /dev/full", 2),
        ("export --help > /dev/full 2> /dev/full", 2),
    ],
)
def test_streams_that_are_closed_or_full_change_no_exit_code(words: str, code: int) -> None:
    done = shown_by(f"paraclip {words}")
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_a_reader_that_leaves_is_not_a_fault() -> None:
    done = shown_by("(sleep 0.5; paraclip --help) | true", PYTHONUNBUFFERED="1")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_without_the_characters_gets_escapes() -> None:
    folder = "caf\u00e9"
    done = shown_by("paraclip --version", PYTHONIOENCODING="ascii", PARACLIP_CACHE=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "caf\\xe9" in done.stdout


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def fail_to_import(*_: object) -> None:
    """As a C++ module that is interrupted during its import."""
    try:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as cause:
            raise ImportError("initialization failed") from cause
    except ImportError as error:
        raise UserError("onnxruntime", "is not installed", "Install it.") from error


@pytest.mark.parametrize("work", [interrupt, fail_to_import])
@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("index pictures", "; run the same command again to resume"),
        ("-q index pictures", "; run the same command again to resume"),
        ("generate a.csv --fresh", "; run the same command without --fresh to resume"),
        ("export mini out", "; run the same command again to start over"),
        ("swap immich", "; run the same command again to finish it"),
        ("swap-check --index a", "; run the same command again to start over"),
        ("search words", ""),
        ("", ""),
    ],
)
def test_an_interruption_is_one_line_and_code_130(
    work: object, words: str, hint: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("PARACLIP_QUIET", "1")
    for name in ("parse", "groupby"):  # of a command, or of the help
        monkeypatch.setattr(f"paraclip.cli.{name}", work)
    assert main(words.split()) == 130
    assert capsys.readouterr().err == f"\nparaclip: interrupted{hint}.\n"


def test_an_error_of_another_file_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(arguments: list[str]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "elsewhere")

    monkeypatch.setattr("paraclip.cli.parse", full)
    with pytest.raises(OSError, match="elsewhere"):
        main(["search"])


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.EACCES, "/mine: may not be read"), (errno.ENAMETOOLONG, "/mine: has a name that is")],
)
def test_what_the_system_refuses_to_look_up_is_one_line(
    number: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: object) -> None:
        raise OSError(number, "refused", "/mine")

    monkeypatch.setattr("paraclip.commands.search.search_command", refuse)
    assert main(["search", "x"]) == 2
    assert said in capsys.readouterr().err


def test_a_working_folder_that_was_deleted_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["search", "words"]) == 2
    assert "working folder: was deleted" in capsys.readouterr().err


def test_a_locale_in_another_encoding_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "iso8859-1")
    assert main(["search", "words"]) == 2
    assert "PYTHONUTF8" in capsys.readouterr().err


def test_no_place_for_temporary_files_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", list)
    assert main(["search", "words"]) == 2
    assert "Set TMPDIR" in capsys.readouterr().err


# --- options from TOML ---

SHIPPED = sorted((Path(__file__).parent.parent / "configs").glob("*.toml"))


def written(folder: Path, text: str) -> str:
    path = folder / "run.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_file_is_a_run(path: Path) -> None:
    config = parse(["train", "triples.parquet", "--config", str(path)])
    assert isinstance(config, TrainConfig) and config.triples == "triples.parquet"
    for name, value in read_options(path, TrainConfig).items():
        assert getattr(config, name) == value
    assert path.read_text().startswith("# ")


def test_the_command_line_overrides_the_file(tmp_path: Path) -> None:
    text = 'triples = "mine.parquet"\nepochs = 7\nlearning-rate = 1\nloss-weights = {L1 = 2}\n'
    path = written(tmp_path, "\ufeff" + text)  # as Windows editors save it
    config = parse(["train", "--config", path])
    assert (config.triples, config.epochs, config.loss_weights) == ("mine.parquet", 7, {"L1": 2.0})
    assert type(config.learning_rate) is float and config.config == path
    config = parse(["train", "other.parquet", f"--config={path}", "--epochs", "2"])
    assert (config.triples, config.epochs) == ("other.parquet", 2)


def test_a_file_knows_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    path = written(tmp_path, 'out = "~/run"\ntexts = ["~/a", "b~/c"]\n')
    config = parse(["train", "x.parquet", "--config", path])
    assert (config.out, config.texts) == ("/home/me/run", ("/home/me/a", "b~/c"))


def test_of_two_files_the_last_one_is_read_and_recorded(tmp_path: Path) -> None:
    first, last = tmp_path / "first.toml", tmp_path / "last.toml"
    first.write_text("epochs = 7\nbatch_size = 8\n")
    last.write_text("epochs = 9\n")
    for words in (["--config", str(first), f"--config={last}"],
                  [f"--config={first}", "--config", str(last)]):  # fmt: skip
        config = parse(["train", "x.parquet", *words])
        assert (config.epochs, config.batch_size, config.config) == (9, 256, str(last))


# --- what `--version` says of packages and of the cache ---


def test_versions_missing_extras_and_the_cache_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "o\x1b[31m"
    monkeypatch.setenv("PARACLIP_CACHE", str(cache))
    needed = {"plots": "no-such>=1", "search": "torch", "dev": "no-other"}
    lines = ["torch", *(f'{name}; extra == "{extra}"' for extra, name in needed.items())]
    monkeypatch.setattr(metadata, "requires", lambda _: lines)
    assert main(["--version"]) == 0
    versions, missing, empty = capsys.readouterr().out.splitlines()
    assert versions.startswith(f"paraclip {__version__}, Python 3.") and ", torch 2." in versions
    assert missing == "plots: no-such missing: pip install 'paraclip[plots]'"
    assert "0.0 MB" in empty and "\x1b" not in empty
    (cache / "search").mkdir(parents=True)
    (cache / "search" / "rows").write_bytes(bytes(2_000_000))
    (cache / "link").symlink_to(tmp_path)
    os.mkfifo(cache / "pipe")
    assert main(["--version"]) == 0
    assert "2.0 MB" in capsys.readouterr().out.splitlines()[-1]
