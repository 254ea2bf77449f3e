"""Options of `train`, recipes, and defaults by the kind of the base.

The text under a field explains it on the command line, in `help()` and in the documentation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields, replace
from importlib.metadata import EntryPoint
from typing import Annotated, Any, Literal

import tyro
from annotated_types import Ge, Le

from paraclip.errors import UserError, nearest
from paraclip.models.sources import TEXT_ONLY
from paraclip.options import Checked, Codes, Count, Names, PathName, Positive, Seed
from paraclip.plugins import Table
from paraclip.starter import TEXTS, TextName

BatchSize = Annotated[int, Ge(2)]
NotNegative = Annotated[float, Ge(0)]
Dropout = Annotated[float, Ge(0), Le(0.95)]
Precision = Literal["auto", "fp32", "bf16"]
Recipe = Literal["taught", "ranked", "consistent", "paper"]

L1, L2, L3, RANKING, SENTENCES = "L1", "L2", "L3", "R", "S"
LOSSES: Table[Any] = Table(
    "losses",
    {
        name: EntryPoint(name, f"paraclip.training.{place}", "paraclip.losses")
        for name, place in {
            L1: "losses:ImageText", L2: "losses:CaptionParaphrase", L3: "losses:Paraphrases",
            RANKING: "ranking:Ranking", SENTENCES: "sentences:Sentences",
        }.items()
    },
)  # fmt: skip
"""All losses: subclasses of `losses.Loss`, by name."""
_NO_BANK = {L1, L2, L3, SENTENCES}
"""Losses that read no bank."""


def _parse_weights(words: Sequence[str]) -> dict[str, float]:
    """The weights of losses that the command line gives as NAME=VALUE.

    Raises ValueError, which tyro reports, for a word of another form.
    """
    found = {}
    for word in words:
        name, _, value = word.rpartition("=")
        try:
            found[name] = float(value)
        except ValueError:
            raise ValueError(f"{word!r} is not NAME=VALUE, such as R=1") from None
    return found


_WEIGHTS = tyro.constructors.PrimitiveConstructorSpec(
    nargs="*",
    metavar="NAME=VALUE ...",
    instance_from_str=_parse_weights,
    is_instance=lambda value: value is None or isinstance(value, Mapping),
    str_from_instance=lambda value: [f"{name}={one:g}" for name, one in (value or {}).items()],
)


@dataclass(frozen=True, kw_only=True)
class LoopOptions(Checked):
    """Hyperparameters of every run of the training loop.

    They determine the weights, so a run is resumed only with equal ones.
    """

    epochs: Count = 4
    """Number of epochs."""

    batch_size: BatchSize = 256
    """Maximum number of rows per step, each other's negatives."""

    learning_rate: Positive | None = None
    """Peak learning rate. Default: with R, the best of four rates in short trial runs, judged on
    held-out scenes; otherwise 1e-5."""

    seed: Seed = 0
    """Seed of order and dropout."""

    micro_batch: Count | None = None
    """Maximum number of texts with a graph at a time (GradCache)."""

    dropout: Annotated[Dropout | None, tyro.conf.Suppress] = None
    """Dropout in the text encoder. Default: the model's own."""

    precision: Annotated[Precision, tyro.conf.Suppress] = "auto"
    """auto is bf16 if the hardware has it."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions(LoopOptions):
    """Hyperparameters of fine-tuning on triples.

    Those that the command line lacks (`Suppress`) are for studies, from Python or a TOML file.
    """

    recipe: Recipe | None = None
    """Preset of the losses, which other options override. consistent: L1 on the caption, L2 and L3
    at temperature 0.2. ranked: with R and S as well. taught: R and S alone. paper: the paper's
    three losses; their temperature, CLIP's own, is our choice, as are batch, rate and epochs.
    Default: taught with --bank or --teacher, otherwise ranked."""

    loss_weights: Annotated[
        Mapping[str, NotNegative] | None, tyro.conf.arg(name="loss-weight"), _WEIGHTS
    ] = None
    """Weights of losses, such as R=1 S=0: L1 (image, text), L2 (caption, paraphrase_1), L3 (both
    paraphrases), R (wordings learn the teachers' ranking of --bank for their average), S (rows are
    as similar as MiniLM finds them; the extra `builtin`), or a package's. Default: the recipe's."""

    image_loss_on: Annotated[tuple[TextName, ...] | None, tyro.conf.Suppress] = None
    """Texts that L1 pairs with the picture."""

    text_temperature: Annotated[Positive | None, tyro.conf.Suppress] = None
    """Temperature of L2 and L3. Default: the recipe's."""

    image_learning_rate: Annotated[Positive | None, tyro.conf.Suppress] = None
    """Train the image encoder too, at this peak rate; existing indexes become invalid."""

    control: bool = False
    """Train the control: L1 on the original captions alone."""

    @property
    def preset(self) -> dict[str, Any]:
        """What the recipe says of the losses."""
        return RECIPES[recipe_of(self)]

    @property
    def losses(self) -> dict[str, float]:
        """The weights above 0 by loss, the recipe's unless they are given."""
        return {name: weight for name, weight in _weights_of(self).items() if weight}

    def __post_init__(self) -> None:
        """Also check options that depend on each other."""
        super().__post_init__()
        for name in self.loss_weights or ():
            if name not in (known := [*LOSSES]):
                raise UserError(f"--loss-weight {name}", "is not a loss", nearest(name, known))
        if not self.losses:
            raise UserError("losses", "none of them has a weight", "Give one above 0.")
        if self.image_loss_on == () and L1 in self.losses:
            hint = "Name one, or give L1 the weight 0."
            raise UserError("image_loss_on", "names no text", hint)
        if self.image_learning_rate is not None and L1 not in self.losses:
            # Weight decay alone would change the image tower.
            hint = "Leave it out, or give L1 a weight."
            raise UserError("image_learning_rate", "is for L1, which has no weight", hint)


@dataclass(frozen=True)
class RunOptions(TrainOptions):
    """What a run learns from beside its triples, and where it writes."""

    out: PathName = "runs/train"
    """Folder of the checkpoints and logs; a stopped run resumes, a finished one is not repeated."""

    _: KW_ONLY

    images: PathName | None = None
    """Folder of the pictures, for triples with image_id only, or for a --bank whose index has the
    paths of another machine."""

    starter: bool = False
    """Also train on the starter set, which has no pictures."""

    bank: PathName | None = None
    """Pictures for R, and for what the run measures: a folder, or any index that swap-check reads.
    Default: the rows'."""

    teacher: Annotated[Names, tyro.conf.arg(metavar="MODEL[=SHARE] ...")] = ()
    """Models whose rankings of --bank are learned, each as MODEL or MODEL=SHARE, such as
    `base ViT-B-16-SigLIP:webli`; `base` is the base itself. Default: base alone."""

    texts: Annotated[Names, tyro.conf.arg(metavar="FILE ...")] = ()
    """Texts without pictures to learn from as well, such as your queries: files that `generate`
    reads, or one text a line (.txt)."""

    languages: Codes = "en"
    """Languages to learn from, such as en,de,fr,es,zh, of rows with further wordings; `scenes` has
    10,000 for each."""

    fresh: bool = False
    """Start from scratch in a folder that holds another run."""

    @property
    def spoken(self) -> list[str]:
        """The languages, one by one."""
        return str(self.languages).split(",")

    def __post_init__(self) -> None:
        """Also check that a teacher has a loss that reads it."""
        super().__post_init__()
        if self.teacher and not self.control and self.losses.keys() <= _NO_BANK:
            raise UserError("--teacher", "is for R, which has no weight", "Add --loss-weight R=3.")


_CONTRASTIVE = {L1: 1.0, L2: 1.0, L3: 1.0, RANKING: 0.0, SENTENCES: 0.0}
_CONSISTENT = {
    "loss_weights": _CONTRASTIVE, "image_loss_on": ("caption",), "text_temperature": 0.2
}  # fmt: skip
_TEACHERS = {RANKING: 3.0, SENTENCES: 1.0}
RECIPES: dict[str, dict[str, Any]] = {
    "taught": {**_CONSISTENT, "loss_weights": {L1: 0.0, L2: 0.0, L3: 0.0, **_TEACHERS}},
    "ranked": {**_CONSISTENT, "loss_weights": {**_CONTRASTIVE, **_TEACHERS}},
    "consistent": _CONSISTENT,
    "paper": {"loss_weights": _CONTRASTIVE, "image_loss_on": ("paraphrase_2",)},
}
"""Options by recipe. Other options keep their default; without a temperature, CLIP's is used.

Source: paper, section 3, for `paper`; the others were chosen on development sets
(docs/results.md).
"""
LEARNING_RATE = 1e-5
"""Of a run without R, which measures nothing; as in READ-CLIP, CLIC and FSC-CLIP."""
WEIGHT_DECAYS = {"open_clip": 0.1}
WEIGHT_DECAY = 0.01


def recipe_of(options: TrainOptions, kind: str = "") -> Recipe:
    """The recipe of a run from a base of this kind: that which is named, or else `taught` where
    only R and S have anything to read, or a bank or teacher is named, which need no other loss."""
    ranks = isinstance(options, RunOptions) and bool(options.bank or options.teacher)
    return options.recipe or ("taught" if ranks or kind == TEXT_ONLY else "ranked")


def _weights_of(options: TrainOptions, kind: str = "") -> dict[str, float]:
    """The weight of every loss that a recipe names, and of those that are given."""
    usual: dict[str, float] = RECIPES[recipe_of(options, kind)]["loss_weights"]
    if options.control:
        return {L1: 1.0}
    if options.image_learning_rate is not None:  # a trained image tower leaves its bank behind
        usual = {**usual, RANKING: 0.0}
    given = sorted((options.loss_weights or {}).items())
    return usual | {name: float(weight) for name, weight in given}


def resolved(options: TrainOptions, kind: str) -> TrainOptions:
    """The options with all defaults filled in that depend on the kind of the base
    (`Architecture.kind`) or the recipe, but for the learning rate of a run of R, which it finds
    itself.

    This happens only here. The result resolves to itself, and is what a run records. Raises
    UserError if L1 has a weight, and the base reads no pictures.
    """
    usual = RECIPES[recipe_of(options, kind)]
    missing = {name: value for name, value in usual.items() if getattr(options, name) is None}
    found = replace(options, **missing | {"loss_weights": _weights_of(options, kind)})
    if options.control:
        found = replace(found, image_loss_on=TEXTS[:1])
    if found.learning_rate is None and not any(LOSSES[name].finds_rate for name in found.losses):
        found = replace(found, learning_rate=LEARNING_RATE)
    if kind == TEXT_ONLY and L1 in found.losses:
        what = "pairs captions with pictures, and the base has only a text encoder"
        raise UserError("L1", what, "Use --recipe taught with --bank INDEX.")
    return found


def name_our_choices(options: TrainOptions) -> str:
    """What the recipe `paper` leaves open, so that it is ours, and not the paper's."""
    rate, warmth = options.learning_rate or LEARNING_RATE, options.text_temperature
    temperature = "the model's own, learned" if warmth is None else f"{warmth:g}"
    return (
        f"Ours, not the paper's: batches of {options.batch_size:,}, learning rate {rate:g}, "
        f"{options.epochs} epoch{'s' * (options.epochs > 1)}, temperature of L2 and L3 "
        f"({temperature}), losses both ways, and rows of one picture or text are no negatives."
    )


def hyperparameters(options: LoopOptions) -> dict[str, Any]:
    """The hyperparameters among options, by name; paths and settings of the run are omitted.

    A recipe is represented by the options that it fills in (`resolved`), not by its name.
    """
    kind = TrainOptions if isinstance(options, TrainOptions) else type(options)
    return {
        field.name: getattr(options, field.name) for field in fields(kind) if field.name != "recipe"
    }
