"""`paraclip merge`: mix two models at one share, or sweep over shares and write the knee."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Benchmark
from paraclip.evaluation.command import find_benchmarks
from paraclip.evaluation.config import EvaluateConfig
from paraclip.files import cache_folder
from paraclip.merging.config import MergeConfig
from paraclip.merging.merge import check_fit, merge
from paraclip.merging.sweep import Scoring, rising, sweep
from paraclip.merging.sweep_report import markdown, write_sweep
from paraclip.models.checkpoint import save_model
from paraclip.models.encoder import DualEncoder
from paraclip.models.hashing import hash_tensors
from paraclip.models.loading import load_model
from paraclip.provenance import provenance

SHARED = ("benchmarks", "data", "pairs", "pool", "captions", "images", "k", "cache", "precision")


def merge_command(config: MergeConfig) -> None:
    """Mix two models and write the mixture.

    Raises:
        UserError: they do not belong together, or a sweep lacks its data.
    """
    out = Path(config.out)
    if out.suffix != ".safetensors":
        raise UserError(out, "is no name of a safetensors file", "End it in .safetensors")
    if out.resolve() in (Path(config.base).resolve(), Path(config.tuned).resolve()):
        raise UserError(out, "is one of the models that are merged", "Name another file to write.")
    if config.sweep:
        rising(config.sweep)  # before anything is loaded
    device = config.device if config.sweep else "cpu"
    base, tuned = load_model(config.base, device), load_model(config.tuned, device)
    check_fit(base, tuned, config.alpha, config.image_tower)
    alpha = sweep_command(config, base, tuned) if config.sweep else config.alpha
    made = {"base": config.base, "tuned": config.tuned, "alpha": alpha}
    mixed = merge(base, tuned, alpha, config.image_tower)
    save_model(mixed, out, provenance(merged=made))
    print(f"{alpha:.0%} tuned, {1 - alpha:.0%} base: {config.out}")


def sweep_command(config: MergeConfig, base: DualEncoder, tuned: DualEncoder) -> float:
    """Score the shares, write table and plot, and return the knee."""
    shared = {name: value for name, value in asdict(config).items() if name in SHARED}
    benchmarks = find_benchmarks(EvaluateConfig(models=(), **shared))
    folder = Path(config.report)
    standard = standard_names(config.standard, benchmarks)
    cache = Path(config.cache) if config.cache else cache_folder() / "image_features"
    how = Scoring(
        standard, folder / "scores", cache, config.resamples, config.seed, config.image_tower
    )
    found = sweep(base, tuned, config.sweep, benchmarks, how)
    weights = {name: hash_tensors(x.state_dict()) for name, x in (("base", base), ("tuned", tuned))}
    write_sweep(found, folder, provenance(settings=asdict(config), weights=weights))
    print(markdown(found))
    print(f"Written: {folder / 'sweep.md'} (and sweep.json, sweep.png)")
    return found.alpha


def standard_names(given: str | None, benchmarks: Sequence[Benchmark]) -> tuple[str, ...]:
    """The benchmarks that must not fall: those named, else those whose role is "standard".

    Raises:
        UserError: a named one is not scored.
    """
    if given is None:
        return tuple(one.name for one in benchmarks if one.role == "standard")
    known = [one.name for one in benchmarks]
    names = tuple(name.strip() for name in given.split(",") if name.strip())
    for name in names:
        if name not in known:
            hint = f"Name some of {', '.join(known)}."
            raise UserError(name, "is named by --standard and is not among the benchmarks", hint)
    return names
