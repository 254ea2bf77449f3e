"""sentence-transformers: a folder of modules.

Source: sentence-transformers 5.3.0 `models/CLIPModel.py` and 6.2.0
`sentence_transformer/modules/clip_model.py`, both from PyPI; `modules.json` names the class.
"""

from pathlib import Path

from paraclip.exporting.clip_shape import clip_model
from paraclip.exporting.config import ExportOptions
from paraclip.exporting.hugging_face import WANTED_BY
from paraclip.exporting.sentence_transformers import write_sentence_transformers
from paraclip.exporting.source import Source
from paraclip.exporting.targets.system import Steps, System
from paraclip.models.mini import Mini


def check(source: Source) -> None:
    """Check for a CLIP with CLIP's architecture, or `mini` (of which the text tower is written)."""
    if not isinstance(source.model, Mini):
        clip_model(source.model, WANTED_BY)


def write(source: Source, folder: Path, options: ExportOptions) -> None:
    """Write the folder."""
    write_sentence_transformers(source, folder)


def steps(source: Source, folder: Path) -> Steps:
    """Where to put it, which cache to clear, how to go back."""
    return (
        f"Load it by SentenceTransformer({str(folder)!r}) where the base's name was.",
        "Nothing is cached. Vectors of pictures stay; embed stored texts again if you have any.",
        "To go back, load the base's name again.",
    )


SENTENCE_TRANSFORMERS = System(check, write, steps)
