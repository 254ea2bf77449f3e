"""Documents stay correct: their commands parse, and their tables equal the benchmark results."""

import os
import re
import shlex
import subprocess
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from paraclip import systems
from paraclip.cli import COMMANDS, parse
from paraclip.paraphrase.config import Limits

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("docs/**/*.md"), *ROOT.glob("recipes/*/README.md")])
DOCUMENTS = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *PAGES]
OTHERS = {*ROOT.glob("*.md"), *ROOT.glob("src/**/*.md"), *ROOT.glob("study/**/*.md")}
LINKED = [*DOCUMENTS, *sorted(OTHERS - {*DOCUMENTS})]
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\((?!http)([^)#]+)")
ANCHOR = re.compile(r"\]\((?!http)([^)#]*)#([^)]+)\)")
GUIDE = sorted(ROOT.glob("docs/guide/**/*.md"))
PROGRAMS = sorted(ROOT.glob("docs/guide/programs/*.md"))
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")


def commands(word: str) -> list[tuple[str, str]]:
    """Every shell line in the documents that starts with this word, as (document, line)."""
    return [
        (path.name, line)
        for path in DOCUMENTS
        for block in BLOCK.findall(path.read_text(encoding="utf-8"))
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith(word + " ")
    ]


@pytest.mark.parametrize(("document", "line"), commands("paraclip"))
def test_every_command_shown_parses(document: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    if words != ["--version"]:  # which belongs to no command
        assert type(parse(words)) is COMMANDS[words[0]].options_class(), document


def test_every_option_named_in_the_text_of_the_guide_exists(known_options: set[str]) -> None:
    named = {
        (path.name, option)
        for path in GUIDE
        for code in INLINE.findall(path.read_text("utf-8"))
        if code.startswith(("-", "paraclip"))
        for option in OPTION.findall(code)
    }
    assert len(named) > 50
    assert not {one for one in named if one[1] not in known_options}


def test_the_guide_is_short() -> None:
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in GUIDE}
    assert sum(count for path, count in lines.items() if path not in PROGRAMS) <= 1600
    assert lines[ROOT / "docs/guide/use-it-in.md"] <= 40
    assert not {path.name: lines[path] for path in PROGRAMS if not 25 <= lines[path] <= 60}


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_every_program_has_the_same_headings_and_is_in_the_index(path: Path) -> None:
    headings = re.findall(r"^## (.*)$", path.read_text("utf-8"), re.MULTILINE)
    assert headings == ["What it loads", "Check", "Swap", "Restart", "Undo"]
    index = (ROOT / "docs/guide/use-it-in.md").read_text("utf-8")
    assert f"](programs/{path.name})" in index
    assert f"guide/programs/{path.name}" in (ROOT / "mkdocs.yml").read_text("utf-8")


def test_every_program_that_is_known_has_a_page() -> None:
    pages = [words for name, line in commands("paraclip") for words in [[name, *line.split()]]]
    names = {path.name for path in PROGRAMS}
    shown = [words for words in pages if words[0] in names]
    swapped = {words[3] for words in shown if words[2] == "swap"}
    exported = {after for words in shown for before, after in pairwise(words) if before == "--for"}
    assert swapped == {*systems.swapped()} and exported == {*systems.exported()}


def test_no_command_is_a_variable() -> None:
    """zsh, the shell of macOS, does not split variables into words."""
    blocks = [block for path in DOCUMENTS for block in BLOCK.findall(path.read_text("utf-8"))]
    assert not [line for block in blocks for line in block.splitlines() if line.startswith("$")]


@pytest.mark.parametrize(("document", "line"), commands("torchrun"))
def test_every_distributed_command_shown_parses(document: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    module = words.index("-m")
    assert words[module + 1] == "paraclip", document
    assert type(parse(words[module + 2 :])) is COMMANDS[words[module + 2]].options_class(), document


@pytest.mark.parametrize(
    ("document", "line"), [one for one in commands("torchrun") if "--nnodes" in one[1]]
)
def test_runs_on_several_nodes_are_in_a_shared_folder(document: str, line: str) -> None:
    words = shlex.split(line)
    assert words[words.index("--out") + 1].startswith("/shared/"), document


def test_the_control_shown_differs_from_its_tuned_run_in_the_texts_alone() -> None:
    lines = [line for name, line in commands("paraclip train") if name == "train.md"]
    tuned, control = (
        parse(shlex.split(line)[1:]) for line in lines if "paper.toml" in line or "control" in line
    )
    names = ("triples", "base", "epochs", "batch_size", "learning_rate", "seed")
    assert control.control and not tuned.control and tuned.out != control.out
    assert [getattr(tuned, name) for name in names] == [getattr(control, name) for name in names]


def test_the_readme_shows_commands() -> None:
    assert len(commands("paraclip")) >= 6
    assert [line.split()[1] for name, line in commands("make") if name == "README.md"][:2] == [
        "demo",
        "test",
    ]


def make(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The script of `make -n`, apart from the `make test` in which these tests run."""
    outer = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")
    others = {name: value for name, value in os.environ.items() if name not in outer}
    command = ["make", "-n", *words]
    return subprocess.run(
        command, cwd=ROOT, env=others | variables, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "target", ["demo", "test", "test-all", "docs", "release-check", "study", "targets", "oldest"]
)
def test_a_target_of_make_is_what_the_shell_can_read(target: str, tmp_path: Path) -> None:
    made = make(target, f"VENV={tmp_path / 'new'}")
    assert made.returncode == 0, made.stderr
    read = subprocess.run(
        ["sh", "-n"], input=made.stdout, capture_output=True, text=True, check=False
    )
    assert read.returncode == 0, read.stderr


def test_an_environment_with_a_space_in_its_path_is_refused(tmp_path: Path) -> None:
    made = make("clean", f"VENV={tmp_path}/my env")  # `rm -rf` would have two paths
    assert made.returncode == 2 and not made.stdout
    assert "VENV must be a path without spaces" in made.stderr


def test_a_variable_of_the_shell_does_not_choose_what_make_deletes() -> None:
    made = make("clean", VENV="/home/me/other")
    assert ".venv" in made.stdout and "/home/me" not in made.stdout


def test_an_unfinished_environment_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()  # as `python -m venv` leaves it without ensurepip
    words = ("demo", f"VENV={tmp_path}", "PYTHON=python9")
    assert f"python9 -m venv {tmp_path}" in make(*words).stdout
    (tmp_path / "bin" / "pip").touch()
    again = make(*words)
    assert again.returncode == 0 and "python9" not in again.stdout


@pytest.mark.parametrize(("document", "line"), commands("make"))
def test_every_make_target_shown_exists(document: str, line: str) -> None:
    target = shlex.split(line, comments=True)[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), document


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site name them."""
    text = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", LINKED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file_and_a_heading(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not [link for link in LINK.findall(text) if not (path.parent / link).exists()]
    pages = [(path.parent / link if link else path, name) for link, name in ANCHOR.findall(text)]
    assert not [name for page, name in pages if name not in anchors(page)]


def test_every_picture_of_the_documents_is_shown() -> None:
    shown = {
        (path.parent / link).resolve() for path in LINKED for link in LINK.findall(path.read_text())
    }
    pictures = {path.resolve() for path in ROOT.glob("docs/images/*")}
    assert len(pictures) > 5 and not pictures - shown


def test_the_recipe_on_flickr8k_names_the_files_that_it_reads() -> None:
    text = (ROOT / "recipes" / "clip_small" / "README.md").read_text()
    files = ["images/", "captions.csv", "train_images.txt"]
    assert not [name for name in files if f"`{name}`" not in text]


def test_every_benchmark_named_in_documents_and_results_exists() -> None:
    # A record that holds its cells is history: study/README.md names the commit of its module.
    records = (
        path for path in ROOT.glob("benchmarks/results/*.json")
        if "benchmarks.machine:from_cells" not in path.read_text("utf-8")
    )  # fmt: skip
    results = [*records, ROOT / "Makefile", *DOCUMENTS]
    named = [
        (path.name, module)
        for path in results
        for module in re.findall(
            r"python -m (benchmarks(?:\.[a-z_0-9]+)+)", path.read_text("utf-8")
        )
    ]
    assert len(named) > 10
    files = {module: ROOT / f"{module.replace('.', '/')}.py" for _, module in named}
    assert not [one for one in named if not files[one[1]].is_file()]
    assert not [path.name for path in results if "python benchmarks/" in path.read_text("utf-8")]


def test_the_architecture_names_every_room() -> None:
    rooms = [
        path.name for path in (ROOT / "src/paraclip").iterdir() if (path / "__init__.py").exists()
    ]
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert rooms
    assert not [room for room in rooms if f"| `{room}/` |" not in text]


def test_the_guide_states_the_thresholds_of_the_filters() -> None:
    rows = (ROOT / "docs/guide/generate.md").read_text("utf-8").splitlines()
    (drift,) = (row for row in rows if row.startswith("| drift |"))
    (meaning,) = (row for row in rows if row.startswith("| meaning |"))
    assert f" {Limits().similarity:g} " in drift
    assert f" {Limits().fault:g}," in meaning


def test_no_file_is_longer_than_800_lines() -> None:
    files = [
        *ROOT.glob("src/**/*.py"),
        *ROOT.glob("tests/**/*.py"),
        *ROOT.glob("benchmarks/**/*.py"),
        *ROOT.glob("study/*.py"),
    ]
    long = {path.name: len(path.read_text().splitlines()) for path in files}
    assert not {name: count for name, count in long.items() if count > 800}


def test_files_of_tests_have_names_of_their_own() -> None:
    names = Counter(path.name for path in ROOT.glob("tests/**/test_*.py"))
    assert not [name for name, count in names.items() if count > 1], "pytest imports them by name"
