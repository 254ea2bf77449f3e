"""A study that takes seconds: a tiny CLIP, drawn pictures, and small triples and benchmarks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paraclip.ablation.config import AblateConfig
from paraclip.data.triples import write_triples
from paraclip.models.checkpoint import save_model

CELL_PLOT = "paraclip.evaluation.run.plot_scores"
"""The plot in every cell's report: not what is tested here, and most of the time."""
HEAD = """
seeds = [0, 1]
figures = ["TOT", "T2I R@1"]

[evaluation]
benchmarks = "sugar-crepe-pp,image-text-retrieval"
resamples = 10

[common]
epochs = 2
batch_size = 6
learning_rate = 1e-2
held_out = 0
choose = "last"
precision = "fp32"
track = ["jsonl"]
save_every = 2
"""
VARIANTS = """
[variants.all]

[variants."L3 alone"]
weights = [0, 0, 1]
"""


@dataclass(frozen=True)
class World:
    """Everything that a study needs.

    Args:
        root: folder of it all.
    """

    root: Path

    @property
    def out(self) -> Path:
        return self.root / "out"

    def grid(self, variants: str = VARIANTS, head: str = HEAD) -> str:
        """Write the grid file."""
        path = self.root / "grid.toml"
        path.write_text(head + variants)
        return str(path)

    def config(self, grid: str | None = None, **changes: Any) -> AblateConfig:
        """The command's options."""
        settings = {
            "grid": grid or self.grid(), "triples": (str(self.root / "triples.parquet"),),
            "model": str(self.root / "base.safetensors"), "data": str(self.root / "data"),
            "out": str(self.out), "resamples": 50, "device": "cpu",
        }  # fmt: skip
        return AblateConfig(**(settings | changes))

    def words(self, variants: str = VARIANTS, *more: str) -> list[str]:
        """Write the grid of these variants; returns the command line."""
        config = self.config(self.grid(variants))
        names = ("model", "data", "out", "resamples", "device")
        words = [word for name in names for word in (f"--{name}", str(getattr(config, name)))]
        return ["ablate", config.grid, "--triples", *config.triples, *words, *more]


def make_world(root: Path) -> World:
    """Write base, pictures, triples and benchmarks."""
    from colour_encoder import write_flickr8k
    from text_sets import write_sugar_crepe_pp
    from tiny_models import tiny_clip

    text = {"context_length": 12, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
    save_model(tiny_clip(text_cfg=text), root / "base.safetensors", {})
    data = root / "data"
    write_sugar_crepe_pp(data / "sugar_crepe_pp")
    pictures = write_flickr8k(data / "flickr8k", shades=3)
    write_triples(root / "triples.parquet", triples(pictures), {"generator": "by hand"})
    return World(root)


def triples(pictures: list[Path], last: str = "drawn") -> list[dict[str, str]]:
    """A triple for each picture."""
    rows = []
    for place, picture in enumerate(pictures):
        colour, shade = picture.stem.split("_")
        rows.append({
            "id": str(place), "image_id": picture.stem, "image": str(picture),
            "caption": f"a {colour} page {shade}", "paraphrase_1": f"page {shade} in {colour}",
            "paraphrase_2": f"{colour}, sheet {shade}, {last}", "generator": "by hand",
        })  # fmt: skip
    return rows
