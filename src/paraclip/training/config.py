"""Options of `paraclip align` and `paraclip train`.

The text under a field is its help on the command line.
"""

from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

import tyro
from annotated_types import Ge, Le

from paraclip.data.config import ColumnOptions, Columns
from paraclip.options import Checked, Count, Positive, Seed, Share

BatchSize = Annotated[int, Ge(2)]
NotNegative = Annotated[float, Ge(0)]
TextName = Literal["caption", "paraphrase_1", "paraphrase_2"]


@dataclass(frozen=True, kw_only=True)
class LoopOptions(Checked):
    """Hyperparameters of every run of the training loop.

    They determine the weights, so a run is resumed only with equal ones.
    """

    epochs: Count = 4
    """Number of epochs."""

    batch_size: BatchSize = 256
    """Maximum number of rows per step; all batches of an epoch have the same size. Larger batches
    have more negatives."""

    micro_batch: Count | None = None
    """Maximum number of texts in a forward and backward pass. Memory grows with this number instead
    of the batch size, at the cost of a second forward pass (GradCache). Default: split only large
    batches."""

    learning_rate: Positive | None = None
    """Peak learning rate of the text tower (AdamW, per step). Default: 5e-5 for mini, 1e-5 for
    open_clip models."""

    warmup: Share = 0.1
    """Share of the steps (0 to 1) with linear warm-up of the learning rate; cosine decay
    follows."""

    weight_decay: NotNegative | None = None
    """Weight decay of AdamW, not applied to biases, norms and the temperature. Default: 0.01 for
    mini, 0.1 for open_clip models."""

    clip_norm: Positive = 1.0
    """Maximum gradient norm; larger gradients are scaled down."""

    dropout: Annotated[float, Ge(0), Le(0.95)] | None = None
    """Dropout probability in the text tower during training. Default: the model's own."""

    freeze_temperature: bool = False
    """Do not train the logit scale. Otherwise it is trained with an upper limit of ln 100, or the
    base's own value if that is higher."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Precision of the towers. auto: bf16 if the hardware supports it natively, else fp32. fp16 is
    no longer supported; use bf16."""

    tf32: bool = False
    """Allow TF32 for float32 matrix products on a GPU: faster, but precise to three digits."""

    compile: bool = False
    """Compile the text tower with torch.compile: slower to start, faster steps on a GPU."""

    held_out: Annotated[float, Ge(0), Le(0.5)] = 0.05
    """Share of the pictures (0 to 0.5) held out from training. The loss on them determines the best
    checkpoint."""

    eval_every: Count | None = None
    """Number of steps between evaluations on the held-out rows. Default: once per epoch."""

    patience: Count | None = None
    """Stop early after this many evaluations in a row without a lower held-out loss; --choose best
    then returns the checkpoint before them. Default: never."""

    seed: Seed = 0
    """Random seed of the order of the rows, the held-out rows and dropout."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions(LoopOptions):
    """Hyperparameters of fine-tuning on triples."""

    recipe: Literal["consistent", "paper"] = "consistent"
    """Preset of the loss options; options that you set override it. consistent: L1 on the
    caption, L2 and L3 at temperature 0.2. paper: L1 on paraphrase_2, all three at CLIP's
    temperature."""

    weights: tuple[NotNegative, NotNegative, NotNegative] = (1.0, 1.0, 1.0)
    """Weights of L1 (image, text), L2 (caption, paraphrase_1), L3 (paraphrase_1, paraphrase_2)."""

    image_loss_on: tuple[TextName, ...] | None = None
    """Texts that L1 pairs with the picture; with several, their losses are averaged. Default: that
    of the recipe."""

    loss: str = "info_nce"
    """info_nce: both directions, as in the paper. one_way: only from picture, caption or
    paraphrase_1 to the other side. sigmoid: SigLIP's loss, with a learned bias per loss."""

    one_step: bool = False
    """Train on one-step data: paraphrase_2 is not read, L3 is omitted, and L1 uses paraphrase_1
    where it would use paraphrase_2."""

    negatives: str | None = None
    """Column with hard negatives: one text per row that must not match it (may be empty). They
    enter the denominators of all losses."""

    replay_per_triple: Positive = 1.0
    """Number of --replay captions per triple, sampled at random; at most all of them."""

    text_temperature: Positive | None = None
    """Temperature of L2 and L3, for example 0.05. Default: that of the recipe."""

    l2_temperature: Positive | None = None
    """Temperature of L2; overrides --text-temperature."""

    l3_temperature: Positive | None = None
    """Temperature of L3; overrides --text-temperature."""

    learn_text_temperature: bool = False
    """Learn a separate temperature for L2 and for L3, starting from the given one."""

    text_tower: Literal["full", "last_layers", "lora"] = "full"
    """Part of the text tower that is trained: full, its last layers and projection, or LoRA
    adapters (merged into the weights of the checkpoint)."""

    last_layers: Count = 4
    """Number of layers that --text-tower last_layers trains."""

    lora_rank: Count = 8
    """Rank of the LoRA matrices."""

    lora_alpha: Positive = 16.0
    """LoRA scaling: the update is multiplied by alpha / rank."""

    image_learning_rate: Positive | None = None
    """Train the image tower as well, with this peak learning rate. Pictures are then encoded in
    every step, and image indexes made with the base become invalid. Default: frozen."""

    distillation: NotNegative = 0.0
    """Weight of a further loss that keeps the captions' vectors close to those of the base: the
    mean of 1 minus their cosine. The control does not use it."""

    control: bool = False
    """Train the control instead: the same number of steps of L1 on the original captions only."""

    shuffle_paraphrases: Annotated[bool, tyro.conf.arg(aliases=["--placebo"])] = False
    """Train the placebo instead: every row gets the paraphrases of other rows, so that any
    gain comes from the losses and not from the paraphrases."""


@dataclass(frozen=True, kw_only=True)
class AlignOptions(LoopOptions):
    """Hyperparameters of alignment."""

    epochs: Count = 12
    """Number of epochs."""

    batch_size: BatchSize = 128
    """Maximum number of captions per step."""

    head_learning_rate: Positive = 1e-3
    """Peak learning rate of the two linear heads (AdamW, per step)."""

    feature_dropout: Annotated[float, Ge(0), Le(0.95)] = 0.4
    """Dropout probability on the image features before the linear map that is trained. The class
    probabilities of mini are computed from all features."""

    new_heads: bool = False
    """Start from the towers of mini and two random linear heads of width 256, without class
    probabilities. They need tens of thousands of captions."""


@dataclass(frozen=True, kw_only=True)
class RunSettings(Checked):
    """How a run is saved and monitored; these options do not affect the weights."""

    choose: Literal["best", "last"] = "last"
    """Checkpoint to use as the result: the last, or the one with the lowest held-out loss (best).
    Choose last for runs that you compare, for example tuned and control, because they must have
    taken the same number of steps."""

    save_every: Count = 100
    """Number of steps between saved states, from which an interrupted run resumes."""

    divergence: Annotated[float, Ge(1)] = 3.0
    """Stop if the loss exceeds this multiple of the first loss or of the loss at chance, whichever
    is larger (chance: ln of the batch size, summed over the weighted losses). The batch is
    saved."""

    track: tuple[Literal["jsonl", "tensorboard", "trackio", "wandb"], ...] = (
        *("jsonl", "tensorboard"),
    )
    """Where to log each step: metrics.jsonl, tensorboard, trackio, wandb (the last two must be
    installed)."""

    fresh: bool = False
    """Start from scratch in a folder that holds another run, and delete its files."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunSettings, TrainOptions):
    """Fine-tune the text encoder on triples; the image encoder is not changed."""

    triples: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TRIPLES")]
    """Triples, as `paraclip generate` writes them (.parquet), or JSON lines (.jsonl); `starter` is
    the set of 3,000 triples without pictures that is included in ParaCLIP."""

    config: str | None = None
    """TOML file with any of these options by name; the command line overrides it."""

    model: str = "mini"
    """Base: mini, a ParaCLIP checkpoint, or an open_clip name such as
    ViT-B-32:laion2b_s34b_b79k or ViT-B-32:weights.safetensors."""

    out: str = "runs/train"
    """Folder of the checkpoints and logs."""

    images: str | None = None
    """Folder of the pictures, for triples that have an image_id and no picture path."""

    starter: bool = False
    """Also train on the 3,000 triples of the starter set in ParaCLIP. They have no
    pictures and feed L2 and L3 only."""

    replay: str | None = None
    """Captions with pictures and without paraphrases, added to L1 so that retrieval degrades less:
    a folder, or a captions file with the usual columns."""

    device: str = "auto"
    """Device: auto, cpu, cuda or cuda:1."""

    max_broken: Share = 0.01
    """Largest share (0 to 1) of broken pictures to skip; more is an error."""


@dataclass(frozen=True, kw_only=True)
class AlignConfig(RunSettings, AlignOptions):
    """Fit the text tower and both heads of `mini` to your own captions and pictures."""

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CAPTIONS")]
    """Folder of pictures, each with a .txt of the same name, or a captions file."""

    model: str = "mini"
    """Model to start from: mini, or a checkpoint of it."""

    out: str = "runs/align"
    """Folder of the checkpoints and logs."""

    columns: ColumnOptions = Columns()  # noqa: RUF009 frozen
    """Names of the columns."""

    device: str = "auto"
    """Device: auto, cpu, cuda or cuda:1."""

    choose: Literal["best", "last"] = "best"
    """Checkpoint to use as the result: the one with the lowest held-out loss (best), or the
    last."""

    max_broken: Share = 0.01
    """Largest share (0 to 1) of broken rows to skip; more is an error."""


def hyperparameters(options: LoopOptions) -> dict[str, Any]:
    """The hyperparameters among options, by name; paths and settings of the run are omitted.

    A recipe is represented by the options that it fills in (`recipes.resolved`), not by its name.
    """
    kind = TrainOptions if isinstance(options, TrainOptions) else AlignOptions
    names = [field.name for field in fields(kind) if field.name != "recipe"]
    values = {name: getattr(options, name) for name in names}
    if not values.get("feature_dropout", 1):
        del values["feature_dropout"]  # so that older alignments without it can be resumed
    return values


def settings_of(options: LoopOptions, settings: RunSettings | None = None) -> RunSettings:
    """The given settings; or else those among the options of a command; or else the defaults."""
    if settings is not None:
        return settings
    if isinstance(options, RunSettings):
        return options
    return RunSettings(choose="best" if isinstance(options, AlignOptions) else "last")
