"""Captions beside the triples that nobody has paraphrased.

L1 alone learns from them: their three texts are one, and the losses between texts leave such rows
out. A tower tuned on few triples keeps what it knew of the other pictures (replay, as in continual
learning).
"""

import os
import random
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from paraclip.data.captions import Caption
from paraclip.data.lines import is_remote
from paraclip.data.triples import SCHEMA, TEXTS


def with_replay(
    triples: pa.Table, captions: Iterable[Caption], per_triple: float, seed: int
) -> pa.Table:
    """The triples, and behind them captions drawn from others of pictures, as rows of one text.

    Args:
        triples: with SCHEMA's columns; further ones are null in the new rows.
        captions: those without a picture, and those that are triples already, are not drawn.
        per_triple: how many captions for each triple, one in all at least; where there are fewer,
            all of them.
        seed: decides which.
    """
    places = [place(image) for image in triples["image"].to_pylist()]
    keys = dict(zip(places, triples["image_id"].to_pylist(), strict=True))
    known = set(zip(places, triples["caption"].to_pylist(), strict=True))
    rows = [row for row in captions if row.image and (place(row.image), row.caption) not in known]
    count = min(len(rows), max(1, round(len(triples) * per_triple)))
    drawn = random.Random(seed).sample(rows, count)
    table = pa.Table.from_pylist([alone(row, keys) for row in drawn], schema=SCHEMA)
    return pa.concat_tables([triples, table], promote_options="default")


def place(image: str | None) -> str | None:
    """One name for a picture, whichever way two sources call it."""
    return image if image is None or is_remote(image) else os.path.realpath(image)


def alone(row: Caption, keys: Mapping[str | None, str]) -> dict[str, Any]:
    """A row whose paraphrases are the caption itself.

    Args:
        row: with a picture.
        keys: by picture the image id that the triples have for it, so that a caption is no negative
            of its own picture.
    """
    texts = dict.fromkeys(TEXTS, row.caption)
    image_id = keys.get(place(row.image), row.image_id)
    return {"id": f"replay {row.id}", "image_id": image_id, "image": row.image, **texts}
