"""Rivals: models whose text vectors are mapped, each made in seconds, and a plainer loss.

`drift_adapter`: the text encoder of another model, with a linear map from its space of pictures to
that of the base, fitted on a bank. The index stays, as with a tuned text encoder, but the user runs
the larger model for every query. `labclip`: the base's own text encoder, with a published map that
was learned from captions of pictures. `linear_estimate`: the base's own text encoder, with the best
linear estimate of a meaning from one wording, fitted on the starter set. `lower_hubs`: the base's
own rankings with hubs lowered, which asks more of an index than inner products. `MeanSquares`: a
loss in place of R, the mean squared distance to the same target.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize

from paraclip.data.triples import read_triples, scene_table
from paraclip.errors import UserError
from paraclip.evaluation.unlabelled import measure_hubs
from paraclip.files import cache_folder, read_bounded
from paraclip.models.encoder import DualEncoder, Tokens
from paraclip.models.features import encode_images, encode_texts
from paraclip.starter import DRAWN, STARTER, TEXTS
from paraclip.training.config import LOSSES
from paraclip.training.losses import Vectors
from paraclip.training.ranking import BANK, Ranking
from recipes.clip_small.teacher import fit_linear
from study.triples import english_wordings


class Mapped(DualEncoder):
    """The pictures of one model, and the text vectors of another (or the same) after a map.

    Args:
        pictures: model of the index.
        texts: model whose text vectors are mapped.
        weight: the map, float32 [width of `pictures`, width of `texts`].
        bias: what is added, float32 [width of `pictures`].
        name: of the model.
    """

    def __init__(
        self, pictures: DualEncoder, texts: DualEncoder, weight: Tensor, bias: Tensor, name: str
    ) -> None:
        super().__init__()
        self.pictures, self.texts = pictures, texts
        self.image_tower, self.text_tower = pictures.image_tower, texts.text_tower
        self.map = nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            self.map.weight.copy_(weight)
            self.map.bias.copy_(bias)
        self.logit_scale, self.image_size = pictures.logit_scale, pictures.image_size
        self.unknown_id = texts.unknown_id
        self.architecture = replace(
            texts.architecture, name=name, embed_dim=pictures.architecture.embed_dim
        )
        self.eval()

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Token ids of the texts."""
        return self.texts.tokenize(texts)

    def encode_tokens(self, ids: Tensor) -> Tensor:
        """Unit text vectors in the space of the pictures."""
        return normalize(self.map(self.texts.encode_tokens(ids)), dim=-1)

    def preprocess(self, image: Image.Image) -> Tensor:
        """Pixels for the model of the index."""
        return self.pictures.preprocess(image)

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        """Features by the model of the index."""
        return self.pictures.embed_pixels(pixels)

    def project_images(self, features: Tensor) -> Tensor:
        """Unit picture vectors by the model of the index."""
        return self.pictures.project_images(features)

    def image_key(self) -> str:
        """The key of the model of the index: cached features are shared."""
        return self.pictures.image_key()

    def computed_length(self, length: int) -> int:
        """Number of tokens that the text tower computes."""
        return self.texts.computed_length(length)


@torch.no_grad()
def drift_adapter(base: DualEncoder, other: DualEncoder, bank: Sequence[str]) -> Mapped:
    """Another model's text encoder over the base's index, without training.

    Args:
        base: model of the index.
        other: the other model.
        bank: pictures on which the map is fitted, by ridge regression.

    Source: Drift-Adapter, arXiv 2509.23471, its linear variant.
    """
    folder = cache_folder() / "image_features"
    seen, wanted = (encode_images(model, bank, folder) for model in (other, base))
    return Mapped(base, other, *fit_linear(seen, wanted), "drift-adapter")


def labclip(base: DualEncoder, file: Path) -> Mapped:
    """The base with LABCLIP's published map of its text vectors.

    Args:
        base: OpenAI's model for which the map was made.
        file: the authors' weights, `linear.weight` [width, width], after one other tensor.

    Raises:
        UserError: the file is too large, or the map belongs to a model of another width.

    Source: Koishigarina et al. 2025, arXiv 2502.03566.
    """
    width = base.architecture.embed_dim
    # Nothing is unpickled: of torch's ZIP file, the values of `linear.weight` alone are read.
    with ZipFile(BytesIO(read_bounded(file, 2**22))) as archive:
        found = [one for one in archive.infolist() if one.filename.endswith("/data/1")]
        if [one.file_size for one in found] != [4 * width**2]:
            raise UserError(file, f"is no map of {width} numbers", "Name that of this base.")
        values = np.frombuffer(archive.read(found[0]), np.float32)
    weight = torch.from_numpy(values.reshape(width, width).copy())
    return Mapped(base, base, weight, torch.zeros(width), "LABCLIP")


@torch.no_grad()
def linear_estimate(base: DualEncoder, gamma: float) -> Mapped:
    """The base with the best linear estimate of a meaning from one wording.

    W = S_B (S_B + gamma S_W)^-1 for the covariances S_B of the means of the starter set's rows, and
    S_W of their wordings around these.

    Args:
        base: model of the index and of the texts.
        gamma: weight of S_W; with 0, nothing changes.
    """
    rows = [
        [row["caption"], *(text for _, text in english_wordings(row))]
        for row in read_triples(STARTER).to_pylist()
    ]
    flat = encode_texts(base, [text for row in rows for text in row]).double()
    parts = torch.split(flat, [len(row) for row in rows])
    means = torch.stack([part.mean(0) for part in parts])
    within = torch.cat([part - part.mean(0) for part in parts])
    mean = means.mean(0)
    between, around = torch.cov((means - mean).T), within.T @ within / (len(flat) - len(rows))
    weight = torch.linalg.solve(between + gamma * around, between).T
    return Mapped(base, base, weight.float(), (mean - weight @ mean).float(), "linear estimate")


class Lowered(Mapped):
    """A model whose pictures have another coordinate: what their score loses for any text.

    Args:
        base: the model.
        popularity: what pictures lose, float32 [n], by their unit vectors [n, D].
        name: of the rival.
    """

    def __init__(
        self, base: DualEncoder, popularity: Callable[[Tensor], Tensor], name: str
    ) -> None:
        width = base.architecture.embed_dim
        super().__init__(base, base, torch.eye(width), torch.zeros(width), name)
        self.popularity = popularity
        self.architecture = replace(self.architecture, embed_dim=width + 1)

    def encode_tokens(self, ids: Tensor) -> Tensor:
        """The base's text vectors, and a 1."""
        vectors = self.texts.encode_tokens(ids)
        return torch.cat([vectors, vectors.new_ones(len(vectors), 1)], dim=1)

    def project_images(self, features: Tensor) -> Tensor:
        """The base's picture vectors, and what they lose."""
        vectors = self.pictures.project_images(features)
        return torch.cat([vectors, -self.popularity(vectors)[:, None]], dim=1)


@torch.no_grad()
def lower_hubs(base: DualEncoder, how: str, bank: Sequence[str]) -> Lowered:
    """The base's rankings without training, less how popular a picture is among the scenes.

    Args:
        base: model of the index.
        how: a name of `POPULARITY`.
        bank: pictures of the index.
    """
    texts = encode_texts(base, scene_table(DRAWN)["caption"].to_pylist())
    seen = encode_images(base, bank, cache_folder() / "image_features")
    best = torch.from_numpy(np.unique((seen @ texts.T).argmax(1).numpy()))
    scale = float(base.logit_scale.exp())
    return Lowered(base, partial(POPULARITY[how], texts, texts[best], seen, scale), how)


def _qb_norm(texts: Tensor, best: Tensor, seen: Tensor, scale: float, pictures: Tensor) -> Tensor:
    """Dynamic inverted softmax over the scenes that a picture of the index matches best.

    Source: QB-Norm, Bogolin et al. 2022.
    """
    return measure_hubs(best, pictures, scale) / scale


def _nnn(texts: Tensor, best: Tensor, seen: Tensor, scale: float, pictures: Tensor) -> Tensor:
    """Three quarters of the mean similarity of the 128 nearest scenes.

    Source: nearest neighbor normalization, Chowdhury et al. 2024, with a middle of its settings.
    """
    return 0.75 * (pictures @ texts.T).topk(128).values.mean(1)


def _of_bank(texts: Tensor, best: Tensor, seen: Tensor, scale: float, pictures: Tensor) -> Tensor:
    """Half of the mean similarity of the ten nearest other pictures of the index."""
    return 0.5 * (pictures @ seen.T).topk(11).values[:, 1:].mean(1)


def _dn(texts: Tensor, best: Tensor, seen: Tensor, scale: float, pictures: Tensor) -> Tensor:
    """Half of the similarity with the mean of the scenes.

    Source: distribution normalization, Zhou et al. 2023; its other term is equal for all pictures.
    """
    return 0.5 * pictures @ texts.mean(0)


POPULARITY: Mapping[str, Callable[[Tensor, Tensor, Tensor, float, Tensor], Tensor]] = {
    "QB-Norm": _qb_norm,
    "NNN": _nnn,
    "hubs by pictures": _of_bank,
    "DN": _dn,
}
"""How popular pictures are, by the name of the rival: from texts, those of them that match a
picture of the index best, the pictures of the index, and the inverse temperature."""


class MeanSquares(Ranking):
    """The squared distance of each wording from the mean of the pictures in the teachers' ranking.

    The mean is that of the student's vectors of the bank [M, D], weighted by the ranking that R
    would learn, and of length 1.
    """

    def value(self, vectors: Vectors, share: tuple[int, int]) -> Tensor:
        """Its mean over the wordings."""
        block, texts = vectors.share(share), [vectors.texts[name].float() for name in TEXTS]
        ranking = self.target(vectors, block).float()
        target = normalize(ranking @ vectors.constants[BANK].float(), dim=1)
        distances = [(text[block] - target).square().sum() for text in texts]
        return torch.stack(distances).mean() / len(texts[0])


LOSSES["mean squares"] = MeanSquares
