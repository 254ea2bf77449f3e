"""Rows that are added to triples: the starter set, and captions without paraphrases (replay)."""

import os
import random
from collections.abc import Iterable

import pyarrow as pa

from paraclip import starter
from paraclip.data.captions import Caption
from paraclip.data.lines import is_remote, local_path
from paraclip.data.triples import SCHEMA, TEXTS, read_triples


def with_starter(rows: pa.Table, count: int | None = None) -> pa.Table:
    """Append the starter set, or its first `count` triples; they have no pictures."""
    further = read_triples(starter.STARTER).slice(0, count)
    return pa.concat_tables([rows, further], promote_options="default")


def with_replay(
    triples: pa.Table, captions: Iterable[Caption], per_triple: float | None, seed: int
) -> pa.Table:
    """Append captions without paraphrases, as rows of three equal texts.

    Only L1 learns from such rows; the text losses ignore them. They keep a tower that is tuned on
    few triples from forgetting other pictures (replay, as in continual learning).

    Args:
        triples: with SCHEMA's columns; further columns are null in the new rows.
        captions: captions to draw from; those without a picture or of the triples are excluded.
        per_triple: number of captions per triple; at least one caption in total, and at most all
            of them. None: all of them.
        seed: seed of the random draw.
    """
    pictures = [resolved(image) for image in triples["image"].to_pylist()]
    image_ids = dict(zip(pictures, triples["image_id"].to_pylist(), strict=True))
    known = set(zip(pictures, triples["caption"].to_pylist(), strict=True))
    others = [
        row for row in captions if row.image and (resolved(row.image), row.caption) not in known
    ]
    count = len(others)
    if per_triple is not None:
        count = round(min(count, max(1, len(triples) * per_triple)))
    drawn = random.Random(seed).sample(others, count)
    rows = [
        {
            "id": f"replay {row.id}",
            # Ensures that no caption is a negative of its own picture.
            "image_id": image_ids.get(resolved(row.image), row.image_id),
            "image": row.image,
            **dict.fromkeys(TEXTS, row.caption),
        }
        for row in drawn
    ]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    return pa.concat_tables([triples, table], promote_options="default")


def resolved(image: str | None) -> str | None:
    """A common name for a picture that two sources may name differently."""
    return image if image is None or is_remote(image) else os.path.realpath(local_path(image))
