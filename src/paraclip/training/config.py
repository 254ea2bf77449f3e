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

    They decide the weights, so a run is resumed only under the same ones.
    """

    epochs: Count = 4
    """Passes over the rows."""

    batch_size: BatchSize = 256
    """Most rows a step; an epoch is cut into batches of equal size. More rows, more negatives."""

    micro_batch: Count | None = None
    """Most texts that go through the tower at once with all that their gradient needs: memory
    grows with it and not with the batch, for a second forward pass. Default: cut only where the
    batch is large."""

    learning_rate: Positive | None = None
    """Peak learning rate of the text tower (AdamW, per step). Default: 5e-5 for mini, 1e-5 for
    open_clip models."""

    warmup: Share = 0.1
    """Share of the steps (0 to 1) in which the learning rate rises; then it falls as a cosine."""

    weight_decay: NotNegative | None = None
    """AdamW weight decay; biases, norms and the temperature have none. Default: 0.01 for mini, 0.1
    for open_clip models."""

    clip_norm: Positive = 1.0
    """Largest norm of the whole gradient; longer ones are scaled down to it."""

    dropout: Annotated[float, Ge(0), Le(0.95)] | None = None
    """Dropout probability in the text tower while training. Default: that of the model."""

    freeze_temperature: bool = False
    """Keep the logit scale as the base has it. Otherwise it is trained, up to ln 100 or to the
    base's own where that is higher."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the towers. auto: bf16 where the processor multiplies it natively.
    fp16 is no longer supported: use bf16."""

    tf32: bool = False
    """Let a GPU multiply float32 in TF32: faster, about three digits."""

    compile: bool = False
    """Compile the text tower with torch.compile: slow to start, faster steps on a GPU."""

    held_out: Annotated[float, Ge(0), Le(0.5)] = 0.05
    """Share of the pictures (0 to 0.5) never trained on; the loss on them says which checkpoint is
    the best."""

    eval_every: Count | None = None
    """Steps between two looks at the held-out rows. Default: after each pass over the rows."""

    patience: Count | None = None
    """Stop early after so many looks in a row without a lower held-out loss; --choose best then
    hands on the one before them. Default: never."""

    seed: Seed = 0
    """Decides the order, the held-out rows and the dropout."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions(LoopOptions):
    """Hyperparameters of fine-tuning on triples."""

    recipe: Literal["consistent", "paper"] = "consistent"
    """Named settings of the losses; options that are given override them. consistent: L1 on the
    caption, L2 and L3 at temperature 0.2. paper: L1 on paraphrase_2, all three at CLIP's
    temperature."""

    weights: tuple[NotNegative, NotNegative, NotNegative] = (1.0, 1.0, 1.0)
    """Weights of L1 (image, text), L2 (caption, paraphrase_1), L3 (paraphrase_1, paraphrase_2)."""

    image_loss_on: tuple[TextName, ...] | None = None
    """Texts that L1 ties to the picture; of several, the mean of their losses. Default: that
    of the recipe."""

    loss: str = "info_nce"
    """info_nce: both ways, as in the paper. one_way: only from picture, caption or paraphrase_1
    to the other side. sigmoid: SigLIP's, with a learned bias for each loss."""

    one_step: bool = False
    """Train on one-step data: paraphrase_2 is not read, L3 is left out, and L1 takes paraphrase_1
    in its place."""

    negatives: str | None = None
    """Column with a text for each row that must not be found (some may be empty): hard negatives
    in the denominators of all losses."""

    replay_per_triple: Positive = 1.0
    """Captions of --replay for each triple, drawn by the seed; at most all of them."""

    text_temperature: Positive | None = None
    """Temperature of L2 and L3, such as 0.05. Default: that of the recipe."""

    l2_temperature: Positive | None = None
    """Temperature of L2 alone, in place of --text-temperature."""

    l3_temperature: Positive | None = None
    """Temperature of L3 alone, in place of --text-temperature."""

    learn_text_temperature: bool = False
    """L2 and L3 each learn a temperature of their own, from the given one on."""

    text_tower: Literal["full", "last_layers", "lora"] = "full"
    """What of the text tower is trained: all of it, its last layers with what follows them, or
    small matrices beside it (LoRA), which a checkpoint holds merged into the weights."""

    last_layers: Count = 4
    """Layers that --text-tower last_layers trains."""

    lora_rank: Count = 8
    """Width of LoRA's matrices."""

    lora_alpha: Positive = 16.0
    """LoRA's product counts this much, over the rank."""

    image_learning_rate: Positive | None = None
    """Train the image tower as well, at this peak learning rate: pictures are decoded and seen
    every step, and image indexes made with the base are void. Default: frozen."""

    control: bool = False
    """Train the control instead: as many steps of L1 on the original captions, no paraphrases."""

    shuffle_paraphrases: Annotated[bool, tyro.conf.arg(aliases=["--placebo"])] = False
    """Train the placebo instead: every row gets the paraphrases of other rows, so that whatever is
    gained comes from the losses and not from the paraphrases."""


@dataclass(frozen=True, kw_only=True)
class AlignOptions(LoopOptions):
    """Hyperparameters of alignment."""

    epochs: Count = 12
    """Passes over the captions."""

    batch_size: BatchSize = 128
    """Most captions a step."""

    head_learning_rate: Positive = 1e-3
    """Peak learning rate of the two linear heads (AdamW, per step)."""

    new_heads: bool = False
    """Start from the towers of mini and two random linear heads of width 256, without class
    probabilities. They want tens of thousands of captions."""


@dataclass(frozen=True, kw_only=True)
class RunSettings(Checked):
    """How a run is saved and watched; none of it changes a weight."""

    choose: Literal["best", "last"] = "last"
    """Checkpoint that the run hands on: the last, or the one with the lowest held-out loss. Runs to
    be compared, such as tuned and control, must have taken the same steps: keep the last."""

    save_every: Count = 100
    """Steps between two states that a killed run resumes from."""

    divergence: Annotated[float, Ge(1)] = 3.0
    """Stop where the loss passes this many times the larger of the first step's loss and of
    chance (ln of the rows a batch, summed over the weighted losses); the batch is kept."""

    track: tuple[Literal["jsonl", "tensorboard", "trackio", "wandb"], ...] = (
        *("jsonl", "tensorboard"),
    )
    """Where each step's figures go: metrics.jsonl, tensorboard, trackio, wandb (the last two once
    they are installed)."""

    fresh: bool = False
    """Start over in a folder that holds another run, whose files are deleted."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunSettings, TrainOptions):
    """Fine-tune the text encoder on triples; the image encoder stays as it is."""

    triples: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TRIPLES")]
    """Triples, as `paraclip generate` writes them (.parquet), or JSON lines (.jsonl); `starter` is
    the set of 3,000 that ships with ParaCLIP, without pictures."""

    config: str | None = None
    """TOML file with any of these options by name; the command line overrides it."""

    model: str = "mini"
    """Base: mini, a ParaCLIP checkpoint, or an open_clip name such as
    ViT-B-32:laion2b_s34b_b79k or ViT-B-32:weights.safetensors."""

    out: str = "runs/train"
    """Folder of the checkpoints and logs."""

    images: str | None = None
    """Folder of the pictures, for triples that name them by image_id only."""

    replay: str | None = None
    """Captions with pictures but without paraphrases, from which L1 learns beside the triples, so
    that retrieval loses less: a folder, or a captions file with the usual columns."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:1."""

    max_broken: Share = 0.01
    """Share of broken pictures (0 to 1) to skip before giving up."""


@dataclass(frozen=True, kw_only=True)
class AlignConfig(RunSettings, AlignOptions):
    """Fit the text tower and both heads of `mini` to captions and pictures of your own."""

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CAPTIONS")]
    """Folder of pictures with a .txt beside each, or a captions file."""

    model: str = "mini"
    """What to start from: mini, or a checkpoint of it."""

    out: str = "runs/align"
    """Folder of the checkpoints and logs."""

    columns: ColumnOptions = Columns()  # noqa: RUF009 frozen
    """Names of the columns."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:1."""

    choose: Literal["best", "last"] = "best"
    """Checkpoint that the run hands on: the one with the lowest held-out loss, or the last."""

    max_broken: Share = 0.01
    """Share of broken rows (0 to 1) to skip before giving up."""


def hyperparameters(options: LoopOptions) -> dict[str, Any]:
    """The hyperparameters among options, by name; paths and settings of the run left out.

    A recipe counts by the options that it fills in (`recipes.resolved`), not by its name.
    """
    kind = TrainOptions if isinstance(options, TrainOptions) else AlignOptions
    names = [field.name for field in fields(kind) if field.name != "recipe"]
    return {name: getattr(options, name) for name in names}


def settings_of(options: LoopOptions, settings: RunSettings | None = None) -> RunSettings:
    """The given settings; else those of options that come from a command; else the usual ones."""
    if settings is not None:
        return settings
    if isinstance(options, RunSettings):
        return options
    return RunSettings(choose="best" if isinstance(options, AlignOptions) else "last")
