"""The grid file: seeds, benchmarks, and the options of each variant.

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
"""Options of a run that a variant cannot set, because the cell sets them."""
OF_COMMAND = ("models", "out", "device")
"""Options of an evaluation that a grid cannot set, because the command line sets them."""
LONGEST_NAME = 60


@dataclass(frozen=True, kw_only=True)
class GridOptions:
    """Options at the top of a grid file.

    Args:
        seeds: seeds of training; each variant is trained once with each.
        figures: names of the figures in the table, in order; empty for every headline figure.
        same_captions: train only on captions that are in all triples files of the grid.
        reference: name of a further variant to compare the others with, such as a placebo.
    """

    seeds: tuple[Seed, ...] = (0, 1, 2)
    figures: tuple[str, ...] = ()
    same_captions: bool = False
    reference: str | None = None


@dataclass(frozen=True, kw_only=True)
class VariantOptions(TrainConfig):
    """Options of a variant: those of `paraclip train`, except those that the cell sets.

    Args:
        merge: share of tuned (0 to 1) in the model that is scored; None for tuned itself.
    """

    merge: float | None = None


@dataclass(frozen=True)
class Grid:
    """A grid file, checked."""

    path: Path  # path of the file
    head: GridOptions  # options at the top
    common: dict[str, Any]  # options of all variants
    evaluation: dict[str, Any]  # options of `paraclip evaluate`
    variants: dict[str, dict[str, Any]]  # options by name, which override the common ones


def read_grid(path: Path | str) -> Grid:
    """The grid of a TOML file."""
    path = Path(path)
    content = read_toml(path)
    tables = {name: table_of(content.pop(name, {}), f"{path} [{name}]") for name in TABLES}
    known = [*TABLES, *(field.name for field in fields(GridOptions))]
    for key in content:
        if key not in known:
            raise UserError(f"{path}: {key}", "is not a key of a grid", nearest(key, known))
    head = GridOptions(**checked(content, GridOptions, path))
    if not tables["variants"]:
        raise UserError(path, "has no variant", "Add a table such as [variants.all].")
    if not head.seeds:
        raise UserError(f"{path}: seeds", "is empty", "Give at least one, such as [0].")
    if head.reference is not None and head.reference not in tables["variants"]:
        hint = nearest(head.reference, list(tables["variants"]))
        raise UserError(f"{path}: reference", f"{head.reference!r} is not a variant", hint)
    evaluation = checked(tables["evaluation"], EvaluateConfig, f"{path} [evaluation]")
    refuse(evaluation, OF_COMMAND, f"{path} [evaluation]", "the command line sets it")
    variants = {
        variant_name(name, path): variant(table, f"{path} [variants.{name}]")
        for name, table in tables["variants"].items()
    }
    common = variant(tables["common"], f"{path} [common]")
    return Grid(path, head, common, evaluation, variants)


def table_of(value: Any, where: str) -> dict[str, Any]:
    """A table of the file."""
    if not isinstance(value, dict):
        raise UserError(where, f"{value!r} is not a table", "Write its options under that heading.")
    return value


def variant(table: Any, where: str) -> dict[str, Any]:
    """The options that a table sets."""
    options = checked(table_of(table, where), VariantOptions, where)
    refuse(options, DECIDED, where, "each cell sets it")
    share = options.get("merge")
    if share is not None and not (math.isfinite(share) and 0 <= share <= 1):
        raise UserError(f"{where}: merge", f"{share} is outside 0 to 1", "Use 0.5, for example.")
    return options


def refuse(options: Mapping[str, Any], names: tuple[str, ...], where: str, why: str) -> None:
    """Raise for an option that is not allowed here."""
    for name in names:
        if name in options:
            raise UserError(f"{where}: {name}", f"is not allowed in a grid: {why}", "Remove it.")


def variant_name(name: str, path: Path) -> str:
    """A name that fits on one line of a table."""
    if not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
        hint = f"Use up to {LONGEST_NAME} printable characters."
        raise UserError(f"{path}: variants", f"{name!r} cannot be a name", hint)
    if name.split(" of ")[0] in ("base", "control"):
        what = f"{name!r} is the name of another row"
        raise UserError(f"{path}: variants", what, "Rename the variant.")
    return name
