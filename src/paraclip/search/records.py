"""A row of the index, the same in every store, and facts about the index as a whole."""

import json
import re
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from typing import Any, Self
from uuid import uuid4

import pyarrow as pa

from paraclip.errors import UserError

FORMAT = "paraclip-index-2"
STATE = ("id", "path", "size", "modified", "hash", "caption")
"""Columns that show whether a picture or its caption has changed."""
SHOWN = ("id", "path", "caption", "vector")
"""Columns that a search needs in memory."""


def schema(width: int) -> pa.Schema:
    """Columns of the table for vectors of this width.

    `id` is a hash of `path`, which is relative to the indexed folder (or a URL); `modified` is the
    modification time in nanoseconds; `hash` is the SHA-256 of the file; `time` is the time of
    writing the row, in UTC.
    """
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("path", pa.string(), nullable=False),
            pa.field("size", pa.int64(), nullable=False),
            pa.field("modified", pa.int64(), nullable=False),
            pa.field("hash", pa.string(), nullable=False),
            pa.field("caption", pa.string(), nullable=False),
            pa.field("thumbnail", pa.binary(), nullable=False),
            pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
            pa.field("vector", pa.list_(pa.float32(), width), nullable=False),
        ]
    )


def picture_id(path: str) -> str:
    """The id of a picture, 24 hex digits, from its path in the index."""
    return sha256(path.encode()).hexdigest()[:24]


def full_path(root: str, path: str) -> str:
    """The path of a picture as programs can open it: under the root, or a URL."""
    return path if "://" in path or not root else f"{root}/{path}"


@dataclass(frozen=True)
class IndexFacts:
    """Facts about an index, stored with its table.

    Args:
        image_space: hash of the image tower that made the vectors (`models.image_space`).
        width: width of the vectors.
        source: absolute path of the folder, captions file or shards.
        root: absolute folder that the paths are relative to, or "" if they are URLs.
        models: names of models by label, such as {"base": "mini"}; the first made the index.
        precision: fp32 or bf16.
        created: 32 hex digits that distinguish the index from others at the same address.
        format: format of the table.
    """

    image_space: str
    width: int
    source: str
    root: str
    models: dict[str, str]
    precision: str = "fp32"
    created: str = field(default_factory=lambda: uuid4().hex)
    format: str = FORMAT

    def to_json(self) -> str:
        """The facts as a JSON object."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes, where: object) -> Self:
        """Read facts from an untrusted source.

        Raises:
            UserError: they are not the facts of an index, or have another format.
        """
        try:
            content: Any = json.loads(text)
            facts = cls(**content)
            valid = facts.format == FORMAT and type(facts.width) is int
            valid = valid and 0 < facts.width <= 2**14
            strings = [facts.image_space, facts.source, facts.root, facts.precision, facts.created]
            strings += [*facts.models, *facts.models.values()]
            # The name of a folder in the cache contains it.
            valid = valid and bool(re.fullmatch("[0-9a-f]{32}", facts.created))
            valid = valid and bool(facts.models) and all(isinstance(one, str) for one in strings)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise not_an_index(where, f"({error})") from error
        if not valid:
            raise not_an_index(where, f"of the format {FORMAT}")
        return facts

    def with_models(self, models: dict[str, str]) -> Self:
        """The same facts with models added or replaced, by label."""
        return replace(self, models={**self.models, **models})


def not_an_index(where: object, why: str) -> UserError:
    """The error for facts that cannot be used."""
    hint = "Make the index again with `paraclip index --rebuild`, or name another --store."
    return UserError(where, f"is not an index of this version {why}", hint)


def check_image_space(facts: IndexFacts, space: str, model: str, where: object) -> None:
    """Raise UserError if a model with another image tower would search or extend an index."""
    if facts.image_space != space:
        what = f"was made with another image tower than that of {model}"
        base = next(iter(facts.models.values()))
        hint = f"Use a model tuned from {base}, or make a separate index with --store."
        raise UserError(where, what, hint)
