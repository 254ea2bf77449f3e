"""`paraclip align`: read captions with pictures, align, print."""

from pathlib import Path

from paraclip.commands.train import print_summary
from paraclip.data.problems import Problems
from paraclip.data.reading import read_captions
from paraclip.errors import UserError
from paraclip.models.loading import load_model
from paraclip.models.mini import Mini
from paraclip.training.config import AlignConfig
from paraclip.training.data import prepare_captions
from paraclip.training.distributed import in_each_process, this_process
from paraclip.training.train import align


def align_command(config: AlignConfig) -> None:
    """Align, in all processes that torchrun or SLURM started together."""
    in_each_process(config.device, lambda device: _align(config, device))


def _align(config: AlignConfig, device: str) -> None:
    problems = Problems()
    captions = list(read_captions(config.source, config.columns, problems))
    pictures = sum(1 for row in captions if row.image)
    print(f"{len(captions):,} captions, {pictures:,} with a picture.")
    if not pictures:
        raise UserError(config.source, "no caption has a picture", "Give pictures with captions.")
    model = load_model(config.model, device)
    if not isinstance(model, Mini):
        what = f"{config.model} is aligned already"
        raise UserError("--model", what, "Only mini has heads to fit; use `paraclip train`.")
    facts = {"source": Path(config.source).name, "base": config.model}
    data = prepare_captions(captions, model, problems=problems, facts=facts)
    checkpoint = align(data, config, Path(config.out), fresh=config.fresh)
    if this_process().first:
        print_summary(checkpoint, problems)
