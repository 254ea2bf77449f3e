"""Bad circumstances: rights that are missing, names that are too long, and large pictures.

A command is one of a user who is not root: its process gives up root's right to ignore the modes of
files.
"""

import ctypes
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.inputs.cases import DEAD, Action, Case, bad_files, paraclip
from benchmarks.inputs.sound import SNAPSHOT
from paraclip.data.images import open_image

MODES = {"hidden": 0o000, "listed, not entered": 0o444, "read-only": 0o555}
"""Modes of a folder; a file is hidden alone."""
LONG_NAMES = {
    "of 240 bytes": "n" * 240, "of 256 bytes": "n" * 256, "not UTF-8": "n\udcff",
    "of 5,000 bytes": "/".join(["d" * 200] * 25), "two lines": "a\nb", "a pattern": "[0-9]{a,b}*",
}  # fmt: skip
_CAPABILITIES = 0x20080522  # version 3 of the system call

Command = tuple[Sequence[object], Sequence[str]]


def commands(sound: Path) -> dict[str, Command]:
    """For each command, words that end soon, and which of their files and folders are bad.

    Those of `tiny` are in the folder of sound inputs, since a copy would take long to prepare.
    """
    tiny = sound / "tiny.safetensors"
    server = ("--first", 1, "--backend", "openai", "--model", "fake", "--base-url", DEAD)
    train = ("train", "triples/t.parquet", "--images", "pictures", "--base", tiny, "--epochs", 1,
             "--batch-size", 2, "--loss-weight", "S=0", "--out", "out")  # fmt: skip
    check = ("swap-check", "--base", tiny, "--tuned", tiny, "--k", 1, "--queries",
             "stores/queries.txt", "--index")  # fmt: skip
    return {
        "train": (
            train, ("triples", "triples/t.parquet", "pictures", "pictures/0.png", "out", ".")),
        "train, a bank": ((*train, "--bank", "index"), ("index", "index/index.json")),
        "train, options": ((*train, "--config", "options/o.toml"), ("options", "options/o.toml")),
        "search": (("search", "a disc", "--index", "index"), ("index", "index/index.json")),
        "generate": (("generate", "csv/a.csv", "--out", "out", *server), ("csv/a.csv", "out", ".")),
        "generate, a pattern": (("generate", "csv/*.csv", "--out", "out", *server), ("csv",)),
        "generate, a shard": (
            ("generate", "shard/a.tar", "--out", "out", *server), ("shard/a.tar",)),
        "generate, a folder": (
            ("generate", "pictures", "--out", "out", *server), ("pictures", "pictures/0.txt")),
        "evaluate": (
            ("evaluate", f"base={tiny}", "--benchmarks", "paraphrased-retrieval", "--pairs",
             "pairs/p.json", "--pool", "pictures", "--k", 1, "--out", "out"),
            ("pairs", "pairs/p.json", "pictures", "pictures/0.png", "out", ".")),
        "evaluate, reports": (
            ("evaluate", "--compare", "items"), ("items", "items/items.npz", "items/report.json")),
        "merge": (("merge", tiny, tiny, "--out", "out/m.safetensors"), ("out", ".")),
        "export": (("export", tiny, "out"), ("out", ".")),
        "swap": (
            ("swap", "hugging-face", "--cache", "hub", "--tuned", sound / "tuned.safetensors"),
            ("hub", SNAPSHOT, str(Path(SNAPSHOT).parent))),
        "swap-check": ((*check, "stores/v.npy"), ("stores", "stores/v.npy", "stores/queries.txt")),
        "swap-check, Parquet": ((*check, "stores/v.parquet"), ("stores/v.parquet",)),
        "swap-check, rclip": ((*check, "stores/db.sqlite3"), ("stores/db.sqlite3",)),
        "audit": (("audit", "nowhere", "--out", "marks", "--marks", "marks/marks.jsonl"),
                  ("marks", "marks/marks.jsonl")),
    }  # fmt: skip


def circumstance_cases(sound: Path) -> Iterator[Case]:
    """Rights, names, models for other systems, and pictures of 81 million pixels."""
    for label, (words, names) in commands(sound).items():
        for name in names:
            folders = {} if Path(name).suffix else MODES
            for what, mode in (folders or {"hidden": 0}).items():
                act = partial(without_rights, words, name, mode)
                make = partial(with_copies, sound, words, act)
                yield Case("rights", f"{label}: {name} is {what}", make, ("out/*", "hub/*"))
        for old in (name for name in names if name in words):
            for what, name in LONG_NAMES.items():
                act = partial(renamed, words, old, name + Path(old).suffix)
                make = partial(with_copies, sound, words, act)
                yield Case("names", f"{label}: {old} is {what}", make, ("*",))
    for system in ("vespa", "opensearch"):
        for what, write in bad_files(sound / "tiny.safetensors").items():
            make = partial(export_file, system, write)
            yield Case("models: for other systems", f"{system}: {what}", make)
    for kind in ("GIF", "WEBP"):
        yield Case("files: large pictures", kind, partial(large_picture, kind))


def with_copies(sound: Path, words: Sequence[object], action: Any, folder: Path) -> Action:
    """Copy the sound inputs that relative words name, since they are changed."""
    (folder / "out").mkdir()
    for name in {str(word).split("/")[0] for word in words} & {*os.listdir(sound)}:
        shutil.copytree(sound / name, folder / name, symlinks=True)
    return action


def without_rights(words: Sequence[object], name: str, mode: int) -> int:
    """Run a command as a user with these rights alone to a file or folder."""
    path = Path(name).absolute()
    before = path.stat().st_mode
    path.chmod(mode)
    if os.geteuid() == 0:
        header = (ctypes.c_uint32 * 2)(_CAPABILITIES, 0)
        if ctypes.CDLL(None, use_errno=True).capset(header, (ctypes.c_uint32 * 6)()):
            raise OSError(ctypes.get_errno(), "root's rights cannot be given up")
    try:
        return paraclip(*words)
    finally:
        path.chmod(before)


def renamed(words: Sequence[object], old: str, name: str) -> int:
    """Run a command after one of its files or folders got the name, as far as it may have it."""
    with suppress(OSError):
        os.rename(old, name)
    return paraclip(*(name if word == old else word for word in words))


def export_file(system: str, write: Any, folder: Path) -> Action:
    """Export a bad checkpoint."""
    write(folder / "a.safetensors")
    return ["export", folder / "a.safetensors", "out", "--for", system]


def large_picture(kind: str, folder: Path) -> Action:
    """Decode a picture of 9,000 x 9,000 pixels in six threads."""
    path = str(folder / f"a.{kind.lower()}")
    Image.new("L", (9000, 9000)).save(path)

    def decode() -> None:
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(open_image, [path] * 6, [224] * 6))

    return decode
