"""Lists of token ids to one padded batch; the end token survives truncation."""

from collections.abc import Sequence
from typing import TypeVar

import torch

from paraclip.models.encoder import Tokens

Token = TypeVar("Token")


def pad_rows(rows: Sequence[Sequence[int]], context_length: int, pad: int = 0) -> Tokens:
    """Pad rows of token ids to the longest; past the context the last id (the end) is kept.

    Args:
        rows: ids of each text, start and end token included.
        context_length: most ids of a text.
        pad: id that fills the end.
    """
    truncated = sum(len(row) > context_length for row in rows)
    kept = [cut(row, context_length) for row in rows]
    length = max((len(row) for row in kept), default=0)
    padded = [[*row, *[pad] * (length - len(row))] for row in kept]
    return Tokens(torch.tensor(padded, dtype=torch.int64).reshape(len(rows), length), truncated)


def cut(row: Sequence[Token], context_length: int) -> Sequence[Token]:
    """The row of tokens (ids or what belongs to each), or its head with the end token."""
    if len(row) <= context_length:
        return row
    return [*row[: context_length - 1], row[-1]]
