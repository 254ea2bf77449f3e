"""The search page on a quickstart's pictures, with base and tuned side by side."""

import json
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paraclip.data.captions import Caption
from paraclip.errors import printable, without_password
from paraclip.files import text_hash, write_text
from paraclip.image_search.config import IndexConfig

_PICTURES = "captioned_stamps.jsonl"
SEARCH_PACKAGES = ("lancedb", "fastapi", "uvicorn")


@dataclass(frozen=True)
class Page:
    """A search page and what it searches.

    Args:
        source: folder or captions file of the pictures.
        model: the base.
        out: folder of the quickstart; the index is written there too.
        tuned: checkpoint of the model that is shown next to the base; None for the base alone.
    """

    source: str
    model: str
    out: Path
    tuned: Path | None

    @property
    def index(self) -> IndexConfig:
        """Options that index the pictures."""
        name = f"index-{text_hash(self.source)[:8]}"  # an index has one source
        store, tuned = str(self.out / name), str(self.tuned) if self.tuned else None
        return IndexConfig(self.source, store=store, model=self.model, tuned=tuned)

    def commands(self) -> str:
        """The commands that index the pictures and open the page, for a shell."""
        index = self.index
        first = [*_own_program(), "index", without_password(index.source), "--model", index.model]
        first += ["--tuned", index.tuned] if index.tuned else []
        first += ["--store", index.store]
        second = [*_own_program(), "serve", "--store", index.store]
        return printable(f"{shlex.join(first)} && {shlex.join(second)}")


def stamps_file(captions: Sequence[Caption], folder: Path) -> str:
    """Write a file of captions of pictures in a folder, which can be indexed; returns its path."""
    rows = [
        {"image": str(Path(row.image).relative_to(folder)), "caption": row.caption}
        for row in captions
        if row.image
    ]
    path = folder / _PICTURES  # a captions file may only name pictures in its own folder
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return str(path)


def _own_program() -> list[str]:
    """The words that call ParaCLIP in the user's shell."""
    program = shutil.which("paraclip")
    if program is not None and Path(program).parent == Path(sys.executable).parent:
        return ["paraclip"]
    script = Path(sys.executable).with_name("paraclip")
    if not script.is_file():
        return [sys.executable, "-m", "paraclip"]
    here = Path.cwd()
    return [str(script.relative_to(here) if script.is_relative_to(here) else script)]
