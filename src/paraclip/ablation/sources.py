"""Which triples each variant trains on: named on the command line, or by the grid."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from paraclip.data.triples import SCHEMA, read_provenance, read_triples, write_triples
from paraclip.errors import UserError
from paraclip.evaluation.choice import LABEL
from paraclip.files import file_hash, text_hash

Source = tuple[str, str | None]
"""A triples file, and the column of hard negatives that is read from it."""

GIVE = "Give --triples FILE, or --triples NAME=FILE for each name in the grid."


def triples_of(
    variants: Mapping[str, Mapping[str, Any]], given: tuple[str, ...], reduced: Path | None
) -> dict[str, str]:
    """The triples file of each variant.

    Args:
        variants: options by name; `triples` is a name on the command line, or a file.
        given: what the command line names, each as FILE or NAME=FILE.
        reduced: folder for files that hold only the captions that all of them have; None: files
            as they are.

    Raises:
        UserError: a variant has none, or a file is not there or broken.
    """
    named = named_files(given)
    places = {name: place(named, options.get("triples")) for name, options in variants.items()}
    for path in places.values():
        if not Path(path).is_file():
            raise UserError(path, "there are no such triples", GIVE)
    if reduced is None:
        return places
    read = {name: (path, variants[name].get("negatives")) for name, path in places.items()}
    smaller = same_captions(dict.fromkeys(read.values()), reduced / "triples")
    return {name: smaller[source] for name, source in read.items()}


def named_files(given: tuple[str, ...]) -> dict[str, str]:
    """Files by name; one without a name is called "".

    Raises:
        UserError: a name is there twice.
    """
    found: dict[str, str] = {}
    for entry in given:
        match = LABEL.fullmatch(entry)
        name, path = match.groups() if match else ("", entry)
        if name in found:
            what = f"{name or 'one without a name'} is there twice"
            raise UserError(f"--triples {entry}", what, GIVE)
        found[name] = path
    return found


def place(named: Mapping[str, str], wanted: str | None) -> str:
    """The file that a variant means."""
    if wanted is not None:
        return named.get(wanted, wanted)
    if "" in named or len(named) == 1:
        return named.get("", next(iter(named.values())))
    raise UserError("--triples", "a variant names none and none stands for all", GIVE)


def same_captions(sources: Iterable[Source], folder: Path) -> dict[Source, str]:
    """Files with the rows whose picture and caption are in all of them, so that data alone differ.

    Raises:
        UserError: they have no caption in common.
    """
    tables = {(path, extra): read_triples(path, extra=extra) for path, extra in sources}
    common = set.intersection(*(set(captions(table)) for table in tables.values()))
    if len(common) < 2:
        hint = "Make all of them from the same captions."
        paths = sorted({path for path, _ in tables})
        raise UserError(" and ".join(paths), "have no captions in common", hint)
    which = text_hash(repr(sorted(common)))
    made = {}
    for (path, extra), table in tables.items():
        chosen = table.filter(pa.array([row in common for row in captions(table)]))
        origin = {**read_provenance(path), "reduced_from": Path(path).name}
        content = " ".join([file_hash(path), which, *([extra] if extra else [])])
        made[path, extra] = written(chosen, folder, content, origin)
    return made


def captions(table: pa.Table) -> list[tuple[str, str]]:
    """What tells a row's picture and caption."""
    columns = (table[name].to_pylist() for name in ("image_id", "caption"))
    return list(zip(*columns, strict=True))


def written(table: pa.Table, folder: Path, content: str, origin: dict[str, Any]) -> str:
    """The rows as a file named by what they are, so that it is written once."""
    path = folder / f"{text_hash(content)}.parquet"
    if not path.exists():
        further = [name for name in table.column_names if name not in SCHEMA.names]
        write_triples(path, table, origin, table.select(further))
    return str(path)
