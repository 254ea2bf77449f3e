"""What a generation run leaves: triples, rejected and failed rows, and the count of everything."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from paraclip.data.triples import PROVENANCE, SCHEMA
from paraclip.files import atomic_path, disk_errors
from paraclip.language.words import rewords
from paraclip.paraphrase.ownership import ALWAYS
from paraclip.paraphrase.steps import Failed, Kept, Outcome, Rejected

ROW_GROUP = 10_000  # rows held in memory before they are written


@dataclass
class Summary:
    """What became of the input rows: `captions` = `kept` + all of `rejected` + `failed`.

    Args:
        captions: rows that were read whole.
        kept: triples written.
        same_words: of these, triples whose second paraphrase names nothing in another word than
            the caption: the caption in a frame ("a photo of ..."), or its words in another order.
        rejected: reason ("step 1: copy") to rows.
        failed: rows whose questions got no answer; they are asked again on the next run.
        broken: input rows that could not be read; not among `captions`.
        reused: questions whose answers an earlier run had logged.
        generator: who answered.
    """

    captions: int = 0
    kept: int = 0
    same_words: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    broken: int = 0
    reused: int = 0
    generator: str = ""

    def count(self, outcome: Outcome) -> None:
        """Count one caption."""
        self.captions += 1
        if isinstance(outcome, Kept):
            self.kept += 1
            said = outcome.row
            self.same_words += not rewords(said["caption"], said["paraphrase_2"])
        elif isinstance(outcome, Rejected):
            self.rejected[f"step {outcome.step}: {outcome.reason}"] += 1
        else:
            self.failed += 1

    def check(self) -> None:
        """Assert that no row was lost."""
        assert self.captions == self.kept + self.rejected.total() + self.failed, "a row was lost"

    def as_dict(self) -> dict[str, Any]:
        """For JSON; reasons from the most frequent to the rarest."""
        return {
            "captions": self.captions,
            "kept": self.kept,
            "same_words": self.same_words,
            "rejected": dict(self.rejected.most_common()),
            "failed": self.failed,
            "broken": self.broken,
            "reused_answers": self.reused,
            "generator": self.generator,
        }

    def table(self) -> str:
        """Lines for the terminal."""
        rows = [("captions", self.captions), ("kept", self.kept)]
        rows += [("  of these in the caption's own words", self.same_words)]
        rows += [(f"rejected, {reason}", count) for reason, count in self.rejected.most_common()]
        rows += [("failed", self.failed)]
        whole = max(self.captions, 1)
        width = max(len(name) for name, _ in rows)
        lines = [f"{name:<{width}} {count:>9,} {count / whole:>7.1%}" for name, count in rows]
        if self.broken:
            every = self.captions + self.broken
            lines.append(f"broken input rows: {self.broken:,} of {every:,}")
        return "\n".join(lines)


class Writers:
    """Takes outcomes in input order and writes them in bounded memory.

    Args:
        triples: an open Parquet writer.
        rejected: an open JSONL file.
        failed: an open JSONL file.
        out: their folder, for errors.
    """

    def __init__(
        self, triples: pq.ParquetWriter, rejected: TextIO, failed: TextIO, out: Path
    ) -> None:
        self._out = out
        self._triples, self._rejected, self._failed = triples, rejected, failed
        self._rows: list[dict[str, Any]] = []

    def write(self, outcome: Outcome) -> None:
        """Write one caption's outcome, or keep it for the next row group.

        Raises:
            UserError: the disk is full; it names the file that did not fit.
        """
        if isinstance(outcome, Kept):
            self._rows.append(outcome.row)
            if len(self._rows) >= ROW_GROUP:
                self.flush()
        elif isinstance(outcome, Rejected):
            line = json.dumps(rejected_row(outcome), ensure_ascii=False) + "\n"
            with disk_errors(self._out / "rejected.jsonl"):
                self._rejected.write(line)
        else:
            line = json.dumps(failed_row(outcome), ensure_ascii=False) + "\n"
            with disk_errors(self._out / "failed.jsonl"):
                self._failed.write(line)

    def flush(self) -> None:
        """Write the rows that wait."""
        if self._rows:
            with disk_errors(self._out / "triples.parquet"):
                self._triples.write_table(pa.Table.from_pylist(self._rows, schema=SCHEMA))
            self._rows.clear()


def rejected_row(outcome: Rejected) -> dict[str, Any]:
    """A line of rejected.jsonl."""
    candidates = [
        {"text": verdict.text, "reason": verdict.reason, "similarity": number(verdict.similarity)}
        for verdict in outcome.verdicts
    ]
    caption = outcome.caption
    return {
        "id": caption.id, "image_id": caption.image_id, "caption": caption.caption,
        "step": outcome.step, "reason": outcome.reason, "candidates": candidates,
    }  # fmt: skip


def failed_row(outcome: Failed) -> dict[str, Any]:
    """A line of failed.jsonl."""
    caption = outcome.caption
    return {
        "id": caption.id, "caption": caption.caption, "step": outcome.step,
        "problem": outcome.problem,
    }  # fmt: skip


def number(value: float) -> float | None:
    """A JSON number to three places; NaN becomes null."""
    return round(value, 3) if value == value else None


@contextmanager
def open_outputs(out: Path, provenance: dict[str, Any]) -> Iterator[Writers]:
    """Writers whose three files appear in `out` only when the block ends well.

    Args:
        out: the output folder.
        provenance: goes into the Parquet file's metadata.
    """
    noted = {PROVENANCE: json.dumps(provenance, ensure_ascii=False).encode()}
    for name in ALWAYS:  # left by a run that was killed; the log's lock keeps others out
        for left in out.glob(f".{name}.*.part"):
            left.unlink(missing_ok=True)
    with (
        atomic_path(out / "triples.parquet") as triples,
        atomic_path(out / "rejected.jsonl") as rejected,
        atomic_path(out / "failed.jsonl") as failed,
        rejected.open("w", encoding="utf-8") as rejected_lines,
        failed.open("w", encoding="utf-8") as failed_lines,
        pq.ParquetWriter(triples, SCHEMA.with_metadata(noted), compression="zstd") as writer,
    ):
        writers = Writers(writer, rejected_lines, failed_lines, out)
        yield writers
        writers.flush()
        for name, lines in (("rejected", rejected_lines), ("failed", failed_lines)):
            with disk_errors(out / f"{name}.jsonl"):
                lines.flush()
        with disk_errors(out / "triples.parquet"):
            writer.close()
