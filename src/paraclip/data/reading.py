"""Captions from anywhere, one at a time."""

import glob
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import fsspec

from paraclip.data.captions import (
    BrokenRow,
    Caption,
    Record,
    clean_text,
    label,
    picture_name,
    plain_text,
)
from paraclip.data.coco import read_coco
from paraclip.data.config import Columns
from paraclip.data.delimited import read_csv, read_json_lines, read_tsv
from paraclip.data.folder import read_folder, read_shard
from paraclip.data.lines import folder_of, is_remote
from paraclip.data.parquet import read_parquet
from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.files import check_input, check_name

READERS = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".parquet": read_parquet,
    ".pq": read_parquet,
    ".json": read_coco,
    ".tar": read_shard,
}
PACKED = (".gz", ".bz2", ".xz")
MOST_FILES = 1_000_000


class CaptionMaker:
    """Turns the records of one file into captions.

    Args:
        file: the file, for the default place of its pictures.
        columns: which column holds what.
        problems: where broken rows are noted.
        seen: 64-bit hashes of the ids so far.
        prefix: put before row numbers; where there are other files, they alone are no ids.
    """

    def __init__(
        self, file: str, columns: Columns, problems: Problems, seen: set[int], prefix: str
    ) -> None:
        self.problems, self.seen, self.prefix = problems, seen, prefix
        self.roots = picture_roots(file, columns)
        # Captions of one picture mostly follow each other.
        self.find = lru_cache(maxsize=8)(self.find_image)

    def captions(self, record: Record) -> list[Caption]:
        """The captions of a record; none where it is broken, which is noted.

        Raises:
            UserError: the id was there before.
        """
        try:
            return self.checked(record)
        except BrokenRow as broken:
            self.problems.add(record.where, str(broken))
            return []

    def checked(self, record: Record) -> list[Caption]:
        """One caption, or as many as the record's list holds.

        Raises:
            BrokenRow: there is no caption, no id, or no picture where one is named.
        """
        listed = isinstance(record.caption, list)
        texts = [clean_text(text) for text in (record.caption if listed else [record.caption])]
        if not texts:
            raise BrokenRow("the list of captions is empty")
        image_name = picture_name(record.image)
        image = self.find(image_name) if image_name else None
        base = self.base(record)
        image_id = plain_text(record.image_id, "image id") or image_name or base
        made = []
        for number, text in enumerate(texts, start=1):
            name = f"{base}-{number}" if listed else base
            if record.id is not None:  # row numbers need no check
                self.refuse_twice(name, record.where)
            made.append(Caption(name, text, image_id, image, record.where))
        return made

    def base(self, record: Record) -> str:
        """The record's own id, else its row number."""
        if record.id is None:
            return f"{self.prefix}{record.row}"
        name = plain_text(record.id, "id")
        if not name:
            raise BrokenRow("the id is empty")
        return name

    def refuse_twice(self, name: str, where: str) -> None:
        """Raise if the id was there before."""
        if (key := hash(name)) in self.seen:
            hint = "Give every row an id of its own, or name another --id-column."
            raise UserError(where, f"the id {label(name)} is there twice", hint)
        self.seen.add(key)

    def find_image(self, name: str) -> str:
        """Where the picture of that name is.

        Raises:
            BrokenRow: there is none; whether a remote one is there shows when it is opened.
        """
        if is_remote(name):
            return name
        for root in self.roots:
            path = f"{root}/{name}" if is_remote(root) else os.path.join(root, name)
            if is_remote(root) or os.path.isfile(path):
                return path
        places = " or ".join(label(root or ".") for root in self.roots)
        raise BrokenRow(f"there is no picture {label(name)} in {places} (--images names another)")


def picture_roots(file: str, columns: Columns) -> list[str]:
    """Folders in which a relative name of a picture is looked for.

    A folder of pictures is its own root, whatever `columns.images` says; a file's are its folder
    and `images` in it, unless another is named.
    """
    if not is_remote(file) and os.path.isdir(file):
        return [file]
    if columns.images:
        return [columns.images]
    beside = folder_of(file)
    return [beside, os.path.join(beside, "images")]


def read_captions(
    source: str, columns: Columns | None = None, problems: Problems | None = None
) -> Iterator[Caption]:
    """Captions of a folder, a file or many files, streamed.

    Memory does not grow with the number of captions, but for about 70 bytes for each id that the
    source itself gives (its 64-bit hash
    in a set). Broken rows are skipped and noted in `problems`, which is
    checked when the last row has been read.

    Args:
        source: folder of pictures with a `.txt` beside each; `.csv`, `.tsv`, `.jsonl`,
            `.parquet` (packed `.gz`, `.bz2` or `.xz` where that makes sense), COCO captions
            `.json`, WebDataset `.tar`. Globs (`*`) and braces (`{00000..00012}`) name several
            files of one kind; fsspec URLs are read as far as fsspec can.
        columns: which column holds what.
        problems: where broken rows are noted; at most 1 % of them by default.

    Raises:
        UserError: at once, for a file that is not there or of no known kind; while reading, for
            a missing column, an id that is there twice, or too many broken rows.
    """
    columns = columns or Columns()
    problems = Problems() if problems is None else problems
    files = find_files(source)
    return stream_captions(source, files, columns, problems)


def stream_captions(
    source: str, files: list[str], columns: Columns, problems: Problems
) -> Iterator[Caption]:
    """Captions of all files, then the check of what was broken."""
    seen: set[int] = set()
    good, broken = 0, 0
    for file, prefix in zip(files, prefixes(files), strict=True):
        maker = CaptionMaker(file, columns, problems, seen, prefix)
        for made, lost in made_captions(maker, records(file, columns, problems)):
            good += len(made)
            broken += lost
            yield from made
    problems.check(good + broken)
    if not good:
        raise UserError(source, "holds no captions", "Name a folder or file that has some.")


def prefixes(files: list[str]) -> list[str]:
    """What tells the row numbers of several files apart: the path inside their common folder."""
    if len(files) == 1:
        return [""]
    # Cut back to a whole folder; `commonpath` would change URLs.
    common = len(os.path.commonprefix(files).rpartition("/")[0])  # noqa: RUF071
    return [f"{file[common:].lstrip('/')}:" for file in files]


def made_captions(
    maker: CaptionMaker, rows: Iterator[Record]
) -> Iterator[tuple[list[Caption], int]]:
    """The captions of each row, and how many rows were noted as broken since the row before.

    Whoever takes the captions may note problems of its own meanwhile; those are not counted.
    """
    problems = maker.problems
    while True:
        before = problems.count
        record = next(rows, None)
        made = [] if record is None else maker.captions(record)
        yield made, problems.count - before
        if record is None:
            return


def records(file: str, columns: Columns, problems: Problems) -> Iterator[Record]:
    """The rows of one folder or file."""
    if not is_remote(file) and Path(file).is_dir():
        return read_folder(file, problems)
    return READERS[kind_of(file)](file, columns, problems)


def kind_of(file: str) -> str:
    """The suffix that decides the reader.

    Raises:
        UserError: no reader knows it.
    """
    suffixes = [suffix.lower() for suffix in Path(file).suffixes]
    packed = bool(suffixes) and suffixes[-1] in PACKED
    if packed:
        suffixes.pop()
    if packed and suffixes[-1:] == [".tar"]:
        what = "is a packed tar file, whose pictures cannot be read one by one"
        raise UserError(file, what, f"Unpack it to {Path(file).stem}; pictures hardly pack.")
    if suffixes and suffixes[-1] in READERS:
        return suffixes[-1]
    hint = f"Name a folder, or a file that ends in {', '.join(READERS)}."
    raise UserError(file, "is of no kind that can be read", hint)


def find_files(source: str) -> list[str]:
    """The files that a path, URL, glob or brace pattern names, in order.

    Raises:
        UserError: there are none, or one is of no known kind.
    """
    check_name(source)
    if not is_remote(source) and os.path.exists(source):
        files = [source]
    else:
        files = [file for pattern in braces(source) for file in matches(pattern)]
    files = list(dict.fromkeys(files))
    if not files:
        raise UserError(source, "there is no such file or folder", "Check the name.")
    for file in files:
        if is_remote(file):
            kind_of(file)
            continue
        check_input(file)
        if not os.path.isdir(file):
            kind_of(file)
    return files


def matches(pattern: str) -> list[str]:
    """Files that match a pattern without braces; a plain URL is taken as it is."""
    if not is_remote(pattern):
        return sorted(glob.glob(pattern, recursive=True))
    if "*" not in pattern:
        return [pattern]
    try:
        return sorted(file.full_name for file in fsspec.open_files(pattern))
    except (ImportError, ValueError, OSError) as error:
        raise UserError(pattern, f"cannot be listed ({error})", "Check the URL.") from error


def braces(pattern: str) -> list[str]:
    """All texts that `{00000..00012}` and `{a,b}` stand for, as a shell would give them."""
    found = re.search(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}", pattern)
    if not found:
        return [pattern]
    first, last, listed = found.groups()
    head, rests = pattern[: found.start()], braces(pattern[found.end() :])
    count = len(listed.split(",")) if listed is not None else int(last) - int(first) + 1
    if count * len(rests) > MOST_FILES:
        raise UserError(pattern, "names more than a million files", "Name fewer.")
    numbers = range(int(first), int(last) + 1) if listed is None else ()
    middles = listed.split(",") if listed is not None else [f"{n:0{len(first)}d}" for n in numbers]
    return [f"{head}{middle}{rest}" for middle in middles for rest in rests]
