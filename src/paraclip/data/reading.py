"""Captions from any source, one at a time."""

import glob
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from paraclip.data.captions import (
    BrokenRow,
    Caption,
    Columns,
    Problems,
    clean_text,
    label,
    plain_text,
)
from paraclip.data.lines import check_scheme, file_system, is_remote, local_path
from paraclip.data.rows import Values, is_folder, read_items, reader_of, row_number
from paraclip.errors import UserError, without_password
from paraclip.files import check_input, check_name, readable

_MOST_FILES = 1_000_000  # {0..999999999} is short, and its names would fill the memory
# Possessive, so that it takes linear time; `int` refuses more than 4,300 digits.
_BRACES = re.compile(r"\{(?:(\d{1,100})\.\.(\d{1,100})|([^{},]*+(?:,[^{},]*+)++))\}")


class _CaptionMaker:
    """Makes captions from the rows of one file.

    `seen` holds 64-bit hashes of the ids so far; `prefix` makes row numbers unique across files,
    and its folder the names of pictures, which are those of the file's own folder.
    """

    def __init__(self, file: str, columns: Columns, seen: set[int], prefix: str) -> None:
        self.seen, self.prefix = seen, prefix
        self.folder = "" if columns.images else prefix.rpartition("/")[0]
        self.hint = "Make the ids unique, or rename their column."
        if is_folder(file):  # ids are paths inside each of several folders
            self.hint = "Name a folder that contains all of them."
        self.roots = picture_roots(file, columns)
        # Captions of the same picture are mostly consecutive.
        self.find = lru_cache(maxsize=8)(self.find_image)

    def captions(self, values: Values, where: str) -> list[Caption]:
        """One caption, or one per text of a list.

        Raises BrokenRow for a row without caption, id or the named picture, and UserError for an id
        that an earlier caption has.
        """
        text: Any = values.get("caption")
        listed, has_id = isinstance(text, list), "id" in values
        texts = [clean_text(one) for one in (text if listed else [text])]
        if not texts:
            raise BrokenRow("the list of captions is empty")
        image_name = plain_text(values.get("image"), "image name")
        image = self.find(image_name) if image_name else None
        row_id = plain_text(values["id"], "id") if has_id else self.prefix + row_number(where)
        if not row_id:
            raise BrokenRow("the id is empty")
        if image_name and not is_remote(image_name):
            # `a.jpg` beside two files is two pictures.
            image_name = os.path.join(self.folder, image_name)
        image_id = plain_text(values.get("image_id"), "image id") or image_name or row_id
        ids = [f"{row_id}-{number}" for number in range(1, len(texts) + 1)] if listed else [row_id]
        for caption_id in ids if has_id else ():  # row numbers are unique
            # 64 bits: that two of 100 million ids share one has a probability of 0.03 %.
            if (key := hash(caption_id)) in self.seen:
                what = f"the id {label(caption_id)} occurs twice"
                raise UserError(where, what, self.hint)
            self.seen.add(key)
        return [  # `image` keeps the password, for reading it
            Caption(without_password(name), one, without_password(image_id), image, where)
            for name, one in zip(ids, texts, strict=True)
        ]

    def find_image(self, name: str) -> str:
        """Path or URL of a picture; raises BrokenRow if the path does not exist."""
        name = local_path(name)
        if is_remote(name):
            return name
        for root in self.roots:
            # `os.path.join` leaves an absolute name as it is.
            path = f"{root}/{name}" if is_remote(root) else os.path.join(root, name)
            # Remote pictures are not looked for here, which would take a request for each.
            if is_remote(root) or os.path.isfile(path):
                return path
        folders = " or ".join(label(root or ".") for root in self.roots)
        raise BrokenRow(f"there is no picture {label(name)} in {folders} (--images names another)")


def picture_roots(file: str, columns: Columns) -> list[str]:
    """Folders that relative names of pictures refer to.

    For a folder of pictures, the folder itself; for a file, `columns.images`, or by default the
    file's folder and the folder `images` in it.
    """
    if is_folder(file):
        return [file]
    if columns.images:
        return [local_path(columns.images)]
    folder = file.rpartition("/")[0] if is_remote(file) else str(Path(file).parent)
    return [folder, os.path.join(folder, "images")]


def read_captions(
    source: str, columns: Columns | None = None, problems: Problems | None = None
) -> Iterator[Caption]:
    """Captions of a folder, a file or many files, streamed; a `.json` file is parsed as a whole.

    Memory grows by about 70 bytes per id in the source (its 64-bit hash in a set). Broken rows are
    skipped and listed in `problems`; their share is checked after the last row.

    Args:
        source: folder of pictures, each with a `.txt` of the same name; `.csv`, `.tsv`, `.jsonl`,
            `.parquet`, `.txt` with a caption in each line (text files also compressed: `.gz`,
            `.bz2`, `.xz`), COCO captions `.json`, WebDataset `.tar`. Globs (`*`) and braces
            (`{00000..00012}`) name several files; URLs of http(s), s3, gs, az, abfs and hf need
            fsspec's package for them.
        columns: names of the columns.
        problems: lists broken rows; by default at most 1 % of the rows may be broken.

    Raises:
        UserError: at once, for a missing file or an unknown format; while reading, for a missing
            column, a duplicate id, or too many broken rows.
    """
    columns = columns or Columns()
    problems = Problems() if problems is None else problems
    return _stream_captions(source, find_files(source), columns, problems)


def _stream_captions(
    source: str, files: list[str], columns: Columns, problems: Problems
) -> Iterator[Caption]:
    """Captions of all files, followed by the check for too many broken rows."""
    seen: set[int] = set()
    good, broken = 0, 0
    names = [without_password(file) for file in files]
    # `os.path.commonpath` would change URLs.
    common = len(os.path.commonprefix(names).rpartition("/")[0])  # noqa: RUF071
    for file, name in zip(files, names, strict=True):
        prefix = f"{name[common:].lstrip('/')}:" if len(files) > 1 else ""
        maker = _CaptionMaker(file, columns, seen, prefix)
        before = problems.count
        for _, captions in read_items(file, maker.captions, problems, columns):
            good += len(captions)
            broken += problems.count - before
            yield from captions
            before = problems.count  # what the consumer adds is not a row
        broken += problems.count - before
    problems.check(good + broken)
    if not good:
        raise UserError(source, "contains no captions", "Name a folder or file that has some.")


def find_files(source: str) -> list[str]:
    """The files and folders that a path, URL, glob or brace pattern names; raises UserError."""
    check_name(source)
    source = local_path(source)
    # The name of an existing file may contain braces.
    patterns = ([source] if os.path.exists(source) else braces(source)) or [source]
    # Two patterns may name the same file.
    files = list(dict.fromkeys(file for pattern in patterns for file in _named(pattern)))
    for file in files:
        if is_remote(file):
            check_scheme(file)
        else:
            check_input(file)
        if not is_folder(file):
            reader_of(file)  # refuses an unknown format, before the first file is read
    return files


def _named(pattern: str) -> list[str]:
    """What a pattern without braces names; raises UserError if there is no such file or folder."""
    remote = is_remote(pattern)
    if os.path.exists(pattern) or (remote and "*" not in pattern):
        return [pattern]
    if remote:
        files, path = file_system(pattern)
        try:
            found = sorted(files.unstrip_protocol(name) for name in files.glob(path))
        except Exception as error:  # each file system raises its own types
            raise UserError(pattern, f"cannot be listed ({error})", "Check the URL.") from error
    else:
        found = sorted(glob.glob(pattern, recursive=True))
    if not found:
        # Nothing above says that a name is too long, or that its folder may not be looked into.
        with suppress(FileNotFoundError, NotADirectoryError), readable(pattern):
            os.stat(pattern)
        raise UserError(pattern, "there is no such file or folder", "Check the name.")
    return found


def braces(pattern: str) -> list[str]:
    """Expand `{00000..00012}` and `{a,b}` as a shell does."""
    names, end = [""], 0
    for match in _BRACES.finditer(pattern):
        first, last, listed = match.groups()
        count = len(listed.split(",")) if listed is not None else int(last) - int(first) + 1
        if count * len(names) > _MOST_FILES:  # before they are made
            raise UserError(pattern, "names more than a million files", "Name fewer.")
        numbers = range(int(first), int(last) + 1) if listed is None else ()
        # Padded to the width of the first number.
        middles = listed.split(",") if listed else [f"{n:0{len(first)}d}" for n in numbers]
        head, end = pattern[end : match.start()], match.end()
        names = [f"{name}{head}{middle}" for name in names for middle in middles]
    return [f"{name}{pattern[end:]}" for name in names]
