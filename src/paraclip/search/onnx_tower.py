"""Text towers in onnxruntime, so that a search and a server start without torch.

A tower is written once per model into the cache folder, `towers/KEY/`: the graph, the tokenizer
and `tower.json`. It is kept only if its vectors for a set of unusual texts equal the model's.
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
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

import paraclip
from paraclip.errors import UserError
from paraclip.files import cache_folder, disk_errors, read_bounded, text_hash, write_text
from paraclip.models.clip_vocabulary import clean_text
from paraclip.models.hub import IMAGE_PACKAGE, TEXT_PACKAGE
from paraclip.models.names import model_files
from paraclip.onnx_session import open_session
from paraclip.search.exact import Float

if TYPE_CHECKING:
    from paraclip.models.encoder import DualEncoder

FORMAT = "paraclip-tower-1"
GRAPH, TOKENIZER, FACTS = "text.onnx", "tokenizer.json", "tower.json"
CLOSE = 1e-3  # maximum difference between vectors of the graph and of the model
PROBES = (
    "a kid holding a box of pizza", "", "a", "two dogs " * 100, "A YOUNG Child's café, naïve",
    "\u201ccurly\u201d &amp; it\u2019s", "日本の猫 🐈", "x" * 500, "3 red cars, 2 blue; 1/2 (half)",
)  # fmt: skip


@dataclass(frozen=True)
class TowerFacts:
    """Facts about a tower.

    Args:
        name: name of its model.
        image_space: hash of the image tower with whose vectors it may be compared.
        context: maximum length of a text in tokens, including the end token.
        pad: padding id.
        fixed: whether ids always have the length of the context.
        clip: whether texts are repaired like in open_clip before they are tokenized.
        format: format of the folder.
    """

    name: str
    image_space: str
    context: int
    pad: int
    fixed: bool
    clip: bool
    format: str = FORMAT


class OnnxTower:
    """A text tower in a folder of the cache.

    Args:
        folder: folder written by `write_tower`.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self.facts = TowerFacts(**json.loads(read_bounded(folder / FACTS)))
        if self.facts.format != FORMAT:
            raise ValueError("another format")
        self.name, self.image_space = self.facts.name, self.facts.image_space
        self.tokenizer = Tokenizer.from_str(read_bounded(folder / TOKENIZER).decode())
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.session = open_session(folder / GRAPH, "search")

    def ids(self, texts: Sequence[str]) -> np.ndarray:
        """Token ids int64 [texts, length]; a truncated text keeps its end token."""
        if self.facts.clip:
            texts = [clean_text(text) for text in texts]
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        context = self.facts.context
        rows = [row if len(row) <= context else [*row[: context - 1], row[-1]] for row in rows]
        length = context if self.facts.fixed else max(2, *map(len, rows))
        padded = [[*row, *[self.facts.pad] * (length - len(row))] for row in rows]
        return np.array(padded, np.int64).reshape(len(rows), length)

    def embed(self, texts: Sequence[str]) -> Float:
        """Unit vectors float32 [texts, width]."""
        (vectors,) = self.session.run(None, {"input_ids": self.ids(texts)})
        return np.asarray(vectors, np.float32)


def key_of(name: str) -> str:
    """Key of a model in the cache: its name, and size and time of the files that it names."""
    facts = [FORMAT, paraclip.__version__, name]
    for path in files_of(name):
        with suppress(OSError):
            state = os.stat(path)
            facts.append(f"{os.path.abspath(path)} {state.st_size} {state.st_mtime_ns}")
    return text_hash("\n".join(facts))


def files_of(name: str) -> list[str]:
    """Files that define a model."""
    if name == "mini":
        heads = str(files("paraclip.models") / "weights" / "mini_heads.safetensors")
        specs = [importlib.util.find_spec(package) for package in (IMAGE_PACKAGE, TEXT_PACKAGE)]
        return [heads, *(str(spec.origin) for spec in specs if spec)]
    return [str(file) for file in model_files(name)]


def folder_of(name: str) -> Path:
    """Folder of a model's tower."""
    return cache_folder() / "towers" / key_of(name)


def kept_tower(name: str) -> OnnxTower | None:
    """The tower of a model from the cache; None if it is missing or damaged."""
    folder = folder_of(name)
    if not (folder / FACTS).is_file():
        return None
    try:
        return OnnxTower(folder)
    except UserError:
        raise
    except Exception:  # errors of onnxruntime and tokenizers for damaged files
        shutil.rmtree(folder, ignore_errors=True)
        return None


def prepared_tower(name: str) -> OnnxTower | None:
    """The tower of a model, written by a separate process if it is not in the cache.

    Returns:
        None if the model has no such tower and needs torch.
    """
    tower = kept_tower(name)
    if tower is None and can_write():
        command = [sys.executable, "-m", "paraclip.search.onnx_tower", name]
        subprocess.run(command, capture_output=True, check=False)
        tower = kept_tower(name)
    return tower


def can_write() -> bool:
    """Whether the packages that write a graph are installed."""
    return all(
        importlib.util.find_spec(package) is not None
        for package in ("onnx", "onnxscript", "onnxruntime", "paraclip.exporting")
    )


def write_tower(name: str, model: "DualEncoder", space: str) -> bool:
    """Write the tower of a model into the cache.

    Args:
        name: name of the model, as for `load_model`.
        model: the model, on the CPU.
        space: its image space.

    Returns:
        Whether it could be written; models with other tokenizers or towers have no such tower.
    """
    tokenizer = tokenizer_of(model)
    if tokenizer is None or not can_write():
        return False
    folder = folder_of(name)
    part = folder.with_name(f".{folder.name}.{uuid4().hex[:12]}.part")
    try:
        with disk_errors(folder):
            part.mkdir(parents=True)
            write_graph(model, part / GRAPH)
            write_text(part / TOKENIZER, tokenizer)
            write_text(part / FACTS, json.dumps(asdict(facts_of(name, model, space))))
            if not agrees(OnnxTower(part), model):
                return False
            shutil.rmtree(folder, ignore_errors=True)
            part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return True


def facts_of(name: str, model: "DualEncoder", space: str) -> TowerFacts:
    """Facts for `tower.json`."""
    context = model.architecture.context_length
    clip = model.architecture.kind == "open_clip"
    pad = 0 if clip else int(getattr(model.text_tower, "pad", 0))
    return TowerFacts(name, space, context, pad, model.computed_length(1) == context, clip)


def tokenizer_of(model: "DualEncoder") -> str | None:
    """`tokenizer.json` of a model; None for tokenizers that exist only in open_clip."""
    from open_clip import SimpleTokenizer

    from paraclip.models.bert import BertEncoder

    if isinstance(model, BertEncoder):
        return model.text_files["tokenizer.json"]
    own = getattr(model, "tokenizer", None)
    if isinstance(own, SimpleTokenizer) and own.reduction_fn is None:
        exporting: Any = importlib.import_module("paraclip.exporting.clip_tokenizer")
        text: str = exporting.clip_tokenizer()
        return text
    return None


def write_graph(model: "DualEncoder", path: Path) -> None:
    """Write the text tower as one ONNX file."""
    exporting: Any = importlib.import_module("paraclip.exporting.onnx_graph")
    exporting.write_text_graph(model, path, exporting.TextInterface())


def agrees(tower: OnnxTower, model: "DualEncoder") -> bool:
    """Whether a tower's vectors for unusual texts equal the model's."""
    from paraclip.models.features import encode_texts

    theirs = encode_texts(model, PROBES).numpy()
    return bool(np.abs(tower.embed(PROBES) - theirs).max() <= CLOSE)


def main() -> None:
    """Write the tower of the model named by the first argument."""
    from paraclip.models.image_space import image_space
    from paraclip.models.loading import load_model

    model = load_model(sys.argv[1], "cpu")
    write_tower(sys.argv[1], model, image_space(model))


if __name__ == "__main__":
    main()
