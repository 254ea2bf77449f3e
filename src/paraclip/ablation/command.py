"""`paraclip ablate`: reads the grid, finds benchmarks, does what is left, prints the table."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from paraclip.ablation.cells import Scoring
from paraclip.ablation.config import AblateConfig
from paraclip.ablation.grid import Grid, read_grid
from paraclip.ablation.plan import make_plan
from paraclip.ablation.study import Study
from paraclip.errors import UserError
from paraclip.evaluation.choice import find_benchmarks
from paraclip.evaluation.config import EvaluateConfig
from paraclip.files import cache_folder
from paraclip.training.processes import placed


def ablate_command(config: AblateConfig) -> None:
    """Do what is not done yet and print the table.

    Raises:
        UserError: the grid is wrong, or (at the very end) a cell failed.
    """
    if config.dry_run:
        with TemporaryDirectory() as scratch:
            print(prepare(config, Path(scratch)).listing())
        return
    study = prepare(config)
    study.run()
    print(study.text)
    print(f"\nWritten: {study.plan.out / 'ablation.md'} (and ablation.json, plots)")
    if study.failed:
        names = "; ".join(study.failed_names())
        hint = "Mend that and give the command again: finished cells are kept."
        what = f"{len(study.failed)} of {len(study.plan.cells)} cells failed ({names})"
        raise UserError("ablate", what, hint)


def prepare(config: AblateConfig, scratch: Path | None = None) -> Study:
    """The study of a grid.

    Args:
        config: options of the command.
        scratch: where triples that the grid makes smaller are written; None: to `out`.

    Raises:
        UserError: the grid, an option or a benchmark's data is wrong; nothing was run.
    """
    if int(placed(os.environ).get("WORLD_SIZE", "1")) > 1:
        raise UserError("ablate", "runs in one process", "Start it without torchrun or srun.")
    grid = read_grid(config.grid)
    return Study(make_plan(grid, config, scratch), scoring(grid, config), config)


def scoring(grid: Grid, config: AblateConfig) -> Scoring:
    """The benchmarks that the grid or the command line names, on their data."""
    given = {name: getattr(config, name) for name in ("benchmarks", "precision", "data")}
    options = grid.evaluation | {name: value for name, value in given.items() if value is not None}
    if config.benchmarks is not None:
        options["suite"] = None
    asked = EvaluateConfig(models=(), **options)
    cache = Path(config.cache) if config.cache else cache_folder() / "image_features"
    settings = {
        "k": asked.k, "precision": asked.precision, "seed": asked.seed,
        "resamples": asked.resamples, "cache": cache, "results": cache_folder() / "results",
    }  # fmt: skip
    return Scoring(find_benchmarks(asked), settings, config.device)
