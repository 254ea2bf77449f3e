"""Faults of a disk, command by command: one line, no long work that it would lose, and every file
of a user as it was.

How a fault is met is tested where it is met (`test_files.py`, `test_output_folder.py`, the state of
a run, the answer log, `swap` and the index in their rooms); here, that no command goes around it.
"""

import os
import re
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pytest

from paraclip.cli import main
from paraclip.files import locked
from tiny import largest_file


class Writer(NamedTuple):
    """A command that writes below {out}."""

    words: str
    files: tuple[str, ...]
    """Some of what it writes."""
    long: tuple[str, ...]
    """Functions that may not be called before its output was looked at."""
    full: tuple[str, ...] = ()
    """The same for the room on its disk, where that is known later."""


EVALUATE = "evaluate base=base.safetensors --benchmarks paraphrased-retrieval --pairs pairs.csv"
WRITERS = {
    "quickstart": Writer(
        "quickstart pictures --base base.safetensors --out {out}",
        (
            *("contact_sheet.png", "data/captions.jsonl"),
            *("tuned/last.safetensors", "tuned/merged.safetensors"),
        ),
        ("api.index", "api.train"),
    ),
    "train": Writer(
        "train triples.parquet --base base.safetensors --images pictures --recipe consistent"
        " --epochs 1 --batch-size 2 --out {out}",
        ("last.safetensors", "last.md"),
        ("training.prepare._features_of",),
    ),
    "generate": Writer(
        "generate pictures --backend openai --model some --base-url http://127.0.0.1:1/v1"
        " --out {out}",
        ("failed.jsonl", "triples.parquet"),
        ("paraphrase.run.count_captions",),
    ),
    "audit": Writer(
        "audit . --out {out}", ("sheet.jsonl", "audit.html"), ("commands.audit._draw_sample",)
    ),
    "evaluate": Writer(
        f"{EVALUATE} --pool pictures --k 2 --out {{out}}",
        ("report.md", "report.json", "items.npz", "scores.png"),
        ("evaluation.run._score_models",),
        ("models.features._compute",),
    ),
    "export": Writer(
        "export base.safetensors {out}/folder",
        ("folder/README.md", "folder/open_clip_model.safetensors"),
        ("exporting.layouts.write_layout",),
    ),
    "export to a file": Writer(
        "export base.safetensors {out}/a.safetensors",
        ("a.safetensors", "a.md"),
        ("exporting.layouts.write_layout",),
    ),
    "merge": Writer(
        "merge base.safetensors base.safetensors --out {out}/a.safetensors",
        ("a.safetensors", "a.md"),
        ("commands.merge.merge",),
    ),
    "index": Writer(
        "index pictures --base base.safetensors --index {out}",
        ("index.json",),
        ("image_search.build.ahead",),
    ),
    "search": Writer(
        "search disc --index index --sheet {out}/a.png",
        ("a.png",),
        ("image_search.engine.search_index",),
    ),
    "swap-check": Writer(
        "swap-check --index index --base base.safetensors --tuned base.safetensors"
        " --sheet {out}/a.png",
        ("a.png",),
        ("swapping.checking.compare_encoders",),
    ),
}

BLOCKS: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "a file": ("out", "in the way", lambda out: out.write_text("notes of a person")),
    "a pipe": ("out", "pipe|in the way", os.mkfifo),
    "a loop of links": ("out", "can be created|loop", lambda out: out.symlink_to("out")),
    "another file system": ("/proc/out", "no files can be created", lambda _: None),
    "no UTF-8": ("caf\udce9", "not UTF-8", lambda _: None),
    "a NUL": ("a\0b", "NUL", lambda _: None),
    "a long name": ("x" * 300, "too long", lambda _: None),
}
"""Places of outputs that cannot be written, and what is said of them."""
FILES = [
    pytest.param(name, file, marks=[pytest.mark.weights] * (name == "quickstart"))
    for name, writer in WRITERS.items()
    for file in writer.files
]


@pytest.fixture
def here(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with inputs of every command."""
    monkeypatch.chdir(shutil.copytree(sound, tmp_path / "here"))
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "here"


def run(name: str, out: str = "out", more: str = "") -> int:
    return main([word.format(out=out) for word in f"{WRITERS[name].words} {more}".split()])


def tree(folder: Path) -> dict[str, str]:
    """The kind and content of every path in a folder; empty folders and locks may be new."""
    found = {}
    for path in (path for path in folder.rglob("*") if path.name != ".lock"):
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = f"{path.lstat().st_mode:o} {sha256(content).hexdigest()}"
    return {path: what for path, what in found.items() if not os.path.isdir(path)}


@pytest.fixture
def refused(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., None]:
    """Run a command that ends with one line, before its long work, and changes nothing."""

    def check(name: str, said: str, long: tuple[str, ...] = (), **place: str) -> None:
        before, entered = tree(here), list[str]()
        for one in long:

            def enter(*_: object, one: str = one, **__: object) -> None:
                entered.append(one)
                raise KeyboardInterrupt

            monkeypatch.setattr(f"paraclip.{one}", enter)
        code, shown = run(name, **place), capsys.readouterr().err
        last = shown.splitlines()[-1]
        assert (code, entered) == (2, []) and "Traceback" not in shown, shown
        assert last.startswith("paraclip: ") and re.search(said, last), shown
        assert tree(here) == before

    return check


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("name", WRITERS)
def test_a_place_that_cannot_be_written_is_refused(
    name: str, block: str, here: Path, refused: Callable[..., None]
) -> None:
    out, said, make = BLOCKS[block]
    make(here / out)
    refused(name, said, WRITERS[name].long, out=out)


@pytest.mark.parametrize(("name", "file"), FILES)
def test_a_file_of_a_user_is_not_replaced(
    name: str, file: str, here: Path, refused: Callable[..., None]
) -> None:
    path = here / "out" / file
    path.parent.mkdir(parents=True)
    path.write_text("notes of a person")
    refused(name, f"{path.name}: ", WRITERS[name].long)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("quickstart", marks=pytest.mark.weights),
        *("train", "evaluate", "export", "export to a file", "merge", "index"),
    ],
)
def test_a_disk_without_room_is_refused(
    name: str, refused: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=10)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    refused(name, "10 bytes", WRITERS[name].full or WRITERS[name].long)


@pytest.mark.parametrize("name", ["train", "evaluate", "index"])
def test_two_at_once_are_refused(name: str, here: Path, refused: Callable[..., None]) -> None:
    with locked(here / "out"):
        refused(name, "another run is writing here", WRITERS[name].long)


AGAIN = {"train": "--fresh", "index": "--rebuild"}
"""Without it, a finished run of the command writes nothing."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in WRITERS if name not in ("quickstart", "generate")]
)
def test_a_run_without_room_is_repeated_and_a_file_edited_since_is_not_replaced(
    name: str, here: Path, refused: Callable[..., None], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(
        "paraclip.image_search.towers.prepared_tower", lambda _: None
    )  # takes seconds
    if name in ("search", "swap-check"):
        assert run("index", "index") == 0
    ended = []
    for most in (50, 900, 10_000, 200_000, 10**8):
        with largest_file(most):
            ended.append(run(name))
        shown = capsys.readouterr().err
        assert ended[-1] == 0 or "exceeds the largest allowed file size. " in shown, shown
        assert not [*here.parent.rglob("*.part")]
    assert ended[0] == 2 and ended[-1] == 0
    for file in WRITERS[name].files:
        path = here / "out" / file
        content = path.read_bytes()
        path.write_bytes(content + b"edited")
        refused(name, f"{path.name}: ", more=AGAIN.get(name, ""))
        path.write_bytes(content)
