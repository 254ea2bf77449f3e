"""Options of `paraclip quickstart`."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from paraclip.errors import UserError
from paraclip.options import Checked, Count, Seed, Share

BUILT_IN = "mini"


@dataclass(frozen=True)
class QuickstartConfig(Checked):
    """The whole workflow: from captions and pictures to a tuned text encoder and its scores."""

    source: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[PICTURES]")] = None
    """Folder of pictures, each with a .txt of the same name (its first line is the caption), or a
    captions file. Default: the captioned ones of Debian's Tux Paint stamps (649 pictures), fetched
    with apt-get into the cache folder, without root."""

    out: str | None = None
    """Output folder; a second run reuses its content. Default: runs/quickstart, or
    runs/quickstart-NAME, where NAME is the name of your source."""

    base: str = BUILT_IN
    """Base model, as in `paraclip train`, such as ViT-B-32:weights.safetensors. A real CLIP is
    larger than the built-in model: a GPU, which is used if there is one, saves most of the time."""

    llm: Literal["none", "openai", "builtin"] = "none"
    """Language model that rewords some of your captions, to learn from and to score with. openai:
    that of the environment variables OPENAI_BASE_URL and PARACLIP_MODEL; builtin: the small one of
    a clone, which takes hours."""

    epochs: Count = 2
    """Epochs over the triples (the stamps' or your own, with the starter set). All models train for
    the same number of steps."""

    seed: Seed = 0
    """Random seed of the split, the order of the data and the sampling."""

    fresh: bool = False
    """Run every stage from scratch, even if the folder holds another run. Cached image features are
    reused."""

    serve: bool = False
    """Finally, index the pictures and open the search page, with base and the recommended model.
    Needs the extra `search`."""

    max_broken: Share = 0.03
    """Largest share (0 to 1) of broken rows or pictures to skip; more is an error."""

    def __post_init__(self) -> None:
        """Also check that a language model has something to reword."""
        super().__post_init__()
        if self.llm != "none" and self.source is None:
            what = "rewords captions of your own, and those of the stamps have their wordings"
            raise UserError("--llm", what, "Name your pictures, or leave it out.")

    @property
    def folder(self) -> Path:
        """The output folder."""
        if self.out is not None:
            return Path(self.out)
        source = Path(self.source).resolve() if self.source else Path()
        name = source.name if os.path.isdir(source) else source.stem
        return Path("runs", f"quickstart-{name}" if name else "quickstart")
