"""Options that do not fit together are refused before anything is read or written."""

from paraclip.data.triples import SCHEMA
from paraclip.errors import UserError
from paraclip.training.config import (
    LoopOptions,
    RunSettings,
    TrainConfig,
    TrainOptions,
    settings_of,
)
from paraclip.training.watchers import check_trackers


def refuse(option: str, what: str, hint: str) -> None:
    """Raise for an option, by its name on the command line."""
    raise UserError(f"--{option.replace('_', '-')}", what, hint)


def check_options(options: LoopOptions, settings: RunSettings | None = None) -> None:
    """Check the options that depend on each other; `options.Checked` checks each by itself.

    Args:
        options: hyperparameters.
        settings: of the run; None where `options` holds them too, as those of a command do.

    Raises:
        UserError: naming the option.
    """
    settings = settings_of(options, settings)
    if options.held_out == 0 and options.patience is not None:
        refuse("patience", "needs held-out rows to look at", "Give --held-out a share above 0.")
    check_trackers(settings.track)
    if isinstance(options, TrainOptions):
        check_losses(options)


def check_losses(options: TrainOptions) -> None:
    """Check that some loss is left to learn from, and the texts that go into it."""
    weights = options.weights
    if not any(weights):
        what = f"{' '.join(map(str, weights))} leaves nothing to learn"
        refuse("weights", what, "Give at least one above 0.")
    if options.negatives in SCHEMA.names:
        what = f"{options.negatives} is a column of the triples themselves"
        refuse("negatives", what, "Name the column that `paraclip negatives` adds.")
    if options.shuffle_paraphrases and options.control:
        refuse("placebo", "is not for the control, which reads no paraphrases", "Leave one out.")
    if options.one_step and not any(weights[:2]):
        refuse("one_step", "leaves L3 out, which alone has a weight", "Weigh L1 or L2.")
    replay = isinstance(options, TrainConfig) and options.replay is not None
    if replay and not (weights[0] or options.control):
        refuse("replay", "is for L1, which has no weight", "Leave it out, or weigh L1.")
    if weights[0] and options.image_loss_on == ():
        refuse("image_loss_on", "names no text", "Name one, or give L1 the weight 0.")
