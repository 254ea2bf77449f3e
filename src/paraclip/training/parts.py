"""What of a model a configuration trains."""

from torch import nn

from paraclip.models.encoder import DualEncoder
from paraclip.training.adapters import MARK, add_adapters
from paraclip.training.checks import refuse
from paraclip.training.config import TrainOptions
from paraclip.training.optimizer import Part
from paraclip.training.recipes import decided


def parts_of(model: DualEncoder, options: TrainOptions) -> tuple[Part, ...]:
    """The trained parts; for LoRA the adapters are put into the text tower first.

    Raises:
        UserError: the tower has no layers to choose the last of, or `peft` is not installed.
    """
    tower, rate = model.text_tower, decided(options.learning_rate)
    if options.text_tower == "lora":
        add_adapters(tower, options.lora_rank, options.lora_alpha, options.seed)
        parts = [Part(tower, rate, lambda name: MARK in name)]
    elif options.text_tower == "last_layers":
        chosen = last_layers(tower, options.last_layers)
        parts = [Part(tower, rate, lambda name: name in chosen)]
    else:
        parts = [Part(tower, rate)]
    if options.image_learning_rate is not None:
        parts.append(Part(model.image_tower, options.image_learning_rate))
    return tuple(parts)


def last_layers(tower: nn.Module, count: int) -> set[str]:
    """Names of the weights in a tower's last layers, and of what follows them.

    The layers are the tower's longest list of modules. What is outside of it and no embedding
    follows it: the last norm, the projection.
    """
    lists = {name: m for name, m in tower.named_modules() if isinstance(m, nn.ModuleList)}
    if not lists:
        refuse("text_tower", "last_layers: this text tower has no layers", "Choose full or lora.")
    place, layers = max(lists.items(), key=lambda pair: len(pair[1]))
    if count > len(layers):
        what = f"{count} is more than the {len(layers)} that this text tower has"
        refuse("last_layers", what, f"Give at most {len(layers)}.")
    frozen = tuple(f"{place}.{index}." for index in range(len(layers) - count))
    names = (name for name, _ in tower.named_parameters())
    return {name for name in names if not name.startswith(frozen) and "emb" not in name}
