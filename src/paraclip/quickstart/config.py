"""Options of `paraclip quickstart`."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from paraclip.errors import UserError
from paraclip.options import Checked, Count, Seed

BUILT_IN = "mini"


@dataclass(frozen=True)
class QuickstartConfig(Checked):
    """The whole workflow: from pictures to a tuned text encoder, and what it finds among them."""

    source: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[PICTURES]")] = None
    """Folder of pictures, captions file or shards, as for `paraclip index`; captions are not
    needed. Default: the captioned ones of Debian's Tux Paint stamps (649 pictures), fetched with
    apt-get into the cache folder, without root."""

    out: str | None = None
    """Output folder; a second run reuses its content. Default: runs/quickstart, or
    runs/quickstart-NAME, where NAME is the name of your source."""

    base: str = BUILT_IN
    """Base model, as in `paraclip train`, such as ViT-B-32:weights.safetensors. A real CLIP is
    larger than the built-in model: a GPU, which is used if there is one, saves most of the time."""

    teacher: Annotated[tuple[str, ...], tyro.conf.arg(metavar="MODEL[=SHARE] ...")] = ()
    """Models that teach beside the base, as in `paraclip train`: CLIPs that know more, such as
    ViT-B-16-SigLIP:webli. Default: base alone."""

    epochs: Count | None = None
    """Epochs. Default: that of `paraclip train`; 2 with the stamps, on which all models train for
    the same number of steps."""

    seed: Seed = 0
    """Random seed of the scenes, the order of the data and the examples."""

    fresh: bool = False
    """Run every stage from scratch, even if the folder holds another run. Cached image features are
    reused."""

    serve: bool = False
    """Finally, open the search page, with base and the recommended model. Needs the extra
    `search`."""

    def __post_init__(self) -> None:
        """Also check that a teacher has pictures to rank."""
        super().__post_init__()
        if self.teacher and self.source is None:
            what = "teaches on pictures of your own, and the stamps have a teacher"
            raise UserError("--teacher", what, "Name your pictures, or leave it out.")

    @property
    def folder(self) -> Path:
        """The output folder."""
        if self.out is not None:
            return Path(self.out)
        source = Path(self.source).resolve() if self.source else Path()
        name = source.name if os.path.isdir(source) else source.stem
        return Path("runs", f"quickstart-{name}" if name else "quickstart")
