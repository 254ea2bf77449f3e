"""The small files that build a Hugging Face text tower, carried inside our checkpoints.

Weights alone do not rebuild a BERT: its `config.json` and its tokenizer are needed as well. They
travel as texts in the checkpoint's header, so that one file is the complete model and no hub is
asked.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from paraclip.errors import UserError

NAMES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)
MOST_BYTES = 32 * 2**20

TextFiles = dict[str, str]
"""Contents by file name."""


def read_text_files(folder: Path) -> TextFiles:
    """Configuration and tokenizer of a Hugging Face folder.

    A `tokenizer.json` is the whole tokenizer: the older vocabulary files are left out beside it.

    Raises:
        UserError: there is no `config.json`, or a file is too large to be one of these.
    """
    found = [folder / name for name in NAMES if (folder / name).is_file()]
    if not (folder / "config.json").is_file():
        mend = "Give the folder of a Hugging Face model with its config.json and tokenizer."
        raise UserError(folder, "there is no config.json", mend)
    if (folder / "tokenizer.json").is_file():
        found = [path for path in found if path.name not in ("vocab.json", "vocab.txt")]
        found = [path for path in found if path.name != "merges.txt"]
    for path in found:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(path, "is too large for a tokenizer", "Give a Hugging Face folder.")
    return {path.name: path.read_text(encoding="utf-8") for path in found}


@contextmanager
def folder_of(files: Mapping[str, str]) -> Iterator[Path]:
    """Lay the files into a folder that is gone afterwards; only known names are written."""
    with TemporaryDirectory(prefix="paraclip-text-") as name:
        folder = Path(name)
        for known in NAMES:
            if known in files:
                (folder / known).write_text(files[known], encoding="utf-8")
        yield folder
