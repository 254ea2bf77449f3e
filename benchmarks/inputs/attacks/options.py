"""Bad values for every option of every command, together with sound inputs."""

from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, get_type_hints

from benchmarks.inputs.attacks.cases import Case, command
from paraclip.cli import COMMANDS

SMALL = ("-1", "0", "nan", "x")
"""Values that no numeric option interprets as a long job."""
TEXT = ("\0", "\udcff")
SKIPPED = ("config", "columns", "fresh", "device")


def cases(sound: Path) -> Iterator[Case]:
    """A bad value for each option, and words that are not options."""
    for label, words in sound_words(sound).items():
        name = label.partition(" ")[0]
        hints = get_type_hints(COMMANDS[name].options_class())
        for field in fields(COMMANDS[name].options_class()):
            if field.name in SKIPPED or f"--{field.name}".replace("_", "-") in words:
                continue
            option = f"--{field.name.replace('_', '-')}"
            for value in values_of(hints[field.name]):
                case = partial(with_value, name, words, option, value)
                yield Case(f"options: {label}", f"{option} {value[:20]!r}", case)
    for words in WORDS:
        yield Case("options: words", repr(words)[:60], partial(with_words, words))


def values_of(hint: Any) -> tuple[str, ...]:
    """Values to try for an option of a type."""
    shown = str(hint)
    if "bool" in shown and "None" not in shown:
        return ("maybe",)
    return SMALL if "int" in shown or "float" in shown else TEXT


def with_value(name: str, words: list[str], option: str, value: str, folder: Path) -> int:
    """A command with one bad value; its output stays in its folder."""
    return command(name, *words, f"{option}", value)


def with_words(words: list[str], folder: Path) -> int:
    """A command line without changes."""
    return command(*words)


def sound_words(sound: Path) -> dict[str, list[str]]:
    """For each command, options with which it would end soon.

    A word after the command's name distinguishes several entries.
    """
    tiny, triples = str(sound / "tiny.safetensors"), str(sound / "triples" / "t.parquet")
    captions, report = str(sound / "csv" / "a.csv"), str(sound / "report" / "report.json")
    pictures = ["--images", str(sound / "csv")]
    short = ["--model", tiny, "--out", "out", "--precision", "fp32", "--track", "jsonl"]
    server = ["--backend", "openai", "--model", "m", "--base-url", "http://127.0.0.1:9/v1"]
    pair = str(sound / "pairs" / "p.json")
    return {
        "captions": [captions],
        "compare": [report],
        "evaluate": [f"base={tiny}", "--benchmarks", "paraphrased-retrieval", "--pairs", pair,
                     "--pool", str(sound / "csv"), "--k", "1", "--out", "out"],
        "merge": [tiny, tiny],
        "train": [triples, *pictures, *short],
        "align": ["nowhere.csv", "--out", "out"],
        "generate": ["nowhere.csv", "--out", "out"],
        "generate files": [captions, "--out", "out", *server[:4], "--to-file", "requests"],
        "audit": ["nowhere"],
        "audit-report": [str(sound / "sheet" / "sheet.jsonl"),
                         str(sound / "marks" / "marks.jsonl")],
        "index": ["nowhere", "--store", "out"],
        "search": ["a red disc", "--store", str(sound / "index")],
        "serve": ["--store", "nowhere", "--llm", "none"],
        "swap-check": ["--index", str(sound / "stores" / "v.npy"), "--base", tiny, "--model", tiny],
        "doctor": [],
        "quickstart": ["nowhere", "--out", "out"],
        "ablate": [str(sound / "grid" / "g.toml"), "--triples", triples, "--dry-run"],
        "export": [tiny, "out.safetensors"],
    }  # fmt: skip


WORDS: list[list[str]] = [
    [], ["trian"], ["--nothing"], ["-"], ["--"], [""], ["\0"], ["\udcff"], ["a" * 5000],
    ["evaluate"], ["train"], ["merge", "one"], ["compare"], ["export", "a"], ["captions"],
    ["train", "--config"], ["train", "--config", "nowhere.toml"], ["train", "--config="],
    ["train", "t.parquet", "--config", "/dev/zero"], ["train", "t.parquet", "--config", "/"],
    ["train", "t.parquet", "--weights", "1"], ["train", "t.parquet", "--weights", "1", "2", "x"],
    ["train", "t.parquet", "--negatives", "caption"], ["train", "t.parquet", "--epochs"],
    ["evaluate", "mini", "--suite", "none"], ["evaluate", "mini", "--benchmarks", "none"],
    ["evaluate", "a=b=c"], ["evaluate", "a=mini", "a=mini"], ["evaluate", "=mini"],
    ["evaluate", "--help"], ["--help"], ["--version"], ["captions", "/dev/zero"],
    ["captions", "http://127.0.0.1:1/a.csv"], ["captions", "ftp://x"], ["captions", "a{0..9}.tar"],
    ["captions", "{0..99999999999}.tar"], ["captions", "*"], ["captions", "zip://"],
    ["captions", "\0"],
    ["compare", "/dev/zero"], ["compare", "/"], ["compare", "\0"], ["export", "/dev/zero", "x"],
    ["ablate", "/dev/zero"], ["generate", "/dev/zero", "--out", "x"], ["quickstart", "/dev/null"],
]  # fmt: skip
