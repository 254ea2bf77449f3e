"""`paraclip train`: prepare, train, print."""

from pathlib import Path

from paraclip.data.captions import label
from paraclip.data.problems import Problems
from paraclip.data.untrusted_json import read_json_object
from paraclip.errors import UserError, require
from paraclip.evaluation.unlabelled import measures_table
from paraclip.indexes.reading import is_index
from paraclip.models.sources import check_device, check_model, packages_of
from paraclip.progress import suggest
from paraclip.provenance import without_secrets
from paraclip.tables import aligned
from paraclip.training.config import TrainConfig
from paraclip.training.sources import Sources

SHOWN = ("steps", "rows", "texts_cut_to_context")
"""Values of `summary.json` that are printed."""


def train_command(config: TrainConfig) -> None:
    """Train, in all processes that torchrun or SLURM started together."""
    check_device(config.device)
    sentences = config.teachers[1] and not config.control  # S asks MiniLM
    require(packages_of(config.base, "minilm" if sentences else ""))
    Sources.of(config).check(config.triples)
    check_model(config.base)
    from paraclip.training.distributed import in_each_process  # torch, only now

    in_each_process(config.device, lambda device: _train(config, device))


def _train(config: TrainConfig, device: str) -> None:
    from paraclip.training.distributed import this_process
    from paraclip.training.prepare import prepare_run
    from paraclip.training.train import train

    data = prepare_run(config, config.triples, config.base, device)
    count, pictures = len(data.triples), int(data.has_image().sum())
    print(f"{count:,} rows, {f'{pictures:,} with' if pictures else 'all without'} a picture.")
    if data.bank is not None:
        print(f"A bank of {len(data.bank.vectors):,} pictures.")
    if 0 < pictures < count and (config.contrastive[0] or config.control):
        print(f"L1 learns nothing from the {count - pictures:,} without.")
    checkpoint = train(data, config, Path(config.out), fresh=config.fresh)
    if this_process().first:  # the others would print the same
        print_summary(checkpoint, data.problems)
        _suggest_check(config, checkpoint)


def _suggest_check(config: TrainConfig, checkpoint: Path) -> None:
    """Suggest to check the index that was learned from, or else to index pictures."""
    models = ("--base", config.base, "--tuned", checkpoint if config.control else checkpoint.parent)
    if config.bank and is_index(config.bank):
        suggest("swap-check", "--index", without_secrets(config.bank), *models)
    else:
        suggest("index", config.bank or config.images or "my_pictures", *models)


def print_summary(checkpoint: Path, problems: Problems) -> None:
    """Print the result of a run; raises UserError if its summary is damaged."""
    from paraclip.training.checkpoint import START_OVER, RunFolder

    folder = RunFolder(checkpoint.parent)
    summary = read_json_object(folder.summary_file, START_OVER)
    missing = [name for name in SHOWN if name not in summary]
    if missing:
        raise UserError(folder.summary_file, f"has no value {label(missing[0])}", START_OVER)
    if problems.count:
        print(f"{problems.summary()}\nListed in {folder.problems_file}")
    if summary["texts_cut_to_context"]:
        print(f"{summary['texts_cut_to_context']:,} texts were cut to the model's context.")
    print(f"{summary['steps']:,} steps on {summary['rows']:,} rows")
    print(f"Checkpoint: {checkpoint}")
    choice = summary.get("choice")
    if folder.has_merged():
        share = f"{100 * choice['share']:.0f} % of it" if choice else "half of it"
        print(f"Merged, {share} and the rest of base: {folder.merged}")
    if choice:
        print(f"\n{choice['scenes']} scenes that no run learns, in the bank, without labels:")
        print("\n".join(aligned(measures_table(choice["measured"]))))
        print(choice["reason"])
