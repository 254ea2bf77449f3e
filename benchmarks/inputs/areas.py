"""The bad inputs by area, as tables: files, models, indexes, caches and options.

Damage is the same for all readers; what is bad for one reader, server or header alone is in its
tests.
"""

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, get_type_hints

from benchmarks.inputs.cases import (
    DAMAGE,
    DEAD,
    LISTED,
    PLACES,
    Action,
    Case,
    Change,
    Write,
    bad_files,
    compared,
    dry_run,
    generate,
)
from benchmarks.inputs.circumstances import circumstance_cases
from benchmarks.inputs.sound import NAMES, SNAPSHOT
from paraclip.commands import COMMANDS
from paraclip.options import option_name


def all_cases(sound: Path) -> Iterator[Case]:
    """Every input; `sound` is the folder that `write_sound` writes."""
    makers = (
        file_cases, kept_cases, model_cases, index_cases, swap_cases, option_cases,
        circumstance_cases,
    )  # fmt: skip
    seen: Counter[tuple[str, str]] = Counter()
    for case in chain.from_iterable(make(sound) for make in makers):
        seen[case.area, case.name] += 1
        number = seen[case.area, case.name]
        yield case if number == 1 else replace(case, name=f"{case.name} ({number})")


# Files -------------------------------------------------------------------------------------------


def triples(path: Path) -> None:
    """Read triples."""
    from paraclip.data.triples import read_provenance, read_triples

    read_triples(path)
    read_provenance(path)


def pairs(path: Path) -> None:
    """Read pairs for a search."""
    from paraclip.evaluation.pairs import read_pairs

    read_pairs(path)


def wordings(path: Path) -> None:
    """Read captions with rewordings."""
    from paraclip.evaluation.pairs import read_wordings

    read_wordings(path, None)


def pool(path: Path) -> None:
    """Read pictures to search."""
    from paraclip.evaluation.pictures import read_pool

    read_pool(path)


def picture(path: Path) -> None:
    """Decode a picture."""
    from paraclip.data.images import open_image

    open_image(str(path), 256)


def metrics(path: Path) -> None:
    """Read the log of a run."""
    from paraclip.training.log import keep_until, read_metrics

    read_metrics(path)
    keep_until(path, 1)


def answers(path: Path) -> None:
    """Open a log of answers."""
    from paraclip.paraphrase.log import AnswerLog

    with suppress(FileNotFoundError):
        path.rename(path.with_name("answers.jsonl"))
    AnswerLog(path.with_name("answers.jsonl"), {"model": "fake"}).close()


def marks(path: Path) -> list[Any]:
    """Report marks on the sheet next to them."""
    return ["audit", "nowhere", "--out", path.parent, "--marks", path]


Reader = Callable[[Path], Action]


def call(function: Callable[[Path], None]) -> Reader:
    """A reader that calls a function of the package."""
    return lambda path: partial(function, path)


READERS: dict[str, Reader] = {
    "csv": dry_run, "tsv": dry_run, "jsonl": dry_run,
    "coco": dry_run, "captions parquet": dry_run,
    "shard": dry_run, "triples": call(triples),
    "triples lines": call(triples), "pairs": call(pairs),
    "pairs csv": call(pairs), "wordings": call(wordings),
    "vectors": call(pool), "names": call(pool),
    "report": compared, "items": lambda p: compared(p.parent),
    "picture": call(picture), "marks": marks, "sheet": marks,
    "options": lambda path: ["train", "nowhere.parquet", "--config", path],
    "rejected": lambda path: ["audit", path.parent],
    "answers": call(answers), "metrics": call(metrics),
}  # fmt: skip
"""What reads each kind of file: words of a command, or a call that raises."""
WITH: dict[str, tuple[str, ...]] = {
    "report": ("items/items.npz",), "items": ("report/report.json",),
    "rejected": ("triples/t.parquet",), "marks": ("sheet/sheet.jsonl",),
}  # fmt: skip
"""Sound files that a reader needs next to its own."""
OWN_CHANGES = ("out/*", "answers.jsonl", "log.jsonl", "metrics.jsonl")
"""Files that the readers replace, because they continue them."""


def file_cases(sound: Path) -> Iterator[Case]:
    """Listed and damaged files, and paths that are no files, for every reader."""
    for kind, reader in READERS.items():
        name = NAMES[kind]
        for what, write in bad_files(sound / kind / name).items():
            if (kind, what) == ("metrics", "missing"):
                continue  # read only if a run has written it
            make = partial(write_and_read, sound, kind, name, write, reader)
            yield Case(f"files: {kind}", what, make, OWN_CHANGES)
    for name in ("manifest.json", "answers.jsonl"):
        for what, write in bad_files(sound / "round" / name).items():
            yield Case(f"files: batch {name}", what, partial(read_round, sound, name, write))


def write_and_read(
    sound: Path, kind: str, name: str, write: Write, reader: Reader, folder: Path
) -> Action:
    """Write a bad file with the sound ones that are read with it."""
    for other in WITH.get(kind, ()):
        target = folder / ("triples.parquet" if kind == "rejected" else Path(other).name)
        target.write_bytes((sound / other).read_bytes())
    write(folder / name)
    return reader(folder / name)


def read_round(sound: Path, name: str, write: Write, folder: Path) -> Action:
    """A round of a batch of which one file is bad."""
    (folder / "round").mkdir()
    for path in (sound / "round").iterdir():
        if path.name != name:
            (folder / "round" / path.name).write_bytes(path.read_bytes())
    write(folder / "round" / name)
    return [*generate(sound, folder / "out"), "--from-file", folder / "round"]


# Files of a user ---------------------------------------------------------------------------------

NOTES = b"written by a person\n"
MODEL_FILES = {"notes.safetensors": NOTES, "notes.md": NOTES}
RUN_FILES = dict.fromkeys(("out/last.safetensors", "out/metrics.jsonl", "out/notes.txt"), NOTES)
FORGED = b'{"format": "paraclip-run-1", "settings": {}}\n'


def kept_cases(sound: Path) -> Iterator[Case]:
    """Files that a person wrote, where a command would write its output."""
    tiny, pictures = sound / "tiny.safetensors", sound / "pictures"
    index = ["index", pictures, "--index", "index", "--base", tiny]
    train = ["train", sound / "triples" / "t.parquet", "--images", pictures, "--base", tiny,
             "--epochs", 1, "--batch-size", 2, "--out", "out"]  # fmt: skip
    evaluate = ["evaluate", f"base={tiny}", "--benchmarks", "paraphrased-retrieval", "--pairs",
                sound / "pairs" / "p.json", "--pool", pictures, "--out", "out"]  # fmt: skip
    search = ["search", "a red disc", "--index", sound / "index", "--sheet", "notes.png"]
    batch = [*generate(sound, Path("out")), "--to-file", "batch"]
    # By name: the files, and the words of the command.
    table: dict[str, tuple[dict[str, bytes], list[Any]]] = {
        "index in a folder with files": (
            {"index/notes.txt": NOTES, "index/index.json": NOTES}, [*index, "--rebuild"]),
        "merge over a file": (MODEL_FILES, ["merge", tiny, tiny, "--out", "notes.safetensors"]),
        "merge beside a card": (
            {"notes.md": NOTES}, ["merge", tiny, tiny, "--out", "notes.safetensors"]),
        "export over a file": (MODEL_FILES, ["export", tiny, "notes.safetensors"]),
        "export over a folder": (
            {"out/notes.txt": NOTES, "out/a/b.txt": NOTES}, ["export", tiny, "out"]),
        "train in a folder with files": (RUN_FILES, train),
        "train --fresh, foreign run.json": (
            RUN_FILES | {"out/run.json": b'{"of": "me"}\n'}, [*train, "--fresh"]),
        "train --fresh, forged run.json": (
            RUN_FILES | {"out/run.json": FORGED}, [*train, "--fresh"]),
        "search --sheet over a file": ({"notes.png": NOTES}, search),
        "evaluate in a folder with files": (
            {"out/report.json": NOTES, "out/report.md": NOTES}, evaluate),
        "generate --to-file in a folder with files": (
            {"batch/notes.jsonl": NOTES, "batch/requests-0001.jsonl": NOTES}, batch),
        "generate --to-file beside another manifest": (
            {"batch/manifest.json": b'{"files": ["a.png"]}'}, batch),
        "generate --to-file beside a folder named like a part": (
            {"batch/.requests-0001.jsonl.part/notes.txt": NOTES}, batch),
    }  # fmt: skip
    for name, (files, words) in table.items():
        yield Case("files of a user", name, partial(with_files, files, words))


def with_files(files: Mapping[str, bytes], words: list[Any], folder: Path) -> Action:
    """Files that a person wrote, and a command whose output is in their place."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return words


# Models ------------------------------------------------------------------------------------------


def load(name: object, folder: Path) -> Action:
    """Load a model by name, and write it again."""
    return ["merge", name, name, "--out", folder / "out.safetensors"]


def load_file(write: Write, folder: Path) -> Action:
    """Load a checkpoint."""
    write(folder / "a.safetensors")
    return load(folder / "a.safetensors", folder)


def load_folder(content: bytes, tiny: Path, folder: Path) -> Action:
    """Load a folder of open_clip with this configuration."""
    (folder / "model").mkdir()
    (folder / "model" / "open_clip_config.json").write_bytes(content)
    (folder / "model" / "model.safetensors").symlink_to(tiny)
    return load(f"local-dir:{folder / 'model'}", folder)


def model_cases(sound: Path) -> Iterator[Case]:
    """Checkpoints, configurations and names."""
    tiny = sound / "tiny.safetensors"
    for what, write in bad_files(tiny).items():
        yield Case("models: checkpoints", what, partial(load_file, write))
    for what, content in LISTED.items():
        yield Case("models: folders", what, partial(load_folder, content, tiny))
    for name in MODEL_NAMES:
        yield Case("models: names", repr(name)[:60], partial(load, name))


MODEL_NAMES = [
    "", " ", ":", "x", "x:y", "ViT-B-32", "ViT-B-32:", "ViT-B-32:none", "ViT-B-32:/dev/zero",
    "ViT-B-32:nowhere.pt", "local-dir:", "local-dir:/nowhere", "/", "/dev/zero", "/dev/null", "..",
    "a\0b", "\udcff", "hf-hub:someone/something", "http://127.0.0.1:1/a.safetensors", "a" * 5000,
    "nowhere.safetensors", "nowhere.pt", "ViT-B-32:openai.bin", "\x1b[31m",
]  # fmt: skip

# Indexes -----------------------------------------------------------------------------------------

STORES = {
    "npy": ("v.npy", "index"), "parquet": ("v.parquet", "index"), "rclip": ("db.sqlite3", "index"),
    "queries": ("queries.txt", "queries"), "paths": ("paths.txt", "paths"),
}  # fmt: skip
"""File name and option by input of `swap-check`."""
STEMS = ("index.json", "_versions", "data", "_transactions")
"""Files of a LanceDB table: ParaCLIP's facts, and LanceDB's own files by folder."""


def swap_check(sound: Path, name: str, option: str, write: Write, folder: Path) -> Action:
    """Check an index with one bad file, and sound ones for all other inputs."""
    write(folder / name)
    stores, tiny = sound / "stores", sound / "tiny.safetensors"
    files = {"index": stores / "v.npy", "paths": stores / "paths.txt",
             "queries": stores / "queries.txt"} | {option: folder / name}  # fmt: skip
    if files["index"].name != "v.npy":
        files.pop("paths")
    words = [word for key, path in files.items() for word in (f"--{key}", path)]
    return ["swap-check", *words, "--base", tiny, "--tuned", tiny, "--k", 1]


def with_table(sound: Path, stem: str, what: str, change: Change, folder: Path) -> None:
    """Copy the table and damage one of its files."""
    shutil.copytree(sound / "index", folder / "index")
    files = sorted(path for path in (folder / "index").rglob("*") if path.is_file())
    chosen = [path for path in files if stem in (path.name, path.parent.name)]
    drawn = random.Random(f"{stem} {what}")
    chosen[-1].write_bytes(change(chosen[-1].read_bytes(), drawn))


def index_cases(sound: Path) -> Iterator[Case]:
    """Bad files for every store, damaged tables, and bad caches."""
    tiny = sound / "tiny.safetensors"
    for kind, (name, option) in STORES.items():
        for what, write in bad_files(sound / "stores" / name).items():
            make = partial(swap_check, sound, name, option, write)
            yield Case(f"swap-check: {kind}", what, make)
    search = ["search", "a red disc", "--index", "index", "--json"]
    update = ["index", sound / "pictures", "--index", "index", "--base", tiny]
    check = ["swap-check", "--index", "index", "--base", tiny, "--tuned", tiny]
    changes = DAMAGE | {f"all {w}": lambda _, d, c=c: c for w, c in LISTED.items()}
    changes["a length of 4 GB"] = lambda content, _: content[:3] + b"\xff" + content[4:]
    for area, words, stems in (
        ("search", search, STEMS), ("update", update, STEMS[:1]), ("check", check, STEMS[1:3]),
    ):  # fmt: skip
        for stem in stems:
            for what, change in changes.items():

                def damaged(folder: Path, stem=stem, what=what, change=change, words=words):
                    with_table(sound, stem, what, change, folder)
                    return words

                yield Case(f"index: {area}", f"{stem} {what}", damaged, ("index/*",))
    for what, place in PLACES.items():

        def at_place(folder: Path, place=place):
            place(folder / "index")
            return search

        yield Case("index: search", what, at_place)
        for inside in ("", "features/x", "builtin/x.gguf"):
            shown = f"--version: {inside or 'the folder'} is {what}"
            yield Case("caches", shown, partial(with_cache, inside, place), ("*",))


def with_cache(inside: str, place: Write, folder: Path) -> Action:
    """A bad cache folder."""
    path = folder / "cache" / inside if inside else folder / "cache"
    path.parent.mkdir(parents=True, exist_ok=True)
    place(path)
    os.environ["PARACLIP_CACHE"] = str(folder / "cache")
    return ["--version"]


# Caches of other programs ------------------------------------------------------------------------


def links(path: Path, **targets: str) -> None:
    """Write links beside a file."""
    for name, target in targets.items():
        path.with_name(name).symlink_to(target)


HUB: dict[str, Callable[[Path], object]] = {
    "sound": lambda path: None,
    "folders that are links to themselves": lambda path: links(path, a=".", b=".", c="."),
    "a revision that is all of them": lambda path: links(path.parent, main="."),
    "a revision that is not UTF-8": lambda path: path.parent.rename(path.parents[1] / "\udcff"),
    "a file that looks kept": lambda path: path.with_name(f"{path.name}.x.base").touch(),
}
"""What is wrong with a cache of the hub, of the file that is swapped."""
BESIDE = ("", ".0123456789abcdef.base", ".0123456789abcdef.fedcba9876543210.base")
"""What follows the file's name in those of the file itself and of kept ones."""


def with_hub(sound: Path, what: Write, more: list[Any], folder: Path) -> Action:
    """Swap, or undo it, in a cache with which something is wrong."""
    shutil.copytree(sound / "hub", folder / "hub", symlinks=True)
    what(folder / SNAPSHOT)
    return ["swap", "hugging-face", "--cache", "hub", *more]


def at(name: str, place: Write, path: Path) -> None:
    """Put something in the place of a file or folder beside the file."""
    path = Path(os.path.normpath(path.parent / name))
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    place(path)


def swap_cases(sound: Path) -> Iterator[Case]:
    """Bad caches for `swap` and `swap --undo`."""
    names = [*(Path(SNAPSHOT).name + end for end in BESIDE), "open_clip_config.json", "../1"]
    changes = HUB | {
        f"{name}: {what}": partial(at, name, place)
        for name in names
        for what, place in PLACES.items()
    }
    for deed, more in (("swap", ["--tuned", sound / "tuned.safetensors"]), ("undo", ["--undo"])):
        for what, change in changes.items():
            make = partial(with_hub, sound, change, more)
            yield Case(f"caches: {deed}", what, make, ("hub/*.safetensors", f"hub/*{BESIDE[2]}"))
        for name, place in {**PLACES, "a" * 5000: PLACES["missing"]}.items():

            def at_place(folder: Path, name=name, place=place, more=more):
                place(folder / "cache")
                cache = "cache" if name in PLACES else name
                return ["swap", "hugging-face", "--cache", cache, *more]

            yield Case(f"caches: {deed}", f"the cache is {name[:20]}", at_place)


# Options -----------------------------------------------------------------------------------------

SKIPPED = ("config", "fresh", "device")
"""Options for which every value is a text, or that start long jobs."""


def option_cases(sound: Path) -> Iterator[Case]:
    """A bad value for each option of each command, and words that are not options."""
    for label, words in sound_words(sound).items():
        name = label.partition(" ")[0]
        for option, hint in options_of(COMMANDS[name].options_class()):
            if option in words or option.strip("-").replace("-", "_") in SKIPPED:
                continue
            shown = str(hint)
            is_flag = "bool" in shown and "None" not in shown
            numeric = "int" in shown or "float" in shown
            # Values that no numeric option interprets as a long job.
            values = (
                ("maybe",) if is_flag else ("-1", "0", "nan", "x") if numeric else ("\0", "\udcff")
            )
            for value in values:
                make = partial(lambda found, folder: found, [name, *words, option, value])
                yield Case(f"options: {label}", f"{option} {value!r}", make)
    for number, words in enumerate(WORDS):
        make = partial(lambda found, folder: found, words)
        yield Case("options: words", f"{number}: {words!r}"[:60], make)


def options_of(config: type) -> Iterator[tuple[str, Any]]:
    """The options of a command with their types; nested groups are flattened."""
    hints = get_type_hints(config)
    for field in fields(config):
        if is_dataclass(hints[field.name]):
            yield from options_of(hints[field.name])
        else:
            yield option_name(config, field.name), hints[field.name]


def sound_words(sound: Path) -> dict[str, list[str]]:
    """For each command, options with which it would end soon.

    A word after the command's name distinguishes several entries.
    """
    tiny, triples_file = str(sound / "tiny.safetensors"), str(sound / "triples" / "t.parquet")
    captions, pictures = str(sound / "csv" / "a.csv"), str(sound / "pictures")
    server = ["--backend", "openai", "--model", "m", "--base-url", DEAD]
    found = {
        "evaluate": [f"base={tiny}", "--benchmarks", "paraphrased-retrieval", "--pairs",
                     str(sound / "pairs" / "p.json"), "--pool", pictures, "--out", "out"],
        "merge": [tiny, tiny, "--out", "out.safetensors"],
        "train": [triples_file, "--images", pictures, "--base", tiny, "--out", "out",
                  "--loss-weight", "S=0"],
        "generate": ["nowhere.csv", "--out", "out"],
        "generate files": [captions, "--out", "out", *server[:4], "--to-file", "requests"],
        "generate server": [captions, "--out", "out", *server],
        "audit": ["nowhere"],
        "index": ["nowhere", "--index", "out"],
        "search": ["a red disc", "--index", str(sound / "index")],
        "serve": ["--index", "nowhere"],
        "swap-check": ["--index", str(sound / "stores" / "v.npy"), "--base", tiny, "--tuned", tiny],
        "swap": ["hugging-face", "--cache", "nowhere", "--tuned", tiny],
        "quickstart": ["nowhere", "--out", "out"],
        "export": [tiny, "out.safetensors"],
    }  # fmt: skip
    return {label: words for label, words in found.items() if label.split()[0] in COMMANDS}


WORDS: list[list[Any]] = [
    [], ["trian"], ["--nothing"], ["-"], ["--"], [""], ["\0"], ["\udcff"], ["a" * 5000],
    ["evaluate"], ["train"], ["merge", "one"], ["export", "a"], ["generate"], ["--help"],
    ["train", "--config"], ["train", "--config", "nowhere.toml"], ["train", "--config="],
    ["train", "t.parquet", "--config", "/dev/zero"], ["train", "t.parquet", "--config", "/"],
    ["train", "t.parquet", "--loss-weight"], ["train", "t.parquet", "--loss-weight", "x"],
    ["train", "t.parquet", "--epochs"], ["evaluate", "a=b=c"], ["evaluate", "=mini"],
    ["evaluate", "mini", "--benchmarks", "none"],
    ["evaluate", "a=mini", "a=mini"], ["evaluate", "--help"], ["--version"],
    *(dry_run(path) for path in ("/dev/zero", "http://127.0.0.1:1/a.csv", "ftp://x", "a{0..9}.tar",
      "{0..99999999999}.tar", "*", "zip://", "\0")),
    *(compared(path) for path in ("/dev/zero", "/", "\0")), ["export", "/dev/zero", "x"],
    ["generate", "/dev/zero", "--out", "x"], ["quickstart", "/dev/null"],
    ["search", "--index", "nowhere", "--", "-q"], ["--tyro-write-completion", "bash", "x"],
]  # fmt: skip
