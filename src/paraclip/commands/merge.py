"""`merge`: its options, and the command, which merges two models and writes the result."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from paraclip.commands.packages import require_packages
from paraclip.files import check_room, refuse_overwriting
from paraclip.merging import SHARE, merge
from paraclip.models.sources import check_model, model_files, models_of_run
from paraclip.options import Checked, Share
from paraclip.provenance import provenance


@dataclass(frozen=True, kw_only=True)
class MergeConfig(Checked):
    """Merge base and tuned by interpolating their weights (WiSE-FT)."""

    base: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="BASE")]
    """Model before tuning."""

    tuned: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TUNED")]
    """Checkpoint after tuning, or the folder of its run."""

    share: Share = SHARE
    """Share of tuned in the merged weights: 0 is base, 1 is tuned."""

    out: str = "merged.safetensors"
    """Checkpoint to write."""


def merge_command(config: MergeConfig) -> None:
    """Merge base and tuned, and print the path of the checkpoint."""
    tuned = models_of_run(config.tuned).get("tuned", config.tuned)  # not what it has merged
    require_packages("merge", config, (config.base, tuned))
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
