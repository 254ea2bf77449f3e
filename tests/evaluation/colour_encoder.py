"""A tiny CLIP that knows colours, with pictures and captions for it."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize

from paraclip.models.encoder import Architecture, DualEncoder, Tokens

COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "white": (1, 1, 1)}
WORDS = 97
LENGTH = 12
WIDTH = 8


def word_id(word: str) -> int:
    """The same number for the same word on every run; 0 is padding."""
    names = list(COLOURS)
    if word in names:
        return 1 + names.index(word)
    return 1 + len(names) + zlib.crc32(word.encode()) % (WORDS - len(names) - 1)


class ColourEncoder(DualEncoder):
    """Encodes a picture's mean colour and colour words; all other words are noise.

    Args:
        noise: length of the vectors of words that are no colour; a brittle model has much.
        width: width of the shared space.
    """

    def __init__(self, noise: float = 0.5, width: int = WIDTH) -> None:
        super().__init__()
        self.architecture = Architecture("colour", "colour", width, LENGTH, False, False)
        self.image_size = 8
        self.text_tower = nn.Embedding(WORDS, width)
        self.image_tower = nn.Linear(3, width, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            self.image_tower.weight.copy_(torch.eye(width, 3))
            rows = noise * normalize(torch.randn(WORDS, width, generator=generator), dim=1)
            rows[0] = 0
            for name, colour in COLOURS.items():
                rows[word_id(name), :] = torch.tensor([*colour, *[0.0] * (width - 3)])
            self.text_tower.weight.copy_(rows)

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        rows = [[word_id(word) for word in text.lower().split()][:LENGTH] for text in texts]
        longest = max(1, *map(len, rows))
        return Tokens(torch.tensor([row + [0] * (longest - len(row)) for row in rows]))

    def encode_tokens(self, ids: Tensor) -> Tensor:
        return normalize(self.text_tower(ids).sum(1), dim=-1)

    def preprocess(self, image: Image.Image) -> Tensor:
        pixels = np.asarray(image.convert("RGB").resize((8, 8)), np.float32) / 255
        return torch.from_numpy(pixels).permute(2, 0, 1)

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        return pixels.mean((2, 3))

    def project_images(self, features: Tensor) -> Tensor:
        return normalize(self.image_tower(features), dim=-1)

    def image_key(self) -> str:
        return "colour"


def draw_pictures(folder: Path, shades: int = 5) -> list[Path]:
    """Pictures of `shades` shades of each colour, mixed a little so that no two are alike."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(3)
    paths = []
    for name, colour in COLOURS.items():
        for shade in range(shades):
            mixed = np.array(colour) * 215 + random.integers(0, 40, 3)
            path = folder / f"{name}_{shade}.png"
            Image.new("RGB", (12, 10), tuple(int(value) for value in mixed)).save(path)
            paths.append(path)
    return paths


def write_flickr8k(folder: Path, shades: int, tested: int | None = None) -> list[Path]:
    """A drawn Flickr8k folder: two captions per picture; the first pictures are the test set."""
    pictures = draw_pictures(folder / "images", shades)
    lines = [f"{p.name},{p.stem.replace('_', ' ')} {n}" for p in pictures for n in range(2)]
    (folder / "captions.csv").write_text("\n".join(["image,caption", *lines]))
    (folder / "test_images.txt").write_text("\n".join(p.name for p in pictures[:tested]))
    return pictures
