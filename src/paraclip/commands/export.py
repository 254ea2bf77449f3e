"""`paraclip export`."""

from paraclip.exporting.config import ExportConfig
from paraclip.exporting.run import Exported, export_model
from paraclip.models.openclip import OpenClip


def export_command(config: ExportConfig) -> None:
    """Write a model for another system and print how to load it.

    Raises:
        UserError: see `export_model`.
    """
    exported = export_model(config.checkpoint, config.out, config)
    print(f"Wrote {exported.path}")
    if exported.drift is not None:
        print(exported.drift)
    for number, step in enumerate(exported.steps, 1):
        print(f"{number}. {step}")
    if config.target is None:
        print(_how_to_load(exported, config.to))


def _how_to_load(exported: Exported, to: str | None) -> str:
    """The call that loads a format."""
    path, name = str(exported.path), exported.source.architecture
    if to == "hf":
        return f"Load it: transformers.CLIPModel.from_pretrained({path!r})"
    if to == "sentence-transformers":
        return f"Load it: sentence_transformers.SentenceTransformer({path!r})"
    if to == "onnx":
        return f"Names, shapes and types are in {exported.path / 'interface.json'}"
    if exported.path.is_dir():
        return f"Load it: open_clip.create_model_and_transforms('local-dir:{path}')"
    if isinstance(exported.source.model, OpenClip):
        return f"Load it: open_clip.create_model({name!r}, pretrained={path!r})"
    return "Its weights have ParaCLIP's own names; --to sentence-transformers and --to onnx do not."
