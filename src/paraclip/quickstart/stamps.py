"""The example pictures, Debian's Tux Paint stamps: fetched, and joined to ParaCLIP's captions."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

import pyarrow as pa

from paraclip.data.captions import Caption
from paraclip.data.triples import with_schema
from paraclip.errors import UserError
from paraclip.evaluation.pairs import Wording, Wordings
from paraclip.evaluation.pictures import Pool
from paraclip.files import cache_folder, disk_errors, file_hash, text_hash
from paraclip.progress import bar
from paraclip.quickstart.config import PACKAGE
from paraclip.starter import STAMPS as CAPTIONS

_STAMPS = "usr/share/tuxpaint/stamps"
_PATIENCE = ("-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20")
_REPORT_STATUS = ("-q", "-o", "APT::Status-Fd=1")
_STATUS = re.compile(r"dlstatus:\d+:(\d+(?:\.\d+)?):")  # apt's line with the percentage fetched
_FULL = "No space left on device"
_FREE_SPACE = "Free some space (about 200 MB), or set PARACLIP_CACHE to a folder on another disk."
_OWN_FOLDER = (
    "Give a folder of your own: pictures, each with a .txt of the same name, or a captions file "
    "(`make demo DATA=folder`)."
)
_KINDS = ("sentence", "short", "colloquial")
"""How people type a query: in full, in a few words, or in a roundabout way."""
FEWEST_TRAIN, FEWEST_TEST = 100, 50
_WRITER = "a large language model, for this project"


def stamps_folder(cache: Path | None = None) -> Path:
    """The unpacked stamps, fetched into the cache if missing; no root needed.

    Raises:
        UserError: there is no `apt-get` or `dpkg-deb`, the package cannot be fetched or unpacked,
            or the disk is full. Nothing incomplete remains.
    """
    home = (cache or cache_folder()) / PACKAGE
    if (home / _STAMPS).is_dir():
        return home / _STAMPS
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise UserError(PACKAGE, f"this machine has no {tool} to fetch it with", _OWN_FOLDER)
    unpacking = home.with_name(f"{PACKAGE}.part")
    try:
        with disk_errors(unpacking):
            shutil.rmtree(unpacking, ignore_errors=True)
            unpacking.mkdir(parents=True)
            package = _download_stamps(unpacking)
            _run_tool(["dpkg-deb", "-x", str(package), str(unpacking)], unpacking)
            package.unlink()
            if not (unpacking / _STAMPS).is_dir():
                raise UserError(PACKAGE, f"the package holds no {_STAMPS}", _OWN_FOLDER)
            shutil.rmtree(home, ignore_errors=True)  # a folder without the stamps
            unpacking.replace(home)
    finally:
        shutil.rmtree(unpacking, ignore_errors=True)
    return home / _STAMPS


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
        for line in process.stdout or ():
            if status := _STATUS.match(line):
                progress.update(float(status[1]) - progress.n)
            elif line.strip():
                last_line, full = line.strip(), full or _FULL in line
        if process.wait() != 0:
            what = "the disk is full" if full else f"{command[0]} failed: {last_line}"
            raise UserError(PACKAGE, what, _FREE_SPACE if full else _OWN_FOLDER)
        progress.update(100 - progress.n)


@dataclass(frozen=True)
class CaptionedStamps:
    """The stamps whose pictures are unchanged since their captions were written."""

    learn: list[Caption]  # of the training pictures
    triples: pa.Table  # the same with their two paraphrases
    wordings: Wordings  # of the held-out pictures: three wordings and a contrast each
    pool: Pool  # the held-out pictures
    missing: int  # number of captioned pictures that the package does not contain
    changed: int  # number of pictures with changed content

    def captions(self) -> list[Caption]:
        """Captions of all pictures, the held-out ones last."""
        held_out = [
            Caption(item.image, item.caption, item.image, item.image, "stamps")
            for item in self.wordings.items
        ]
        return [*self.learn, *held_out]

    def skipped(self) -> str:
        """What was left out, in one line; empty if nothing was."""
        if not self.missing + self.changed:
            return ""
        return (
            f"{self.missing} captioned stamps are missing and {self.changed} have changed in this "
            "version of the package; they are skipped"
        )


def read_stamps(folder: Path, texts: Path = CAPTIONS) -> CaptionedStamps:
    """Join the captions (JSON lines) to the pictures of `tuxpaint/stamps`, unpacked.

    Raises:
        UserError: too few of the pictures exist unchanged.
    """
    rows, missing, changed = [], 0, 0
    for row in read_texts(texts):
        path = folder / row["image"]
        if not path.is_file():
            missing += 1
            continue
        with path.open("rb") as file:
            if file_digest(file, "sha256").hexdigest() == row["sha256"]:
                rows.append({**row, "path": str(path)})
            else:
                changed += 1
    learn = [row for row in rows if row["split"] == "train"]
    test = [row for row in rows if row["split"] == "test"]
    if len(learn) < FEWEST_TRAIN or len(test) < FEWEST_TEST:
        what = (
            f"is another version: only {len(rows)} of {len(rows) + missing + changed} captioned "
            "pictures are in it as they were captioned"
        )
        raise UserError(PACKAGE, what, _OWN_FOLDER)
    captions = [Caption(r["image"], r["caption"], r["image"], r["path"], "stamps") for r in learn]
    items = tuple(
        Wording(
            image=row["path"],  # file names repeat
            caption=row["caption"],
            rewordings=tuple((kind, row[kind]) for kind in _KINDS),
            contrast=row["contrast"],
            where=f"{texts.name}: {row['image']}",
        )
        for row in test
    )
    wordings = Wordings("the held-out stamps", items, _KINDS, file_hash(texts))
    names = text_hash("\n".join(sorted(row["image"] for row in test)))
    pool = Pool("held-out stamps", tuple(sorted(row["path"] for row in test)), None, names)
    columns = ("caption", "paraphrase_1", "paraphrase_2")
    triples = [
        {
            "id": row["image"], "image_id": row["image"], "image": row["path"],
            "generator": _WRITER, **{name: row[name] for name in columns},
        }
        for row in learn
    ]  # fmt: skip
    table = with_schema(pa.Table.from_pylist(triples))
    return CaptionedStamps(captions, table, wordings, pool, missing, changed)


def read_texts(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of the file that is included in ParaCLIP."""
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)
