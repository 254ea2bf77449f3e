"""The rows on which control, live and tuned are trained."""

import pyarrow as pa

from paraclip.data.captions import Caption
from paraclip.data.further_rows import with_replay
from paraclip.files import text_hash


def with_captions(triples: pa.Table, captions: list[Caption], seed: int) -> pa.Table:
    """The triples, and every caption without a triple, from which only L1 learns."""
    known = set(triples["id"].to_pylist())
    others = [row for row in captions if row.image and row.id not in known]
    if not others:
        return triples
    return with_replay(triples, others, per_triple=None, seed=seed)


def sampled(rows: list[Caption], count: int, seed: int) -> list[Caption]:
    """At most `count` captions in their order, chosen by a hash of id and seed."""
    by_hash = sorted(rows, key=lambda row: text_hash(f"{seed} {row.id}"))
    chosen = {row.id for row in by_hash[:count]}
    return [row for row in rows if row.id in chosen]


def equal_steps(rows: int, epochs: int, batch_size: int, others: int) -> int:
    """Epochs over `rows` that take about as many steps as `epochs` epochs over `others` rows."""
    steps = epochs * -(-others // batch_size)
    return max(1, round(steps / -(-rows // batch_size)))
