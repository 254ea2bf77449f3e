"""Options of `paraclip quickstart`, whose script is `commands/quickstart.py`."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from paraclip.options import Checked, Count, Seed


@dataclass(frozen=True)
class QuickstartConfig(Checked):
    """The whole workflow: from pictures to a tuned text encoder, and what it finds among them."""

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PICTURES")]
    """Folder of pictures, captions file or shards, as for `paraclip index`; captions are not
    needed."""

    out: str | None = None
    """Output folder; a second run reuses its content. Default: runs/quickstart-NAME, where NAME is
    the name of your source."""

    base: str = "mini"
    """Base model, as in `paraclip train`, such as ViT-B-32:weights.safetensors. A real CLIP is
    larger than the built-in model: a GPU, which is used if there is one, saves most of the time."""

    teacher: Annotated[tuple[str, ...], tyro.conf.arg(metavar="MODEL[=SHARE] ...")] = ()
    """Models that teach beside the base, as in `paraclip train`: CLIPs that know more, such as
    ViT-B-16-SigLIP:webli. Default: base alone."""

    epochs: Count | None = None
    """Epochs. Default: that of `paraclip train`."""

    seed: Seed = 0
    """Random seed of the scenes, the order of the data and the examples."""

    fresh: bool = False
    """Run every stage from scratch, even if the folder holds another run. Cached image features are
    reused."""

    serve: bool = False
    """Finally, open the search page, with base and the recommended model. Needs the extra
    `search`."""

    @property
    def folder(self) -> Path:
        """The output folder."""
        if self.out is not None:
            return Path(self.out)
        source = Path(self.source).resolve()
        name = source.name if os.path.isdir(source) else source.stem
        return Path("runs", f"quickstart-{name}")

    @property
    def index(self) -> Path:
        """The index of the pictures."""
        return self.folder / "index"

    @property
    def tuned(self) -> Path:
        """The folder of the training run."""
        return self.folder / "tuned"

    @property
    def training(self) -> dict[str, Any]:
        """Options of `paraclip.train`."""
        epochs = {} if self.epochs is None else {"epochs": self.epochs}
        teachers = ("base", *self.teacher) if self.teacher else ()
        return {"bank": str(self.index), "teacher": teachers, "seed": self.seed, **epochs}
