"""`paraclip ablate`: train and score the unfinished cells of a grid, and print the table."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from paraclip.ablation.cells import CellEvaluation
from paraclip.ablation.config import AblateConfig
from paraclip.ablation.grid import Grid, read_grid
from paraclip.ablation.plan import make_plan
from paraclip.ablation.study import Study
from paraclip.errors import UserError
from paraclip.evaluation.config import EvaluateConfig
from paraclip.evaluation.registry import choose_benchmarks
from paraclip.files import cache_folder
from paraclip.training.processes import placed


def ablate_command(config: AblateConfig) -> None:
    """Train and score the unfinished cells and print the table."""
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
        hint = "Fix that and run the command again: finished cells are kept."
        what = f"{len(study.failed)} of {len(study.plan.cells)} cells failed ({names})"
        raise UserError("ablate", what, hint)


def prepare(config: AblateConfig, scratch: Path | None = None) -> Study:
    """The study of a grid."""
    if int(placed(os.environ).get("WORLD_SIZE", "1")) > 1:
        raise UserError("ablate", "runs in one process", "Start it without torchrun or srun.")
    grid = read_grid(config.grid)
    return Study(make_plan(grid, config, scratch), evaluation_of(grid, config), config)


def evaluation_of(grid: Grid, config: AblateConfig) -> CellEvaluation:
    """The benchmarks of the grid, or of the command line, with their data."""
    overrides = {name: getattr(config, name) for name in ("benchmarks", "precision", "data")}
    options = grid.evaluation | {
        name: value for name, value in overrides.items() if value is not None
    }
    evaluate = EvaluateConfig(models=(), **options)
    cache = Path(config.cache) if config.cache else cache_folder() / "image_features"
    settings = {
        "k": evaluate.k, "precision": evaluate.precision, "seed": 0,
        "resamples": evaluate.resamples or 1000, "cache": cache,
        "results": cache_folder() / "results",
    }  # fmt: skip
    return CellEvaluation(choose_benchmarks(evaluate)[0], settings, config.device)
