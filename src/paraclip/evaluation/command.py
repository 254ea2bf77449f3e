"""`paraclip evaluate`: score models, write the report and print the table."""

from dataclasses import asdict
from pathlib import Path

from paraclip.evaluation.choice import (
    choose_benchmarks,
    label_models,
    names_sources,
    warn_left_out,
)
from paraclip.evaluation.config import EvaluateConfig
from paraclip.evaluation.run import evaluate
from paraclip.files import cache_folder
from paraclip.models.encoder import DualEncoder
from paraclip.models.loading import load_model


def evaluate_command(config: EvaluateConfig) -> None:
    """Score the models, write the report and print its table."""
    names = label_models(config.models)
    models: dict[str, DualEncoder] = {
        label: load_model(name, config.device) for label, name in names.items()
    }
    benchmarks, left_out = choose_benchmarks(config)
    warn_left_out(left_out)
    cache = Path(config.cache) if config.cache else cache_folder() / "image_features"
    settings = {
        **asdict(config), "models": names, "cache": cache, "left_out": left_out,
        "results": cache_folder() / "results" if config.result_cache else None,
    }  # fmt: skip
    of_suite = config.benchmarks is None and not names_sources(config)
    report = evaluate(models, benchmarks, config.out, settings, pass_over=of_suite)
    print(report.table())
    print(f"\nWritten: {Path(config.out) / 'report.md'} (and report.json, plots, items.npz)")
