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
from paraclip.files import read_bounded
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
    files = {}
    for path in paths:
        try:
            files[path.name] = read_bounded(path, MOST_BYTES).decode()
        except UnicodeDecodeError as error:
            raise UserError(path, "is not UTF-8", "Convert it, or download it again.") from error
    return files


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
            folders = [beside / name, beside / Path(name).name, beside] if beside else []
            local = next((folder for folder in folders if (folder / needed).is_file()), None)
            if local is not None:
                files |= read_text_files(local, needed)
            else:
                files |= _hub_files(name, needed, beside, hub)
    return files or None


def _hub_files(name: str, needed: str, beside: Path | None, hub: bool) -> TextFiles:
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
                text = files[known]
                # without pointers to code on a hub, for which transformers would prompt
                if known.endswith("config.json") and isinstance(read := json.loads(text), dict):
                    text = json.dumps({key: read[key] for key in read if key != "auto_map"})
                (folder / known).write_text(text, encoding="utf-8")
        yield folder
