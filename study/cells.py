"""Grids of the study: their rows and cells, and how a cell is trained, merged and scored.

A grid is a TOML file: `seeds`, a `reference` row, `[common]` options and a table of options for
each variant. Options are those of `paraclip.train`, and also `triples` (a name of `triples.py`),
`bank` (one of `banks.py`, or `pictures`), `texts` (names of `triples.py`), `teacher` (names of
bases, with or without a share), `merge` (share of tuned in the model that is scored, or "chosen"
for the model that the run recommends), `hubs` (share of popularity that leaves the target), `rival`
(a model of `rivals.py` in place of a training, with its `gamma`, or `mean-squares`, a training with
another loss) and `seeds` (of a variant, in place of the grid's).
Each variant with pictures has a control: the same number of steps of L1 on the original captions,
with the same settings, and the seeds of the first variant that has it. The sets of a grid are those
of its folder, or of its `sets`. A grid with `bases` is for these alone; others are for a and b, b
with options of its own.

A cell is a row with one seed. The name of its folder ends in a hash of everything that determines
its weights, so that an unchanged row is resumed, a changed one is trained again, and rows with the
same training (in several grids, tuned and merged, a control of several variants) share one run.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import paraclip
from paraclip.data.triples import read_triples
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Benchmark
from paraclip.evaluation.compare import Stored, read_stored
from paraclip.evaluation.report import data_hash
from paraclip.evaluation.run import evaluate
from paraclip.files import cache_folder, file_hash, text_hash
from paraclip.models.encoder import DualEncoder
from paraclip.models.sources import model_files
from paraclip.training import ranking
from study.banks import PICTURES, pictures_of
from study.rivals import (
    POPULARITY,
    drift_adapter,
    linear_estimate,
    lower_hubs,
)

Options = Mapping[str, Any]
OF_LOSSES = (
    "loss_weights", "image_loss_on", "text_temperature", "recipe", "bank", "teacher", "texts",
    "languages",
)  # fmt: skip
"""Options that a control does not use; left out, so that variants share a control."""
SCORING = {"k": (10,), "precision": "fp32"}
"""Settings of the evaluation that change figures."""


@dataclass(frozen=True, eq=False)
class Row:
    """A row of a grid's table.

    Args:
        name: of the variant; or base, or control.
        kind: of its models.
        options: of the training, with the file of the triples; empty for base.
        merge: share of tuned in the model that is scored, or "chosen" for the model that the run
            recommends; None for tuned itself.
        control: name of the row of its control; None for controls and without pictures.
        reference: name of a further row that it is compared with.
        seeds: of its cells; none for base.
    """

    name: str
    kind: Literal["base", "control", "tuned", "merged"]
    options: Options
    merge: float | Literal["chosen"] | None = None
    control: str | None = None
    reference: str | None = None
    seeds: tuple[int, ...] = ()

    @property
    def others(self) -> tuple[str, ...]:
        """Names of the rows that it is compared with."""
        names = ("base", self.control, self.reference)
        return () if self.kind == "base" else tuple(name for name in names if name)


@dataclass(frozen=True, eq=False)
class Cell:
    """A row with one seed (None for base), and the folders of its scores and its training run."""

    row: Row
    seed: int | None
    scores: Path
    run: Path


@dataclass(frozen=True)
class Grid:
    """A grid file: its sets, common options, the options of its variants, seeds, and its rows."""

    name: str
    sets: str
    common: Options
    variants: Mapping[str, Options]
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]


def read_grid(path: Path, further: Options, files: Mapping[str, Mapping[str, Path]]) -> Grid:
    """The grid of a file.

    Args:
        path: the file.
        further: options in place of the common ones.
        files: by option that names some (`NAMED`), the file or folder behind each name.
    """
    content = content_of_grid(path)
    common, variants = {**content["common"], **further}, content["variants"]
    reference = content.get("reference")
    rows: list[Row] = []
    controls: dict[str, Row] = {}
    for name, variant in variants.items():
        options = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in {**common, **variant}.items()
        }
        share = options.pop("merge", None)
        seeds = options.pop("seeds", tuple(content["seeds"]))
        if options.get("bank") == PICTURES:
            del options["bank"]
        options |= {
            option: files[option][options[option]] for option in ("triples", "bank")
            if option in options
        }  # fmt: skip
        options |= {
            option: tuple(_with_path(name, files[option]) for name in options[option])
            for option in ("teacher", "texts") if option in options
        }  # fmt: skip
        key, has_pictures = captions_of(options["triples"])
        control = None
        if has_pictures:
            plain = {k: v for k, v in options.items() if k not in OF_LOSSES} | {"control": True}
            title = f"control of {name}" if controls else "control"
            shared = json.dumps({**plain, "triples": key}, sort_keys=True, default=str)
            control = controls.setdefault(shared, Row(title, "control", plain, seeds=seeds)).name
        kind: Literal["tuned", "merged"] = "tuned" if share is None else "merged"
        further_row = reference if reference != name else None
        rows.append(Row(name, kind, options, share, control, further_row, seeds))
    known = (Row("base", "base", {}), *controls.values(), *rows)
    names = [row.name for row in known]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        what = f"has two rows named {', '.join(twice)}"
        raise UserError(path, what, "Rename the variant: base and controls have rows of their own.")
    sets = content.get("sets", path.parent.name)
    return Grid(name_of_grid(path), sets, common, variants, tuple(content["seeds"]), known)


def _with_path(named: str, files: Mapping[str, Path]) -> str:
    """A name with or without a share, with the path that it stands for; `base` stays."""
    name, equals, share = named.partition("=")
    return f"{files.get(name, name)}{equals}{share}"


def content_of_grid(path: Path) -> dict[str, Any]:
    """What the file of a grid says."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def name_of_grid(path: Path) -> str:
    """The name of a grid in cells and results; those of later reports say so."""
    folder = path.parent.name
    return (
        f"{folder}_{path.stem}" if folder in ("second", "third", "fourth", "paper") else path.stem
    )


def named_in(path: Path, option: str) -> set[str]:
    """The names that a grid gives as an option that names files, without shares."""
    content = content_of_grid(path)
    found = [one.get(option, ()) for one in (content["common"], *content["variants"].values())]
    lists = [[one] if isinstance(one, str) else one for one in found]
    return {name.partition("=")[0] for names in lists for name in names}


@cache
def captions_of(path: Path) -> tuple[str, bool]:
    """What a control reads of triples: the hash of captions and pictures, and if there are any."""
    table = read_triples(path)
    read = table.select(["image_id", "image", "caption"]).to_pydict()
    digest = sha256(json.dumps(read).encode()).hexdigest()
    return digest, table["image"].null_count < len(table)


@cache
def content_of(path: Path) -> str:
    """The hash of a file, read once."""
    return file_hash(path)


def cells_of(grid: Grid, base: Path, root: Path) -> Iterator[Cell]:
    """The cell of base, then those of all other rows, seed by seed."""
    known = {path.name.rpartition(".")[2]: path for path in sorted(root.glob("*.*"))}

    def folder(name: str, *decisive: object) -> Path:
        key = text_hash(json.dumps([weights, *decisive], sort_keys=True, default=str))
        readable = re.sub(r"[^A-Za-z0-9_+]+", "-", name).strip("-")
        return known.setdefault(key, root / f"{readable}.{key}")

    weights, place = weights_of(base), f"scores-{grid.sets}"
    yield Cell(grid.rows[0], None, folder("base") / place, folder("base"))
    for seed in grid.seeds:
        for row in (row for row in grid.rows[1:] if seed in row.seeds):
            triples = row.options["triples"]
            is_control = row.kind == "control"
            decisive = {
                **row.options, "seed": seed,
                "triples": captions_of(triples)[0] if is_control else content_of(triples),
            }  # fmt: skip
            if "bank" in row.options:
                decisive["bank"] = content_of(row.options["bank"])
            decisive |= {
                option: [
                    [share, *weights_of(Path(name))]
                    for name, _, share in (one.partition("=") for one in row.options[option])
                ]
                for option in ("teacher", "texts") if option in row.options
            }  # fmt: skip
            run = scores = folder(f"{row.name} seed {seed}", decisive)
            if row.merge is not None:
                scores = folder(f"{row.name} {row.merge} seed {seed}", decisive, row.merge)
            yield Cell(row, seed, scores / place, run)


def weights_of(base: Path) -> list[str]:
    """The hashes of the files of a base."""
    return [content_of(path) for path in model_files(str(base))]


def model_of(cell: Cell, base: Path) -> DualEncoder:
    """The model of a cell, trained unless it is; a stopped run resumes."""
    if cell.seed is None:
        return paraclip.load_model(str(base))
    options = dict(cell.row.options)
    rival = options.pop("rival", None)
    if rival not in (None, "mean-squares"):
        return rival_of(rival, options, base)
    triples = options.pop("triples")
    options.pop("held_out", None)  # 0 in all grids of the first two reports; names their runs
    if rival:
        options["loss_weights"] = {"R": 0.0, "mean squares": 3.0}
    hubs = options.pop("hubs", ranking.HUBS_LOWERED)
    with patch.object(ranking, "HUBS_LOWERED", hubs):
        tuned = paraclip.train(str(base), triples, out=cell.run, seed=cell.seed, **options)
    share = cell.row.merge
    if share == "chosen":
        choice = json.loads((cell.run / "summary.json").read_text("utf-8"))["choice"]
        share = {"base": 0.0, "tuned": None, "merged": choice["share"]}[choice["use"]]
    if share is None:
        return tuned
    return paraclip.merge(paraclip.load_model(str(base)), tuned, share)


def rival_of(rival: str, options: Options, base: Path) -> DualEncoder:
    """The model of a row that trains nothing: a rival, or its teacher with an index of its own."""
    model = paraclip.load_model(str(base))
    if rival == "linear-estimate":
        return linear_estimate(model, options["gamma"])
    if rival in POPULARITY:
        return lower_hubs(model, rival, pictures_of(Path(options["bank"])))
    teacher = paraclip.load_model(options["teacher"][0])
    if rival == "teacher":
        return teacher
    return drift_adapter(model, teacher, pictures_of(Path(options["bank"])))


def run_cell(cell: Cell, base: Path, sets: Sequence[Benchmark]) -> Stored:
    """Train, merge and score a cell; returns its report."""
    evaluate(
        {cell.row.kind: model_of(cell, base)}, sets, cell.scores,
        resamples=100, cache=cache_folder() / "image_features", recorded=SCORING,
    )  # fmt: skip
    return read_stored(cell.scores)


def scores_of(cell: Cell, sets: Sequence[Benchmark]) -> Stored | None:
    """The report of a finished cell; None if it is missing or from other sets or settings."""
    try:
        stored = read_stored(cell.scores)
    except UserError:
        return None
    scored = {section.name: section.data_hash for section in stored.report.sections}
    wanted = {one.name: data_hash(one.pool, one.data) for one in sets}
    made = stored.report.provenance
    same = all(made.get(name) == json.loads(json.dumps(SCORING[name])) for name in SCORING)
    return stored if scored == wanted and same else None
