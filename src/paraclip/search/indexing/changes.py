"""Differences between source and index, so that known pictures are not read again."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa

from paraclip.search.indexing.sources import UNKNOWN, Found


@dataclass
class Changes:
    """The work of a run.

    Args:
        to_read: new pictures, and those whose size, time or caption differs.
        unchanged: number of pictures that need not be read.
        known: ids of the rows in the index, by path.
        by_hash: id of a row in the index, by the hash of its file.
        hashes: hashes of the files in the index, by path.
        present: paths of the source.
    """

    to_read: list[Found] = field(default_factory=list)
    unchanged: int = 0
    known: dict[str, str] = field(default_factory=dict)
    by_hash: dict[str, str] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    present: set[str] = field(default_factory=set)

    def gone(self) -> list[str]:
        """Ids of the rows whose picture is no longer in the source."""
        return [row for path, row in self.known.items() if path not in self.present]


def changes(found: Iterable[Found], state: pa.Table) -> Changes:
    """Compare the pictures of a source with the rows of an index.

    Args:
        found: pictures of the source.
        state: columns `records.STATE` of the index.
    """
    columns = state.to_pydict()
    facts = zip(columns["size"], columns["modified"], columns["caption"], strict=True)
    stamps = dict(zip(columns["path"], facts, strict=True))
    work = Changes(
        known=dict(zip(columns["path"], columns["id"], strict=True)),
        by_hash=dict(zip(columns["hash"], columns["id"], strict=True)),
        hashes=dict(zip(columns["path"], columns["hash"], strict=True)),
    )
    for one in found:
        work.present.add(one.path)
        if is_unchanged(one, stamps.get(one.path)):
            work.unchanged += 1
        else:
            work.to_read.append(one)
    return work


def is_unchanged(one: Found, stamp: tuple[int, int, str] | None) -> bool:
    """Whether a picture is indexed as it is; the content of URLs is assumed not to change."""
    if stamp is None or stamp[2] != one.caption:
        return False
    return one.size == UNKNOWN or stamp[:2] == (one.size, one.modified)
