"""`paraclip export`."""

from paraclip.models.checkpoint import export, read_header
from paraclip.models.config import ExportConfig


def export_command(config: ExportConfig) -> None:
    """Write a checkpoint's weights for other programs and print how to load them.

    Raises:
        UserError: the checkpoint is missing or broken, or the output is no .safetensors.
    """
    out = export(config.checkpoint, config.out, config.half)
    print(f"Wrote {out} and {out.with_suffix('.md')}")
    architecture = read_header(config.checkpoint)["architecture"]
    if architecture["kind"] == "open_clip":
        print(f"Load it: open_clip.create_model({architecture['name']!r}, pretrained={str(out)!r})")
