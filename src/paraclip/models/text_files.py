"""The small files that define a Hugging Face text tower, stored in the header of checkpoints.

To rebuild a BERT, its `config.json` and its tokenizer are needed in addition to the weights. With
both in the header, one file is the complete model and needs no hub.
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

    A `tokenizer.json` is a complete tokenizer; older vocabulary files are then ignored.
    """
    paths = [folder / name for name in NAMES if (folder / name).is_file()]
    if not (folder / needed).is_file():
        hint = "Give the folder of a Hugging Face model with its config.json and tokenizer."
        raise UserError(folder, f"there is no {needed}", hint)
    if (folder / "tokenizer.json").is_file():
        paths = [path for path in paths if path.name not in OLDER]
    for path in paths:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(path, "is too large for a tokenizer", "Give a Hugging Face folder.")
    return {path.name: read_utf8(path) for path in paths}


def read_utf8(path: Path) -> str:
    """The text of a file; raises UserError if it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(path, "is not UTF-8", "Convert it, or download it again.") from error


def text_files_of(
    text_config: dict[str, Any], beside: Path | None, hub: bool = True
) -> TextFiles | None:
    """The files that a text tower needs, or None if it needs none.

    They are searched in the folder `beside` (and its subfolder with the model's name), then in the
    cache of the Hugging Face hub, then on the hub.

    Args:
        text_config: open_clip's `text_cfg`.
        beside: folder of the weights.
        hub: whether to use the hub and its cache; False if an untrusted file states the name.
    """
    files: TextFiles = {}
    for option, needed in (
        ("hf_tokenizer_name", "tokenizer_config.json"),
        ("hf_model_name", "config.json"),
    ):
        if name := text_config.get(option):
            files |= local_files(name, needed, beside) or hub_files(name, needed, beside, hub)
    return files or None


def local_files(name: str, needed: str, beside: Path | None) -> TextFiles | None:
    """The files from `beside` itself or its subfolder with the model's name."""
    for folder in [beside / name, beside / Path(name).name, beside] if beside else []:
        if (folder / needed).is_file():
            return read_text_files(folder, needed)
    return None


def hub_files(name: str, needed: str, beside: Path | None, hub: bool) -> TextFiles:
    """The files from the Hugging Face hub or its local cache, if `hub` allows it."""
    if not hub:
        what = f"there is no {needed} of {name}"
        hint = f"Put the files of huggingface.co/{name} there; a folder's names are not looked up."
        raise UserError(beside, what, hint)
    from transformers import AutoConfig, AutoTokenizer

    kind = AutoConfig if needed == "config.json" else AutoTokenizer
    with TemporaryDirectory(prefix="paraclip-text-") as folder:
        try:
            with offline_where_unreachable():
                kind.from_pretrained(name).save_pretrained(folder)
        except (OSError, ValueError, ImportError) as error:
            what = f"its {needed} and tokenizer are not available from the Hugging Face hub"
            hint = f"Put the files of huggingface.co/{name} in a folder {name} beside the weights."
            raise UserError(name, what, hint) from error
        return read_text_files(Path(folder), needed)


@contextmanager
def folder_of(files: Mapping[str, str]) -> Iterator[Path]:
    """A temporary folder with the files; unknown names are ignored."""
    with TemporaryDirectory(prefix="paraclip-text-") as name:
        folder = Path(name)
        for known in NAMES:
            if known in files:
                (folder / known).write_text(without_code(known, files[known]), encoding="utf-8")
        yield folder


def without_code(name: str, text: str) -> str:
    """A configuration without pointers to code on a hub, for which transformers would prompt."""
    if not name.endswith("config.json"):
        return text
    content = json.loads(text)
    if isinstance(content, dict):
        content.pop("auto_map", None)
    return json.dumps(content)
