"""The triples of each variant, from the command line or the grid."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from paraclip import starter
from paraclip.data.triples import SCHEMA, read_provenance, read_triples, write_triples
from paraclip.errors import UserError
from paraclip.evaluation.config import LABEL
from paraclip.files import file_hash, text_hash

Source = tuple[str, str | None, bool]
"""A triples file, its column of hard negatives, and whether one step of paraphrasing is read."""

HINT = "Give --triples FILE, or --triples NAME=FILE for each name in the grid."


def triples_of(
    variants: Mapping[str, Mapping[str, Any]], given: tuple[str, ...], reduced: Path | None
) -> dict[str, str]:
    """The triples file of each variant.

    Args:
        variants: options by name; `triples` is a name from the command line, or a file.
        given: entries of the command line, each FILE or NAME=FILE.
        reduced: folder for files reduced to the captions that are in all of them, or None to use
            the files unchanged.
    """
    named = named_files(given)
    paths = {
        name: str(starter.resolve(file_for(named, options.get("triples"))))
        for name, options in variants.items()
    }
    for path in paths.values():
        if not Path(path).is_file():
            raise UserError(path, "there is no such file", HINT)
    if reduced is None:
        return paths
    sources = {
        name: (path, variants[name].get("negatives"), bool(variants[name].get("one_step")))
        for name, path in paths.items()
    }
    files = same_captions(dict.fromkeys(sources.values()), reduced / "triples")
    return {name: files[source] for name, source in sources.items()}


def named_files(given: tuple[str, ...]) -> dict[str, str]:
    """Files by name; the name of a file without one is ""."""
    files: dict[str, str] = {}
    for entry in given:
        match = LABEL.fullmatch(entry)
        name, path = match.groups() if match else ("", entry)
        if name in files:
            what = f"the name {name!r} is repeated" if name else "is the second file without a name"
            raise UserError(f"--triples {entry}", what, HINT)
        files[name] = path
    return files


def file_for(named: Mapping[str, str], wanted: str | None) -> str:
    """The triples file of a variant; `wanted` is the name in the grid."""
    if wanted is not None:
        return named.get(wanted, wanted)
    if "" in named or len(named) == 1:
        return named.get("", next(iter(named.values())))
    raise UserError("--triples", "a variant names no triples, and there is no default", HINT)


def same_captions(sources: Iterable[Source], folder: Path) -> dict[Source, str]:
    """Files reduced to the rows whose picture and caption are in all of them."""
    tables = {
        (path, extra, one_step): read_triples(path, one_step=one_step, extra=extra)
        for path, extra, one_step in sources
    }
    common = set.intersection(*(set(row_keys(table)) for table in tables.values()))
    if len(common) < 2:
        hint = "Generate all of them from the same captions."
        paths = sorted({path for path, *_ in tables})
        raise UserError(" and ".join(paths), "have no captions in common", hint)
    captions_hash = text_hash(repr(sorted(common)))
    files = {}
    for (path, extra, one_step), table in tables.items():
        chosen = table.filter(pa.array([row in common for row in row_keys(table)]))
        origin = {**read_provenance(path), "reduced_from": Path(path).name}
        kind = [*([extra] if extra else []), *(["one step"] if one_step else [])]
        content = " ".join([file_hash(path), captions_hash, *kind])
        files[path, extra, one_step] = write_once(chosen, folder, content, origin)
    return files


def row_keys(table: pa.Table) -> list[tuple[str, str]]:
    """Picture and caption of each row."""
    columns = (table[name].to_pylist() for name in ("image_id", "caption"))
    return list(zip(*columns, strict=True))


def write_once(table: pa.Table, folder: Path, content: str, origin: dict[str, Any]) -> str:
    """Write the rows to a file named by the hash of `content`, unless it exists."""
    path = folder / f"{text_hash(content)}.parquet"
    if not path.exists():
        further = [name for name in table.column_names if name not in SCHEMA.names]
        write_triples(path, table, origin, table.select(further))
    return str(path)
