"""What `paraclip export` does."""

from pathlib import Path

from torch import Tensor

from paraclip.errors import UserError
from paraclip.files import write_text
from paraclip.models.checkpoint import load_checkpoint, model_card, read_header, write_tensors
from paraclip.models.config import ExportConfig
from paraclip.models.encoder import DualEncoder


def export_command(config: ExportConfig) -> None:
    """Write the checkpoint's weights for other programs, and a model card beside them.

    Raises:
        UserError: the checkpoint is missing or broken, or the output is no .safetensors.
    """
    out = Path(config.out)
    if out.suffix != ".safetensors":
        raise UserError(out, "is no name of a safetensors file", "End it in .safetensors")
    if out.resolve() == Path(config.checkpoint).resolve():
        raise UserError(out, "is the checkpoint itself", "Name another file to write.")
    header = read_header(config.checkpoint)
    model = load_checkpoint(config.checkpoint)
    tensors = foreign_names(model)
    if config.half:
        tensors = {name: halved(value) for name, value in tensors.items()}
    # Without our architecture in the header: the names inside are another program's.
    write_tensors(tensors, out, {"exported_from": header.get("weights"), "half": config.half})
    write_text(out.with_suffix(".md"), model_card(out.name, header))
    print(f"Wrote {out} and {out.with_suffix('.md')}")
    if model.architecture.kind == "open_clip":
        print(
            f"Load it: open_clip.create_model({model.architecture.name!r}, pretrained={str(out)!r})"
        )


def foreign_names(model: DualEncoder) -> dict[str, Tensor]:
    """Weights under the names that open_clip gives them; those of `mini` keep theirs."""
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    if model.architecture.kind != "open_clip":
        return tensors
    from paraclip.models.openclip import OpenClip

    assert isinstance(model, OpenClip)
    text = "text." if model.spec.custom_text else ""
    towers = {"image_tower.": "visual.", "text_tower.": text}
    renamed = {}
    for name, value in tensors.items():
        for ours, theirs in towers.items():
            if name.startswith(ours):
                name = theirs + name.removeprefix(ours)
        renamed[name] = value
    return renamed


def halved(value: Tensor) -> Tensor:
    """Floats in 16 bits, all else as it is."""
    return value.half() if value.is_floating_point() else value
