"""The base with rewordings at query time: a text's vector is the mean over its rewordings.

It helps, and costs answers of a language model for every query. Ranking distillation puts the same
average into the weights, so its gain is to be compared with this one.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize

import paraclip
from paraclip.data.triples import read_triples
from paraclip.evaluation.pairs import Pairs, read_pairs
from paraclip.files import read_bounded, write_text
from paraclip.models.encoder import DualEncoder, Tokens
from paraclip.models.features import encode_texts
from recipes.real_clip.settings import Settings


def write_rewordings(settings: Settings, work: Path) -> None:
    """Choose some of the report pairs, and reword their texts in two steps at each temperature."""
    folder, rows = work / "averaged", []
    for path in sorted((work / "data" / "sugar_crepe_pp").glob("*.json")):
        rows += json.loads(read_bounded(path))
    step = max(1, len(rows) // settings.averaged)
    chosen = [{**row, "id": n} for n, row in enumerate(rows[::step][: settings.averaged])]
    write_text(folder / "pairs.json", json.dumps(chosen, indent=1))
    texts = enumerate(_texts_of(read_pairs(folder / "pairs.json")))
    lines = (json.dumps({"id": str(n), "caption": text}) for n, text in texts)
    write_text(folder / "captions.jsonl", "\n".join(lines) + "\n")
    for temperature in settings.temperatures:
        paraclip.generate(
            folder / "captions.jsonl", folder / str(temperature), temperature=temperature,
            **settings.generation,
        )  # fmt: skip


def averaged(base: DualEncoder, settings: Settings, work: Path) -> "Averaged":
    """The base with the rewordings of `write_rewordings`; those that the filters reject lack."""
    folder = work / "averaged"
    texts = _texts_of(read_pairs(folder / "pairs.json"))
    known = {text: [text] for text in texts}
    for temperature in settings.temperatures:
        found = read_triples(folder / str(temperature) / "triples.parquet")
        for row in found.select(["id", "paraphrase_1", "paraphrase_2"]).to_pylist():
            known[texts[int(row["id"])]] += [row["paraphrase_1"], row["paraphrase_2"]]
    return Averaged(base, known)


def _texts_of(pairs: Pairs) -> list[str]:
    """All texts of pairs, sorted."""
    return sorted({*pairs.captions, *pairs.paraphrases, *pairs.negatives})


class Averaged(DualEncoder):
    """A model that knows some texts: the vector of each is the mean of its wordings' vectors."""

    def __init__(self, base: DualEncoder, wordings: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self.base, self.architecture, self.image_size = base, base.architecture, base.image_size
        self.image_tower, self.logit_scale = base.image_tower, base.logit_scale
        self.rows = {text: row for row, text in enumerate(wordings)}
        means = [encode_texts(base, list(texts)).mean(0) for texts in wordings.values()]
        self.text_tower = nn.Embedding.from_pretrained(normalize(torch.stack(means), dim=-1))

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        return Tokens(torch.tensor([[self.rows[text]] for text in texts]))

    def encode_tokens(self, ids: Tensor) -> Tensor:
        vectors: Tensor = self.text_tower(ids[:, 0])
        return vectors

    def preprocess(self, image: Image.Image) -> Tensor:
        return self.base.preprocess(image)

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        return self.base.embed_pixels(pixels)

    def project_images(self, features: Tensor) -> Tensor:
        return self.base.project_images(features)

    def image_key(self) -> str:
        return self.base.image_key()
