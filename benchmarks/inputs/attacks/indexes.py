"""Bad indexes: tables of `paraclip search`, and the stores that `swap-check` reads."""

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs.attacks.cases import DAMAGE, LISTED, PLACES, Case, command


def write_indexes(sound: Path) -> None:
    """A table of the sound pictures, and the same vectors in the formats of other systems."""
    tiny, pictures = sound / "tiny.safetensors", sound / "csv"
    assert command("index", pictures, "--store", sound / "index", "--model", tiny) == 0
    from paraclip.models.features import encode_images
    from paraclip.models.loading import load_model

    folder = sound / "stores"
    folder.mkdir()
    paths = sorted(str(path) for path in pictures.glob("*.png"))
    vectors = encode_images(load_model(str(tiny)), paths).numpy()
    np.save(folder / "v.npy", vectors)
    write_table(folder / "v.parquet", paths, vectors)
    write_rclip(folder / "db.sqlite3", paths, vectors)
    (folder / "queries.txt").write_text("a red disc\ta disc that is red\na blue square\n")
    (folder / "paths.txt").write_text("".join(f"{path}\n" for path in paths))


def write_table(path: Path, paths: list[str], vectors: np.ndarray) -> None:
    """A Parquet table of paths and vectors."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"path": paths, "vector": list(vectors)}), path)


def write_rclip(path: Path, paths: list[str], vectors: np.ndarray) -> None:
    """rclip's database."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TABLE images (id INTEGER PRIMARY KEY, deleted BOOLEAN, filepath TEXT, "
            "vector BLOB)"
        )
        rows = [(name, row.tobytes()) for name, row in zip(paths, vectors, strict=True)]
        connection.executemany("INSERT INTO images (filepath, vector) VALUES (?, ?)", rows)
        connection.commit()


def search(sound: Path, store: Path) -> int:
    """Search a table."""
    return command("search", "a red disc", "--store", store, "--json")


def index_again(sound: Path, store: Path) -> int:
    """Update a table."""
    tiny = sound / "tiny.safetensors"
    return command("index", sound / "csv", "--store", store, "--model", tiny)


def swap(sound: Path, **changed: Path) -> int:
    """Check an index, with sound files for all other inputs."""
    stores, tiny = sound / "stores", sound / "tiny.safetensors"
    files = {"index": stores / "v.npy", "paths": stores / "paths.txt",
             "queries": stores / "queries.txt"} | changed  # fmt: skip
    if files["index"].name != "v.npy":
        files.pop("paths")
    words = [word for name, path in files.items() for word in (f"--{name}", path)]
    return command("swap-check", *words, "--base", tiny, "--model", tiny, "--sample", 2, "--k", 1)


READ: dict[str, tuple[str, str]] = {
    "npy": ("v.npy", "index"), "parquet": ("v.parquet", "index"), "rclip": ("db.sqlite3", "index"),
    "queries": ("queries.txt", "queries"), "paths": ("paths.txt", "paths"),
}  # fmt: skip
"""File name and option by input of `swap-check`."""
STEMS = ("index.json", "_versions", "data", "_transactions")
"""Files of a LanceDB table: ParaCLIP's facts, and LanceDB's own files by folder."""


def cases(sound: Path) -> Iterator[Case]:
    """Bad files for every store, and damaged tables."""
    for kind, (name, option) in READ.items():
        for what, make in contents_of(sound / "stores" / name):
            run = partial(swap_one, sound, name, option, make)
            yield Case(f"swap-check: {kind}", what, run)
    changes = DAMAGE | {f"all {what}": replaced(content) for what, content in LISTED.items()}
    for stem in STEMS:
        for what, change in changes.items():
            run = partial(table, sound, stem, what, change, search)
            yield Case("index: search", f"{stem} {what}", run)
    for what, change in DAMAGE.items():
        run = partial(table, sound, "index.json", what, change, index_again)
        yield Case("index: update", f"index.json {what}", run)
    for what, make in PLACES.items():
        yield Case("index: search", what, partial(place, sound, make))


def contents_of(path: Path) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """Replacements for a sound file, as a description and a function."""
    for what, content in LISTED.items():
        yield what, partial(write, content)
    for what, change in DAMAGE.items():
        yield what, partial(write_damaged, path, what, change)
    yield from PLACES.items()


def write(content: bytes, path: Path) -> None:
    """Write bytes to a file."""
    path.write_bytes(content)


def write_damaged(sound: Path, what: str, change: Any, path: Path) -> None:
    """Write a damaged copy of a sound file."""
    path.write_bytes(change(sound.read_bytes(), random.Random(f"{sound.name} {what}")))


def replaced(content: bytes) -> Callable[[bytes, random.Random], bytes]:
    """Another content instead of damage."""
    return lambda _, drawn: content


def swap_one(
    sound: Path, name: str, option: str, make: Callable[[Path], object], folder: Path
) -> int:
    """Write one bad file and check an index with it."""
    make(folder / name)
    return swap(sound, **{option: folder / name})


def table(sound: Path, stem: str, what: str, change: Any, then: Any, folder: Path) -> int:
    """Copy the table, damage one of its files, and use it."""
    shutil.copytree(sound / "index", folder / "index")
    files = sorted(path for path in (folder / "index").rglob("*") if path.is_file())
    chosen = [path for path in files if stem in (path.name, path.parent.name)]
    drawn = random.Random(f"{stem} {what}")
    chosen[-1].write_bytes(change(chosen[-1].read_bytes(), drawn))
    return int(then(sound, folder / "index"))


def place(sound: Path, make: Callable[[Path], object], folder: Path) -> int:
    """Search at a path without a table."""
    make(folder / "index")
    return search(sound, folder / "index")
