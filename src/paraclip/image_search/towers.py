"""Text towers for a search: unit vectors of texts, by the name of a model.

So that a search and a server start without torch, a tower is written once per model as an ONNX
graph into the cache folder, `towers/KEY/`: the graph, the tokenizer and `tower.json`. It is kept
only if its vectors for a set of unusual texts equal the model's.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from paraclip.arrays import Float
from paraclip.compute.onnx_session import WRITERS, TextGraph, open_session
from paraclip.errors import UserError
from paraclip.files import atomic_folder, cache_folder, read_bounded, text_hash, write_text
from paraclip.indexes import check_space
from paraclip.models.formats.clip_tokenizer import clip_tokenizer, repaired_text
from paraclip.models.sources import model_files
from paraclip.models.wheels import IMAGE_PACKAGE, TEXT_PACKAGE
from paraclip.store import IndexFacts
from paraclip.version import __version__

if TYPE_CHECKING:
    from PIL import Image

LONGEST_QUERY = 2_000
"""Maximum number of characters of a query: more than any model's context."""
_FORMAT = "paraclip-tower-2"
GRAPH, TOKENIZER, FACTS = "text.onnx", "tokenizer.json", "tower.json"
_CLOSE = 1e-3  # maximum difference between vectors of the graph and of the model
# Empty, one letter, longer than a context, capitals and accents, what open_clip repairs, other
# scripts, one long word, and numbers with signs.
_PROBES = (
    "a kid holding a box of pizza", "", "a", "two dogs " * 100, "A YOUNG Child's café, naïve",
    "\u201ccurly\u201d &amp; it\u2019s", "日本の猫 🐈", "x" * 500, "3 red cars, 2 blue; 1/2 (half)",
)  # fmt: skip


class TextTower(Protocol):
    """A text encoder."""

    name: str  # of its model
    image_space: str  # hash of the image tower with whose vectors it may be compared

    def embed(self, texts: Sequence[str]) -> Float:
        """Unit vectors float32 [texts, width]."""


class TorchTower:
    """A model loaded with torch, which also embeds pictures."""

    def __init__(self, name: str) -> None:
        from paraclip.models.features import image_space
        from paraclip.models.loading import load_model

        self.name = name
        self.model = load_model(name, "cpu")
        self.image_space = image_space(self.model)

    def embed(self, texts: Sequence[str]) -> Float:
        """Unit vectors float32 [texts, width]."""
        from paraclip.models.features import encode_texts

        return np.asarray(encode_texts(self.model, texts).numpy(), np.float32)

    def embed_image(self, image: "Image.Image") -> Float:
        """Unit vector float32 [width] of a decoded picture."""
        from paraclip.models.features import embed, project

        pixels = self.model.preprocess(image)[None]
        return np.asarray(project(self.model, embed(self.model, pixels, "fp32")).numpy()[0])


def open_tower(name: str, facts: IndexFacts, where: str, prepare: bool = False) -> TextTower:
    """The text tower of a model that matches an index; without torch if it is in the cache, into
    which `prepare` writes it.

    Raises:
        UserError: the model cannot be loaded, or its image tower did not make the index.
    """
    tower: TextTower | None = prepared_tower(name) if prepare else _kept_tower(name)
    tower = tower or TorchTower(name)
    check_space(facts, tower.image_space, name, where)
    return tower


@dataclass(frozen=True)
class _TowerFacts:
    """Facts about a tower in the cache."""

    name: str
    image_space: str
    context: int  # maximum length of a text in tokens, including the end token
    pad: int  # padding id
    fixed: bool  # ids always have the length of the context
    clip: bool  # texts are repaired like in open_clip before they are tokenized


class _OnnxTower:
    """A text tower in a folder of the cache, which `_write_tower` has written."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self.facts = _TowerFacts(**json.loads(read_bounded(folder / FACTS)))
        self.name, self.image_space = self.facts.name, self.facts.image_space
        self.tokenizer = Tokenizer.from_str(read_bounded(folder / TOKENIZER).decode())
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.session = open_session(folder / GRAPH, "search")

    def embed(self, texts: Sequence[str]) -> Float:
        """Unit vectors float32 [texts, width]."""
        if self.facts.clip:
            texts = [repaired_text(text) for text in texts]
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        context = self.facts.context
        # A truncated text keeps its end token.
        rows = [row if len(row) <= context else [*row[: context - 1], row[-1]] for row in rows]
        length = context if self.facts.fixed else max(2, *map(len, rows))  # the graph's minimum
        padded = [[*row, *[self.facts.pad] * (length - len(row))] for row in rows]
        ids = np.array(padded, np.int64).reshape(len(rows), length)
        (vectors,) = self.session.run(None, {"input_ids": ids})
        return np.asarray(vectors, np.float32)


def model_stamp(name: str) -> str:
    """A hash of a model's name, and of size and time of the files that it names."""
    paths = [str(file) for file in model_files(name)]
    if name == "mini":
        specs = [importlib.util.find_spec(package) for package in (IMAGE_PACKAGE, TEXT_PACKAGE)]
        weights = files("paraclip.models") / "weights"
        paths = sorted(str(weights / file.name) for file in weights.iterdir())
        paths += [str(spec.origin) for spec in specs if spec]
    facts = [name]
    for path in paths:
        with suppress(OSError):
            state = os.stat(path)
            facts.append(f"{os.path.abspath(path)} {state.st_size} {state.st_mtime_ns}")
    return text_hash("\n".join(facts))


def _folder_of(name: str) -> Path:
    """Folder of a model's tower."""
    return cache_folder() / "towers" / text_hash(f"{_FORMAT} {__version__} {model_stamp(name)}")


def _kept_tower(name: str) -> _OnnxTower | None:
    """The tower of a model from the cache; None if it is missing or damaged."""
    folder = _folder_of(name)
    if not (folder / FACTS).is_file():
        return None
    try:
        return _OnnxTower(folder)
    except UserError:
        raise
    except Exception:  # errors of onnxruntime and tokenizers for damaged files
        shutil.rmtree(folder, ignore_errors=True)
        return None


def prepared_tower(name: str) -> _OnnxTower | None:
    """The tower of a model, written by a separate process if needed; None if it needs torch."""
    if (tower := _kept_tower(name)) is not None or not all(map(importlib.util.find_spec, WRITERS)):
        return tower
    # In a process of its own, so that this one does not load torch.
    command = [sys.executable, "-m", "paraclip.image_search.towers", name]
    subprocess.run(command, capture_output=True, check=False)
    return _kept_tower(name)


def _write_tower(name: str) -> None:
    """Write the tower of a model into the cache; raises ValueError if it has no graph."""
    from open_clip import SimpleTokenizer

    from paraclip.models.features import encode_texts, image_space
    from paraclip.models.formats.onnx_graph import write_text_graph
    from paraclip.models.loading import load_model
    from paraclip.models.mini import BertEncoder

    model = load_model(name, "cpu")
    own = getattr(model, "tokenizer", None)
    if isinstance(model, BertEncoder):
        tokenizer = model.text_files["tokenizer.json"]
    # A `reduction_fn` shortens long texts in ways of its own.
    elif isinstance(own, SimpleTokenizer) and own.reduction_fn is None:
        tokenizer = clip_tokenizer(model.architecture.context_length)
    else:
        raise ValueError("its tokenizer has no `tokenizer.json`")
    context, clip = model.architecture.context_length, model.architecture.kind == "open_clip"
    pad = 0 if clip else int(getattr(model.text_tower, "pad", 0))
    fixed = model.computed_length(1) == context
    facts = _TowerFacts(name, image_space(model), context, pad, fixed, clip)
    expected = encode_texts(model, _PROBES).numpy()
    with atomic_folder(_folder_of(name)) as folder:
        write_text_graph(model, folder / GRAPH, TextGraph())
        write_text(folder / TOKENIZER, tokenizer)
        write_text(folder / FACTS, json.dumps(asdict(facts)))
        if not np.abs(_OnnxTower(folder).embed(_PROBES) - expected).max() <= _CLOSE:
            raise ValueError("its graph gives other vectors")


if __name__ == "__main__":
    _write_tower(sys.argv[1])
