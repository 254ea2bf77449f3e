"""Rows and cells of a grid: what is trained, merged and scored, and in which folder.

A cell is a row with one seed. Its folder is named by a hash of everything that determines its
weights: a changed variant gets another folder, an unchanged one is resumed, and rows with the same
training (a control of several variants; tuned and merged) share one run.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

from paraclip.ablation.config import AblateConfig
from paraclip.ablation.grid import Grid, VariantOptions
from paraclip.ablation.sources import named_files, triples_of
from paraclip.data.problems import Problems
from paraclip.data.triples import read_triples
from paraclip.errors import UserError, nearest
from paraclip.files import file_hash, text_hash
from paraclip.models.names import model_files
from paraclip.starter import TRIPLES
from paraclip.training.config import TrainConfig, hyperparameters
from paraclip.training.recipes import check_options, with_recipe

RowKind = Literal["base", "control", "tuned", "merged"]

ALL_GRIDS = Path("runs") / "ablate"
DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(TrainConfig)}
CAPTION_COLUMNS = ("image_id", "image", "caption")
ROWS_AT_ONCE = 65_536
UNREAD_BY_CONTROL = (
    *("weights", "image_loss_on", "negatives", "text_temperature", "l2_temperature"),
    *("l3_temperature", "learn_text_temperature", "recipe", "shuffle_paraphrases"),
    "distillation",
)
"""Options of losses that a control does not use; reset, so that variants share a control."""


@dataclass(frozen=True)
class GridRow:
    """A row of the table."""

    name: str  # name of the variant, or base or control
    kind: RowKind  # kind of its models
    options: TrainConfig  # options of the training; base uses only the model
    merge: float | None = None  # share of tuned in the scored model; None for tuned itself
    base: str | None = None  # name of the row of its base
    # name of the row of its control; None for controls, and for variants without pictures
    control: str | None = None
    # name of a further row to compare it with, or None
    reference: str | None = None


@dataclass(frozen=True)
class Cell:
    """A row with one seed."""

    row: GridRow  # its row
    seed: int | None  # seed of the training; None for base
    training: TrainConfig | None  # options of the run, with its folder; None for base
    folder: Path  # folder of the cell; scores are in `scores/`

    @property
    def name(self) -> str:
        """Name for display."""
        return self.row.name if self.seed is None else f"{self.row.name}, seed {self.seed}"

    @property
    def scores(self) -> Path:
        """Folder of the report, which `paraclip compare` reads."""
        return self.folder / "scores"


@dataclass(frozen=True)
class Plan:
    """Rows and cells of an ablation."""

    grid: Grid  # the grid
    rows: tuple[GridRow, ...]  # in the order of the table
    seeds: tuple[int, ...]  # seeds of training
    # in order of execution: all rows with the first seed, then with the next
    cells: tuple[Cell, ...]
    out: Path  # folder of the table
    root: Path  # folder of the cells


def make_plan(grid: Grid, config: AblateConfig, scratch: Path | None = None) -> Plan:
    """Rows and cells of a grid under the options of the command line."""
    out = Path(config.out or ALL_GRIDS / grid.path.stem)
    folder = Path(config.cells or (out if config.out else ALL_GRIDS) / "cells")
    variants = dict(variant_rows(grid, config, scratch or out))
    rows = with_bases_and_controls(variants, grid.head.reference)
    for row in rows:
        check_options(row.options)
    seeds = tuple(dict.fromkeys(config.seeds or grid.head.seeds))
    cells = tuple(cells_of(rows, seeds, folder))
    return Plan(grid, rows, seeds, cells, out, folder)


def variant_rows(grid: Grid, config: AblateConfig, reduced: Path) -> Iterator[tuple[str, GridRow]]:
    """Rows of the variants, by name, without base and control."""
    wanted = config.variants or tuple(grid.variants)
    for name in wanted:
        if name not in grid.variants:
            hint = nearest(name, list(grid.variants))
            raise UserError(f"--variants {name}", f"{grid.path} has no such variant", hint)
    unnamed = named_files(config.triples).get("")  # overrides only those of [common]
    overrides = {"model": config.model, "images": config.images, "triples": unnamed}
    named = {name: value for name, value in overrides.items() if value is not None}
    chosen = {name: {**grid.common, **named, **grid.variants[name]} for name in wanted}
    triples = triples_of(chosen, config.triples, reduced if grid.head.same_captions else None)
    for name, options in chosen.items():
        variant = VariantOptions(**{**options, "triples": triples[name], "device": config.device})
        kind: RowKind = "tuned" if variant.merge is None else "merged"
        training = {field.name: getattr(variant, field.name) for field in fields(TrainConfig)}
        yield name, GridRow(name, kind, TrainConfig(**training), variant.merge)


def control_of(options: TrainConfig) -> TrainConfig:
    """The control of a run: as many steps on the original captions, with the same settings.

    It reads no paraphrases, so triples of one step suffice.
    """
    unread: dict[str, Any] = {name: DEFAULTS[name] for name in UNREAD_BY_CONTROL}
    return replace(options, control=True, one_step=True, **unread)


def with_bases_and_controls(
    variants: dict[str, GridRow], reference: str | None = None
) -> tuple[GridRow, ...]:
    """Bases, controls, then variants with the names of their base, control and reference.

    The first base is called "base", a further one "base of VARIANT"; likewise controls.
    """
    bases: dict[str, GridRow] = {}
    controls: dict[str, GridRow] = {}
    linked = []
    for name, row in variants.items():
        new = GridRow(first_name("base", bases, name), "base", row.options)
        base = bases.setdefault(row.options.model, new)
        control = shared_control(row, base.name, controls)
        further = reference if reference in variants and name != reference else None
        linked.append(replace(row, base=base.name, control=control, reference=further))
    return (*bases.values(), *controls.values(), *linked)


def shared_control(row: GridRow, base: str, controls: dict[str, GridRow]) -> str | None:
    """The name of a variant's control, which is added unless an earlier variant has the same.

    None without pictures: L1, which a control trains alone, has nothing to learn.
    """
    options = control_of(row.options)
    may_have = options.images or options.replay
    if not (may_have or read_by_control(options.triples).pictures):
        return None
    new = GridRow(first_name("control", controls, row.name), "control", options, base=base)
    return controls.setdefault(key_of(options), new).name


def first_name(kind: str, known: dict[str, GridRow], variant: str) -> str:
    """The name of a base or control that this variant is the first to use."""
    return f"{kind} of {variant}" if known else kind


def key_of(options: TrainConfig) -> str:
    """Sixteen hex digits of everything that determines a run's weights."""
    path = options.triples
    triples = read_by_control(path).key if options.control else content(path)
    decisive = {
        **hyperparameters(with_recipe(options)), "choose": options.choose,
        "triples": triples, "model": model_content(options.model),
        "replay": options.replay and content_or_name(options.replay),
    }  # fmt: skip
    if options.starter:  # absent by default, so that finished cells keep their keys
        decisive["starter"] = content(str(TRIPLES))
    if options.images:
        decisive["images"] = options.images
    return text_hash(json.dumps(decisive, sort_keys=True))


@cache
def content(path: str) -> str:
    """Hash of a file, cached."""
    return file_hash(path)


class ControlContent(NamedTuple):
    """What a control reads of triples: captions and pictures, but no paraphrases."""

    key: str  # hash of its columns
    pictures: bool  # whether any row has a picture


@cache
def read_by_control(path: str) -> ControlContent:
    """What a control reads of a file of triples, cached."""
    try:
        table = read_triples(path, Problems(1.0), one_step=True)
    except UserError:  # the cell reports it
        return ControlContent(content(path), True)
    digest = sha256()
    for part in table.select(CAPTION_COLUMNS).combine_chunks().to_batches(ROWS_AT_ONCE):
        digest.update(json.dumps(part.to_pydict()).encode())
    return ControlContent(digest.hexdigest(), table["image"].null_count < len(table))


def content_or_name(path: str) -> str:
    """Hash of a file, or the name of a folder or URL."""
    return content(path) if Path(path).is_file() else path


def model_content(name: str) -> list[str]:
    """A model's name; also a file's architecture and hash, or the hashes of a folder's files."""
    files = model_files(name)
    architecture = name.rpartition(":")[0]
    return [architecture, *(content(str(path)) for path in files)] if files else [name]


def cells_of(rows: Sequence[GridRow], seeds: Sequence[int], root: Path) -> Iterator[Cell]:
    """Every base, then all other rows, seed by seed."""
    folders = Folders(root)
    for row in rows:
        if row.kind == "base":
            key = text_hash(json.dumps(model_content(row.options.model)))
            yield Cell(row, None, None, folders.of(row.name, key))
    for seed in seeds:
        for row in (row for row in rows if row.kind != "base"):
            options = replace(row.options, seed=seed)
            key = key_of(options)
            run = folder = folders.of(f"{row.name} seed {seed}", key)
            if row.merge is not None:
                mixed = text_hash(f"{key} {row.merge:g}")
                folder = folders.of(f"{row.name} {row.merge:g} seed {seed}", mixed)
            yield Cell(row, seed, replace(options, out=str(run)), folder)


class Folders:
    """Folders of cells, named NAME.KEY; the key identifies the cell.

    Args:
        root: parent folder of all cells.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        paths = root.iterdir() if root.is_dir() else ()
        self.known = {path.name.rpartition(".")[2]: path for path in sorted(paths)}

    def of(self, name: str, key: str) -> Path:
        """The existing folder with this key, or else a new one with this name."""
        readable = re.sub(r"[^A-Za-z0-9_+]+", "-", name).strip("-")
        return self.known.setdefault(key, self.root / f"{readable}.{key}")


def set_options(row: GridRow) -> dict[str, Any]:
    """Options of a row that differ from the defaults."""
    if row.kind == "base":
        return {"model": row.options.model}
    options = asdict(row.options)
    changed = {name: value for name, value in options.items() if value != DEFAULTS[name]}
    return changed | ({} if row.merge is None else {"merge": row.merge})
