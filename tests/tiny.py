"""One tiny world for all tests: models with random weights, drawn pictures, and triples.

Which model a test takes:
    `tiny_clip`: open_clip's layout, as all bases have it; `small_clip` has CLIP's context, too.
    `TinyModel`: learns in milliseconds, for tests of training.
    `ColourEncoder`: knows colours, so that a test can say which picture is right.
    `word_files`: the text tower of a `Mini` or of a RoBERTa, which are fixtures of the same names.

Shape suffixes: B batch, L length, W width, F features of a picture, D shared space.
"""

import io
import json
import os
import resource
import signal
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn.functional import normalize

from paraclip.data.triples import PROVENANCE, with_schema
from paraclip.models.encoder import Architecture, DualEncoder, Tokens
from paraclip.models.formats.published import preprocessing_of
from paraclip.models.openclip import ClipSpec, OpenClip, build_clip
from paraclip.models.sources import TextFiles
from paraclip.models.tensors import hash_tensors

# --- open_clip's models ---

WORDS = ["a", "red", "green", "blue", "disc", "square", "on", "white", "paper", "small", "large"]
TINY_CLIP: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
SMALL_CLIP = {**TINY_CLIP, "text_cfg": {**TINY_CLIP["text_cfg"], "context_length": 77}}
"""The same with CLIP's context, which other programs take for granted."""
ROBERTA = {
    **TINY_CLIP,
    "text_cfg": {
        "hf_model_name": "someone/tower",
        "hf_tokenizer_name": "someone/tower",
        "hf_pooler_type": "mean_pooler",
        "context_length": 12,
    },
}


def tiny_clip(**changes: object) -> OpenClip:
    """A CLIP in open_clip's layout, thousands of times smaller."""
    return _build(ClipSpec("tiny", {**TINY_CLIP, **changes}, {}))


def _build(spec: ClipSpec) -> OpenClip:
    torch.manual_seed(0)
    spec = deepcopy(spec)
    return OpenClip(spec, build_clip(spec))


def small_clip(name: str = "small", gain: float = 2.0, **changes: object) -> OpenClip:
    """A tiny CLIP with CLIP's context; its text tower's random weights are scaled by `gain`."""
    model = _build(ClipSpec(name, {**SMALL_CLIP, **changes}, preprocessing_of({})))
    with torch.no_grad():  # random towers map all texts to nearly one vector
        for parameter in model.text_tower.parameters():
            parameter.mul_(gain)
    return model


def roberta_clip(files: TextFiles | None = None) -> OpenClip:
    """A tiny CLIP with a RoBERTa text tower."""
    return _build(ClipSpec("roberta", ROBERTA, {}, files or word_files("roberta")))


def retuned(model: OpenClip, seed: int = 1, share: float = 0.05) -> OpenClip:
    """A copy with another text tower, as training makes one."""
    return _shaken(model, "text_tower", seed, share)


def other_image_tower(model: OpenClip) -> OpenClip:
    """A copy with another image tower, whose index is another one."""
    return _shaken(model, "image_tower", seed=1, share=0.1)


def _shaken(model: OpenClip, tower: str, seed: int, share: float) -> OpenClip:
    model = deepcopy(model)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in getattr(model, tower).parameters():
            parameter.add_(share * torch.randn_like(parameter))
    return model


def word_files(kind: str, hidden: int = 32) -> TextFiles:
    """Configuration and tokenizer of a tiny BERT or RoBERTa that knows a dozen words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: place for place, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    config = {
        "model_type": kind,
        "hidden_size": hidden,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "intermediate_size": 2 * hidden,
        "vocab_size": len(vocabulary),
        "max_position_embeddings": 40,
        "pad_token_id": 0,
    }
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return {
        "config.json": json.dumps(config),
        "tokenizer.json": tokenizer.to_str(),
        "tokenizer_config.json": json.dumps(
            {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 40, **names}
        ),
    }


# --- a model that learns in milliseconds ---

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

    def forward(self, ids_BL: Tensor) -> Tensor:
        """Vectors [B, D]."""
        states_BLW = self.embedding(ids_BL) + self.place[: ids_BL.shape[1]]
        steps = torch.arange(1, ids_BL.shape[1] + 1, dtype=states_BLW.dtype).unsqueeze(-1)
        states_BLW = self.hidden(states_BLW.cumsum(1) / steps).tanh()
        end_BW = states_BLW[torch.arange(len(ids_BL)), (ids_BL == END).int().argmax(1)]
        return self.projection(self.dropout(self.norm(end_BW)))


class SmallPictures(DualEncoder):
    """Pictures are squares of `image_size` pixels, in [0, 1]."""

    def preprocess(self, image: Image.Image) -> Tensor:
        side = self.image_size
        pixels = np.asarray(image.convert("RGB").resize((side, side)), np.float32) / 255
        return torch.from_numpy(pixels).permute(2, 0, 1)


class TinyModel(SmallPictures):
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
        ids_BL = torch.tensor([row + [PAD] * (longest - len(row)) for row in cut])
        return Tokens(ids_BL, sum(len(row) > CONTEXT for row in rows))

    def encode_tokens(self, ids_BL: Tensor) -> Tensor:
        return normalize(self.text_tower(ids_BL).to(self.logit_scale.dtype), dim=-1)

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        return self.image_tower["backbone"](pixels.flatten(1))

    def project_images(self, features_BF: Tensor) -> Tensor:
        head = self.image_tower["head"]
        return normalize(head(features_BF.to(self.logit_scale.dtype)), dim=-1)

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


# --- a model that knows colours ---

COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "white": (1, 1, 1)}
_WORD_IDS = 97


def word_id(word: str) -> int:
    """The same number for the same word on every run; 0 is padding."""
    names = list(COLOURS)
    if word in names:
        return 1 + names.index(word)
    return 1 + len(names) + zlib.crc32(word.encode()) % (_WORD_IDS - len(names) - 1)


class ColourEncoder(SmallPictures):
    """Encodes a picture's mean colour and colour words; all other words are noise.

    Args:
        noise: length of the vectors of words that are no colour; a brittle model has much.
        width: width of the shared space.
    """

    def __init__(self, noise: float = 0.5, width: int = EMBED_DIM) -> None:
        super().__init__()
        self.architecture = Architecture("colour", "colour", width, CONTEXT, False, False)
        self.image_size = 8
        self.text_tower = nn.Embedding(_WORD_IDS, width)
        self.image_tower = nn.Linear(3, width, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            self.image_tower.weight.copy_(torch.eye(width, 3))
            rows = noise * normalize(torch.randn(_WORD_IDS, width, generator=generator), dim=1)
            rows[0] = 0
            for name, colour in COLOURS.items():
                rows[word_id(name), :] = torch.tensor([*colour, *[0.0] * (width - 3)])
            self.text_tower.weight.copy_(rows)

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        rows = [[word_id(word) for word in text.lower().split()][:CONTEXT] for text in texts]
        longest = max(1, *map(len, rows))
        return Tokens(torch.tensor([row + [PAD] * (longest - len(row)) for row in rows]))

    def encode_tokens(self, ids_BL: Tensor) -> Tensor:
        return normalize(self.text_tower(ids_BL).sum(1), dim=-1)

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        return pixels.mean((2, 3))

    def project_images(self, features_BF: Tensor) -> Tensor:
        return normalize(self.image_tower(features_BF), dim=-1)

    def image_key(self) -> str:
        return "colour"


# --- pictures ---


def draw(
    path: Path, shape: str = "disc", colour: str = "red", size: tuple[int, int] = (40, 30)
) -> str:
    """A disc or square of a colour on white; its folder is made."""
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    (pen.ellipse if shape == "disc" else pen.rectangle)((5, 5, 25, 25), fill=colour)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return str(path)


def jpeg(number: int, times: int = 1) -> bytes:
    """A small picture, or one so many times as large, whose colour depends on the number."""
    stream = io.BytesIO()
    colour = (37 * number % 256, 91 * number % 256, 151 * number % 256)
    Image.new("RGB", (64 * times, 48 * times), colour).save(stream, "JPEG")
    return stream.getvalue()


def spoil(folder: Path) -> list[str]:
    """The names of a JPEG cut short, an empty one and a text in a folder, which nobody can open."""
    contents = {"cut.jpg": jpeg(1, 9)[:900], "empty.jpg": b"", "text.jpg": b"notes of a person"}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [*contents]


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


# --- triples ---

THINGS = ["cat", "dog", "boat", "tree", "lamp", "fish", "bird", "shoe", "drum", "kite"]
PAINTS = ["red", "blue", "green", "black"]


def write_triples(
    path: Path, rows: Iterable[Mapping[str, Any]], provenance: Mapping[str, Any] = {}
) -> None:
    """A Parquet file as `paraclip generate` writes it; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {PROVENANCE: json.dumps(provenance).encode()}
    pq.write_table(with_schema(rows).replace_schema_metadata(metadata), path)


def make_triples(count: int = 24, folder: Path | None = None) -> pa.Table:
    """Triples with a colour and a thing each; some pictures have two captions.

    With a folder, each picture is drawn there, and no two are alike.
    """
    rows = []
    for index in range(count):
        thing, colour = THINGS[index % 10], PAINTS[index // 10 % 4]
        name = f"picture{index - (index % 7 == 6)}"
        shape, size = ("disc", "square")[index % 2], (30 + index, 30)
        picture = folder and draw(folder / f"{name}.png", shape, colour, size)
        rows.append({
            "id": str(index), "image_id": name, "caption": f"{colour} {thing}",
            "paraphrase_1": f"{thing} {colour}", "paraphrase_2": f"{thing}: {colour}",
            "image": picture, "generator": "by hand",
        })  # fmt: skip
    return pa.Table.from_pylist(rows)


@contextmanager
def without_rights() -> Iterator[None]:
    """Be a user who owns nothing, where this one is root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow beyond a number of bytes, as on a disk that is full."""
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, unlimited[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        signal.signal(signal.SIGXFSZ, before)


def install(site: Path, package: str, code: str, **entries: str) -> None:
    """Put a package of one module into a folder, with one entry point in each group named."""
    (site / f"{package}-1.0.dist-info").mkdir(parents=True)
    (site / f"{package}.py").write_text(code)
    groups = "".join(f"[paraclip.{kind}]\n{entry}\n" for kind, entry in entries.items())
    (site / f"{package}-1.0.dist-info" / "entry_points.txt").write_text(groups)
    (site / f"{package}-1.0.dist-info" / "METADATA").write_text(f"Name: {package}\nVersion: 1.0\n")


LOSS_PACKAGE = """
from paraclip.training.losses import Loss


class Closeness(Loss):
    texts = ("caption", "paraphrase_2")

    def value(self, vectors, share):
        caption, paraphrase = (vectors.texts[name] for name in self.texts)
        return (caption - paraphrase)[vectors.share(share)].square().sum() / len(caption)


class Careless(Closeness):
    def value(self, vectors, share):
        return super().value(vectors, (0, 1))
"""
"""A module with two losses: how far a caption is from its second paraphrase, and the same by an
author who forgot that several processes add up their parts."""
