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
from paraclip.files import write_text


@dataclass(frozen=True)
class Page:
    """A search page and what it searches."""

    source: str  # folder or captions file of the pictures
    base: str
    index: str  # its folder; the index is of this source alone
    tuned: str | None  # checkpoint of the model that is shown next to the base

    def commands(self) -> str:
        """The commands that index the pictures and open the page, for a shell."""
        tuned = ["--tuned", self.tuned] if self.tuned else []
        index = ["index", without_password(self.source), "--base", self.base, *tuned]
        place = ["--index", self.index]
        calls = ([*index, *place], ["serve", *place])
        return " && ".join(map(own_call, calls))


def own_call(words: Sequence[str]) -> str:
    """A command of ParaCLIP as it is called in the user's shell."""
    return printable(shlex.join([*_own_program(), *words]))


def stamps_file(captions: Sequence[Caption], folder: Path) -> str:
    """Write a file of captions of pictures in a folder, which can be indexed; returns its path."""
    # A captions file may only name pictures in its own folder.
    path = folder / "captioned_stamps.jsonl"
    rows = [{"image": row.image_id, "caption": row.caption} for row in captions]
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
