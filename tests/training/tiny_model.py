"""A dual encoder with a few thousand random weights, which trains in milliseconds."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize

from paraclip.models.encoder import Architecture, DualEncoder, Tokens
from paraclip.models.tensors import hash_tensors

START, END, PAD = 1, 2, 0
WIDTH, FEATURES, EMBED_DIM, OTHER_DIM, CONTEXT = 16, 12, 8, 5, 12


class TinyText(nn.Module):
    """Causal mean of token vectors read at the end token; dropout before the projection."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(130, WIDTH)
        self.place = nn.Parameter(torch.randn(CONTEXT, WIDTH) * 0.1)
        self.hidden = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.dropout = nn.Dropout(0.1)
        self.projection = nn.Linear(WIDTH, EMBED_DIM)

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors [batch, EMBED_DIM] of ids [batch, length]."""
        states = self.embedding(ids) + self.place[: ids.shape[1]]  # [batch, length, WIDTH]
        steps = torch.arange(1, ids.shape[1] + 1, dtype=states.dtype).unsqueeze(-1)
        states = self.hidden(states.cumsum(1) / steps).tanh()
        at_end = states[torch.arange(len(ids)), (ids == END).int().argmax(1)]  # [batch, WIDTH]
        return self.projection(self.dropout(self.norm(at_end)))


class TinyModel(DualEncoder):
    """One token a character; pictures are 4 x 4 pixels, their features 12 numbers."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.text_tower = TinyText()
            self.image_tower = nn.ModuleDict(
                {"backbone": nn.Linear(48, FEATURES), "head": nn.Linear(FEATURES, EMBED_DIM)}
            )
        self.logit_scale = nn.Parameter(torch.tensor(2.0))
        self.architecture = Architecture("mini", "tiny", EMBED_DIM, CONTEXT, False, True)
        self.image_size = 4
        self.eval()

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        rows = [[START, *(3 + ord(letter) % 127 for letter in text), END] for text in texts]
        cut = [row if len(row) <= CONTEXT else [*row[: CONTEXT - 1], END] for row in rows]
        longest = max(len(row) for row in cut)
        ids = torch.tensor([row + [PAD] * (longest - len(row)) for row in cut])
        return Tokens(ids, sum(len(row) > CONTEXT for row in rows))

    def encode_tokens(self, ids: Tensor) -> Tensor:
        return normalize(self.text_tower(ids).to(self.logit_scale.dtype), dim=-1)

    def preprocess(self, image: Image.Image) -> Tensor:
        side = self.image_size
        pixels = torch.tensor(list(image.convert("RGB").resize((side, side)).tobytes())) / 255.0
        return pixels.view(side, side, 3).permute(2, 0, 1)

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        return self.image_tower["backbone"](pixels.flatten(1))

    def project_images(self, features: Tensor) -> Tensor:
        head = self.image_tower["head"]
        return normalize(head(features.to(self.logit_scale.dtype)), dim=-1)

    def image_key(self) -> str:
        return f"tiny-{hash_tensors(self.image_tower['backbone'].state_dict())}"


class OtherModel(TinyModel):
    """A model with other weights, wider pictures, narrower vectors and another temperature."""

    def __init__(self) -> None:
        super().__init__(seed=3)
        with torch.random.fork_rng():
            torch.manual_seed(4)
            self.text_tower.projection = nn.Linear(WIDTH, OTHER_DIM)
            self.image_tower["backbone"] = nn.Linear(108, FEATURES)
            self.image_tower["head"] = nn.Linear(FEATURES, OTHER_DIM)
        self.architecture = replace(self.architecture, name="other", embed_dim=OTHER_DIM)
        self.image_size = 6
        self.logit_scale.data.fill_(1.0)
        self.eval()


class Told(TinyModel):
    """Writes a line to a file for each text that it encodes; may be slow, or be killed at a batch.

    Args:
        told: the file.
        seed: seed of the weights.
        slow: seconds that a batch takes.
        last: number of the batch, from 1, at which the process is killed.
    """

    def __init__(self, told: Path, seed: int = 0, slow: float = 0.0, last: int = 0) -> None:
        super().__init__(seed)
        self.told, self.slow, self.left = told, slow, last

    def encode_tokens(self, ids: Tensor) -> Tensor:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        with self.told.open("a") as file:
            file.writelines(f"{row}\n" for row in ids.tolist())
        time.sleep(self.slow)
        return super().encode_tokens(ids)


def told_texts(told: Path) -> list[str]:
    """The lines of a file that `Told` has written, if any."""
    return told.read_text().splitlines() if told.exists() else []
