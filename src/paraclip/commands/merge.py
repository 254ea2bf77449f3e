"""`paraclip merge`: merge two models and write the result."""

from pathlib import Path

from paraclip.files import check_room, refuse_overwriting
from paraclip.merging import MergeConfig, merge
from paraclip.models.sources import check_model, model_files, models_of_run
from paraclip.provenance import provenance


def merge_command(config: MergeConfig) -> None:
    """Merge base and tuned, and print the path of the checkpoint."""
    tuned = models_of_run(config.tuned).get("tuned", config.tuned)  # not what it has merged
    for name in (config.base, tuned):
        check_model(name)
    from paraclip.models.checkpoint import check_checkpoint_path, save_model  # torch, only now
    from paraclip.models.loading import load_model
    from paraclip.models.tensors import count_bytes

    out = Path(config.out)
    check_checkpoint_path(out)
    refuse_overwriting(out, [*model_files(config.base), *model_files(tuned)])
    base = load_model(config.base, "cpu")
    check_room(out.parent, count_bytes(base))  # the merged model is as large as the base
    merged = merge(base, load_model(tuned, "cpu"), config.share)
    sources = {"base": config.base, "tuned": tuned, "share": config.share}
    save_model(merged, out, provenance(merged=sources))
    print(f"{config.share:.0%} tuned, {1 - config.share:.0%} base: {config.out}")
