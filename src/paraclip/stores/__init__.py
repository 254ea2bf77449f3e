"""Stores of an index: their protocol, a row of the table, and facts about the whole."""

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Annotated, ClassVar, Literal, Protocol, Self
from uuid import uuid4

import numpy as np
import pyarrow as pa
from pydantic import ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError

from paraclip.arrays import Float
from paraclip.errors import UserError

STATE = ("id", "path", "size", "modified", "hash", "caption")
"""Columns that show whether a picture or its caption has changed."""
SHOWN = ("id", "path", "caption", "vector")
"""Columns that a search needs in memory."""
POSTGRES = ("postgresql://", "postgres://")  # libpq accepts both
ROWS_AT_ONCE = 4096  # 8 MiB of vectors that are 512 wide, and about 40 MB of thumbnails


def schema(width: int) -> pa.Schema:
    """Columns of the table for vectors of this width.

    `id` is a hash of `path`, which is relative to the indexed folder (or a URL); `modified` is the
    modification time in nanoseconds; `hash` is the SHA-256 of the file; `time` is the time of
    writing the row, in UTC.
    """
    kinds = {
        "id": pa.string(),
        "path": pa.string(),
        "size": pa.int64(),
        "modified": pa.int64(),
        "hash": pa.string(),
        "caption": pa.string(),
        "thumbnail": pa.binary(),
        "time": pa.timestamp("us", tz="UTC"),
        "vector": pa.list_(pa.float32(), width),
    }
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in kinds.items()])


def vectors_of(rows: pa.Table) -> Float:
    """The column of vectors, float32 [rows, width]."""
    # `flatten` has the numbers of these rows; `values` has those of the array they are a slice of.
    flat = np.asarray(rows["vector"].combine_chunks().flatten(), np.float32)
    return flat.reshape(-1, rows.schema.field("vector").type.list_size)


def picture_id(path: str) -> str:
    """The id of a picture, 24 hex digits, from its path in the index."""
    return sha256(path.encode()).hexdigest()[:24]  # 96 bits: no two paths share them


def full_path(root: str, path: str) -> str:
    """The path of a picture as programs can open it: under the root, or a URL."""
    return path if "://" in path or not root else f"{root}/{path}"


@dataclass(frozen=True)
class IndexFacts:
    """Facts about an index, stored with its table."""

    image_space: str  # hash of the image tower that made the vectors (`models.image_space`)
    width: Annotated[int, Field(gt=0, le=2**14)]  # of the vectors
    source: str  # absolute path of the folder, captions file or shards
    root: str  # absolute folder that the paths are relative to, or "" if they are URLs
    # names by label, such as {"base": "mini"}; the first made the index
    models: Annotated[dict[str, str], Field(min_length=1)]
    precision: str = "fp32"  # or bf16
    # similarity that close results exceed, by stamp of the model (see `unrelated`)
    cutoffs: dict[str, FiniteFloat] = field(default_factory=dict)
    # distinguishes the index from others at the same address; names a folder of the cache
    created: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] = field(
        default_factory=lambda: uuid4().hex
    )
    format: Literal["paraclip-index-2"] = "paraclip-index-2"  # of the table
    __pydantic_config__ = ConfigDict(extra="forbid")  # saving would lose facts of a later version

    def to_json(self) -> str:
        """The facts as a JSON object."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes, where: object) -> "IndexFacts":
        """Read facts from an untrusted source; raises UserError if they are not those of an index
        of this format."""
        try:
            return _FACTS.validate_json(text, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            reason = ": ".join([*map(str, first["loc"]), first["msg"]])
            raise not_an_index(where, f"({reason})") from error


_FACTS = TypeAdapter(IndexFacts)


def not_an_index(where: object, why: str) -> UserError:
    """The error for facts that cannot be used."""
    hint = "Make the index again with `paraclip index --rebuild`, or name another --index."
    return UserError(where, f"is not an index of this version {why}", hint)


def check_image_space(facts: IndexFacts, space: str, model: str, where: object) -> None:
    """Raise UserError if a model with another image tower would search or extend an index."""
    if facts.image_space != space:
        what = f"was made with another image tower than that of {model}"
        base = next(iter(facts.models.values()))
        hint = f"Use a model tuned from {base}, or make a separate index with --index."
        raise UserError(where, what, hint)


class StoreUnavailable(UserError):
    """The store does not exist any more or does not respond; it may become available again."""


def facts_in_space(store: "Store", space: str) -> IndexFacts:
    """The facts of an index that is in use; raises StoreUnavailable if one of another image tower
    has taken its place."""
    facts = existing_facts(store)
    if facts.image_space != space:
        hint = "Start the command again."
        raise StoreUnavailable(store.where, "holds another index now", hint)
    return facts


class Store(Protocol):
    """One table of pictures. Every method raises `StoreUnavailable` if the store is unavailable."""

    where: str  # address for messages, without a password
    # number of pictures from which an index is searched with an approximate one, and no longer in
    # memory
    EXACT_BELOW: ClassVar[int] = 1_000_000

    def check(self, size: float = 0) -> None:
        """Raise UserError, before long work, if the store could not be written, or has no room for
        a number of bytes."""

    def facts(self) -> IndexFacts | None:
        """The facts of the index; None if there is none yet."""

    def version(self) -> str:
        """A text that changes with every change of the table."""

    def save_facts(self, facts: IndexFacts) -> None:
        """Create the table if there is none, and save the facts; raises ValueError for those of
        another index, which `staged` may replace."""

    def staged(self) -> Self:
        """The place next to the index where one that will replace it is built."""

    def publish(self) -> None:
        """Replace the index by the staged one, in one step."""

    def discard_staged(self) -> None:
        """Remove a staged index, and what replaced ones left."""

    def writing(self) -> AbstractContextManager[None]:
        """Hold the store for writing; raises UserError if another process is writing."""

    def count(self) -> int:
        """Number of pictures."""

    def state(self) -> pa.Table:
        """The columns `STATE` of all rows."""
        parts = list(self.batches(STATE))  # none of an empty table, which pyarrow does not join
        return pa.concat_tables(parts) if parts else schema(1).empty_table().select(list(STATE))

    def put(self, rows: pa.Table) -> None:
        """Write rows of `schema` in one transaction; a row replaces the one with its id."""

    def remove(self, ids: Sequence[str]) -> None:
        """Remove rows; unknown ids are ignored."""

    def rows(self, ids: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        """Rows by id, all columns by default, in any order; unknown ids are ignored."""

    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """All rows, a few thousand at a time."""

    def finish(self) -> None:
        """Compact the table; from `EXACT_BELOW` rows, also build an approximate index."""

    def close(self) -> None:
        """Close connections; the next use opens them again."""

    def nearest(self, queries: Float, k: int, exact: bool = False) -> tuple[list[list[str]], Float]:
        """Ids and scores [queries, k] of the pictures nearest to unit vectors [queries, width],
        best first; fewer if the table is smaller. `exact` uses no approximate index."""


def existing_facts(store: Store) -> IndexFacts:
    """The facts of an index; raises UserError if there is none."""
    facts = store.facts()
    if facts is None:
        hint = "Make it with `paraclip index FOLDER`, or name it with --index."
        raise UserError(store.where, "there is no index", hint)
    return facts
