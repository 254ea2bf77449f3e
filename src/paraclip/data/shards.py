"""WebDataset shards in img2dataset's layout: a `.tar` of `key.jpg`, `key.txt` and `key.json`."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from paraclip.data.config import Columns
from paraclip.data.images import SUFFIXES
from paraclip.data.lines import is_remote, open_source
from paraclip.data.problems import Problems
from paraclip.data.record import Record
from paraclip.data.untrusted_json import BadJson, parse_json_object
from paraclip.errors import UserError

LARGEST_TEXT = 2**20


@dataclass
class Sample:
    """Members of a shard that share a key."""

    key: str
    image: str | None = None
    text: bytes | None = None
    facts: bytes | None = None


def read_shard(source: str, columns: Columns, problems: Problems) -> Iterator[Record]:
    """Records of a shard, read once from front to back; pictures are not read.

    The caption is `key.txt`, else "caption" in `key.json`. The id is the key. A shard that breaks
    off is noted as one broken row, and what it held until there is used.
    """
    with open_source(source) as stream:
        try:
            # From disk the pictures are jumped over; a remote shard comes as a stream.
            with tarfile.open(fileobj=stream, mode="r|" if is_remote(source) else "r:") as archive:
                for row, sample in enumerate(samples(archive), start=1):
                    yield record(sample, source, row, columns)
        except tarfile.TarError as error:
            if isinstance(error, tarfile.ReadError) and "unexpected end" in str(error):
                problems.add(source, "the shard breaks off before its end")
                return
            hint = "Fetch the shard again, or leave it out."
            raise UserError(source, f"is not a tar file ({error})", hint) from error


def samples(archive: tarfile.TarFile) -> Iterator[Sample]:
    """Members with the same key that follow each other."""
    sample = None
    while (member := archive.next()) is not None:
        # tarfile keeps every member it has seen; a long shard would pile them up.
        archive.members.clear()  # type: ignore[attr-defined]
        if not member.isfile():
            continue
        path = PurePosixPath(member.name)
        key, _, ending = path.name.partition(".")
        key = (path.parent / key).as_posix()
        if sample is None or sample.key != key:
            if sample is not None:
                yield sample
            sample = Sample(key)
        take(sample, f".{ending.lower()}", member, archive)
    if sample is not None:
        yield sample


def take(sample: Sample, suffix: str, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
    """Note a member of the sample."""
    if suffix in SUFFIXES:
        sample.image = member.name
    elif suffix in (".txt", ".json"):
        opened = archive.extractfile(member)
        content = opened.read(LARGEST_TEXT) if opened else b""
        if suffix == ".txt":
            sample.text = content
        else:
            sample.facts = content


def record(sample: Sample, source: str, row: int, columns: Columns) -> Record:
    """The sample as a record; its picture as a URL into the shard."""
    caption: Any = sample.text
    if caption is None:
        caption = facts(sample).get(columns.caption)
    image = f"tar://{sample.image}::{source}" if sample.image and columns.image else None
    return Record(f"{source}: {sample.key}", row, caption, image, sample.key, sample.key)


def facts(sample: Sample) -> dict[str, Any]:
    """What `key.json` holds, nothing where it is broken."""
    try:
        return parse_json_object(sample.facts or b"{}")
    except BadJson:
        return {}
