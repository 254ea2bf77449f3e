"""From a grid to rows of the table and to cells: what is trained, merged and scored, and where.

A cell is a row on one seed. Its folder is named by a hash of everything that decides its weights:
a changed entry of the grid is another folder, an unchanged one is found again, and rows that train
the same (a control for many variants; tuned and merged) share one training run.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from paraclip.ablation.config import AblateConfig
from paraclip.ablation.grid import Grid, VariantOptions
from paraclip.ablation.sources import triples_of
from paraclip.data.problems import Problems
from paraclip.data.triples import read_triples
from paraclip.errors import UserError, nearest
from paraclip.files import file_hash, text_hash
from paraclip.training.config import TrainConfig, hyperparameters
from paraclip.training.recipes import check_options, with_recipe

Kind = Literal["base", "control", "tuned", "merged"]

ALL_GRIDS = Path("runs") / "ablate"
USUAL: dict[str, Any] = {field.name: field.default for field in fields(TrainConfig)}
CAPTION_COLUMNS = ("image_id", "image", "caption")
ROWS_AT_ONCE = 65_536
UNREAD_BY_CONTROL = (
    *("weights", "image_loss_on", "negatives", "text_temperature", "l2_temperature"),
    *("l3_temperature", "learn_text_temperature", "recipe", "shuffle_paraphrases"),
)
"""Options of losses that a control has not; set alike, so that variants share a control."""


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Args:
        name: of the variant, or base, or control.
        kind: what its models are.
        options: what it trains; of base only the model counts.
        merge: share of tuned in what is scored; None for tuned itself.
        base: name of the row that it is set against.
        control: name of its control's row, which has the same settings; None for the controls.
    """

    name: str
    kind: Kind
    options: TrainConfig
    merge: float | None = None
    base: str | None = None
    control: str | None = None


@dataclass(frozen=True)
class Cell:
    """A row on one seed.

    Args:
        row: whose.
        seed: of the training; None for base, which is not trained.
        training: the run, with its folder; None for base.
        folder: of the cell; scores lie in `scores/`.
    """

    row: Row
    seed: int | None
    training: TrainConfig | None
    folder: Path

    @property
    def name(self) -> str:
        """For people."""
        return self.row.name if self.seed is None else f"{self.row.name}, seed {self.seed}"

    @property
    def scores(self) -> Path:
        """Folder of the report, which `paraclip compare` reads."""
        return self.folder / "scores"


@dataclass(frozen=True)
class Plan:
    """All that is to be done.

    Args:
        grid: what was read.
        rows: in the order of the table.
        seeds: of training.
        cells: in the order in which they are done: all rows on the first seed, then on the next.
        out: folder of the table.
        root: folder of the cells.
    """

    grid: Grid
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    out: Path
    root: Path


def make_plan(grid: Grid, config: AblateConfig, scratch: Path | None = None) -> Plan:
    """Rows and cells of a grid under the options of the command line.

    Args:
        grid: what was read.
        config: the options.
        scratch: where triples with the captions that all files hold are written; None: `out`.

    Raises:
        UserError: an option is out of range, a variant is unknown, triples are not there.
    """
    out = Path(config.out or ALL_GRIDS / grid.path.stem)
    folder = Path(config.cells or (out if config.out else ALL_GRIDS) / "cells")
    variants = dict(variant_rows(grid, config, scratch or out))
    rows = with_bases_and_controls(variants)
    for row in rows:
        check_options(row.options)
    seeds = tuple(dict.fromkeys(config.seeds or grid.head.seeds))
    cells = tuple(cells_of(rows, seeds, folder))
    return Plan(grid, rows, seeds, cells, out, folder)


def variant_rows(grid: Grid, config: AblateConfig, place: Path) -> Iterator[tuple[str, Row]]:
    """The variants' own rows."""
    wanted = config.variants or tuple(grid.variants)
    for name in wanted:
        if name not in grid.variants:
            hint = nearest(name, list(grid.variants))
            raise UserError(f"--variants {name}", f"{grid.path} has no such variant", hint)
    given = {"model": config.model, "images": config.images}
    named = {name: value for name, value in given.items() if value is not None}
    chosen = {name: {**grid.common, **named, **grid.variants[name]} for name in wanted}
    places = triples_of(chosen, config.triples, place if grid.head.same_captions else None)
    for name, options in chosen.items():
        asked = VariantOptions(**{**options, "triples": places[name], "device": config.device})
        kind: Kind = "tuned" if asked.merge is None else "merged"
        yield name, Row(name, kind, trained_by(asked), asked.merge)


def trained_by(asked: VariantOptions) -> TrainConfig:
    """The run behind a variant."""
    return TrainConfig(**{field.name: getattr(asked, field.name) for field in fields(TrainConfig)})


def control_of(options: TrainConfig) -> TrainConfig:
    """As many steps on the original captions under the same settings.

    It reads no paraphrases, so one-step data will do.
    """
    usual: dict[str, Any] = {name: USUAL[name] for name in UNREAD_BY_CONTROL}
    return replace(options, control=True, one_step=True, **usual)


def with_bases_and_controls(variants: dict[str, Row]) -> tuple[Row, ...]:
    """Bases, controls, then the variants, each knowing its base and its control.

    The first base and the first control are called so alone, further ones after their variant.
    """
    bases: dict[str, Row] = {}
    controls: dict[str, Row] = {}
    placed = []
    for name, row in variants.items():
        made = Row(named("base", bases, name), "base", row.options)
        base = bases.setdefault(row.options.model, made)
        options = control_of(row.options)
        made = Row(named("control", controls, name), "control", options, base=base.name)
        control = controls.setdefault(key_of(options), made)
        placed.append(replace(row, base=base.name, control=control.name))
    return (*bases.values(), *controls.values(), *placed)


def named(kind: str, known: dict[str, Row], variant: str) -> str:
    """The name of a base or control that this variant is the first to need."""
    return f"{kind} of {variant}" if known else kind


def key_of(options: TrainConfig) -> str:
    """Sixteen hex digits of everything that decides a run's weights."""
    rows = read_by_control if options.control else content
    decisive = {
        **hyperparameters(with_recipe(options)), "choose": options.choose,
        "triples": rows(options.triples), "model": model_content(options.model),
        "replay": options.replay and content_or_name(options.replay),
    }  # fmt: skip
    return text_hash(json.dumps(decisive, sort_keys=True))


@cache
def content(path: str) -> str:
    """Hash of a file, computed once."""
    return file_hash(path)


@cache
def read_by_control(path: str) -> str:
    """Hash of what a control reads of triples: rewordings of the same captions share one."""
    try:
        table = read_triples(path, Problems(1.0), one_step=True)
    except UserError:  # the cell will say it
        return content(path)
    digest = sha256()
    for part in table.select(CAPTION_COLUMNS).combine_chunks().to_batches(ROWS_AT_ONCE):
        digest.update(json.dumps(part.to_pydict()).encode())
    return digest.hexdigest()


def content_or_name(path: str) -> str:
    """Hash of a file; of a folder or a URL its name."""
    return content(path) if Path(path).is_file() else path


def model_content(name: str) -> list[str]:
    """A model's name; of a file its hash in place of the path, after the architecture it is for."""
    architecture, _, file = name.rpartition(":")
    return [architecture, content(file)] if Path(file).is_file() else [name]


def cells_of(rows: Sequence[Row], seeds: Sequence[int], root: Path) -> Iterator[Cell]:
    """Every base, then all other rows seed by seed."""
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
    """Where a cell lies: under its key, with a name before it for people.

    Args:
        root: of all cells.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        there = root.iterdir() if root.is_dir() else ()
        self.known = {path.name.rpartition(".")[2]: path for path in sorted(there)}

    def of(self, name: str, key: str) -> Path:
        """The folder of that key: as it is called already, else after this name."""
        plain = re.sub(r"[^A-Za-z0-9_+]+", "-", name).strip("-")
        return self.known.setdefault(key, self.root / f"{plain}.{key}")


def as_asked(row: Row) -> dict[str, Any]:
    """The options of a row that are not the usual ones, for people and for JSON."""
    if row.kind == "base":
        return {"model": row.options.model}
    asked = {name: value for name, value in asdict(row.options).items() if value != USUAL[name]}
    return asked | ({} if row.merge is None else {"merge": row.merge})
