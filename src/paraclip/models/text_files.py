"""The small files that build a Hugging Face text tower, carried inside our checkpoints.

Weights alone do not rebuild a BERT: its `config.json` and its tokenizer are needed as well. They
travel as texts in the checkpoint's header, so that one file is the complete model and no hub is
asked.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from paraclip.errors import UserError
from paraclip.models.hub import offline_where_unreachable

NAMES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)
OLDER = ("vocab.json", "vocab.txt", "merges.txt")
MOST_BYTES = 32 * 2**20

TextFiles = dict[str, str]
"""Contents by file name."""


def read_text_files(folder: Path, needed: str = "config.json") -> TextFiles:
    """Configuration and tokenizer of a Hugging Face folder.

    A `tokenizer.json` is the whole tokenizer: the older vocabulary files are left out beside it.

    Raises:
        UserError: the needed file is not there, or a file is too large to be one of these.
    """
    found = [folder / name for name in NAMES if (folder / name).is_file()]
    if not (folder / needed).is_file():
        hint = "Give the folder of a Hugging Face model with its config.json and tokenizer."
        raise UserError(folder, f"there is no {needed}", hint)
    if (folder / "tokenizer.json").is_file():
        found = [path for path in found if path.name not in OLDER]
    for path in found:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(path, "is too large for a tokenizer", "Give a Hugging Face folder.")
    return {path.name: path.read_text(encoding="utf-8") for path in found}


def text_files_of(
    text_config: dict[str, Any], beside: Path | None, hub: bool = True
) -> TextFiles | None:
    """The files that a text tower of open_clip's configuration needs, or None if it needs none.

    Looked for in the folder `beside` (or in it under the model's name), then in the cache of the
    Hugging Face hub, then on the hub itself.

    Args:
        text_config: open_clip's `text_cfg`.
        beside: folder of the weights.
        hub: whether the hub and its cache may be asked; not where a file gives the name.

    Raises:
        UserError: they are nowhere to be had.
    """
    found: TextFiles = {}
    for option, needed in (
        ("hf_tokenizer_name", "tokenizer_config.json"),
        ("hf_model_name", "config.json"),
    ):
        if name := text_config.get(option):
            found |= local_files(name, needed, beside) or (
                hub_files(name, needed) if hub else missing(name, needed, beside)
            )
    return found or None


def local_files(name: str, needed: str, beside: Path | None) -> TextFiles | None:
    """The files from `beside` itself or a folder in it that is called like the model."""
    places = [beside / name, beside / Path(name).name, beside] if beside else []
    for place in places:
        if (place / needed).is_file():
            return read_text_files(place, needed)
    return None


def missing(name: str, needed: str, beside: Path | None) -> TextFiles:
    """The error for files that are not beside the weights of a folder."""
    what = f"there is no {needed} of {name}"
    hint = f"Put the files of huggingface.co/{name} there; a folder's names are not looked up."
    raise UserError(beside, what, hint)


def hub_files(name: str, needed: str) -> TextFiles:
    """The files from the Hugging Face hub or its cache on this machine."""
    from transformers import AutoConfig, AutoTokenizer

    kind = AutoConfig if needed == "config.json" else AutoTokenizer
    with TemporaryDirectory(prefix="paraclip-text-") as folder:
        try:
            with offline_where_unreachable():
                kind.from_pretrained(name).save_pretrained(folder)
        except (OSError, ValueError, ImportError) as error:
            what = f"its {needed} and tokenizer could not be had from the Hugging Face hub"
            hint = (
                f"Put the files of huggingface.co/{name} into a folder {name} beside the weights."
            )
            raise UserError(name, what, hint) from error
        return read_text_files(Path(folder), needed)


@contextmanager
def folder_of(files: Mapping[str, str]) -> Iterator[Path]:
    """Lay the files into a folder that is gone afterwards; only known names are written."""
    with TemporaryDirectory(prefix="paraclip-text-") as name:
        folder = Path(name)
        for known in NAMES:
            if known in files:
                (folder / known).write_text(without_code(known, files[known]), encoding="utf-8")
        yield folder


def without_code(name: str, text: str) -> str:
    """A configuration without its pointers to code on a hub, which transformers asks about."""
    if not name.endswith("config.json"):
        return text
    content = json.loads(text)
    if isinstance(content, dict):
        content.pop("auto_map", None)
    return json.dumps(content)
