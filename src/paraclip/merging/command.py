"""`paraclip merge`: merge two models at one share, or sweep over shares and write the knee."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Benchmark
from paraclip.evaluation.config import EvaluateConfig
from paraclip.evaluation.registry import choose_benchmarks
from paraclip.files import cache_folder, refuse_overwriting
from paraclip.merging.config import MergeConfig
from paraclip.merging.merge import check_fit, merge
from paraclip.merging.sweep import SweepOptions, rising, sweep
from paraclip.merging.sweep_report import markdown, write_sweep
from paraclip.models.checkpoint import check_checkpoint_path, save_model
from paraclip.models.encoder import DualEncoder
from paraclip.models.loading import load_model
from paraclip.models.names import model_files
from paraclip.models.tensors import hash_tensors
from paraclip.provenance import provenance

SHARED = ("benchmarks", "data", "pairs", "pool", "captions", "images", "k", "precision")
"""Options that a sweep shares with `paraclip evaluate`."""


def merge_command(config: MergeConfig) -> None:
    """Merge two models and write the result."""
    out = Path(config.out)
    check_checkpoint_path(out, config.force)
    refuse_overwriting(out, [*model_files(config.base), *model_files(config.tuned)])
    if config.sweep:
        rising(config.sweep)  # before anything is loaded
    device = config.device if config.sweep else "cpu"
    base, tuned = load_model(config.base, device), load_model(config.tuned, device)
    check_fit(base, tuned, config.alpha, config.image_tower)
    alpha = sweep_command(config, base, tuned) if config.sweep else config.alpha
    merged = merge(base, tuned, alpha, config.image_tower)
    sources = {"base": config.base, "tuned": config.tuned, "alpha": alpha}
    save_model(merged, out, provenance(merged=sources), config.force)
    print(f"{alpha:.0%} tuned, {1 - alpha:.0%} base: {config.out}")


def sweep_command(config: MergeConfig, base: DualEncoder, tuned: DualEncoder) -> float:
    """Score the shares, write table and plot, and return the knee."""
    given = {name: value for name, value in asdict(config).items() if value is not None}
    shared = {name: value for name, value in given.items() if name in SHARED}
    benchmarks = choose_benchmarks(EvaluateConfig(models=(), **shared))[0]
    folder = Path(config.report)
    options = SweepOptions(
        standard_names(config.standard, benchmarks),
        folder / "scores",
        Path(config.cache) if config.cache else cache_folder() / "image_features",
        config.resamples,
        config.seed,
        config.image_tower,
    )
    result = sweep(base, tuned, config.sweep, benchmarks, options)
    weights = {"base": hash_tensors(base.state_dict()), "tuned": hash_tensors(tuned.state_dict())}
    write_sweep(result, folder, provenance(settings=asdict(config), weights=weights))
    print(markdown(result))
    print(f"Written: {folder / 'sweep.md'} (and sweep.json, sweep.png)")
    return result.alpha


def standard_names(given: str | None, benchmarks: Sequence[Benchmark]) -> tuple[str, ...]:
    """The benchmarks that must not fall: the given ones, else those with the role "standard"."""
    if given is None:
        return tuple(one.name for one in benchmarks if one.role == "standard")
    known = [one.name for one in benchmarks]
    names = tuple(name.strip() for name in given.split(",") if name.strip())
    for name in names:
        if name not in known:
            hint = f"Choose from {', '.join(known)}."
            raise UserError(name, "is in --standard but not among the benchmarks", hint)
    return names
