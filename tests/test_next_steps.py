"""What ParaCLIP tells its user to do next can be done: printed commands run, and hints name options
and commands that exist."""

import ast
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import paraclip
from paraclip.cli import COMMANDS, main
from paraclip.evaluation.unlabelled import scene_queries
from paraclip.models.checkpoint import save_model
from tiny import draw, tiny_clip

SOURCES = sorted(Path(paraclip.__file__).parent.rglob("*.py"))
PRINTED = re.compile(r"^Next: paraclip (.+)$", re.MULTILINE)
NAMED = re.compile(r"paraclip ([a-z]+(?:-[a-z]+)*)\b")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9]")
NO_COMMANDS = {"import", "is", "needs", "on", "package", "starter", "wheel"}
OF_OTHERS = {"--force-reinstall", "--head", "--no-deps", "--num-cpus", "--tyro"}
"""Options of pip and Ray, and what tyro's begin with."""
COLOURS = ("red", "green", "blue", "black")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a base, pictures and triples, in which commands run."""
    for module in ("swapping.checking", "training.choice"):
        monkeypatch.setattr(f"paraclip.{module}.scene_queries", lambda: scene_queries(20))
    monkeypatch.setattr("paraclip.training.train.RATES", (1e-4, 3e-4))
    monkeypatch.setattr("paraclip.training.train.SHORT", 1)
    monkeypatch.delenv("PARACLIP_QUIET", raising=False)  # as after a test of --quiet
    monkeypatch.chdir(tmp_path)
    save_model(tiny_clip(), tmp_path / "base.safetensors")
    (tmp_path / "pictures").mkdir()
    for colour in COLOURS:
        draw(tmp_path / "pictures" / f"{colour}.png", "disc", colour)
    rows = [
        {"caption": f"a {one} disc", "paraphrase_1": f"one {one} circle",
         "paraphrase_2": f"a round thing in {one}", "image_id": f"{one}.png"} for one in COLOURS
    ]  # fmt: skip
    (tmp_path / "triples.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return tmp_path


TRAIN = "train triples.jsonl --base base.safetensors --out run --epochs 1 --loss-weight S=0"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("started", "followed"),
    [
        ("index pictures --base base.safetensors --index 'my index'", ["search"]),
        (f"{TRAIN} --recipe consistent --images pictures", ["index", "search"]),
        (f"{TRAIN} --recipe taught --bank pictures", ["index", "search"]),
        (f"{TRAIN} --recipe taught --bank runs/index", ["swap-check", "search"]),
    ],
)
def test_each_printed_next_step_runs(
    started: str, followed: list[str], workplace: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    if "runs/index" in started:
        assert main(["index", "pictures", "--base", "base.safetensors"]) == 0
        # Tiny models gain nothing, and swap-check would say to keep base.
        monkeypatch.setattr(
            "paraclip.swapping.checking.recommend", lambda *_: ("tuned", "as the test says")
        )
    words, seen = shlex.split(started), []
    capsys.readouterr()
    while words:
        assert main(words) == 0
        printed = PRINTED.findall(capsys.readouterr().err)
        words = shlex.split(printed[-1]) if printed else []
        seen += words[:1]
    assert seen == followed


def hints() -> Iterator[tuple[str, str]]:
    """The texts of the package that are no docstrings of modules, functions and other classes than
    options: (module, text)."""
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documented = {
            id(one.body[0].value)
            for one in ast.walk(tree)
            if isinstance(one, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and isinstance(one.body[0], ast.Expr)
        }
        for one in ast.walk(tree):
            if isinstance(one, ast.JoinedStr):
                text = "".join(
                    part.value if isinstance(part, ast.Constant) else "X" for part in one.values
                )
                yield path.name, text
            elif isinstance(one, ast.Constant) and id(one) not in documented:
                yield path.name, str(one.value)


def test_hints_name_commands_that_exist() -> None:
    named = {(place, name) for place, text in hints() for name in NAMED.findall(text)}
    assert len(named) > 15
    assert {one for one in named if one[1] not in {*COMMANDS, *NO_COMMANDS}} == set()


def test_hints_name_options_that_exist(known_options: set[str]) -> None:
    named = {(place, name) for place, text in hints() for name in OPTION.findall(text)}
    assert len(named) > 60
    assert {one for one in named if one[1] not in known_options | OF_OTHERS} == set()
