"""Captions and their outcomes as rows of Parquet, the form in which Ray transfers them.

A caption that got no answer is a row too, because an exception would end Ray's whole job.
"""

import json
from hashlib import sha256
from typing import Any

import pyarrow as pa

from paraclip.data.captions import Caption
from paraclip.data.triples import SCHEMA
from paraclip.paraphrase.filters.judge import Verdict
from paraclip.paraphrase.steps import Failed, KeptTriple, Outcome, Rejected

KEY = "key"  # id column of the checkpoint: 64-bit numbers need a tenth of the memory of texts
CAPTION = pa.schema(
    [
        pa.field(KEY, pa.int64(), nullable=False),
        *(SCHEMA.field(name) for name in ("id", "caption", "image_id", "image")),
    ]
)
KEPT, REJECTED, FAILED = "kept", "rejected", "failed"
OUTCOME = pa.schema(
    [
        pa.field(KEY, pa.int64(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        *(field.with_nullable(True) for field in SCHEMA),
        pa.field("step", pa.int8()),
        pa.field("reason", pa.string()),  # reason of a rejection, or the problem of a failure
        pa.field("candidates", pa.string()),  # JSON: text, reason, similarity, overlap of each
        # Totals of the whole block, on its first row.
        pa.field("prompt_tokens", pa.int64()),
        pa.field("answer_tokens", pa.int64()),
    ]
)


def key_of(caption: Caption, attempt: int) -> int:
    """A signed 64-bit number that identifies the caption and everything asked about it.

    Args:
        caption: the caption; an edited one gets another key.
        attempt: number of earlier failures; Ray considers keys in the checkpoint as done.
    """
    content = [caption.id, caption.caption, caption.image_id, caption.image, attempt]
    digest = sha256(json.dumps(content).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def caption_row(caption: Caption, key: int) -> dict[str, Any]:
    """A row of CAPTION."""
    return {
        KEY: key, "id": caption.id, "caption": caption.caption, "image_id": caption.image_id,
        "image": caption.image,
    }  # fmt: skip


def caption_of(row: dict[str, Any]) -> Caption:
    """The caption in a row of CAPTION or OUTCOME."""
    return Caption(row["id"], row["caption"], row["image_id"], row["image"], "")


def outcome_row(key: int, outcome: Outcome) -> dict[str, Any]:
    """A row of OUTCOME, without tokens."""
    if isinstance(outcome, KeptTriple):
        return {KEY: key, "outcome": KEPT, **outcome.row}
    row = caption_row(outcome.caption, key) | {"step": outcome.step}
    if isinstance(outcome, Failed):
        return row | {"outcome": FAILED, "reason": outcome.problem}
    candidates = [
        [one.text, one.reason, float(one.similarity), float(one.overlap)]
        for one in outcome.verdicts
    ]
    return row | {
        "outcome": REJECTED, "reason": outcome.reason, "candidates": json.dumps(candidates),
    }  # fmt: skip


def outcome_of(row: dict[str, Any]) -> Outcome:
    """The outcome in a row of OUTCOME."""
    if row["outcome"] == KEPT:
        return KeptTriple({name: row[name] for name in SCHEMA.names})
    if row["outcome"] == FAILED:
        return Failed(caption_of(row), row["step"], row["reason"])
    verdicts = [Verdict(*candidate) for candidate in json.loads(row["candidates"])]
    return Rejected(caption_of(row), row["step"], row["reason"], verdicts)
