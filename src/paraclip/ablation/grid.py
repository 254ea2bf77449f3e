"""The grid file: seeds, benchmarks, and for each variant the options in which it differs.

seeds = [0, 1]
figures = ["AO@10", "T2I R@10"]

[evaluation]
benchmarks = "paraphrased-retrieval,image-text-retrieval"

[common]
epochs = 4

[variants.all]

[variants."L1 alone"]
weights = [1, 0, 0]

[variants.merged]
merge = 0.5
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from paraclip.config_file import checked, read_toml
from paraclip.errors import UserError, nearest
from paraclip.evaluation.config import EvaluateConfig
from paraclip.options import Seed
from paraclip.training.config import TrainConfig

TABLES = ("common", "evaluation", "variants")
DECIDED = ("out", "seed", "control", "fresh", "device")
"""Options of a run that are not a variant's: the cell decides them."""
OF_COMMAND = ("models", "out", "cache", "device", "result_cache")
"""Options of an evaluation that are not the grid's."""
LONGEST_NAME = 60


@dataclass(frozen=True, kw_only=True)
class GridOptions:
    """What stands at the head of a grid file.

    Args:
        seeds: of training; each variant is trained once on each.
        figures: names of the figures in the table, in order; empty: every headline figure.
        same_captions: train only on captions that all triples files of the grid hold.
    """

    seeds: tuple[Seed, ...] = (0, 1, 2)
    figures: tuple[str, ...] = ()
    same_captions: bool = False


@dataclass(frozen=True, kw_only=True)
class VariantOptions(TrainConfig):
    """What a variant may set: any option of `paraclip train` that the cell does not decide.

    Args:
        merge: share of tuned (0 to 1) in a mixture with the base, which is then scored.
    """

    merge: float | None = None


@dataclass(frozen=True)
class Grid:
    """A grid file, checked.

    Args:
        path: of the file.
        head: seeds, figures and whether all variants take the same captions.
        common: options of all variants.
        evaluation: options of `paraclip evaluate`.
        variants: by name, the options in which it differs from the common ones.
    """

    path: Path
    head: GridOptions
    common: dict[str, Any]
    evaluation: dict[str, Any]
    variants: dict[str, dict[str, Any]]


def read_grid(path: Path | str) -> Grid:
    """The grid of a TOML file.

    Raises:
        UserError: no such file, no TOML, an unknown key (with the nearest name), a value of
            another kind, a name that cannot stand in a table, or no variant.
    """
    path = Path(path)
    found = read_toml(path)
    tables = {name: table_of(found.pop(name, {}), f"{path} [{name}]") for name in TABLES}
    known = [*TABLES, *(field.name for field in fields(GridOptions))]
    for key in found:
        if key not in known:
            raise UserError(f"{path}: {key}", "is no part of a grid", nearest(key, known))
    head = GridOptions(**checked(found, GridOptions, path))
    if not tables["variants"]:
        raise UserError(path, "names no variant", "Add a table such as [variants.all].")
    if not head.seeds:
        raise UserError(f"{path}: seeds", "there is none", "Give at least one, such as [0].")
    asked = checked(tables["evaluation"], EvaluateConfig, f"{path} [evaluation]")
    refuse(asked, OF_COMMAND, f"{path} [evaluation]", "the command line decides it")
    variants = {
        variant_name(name, path): variant(table, f"{path} [variants.{name}]")
        for name, table in tables["variants"].items()
    }
    common = variant(tables["common"], f"{path} [common]")
    return Grid(path, head, common, asked, variants)


def table_of(found: Any, where: str) -> dict[str, Any]:
    """A table of the file."""
    if not isinstance(found, dict):
        raise UserError(where, f"{found!r} is no table", "Write its options under that head.")
    return found


def variant(table: Any, where: str) -> dict[str, Any]:
    """The options that a table sets."""
    options = checked(table_of(table, where), VariantOptions, where)
    refuse(options, DECIDED, where, "every cell decides it for itself")
    share = options.get("merge")
    if share is not None and not (math.isfinite(share) and 0 <= share <= 1):
        raise UserError(f"{where}: merge", f"{share} is outside 0 to 1", "Give 0.5 or so.")
    return options


def refuse(options: Mapping[str, Any], names: tuple[str, ...], where: str, why: str) -> None:
    """Raise for an option that has no place here."""
    for name in names:
        if name in options:
            raise UserError(f"{where}: {name}", f"has no place in a grid; {why}", "Take it out.")


def variant_name(name: str, path: Path) -> str:
    """A name that can stand in a table and on one line.

    Raises:
        UserError: it cannot, or base and controls are called so.
    """
    if not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
        hint = f"Take up to {LONGEST_NAME} letters, digits and signs."
        raise UserError(f"{path}: variants", f"{name!r} cannot be a name", hint)
    if name == "base" or name.split(" of ")[0] == "control":
        raise UserError(f"{path}: variants", f"{name!r} has its row already", "Rename the variant.")
    return name
