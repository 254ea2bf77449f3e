"""The example pictures, Debian's Tux Paint stamps: fetched, and joined to ParaCLIP's captions."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

from paraclip.data.captions import Caption
from paraclip.errors import UserError
from paraclip.files import atomic_folder, cache_folder, write_text
from paraclip.progress import bar

STAMPS = Path(__file__).with_name("stamps.jsonl")
"""Captions, paraphrases and wordings of the pictures."""
PACKAGE = "tuxpaint-stamps-default"  # of Debian
IN_PACKAGE = "usr/share/tuxpaint/stamps"
_PATIENCE = ("-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20")
_REPORT_STATUS = ("-q", "-o", "APT::Status-Fd=1")
_STATUS = re.compile(r"dlstatus:\d+:(\d+(?:\.\d+)?):")  # apt's line with the percentage fetched
_FULL = "No space left on device"
_FREE_SPACE = "Free some space (about 200 MB), or set PARACLIP_CACHE to a folder on another disk."
_OWN_FOLDER = "Give a folder of your own pictures (`make demo DATA=folder`)."
_WORDINGS = ("sentence", "short", "colloquial", "contrast")
"""How people type a query: in full, in a few words, or in a roundabout way; and something else."""
_FEWEST_TRAIN, _FEWEST_TEST = 100, 50
_WRITER = "a large language model, for this project"


def stamps_folder() -> Path:
    """The unpacked stamps, fetched into the cache if missing; no root needed.

    Raises:
        UserError: there is no `apt-get` or `dpkg-deb`, the package cannot be fetched or unpacked,
            or the disk is full. Nothing incomplete remains.
    """
    home = cache_folder() / PACKAGE
    if (home / IN_PACKAGE).is_dir():
        return home / IN_PACKAGE
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise UserError(PACKAGE, f"this machine has no {tool} to fetch it with", _OWN_FOLDER)
    with atomic_folder(home) as unpacking:
        package = _download_stamps(unpacking)
        _run_tool(["dpkg-deb", "-x", str(package), str(unpacking)], unpacking)
        package.unlink()
        if not (unpacking / IN_PACKAGE).is_dir():
            raise UserError(PACKAGE, f"the package holds no {IN_PACKAGE}", _OWN_FOLDER)
    return home / IN_PACKAGE


def _download_stamps(folder: Path) -> Path:
    """Fetch the package into `folder`, with package lists kept there if the system has none."""
    print(f"Fetching Debian's {PACKAGE} (81 MB) ...", flush=True)
    try:
        _run_tool(["apt-get", *_PATIENCE, "download", *_REPORT_STATUS, PACKAGE], folder)
    except UserError as error:
        if error.hint == _FREE_SPACE:
            raise
        for name in ("lists/partial", "archives/partial"):
            (folder / "apt" / name).mkdir(parents=True, exist_ok=True)
        lists = f"Dir::State::lists={folder / 'apt' / 'lists'}"  # updating them needs no root
        options = [*_PATIENCE, "-o", lists, "-o", f"Dir::Cache={folder / 'apt'}"]
        _run_tool(["apt-get", *options, *_REPORT_STATUS, "update"], folder)
        _run_tool(["apt-get", *options, "download", *_REPORT_STATUS, PACKAGE], folder)
    package = next(folder.glob("*.deb"), None)
    if package is None:
        raise UserError(PACKAGE, "apt-get fetched no package", _OWN_FOLDER)
    return package


def _run_tool(command: list[str], folder: Path) -> None:
    """Run a command in `folder` with a progress bar; its last line becomes the error message."""
    last_line, full = "it failed", False
    pipe, out = subprocess.PIPE, subprocess.STDOUT
    with (
        subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=out, text=True) as process,
        bar(command[0], 100, "%") as progress,
    ):
        try:
            for line in process.stdout or ():
                if status := _STATUS.match(line):
                    progress.update(float(status[1]) - progress.n)
                elif line.strip():
                    last_line, full = line.strip(), full or _FULL in line
        except KeyboardInterrupt:
            process.terminate()  # a signal to this process alone would wait for the tool
            raise
        if process.wait() != 0:
            what = "the disk is full" if full else f"{command[0]} failed: {last_line}"
            raise UserError(PACKAGE, what, _FREE_SPACE if full else _OWN_FOLDER)
        progress.update(100 - progress.n)


@dataclass(frozen=True)
class CaptionedStamps:
    """The stamps whose pictures are unchanged since their captions were written."""

    captions: list[Caption]  # of all pictures, the held-out ones last
    triples: list[dict[str, Any]]  # of the training pictures
    wordings: list[dict[str, Any]]  # of the held-out pictures, a row of `evaluate --wordings` each
    missing: int  # number of captioned pictures that the package does not contain
    changed: int  # number of pictures with changed content

    def skipped(self) -> str:
        """What was left out, in one line; empty if nothing was."""
        if not self.missing + self.changed:
            return ""
        return (
            f"{self.missing} captioned stamps are missing and {self.changed} have changed in this "
            "version of the package; they are skipped"
        )


def read_stamps(folder: Path) -> CaptionedStamps:
    """Join the captions to the pictures of `tuxpaint/stamps`, unpacked.

    Raises:
        UserError: too few of the pictures exist unchanged.
    """
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    missing = changed = 0
    for row in read_texts(STAMPS):
        path = folder / row["image"]
        if not path.is_file():
            missing += 1
            continue
        with path.open("rb") as file:
            if file_digest(file, "sha256").hexdigest() == row["sha256"]:
                rows[row["split"]].append({**row, "path": str(path)})
            else:
                changed += 1
    learn, test = rows["train"], rows["test"]
    if len(learn) < _FEWEST_TRAIN or len(test) < _FEWEST_TEST:
        found = len(learn) + len(test)
        what = (
            f"is another version: only {found} of {found + missing + changed} captioned "
            "pictures are in it as they were captioned"
        )
        raise UserError(PACKAGE, what, _OWN_FOLDER)
    triples = [
        {
            "image_id": row["image"], "image": row["path"], "generator": _WRITER,
            **{name: row[name] for name in ("caption", "paraphrase_1", "paraphrase_2")},
        }
        for row in learn
    ]  # fmt: skip
    wordings = [
        {  # the path names the picture, because file names repeat
            "image_id": row["path"], "caption": row["caption"],
            "variations": {name: row[name] for name in _WORDINGS},
        }
        for row in test
    ]  # fmt: skip
    captions = [
        Caption(row["image"], row["caption"], row["image"], row["path"], "stamps")
        for row in (*learn, *test)
    ]
    return CaptionedStamps(captions, triples, wordings, missing, changed)


def read_texts(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file of texts."""
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def write_captions(captions: Sequence[Caption], folder: Path) -> Path:
    """Write a file of captions of pictures in a folder, which can be indexed."""
    # A captions file may only name pictures in its own folder.
    path = folder / "captioned_stamps.jsonl"
    rows = [{"image": row.image_id, "caption": row.caption} for row in captions]
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path
