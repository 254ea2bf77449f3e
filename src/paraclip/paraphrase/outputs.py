"""The files of a run: triples, rejected and failed captions, counts, card; and which it owns."""

import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from math import isnan
from pathlib import Path
from string import Template
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from paraclip.data.captions import Problems
from paraclip.data.triples import CONTRAST, FURTHER_SCHEMA, PROVENANCE, SCHEMA, WORDINGS
from paraclip.errors import printable
from paraclip.files import disk_errors, refuse_overwriting
from paraclip.output_folder import OutputFolder
from paraclip.paraphrase.config import Outputs
from paraclip.paraphrase.cost import Meter, show_dollars
from paraclip.paraphrase.english import rewords
from paraclip.paraphrase.steps import KeptTriple, Outcome, Rejected
from paraclip.provenance import provenance
from paraclip.starter import TEXTS
from paraclip.tables import aligned, markdown

TRIPLES, REJECTED, FAILED = _ALWAYS = ("triples.parquet", "rejected.jsonl", "failed.jsonl")
PROBLEMS, SUMMARY, LOG = "problems.txt", "summary.json", "answers.jsonl"
_CARD = "README.md"  # the dataset card
_SHOWN = 5  # triples on the card
_ROW_GROUP = 10_000  # rows held in memory before they are written
_LONGEST_CELL = 120  # characters
_SIZES = {
    1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M",
    10_000_000: "1M<n<10M", 100_000_000: "10M<n<100M", 10**9: "100M<n<1B",
}  # fmt: skip


@dataclass
class Summary:
    """Counts of a run: `captions` = `kept` + all `rejected` + `failed` + `waiting`.

    In triples with the `same_words`, the second paraphrase replaces no content word of the caption:
    it adds a carrier phrase ("a photo of ...") or changes the order of words.
    """

    captions: int = 0  # valid input rows
    kept: int = 0  # triples
    same_words: int = 0
    rejected: Counter[str] = field(default_factory=Counter)  # by reason ("step 1: copy")
    failed: int = 0  # without an answer or a judgement; the next run asks or judges again
    unjudged: int = 0  # of the failed: there are answers, but judging them raised an exception
    waiting: int = 0  # their answers will arrive in a later round of batches
    broken: int = 0  # input rows, not included in `captions`
    reused_answers: int = 0  # questions that an earlier run had answered
    generator: str = ""  # name and settings
    spent: dict[str, Any] = field(default_factory=dict)  # tokens and dollars, earlier runs included
    wordings: Counter[str] = field(default_factory=Counter)  # further ones, by each kind asked for
    missing_wordings: Counter[str] = field(default_factory=Counter)  # "short: copy", of the kept
    stopped: str = ""  # the option that ended the run early, such as --max-cost

    def count(self, outcome: Outcome) -> None:
        """Count one caption."""
        self.captions += 1
        if isinstance(outcome, KeptTriple):
            self.kept += 1
            self.wordings.update(one["kind"] for one in outcome.row.get(WORDINGS.name) or ())
            self.wordings.update([CONTRAST.name] if outcome.row.get(CONTRAST.name) else [])
            for one in outcome.missing:
                if isinstance(one, Rejected):
                    reason = one.reason
                else:
                    reason = "not judged" if one.unjudged else "no answer"
                self.missing_wordings[f"{one.kind}: {reason}"] += 1
            self.same_words += not rewords(outcome.row["caption"], outcome.row["paraphrase_2"])
        elif isinstance(outcome, Rejected):
            part = f"step {outcome.step}" if outcome.step else "caption"
            self.rejected[f"{part}: {outcome.reason}"] += 1
        elif outcome.waits:
            self.waiting += 1
        else:
            self.failed += 1
            self.unjudged += outcome.unjudged

    def add(self, content: Mapping[str, Any]) -> None:
        """Add the counts in the summary.json of a part of the run."""
        for name, count in vars(self).items():
            if isinstance(count, Counter):
                count.update(content.get(name, {}))
            elif type(count) is int:
                setattr(self, name, count + content.get(name, 0))

    def as_dict(self) -> dict[str, Any]:
        """The summary as a dict for JSON; most frequent reasons first."""
        return vars(self) | {"rejected": dict(self.rejected.most_common())}

    def table(self) -> str:
        """Lines for the terminal."""
        rows = [("captions", self.captions), ("kept", self.kept)]
        rows += [("  of these with the caption's words only", self.same_words)]
        rows += [(f"  of these with a wording: {kind}", n) for kind, n in self.wordings.items()]
        missing = self.missing_wordings.most_common()
        rows += [(f"  of these without a wording, {reason}", count) for reason, count in missing]
        rows += [(f"rejected, {reason}", count) for reason, count in self.rejected.most_common()]
        rows += [("failed", self.failed)]
        rows += [("  of these not judged", self.unjudged)] if self.unjudged else []
        rows += [("waiting for answers", self.waiting)] if self.waiting else []
        total = max(self.captions, 1)
        lines = aligned([[name, f"{count:,}", f"{count / total:.1%}"] for name, count in rows])
        if self.broken:
            lines.append(f"broken input rows: {self.broken:,} of {self.captions + self.broken:,}")
        return "\n".join(lines)

    def line(self, meter: Meter, total: int | None) -> str:
        """Outcomes, tokens, and the cost so far and projected for all captions."""
        parts = [f"{self.kept:,} kept", f"{self.rejected.total():,} rejected"]
        parts += [f"{self.failed:,} failed"] if self.failed else []
        parts += [f"{self.waiting:,} waiting"] if self.waiting else []
        if not meter.local:
            cost = f"cost {show_dollars(meter.cost)}"
            if meter.prices is not None and total and self.captions:
                projected = meter.prices.cost(meter.used) * total / self.captions
                cost += f" of about {show_dollars(projected)}"
            parts += [f"{sum(meter.tokens):,} tokens", cost]
        return ", ".join(parts)


class _Writers:
    """Writes outcomes in input order, with at most one row group in memory.

    Its methods raise UserError if the disk is full; it names the file.
    """

    def __init__(self, triples: pq.ParquetWriter, lines: dict[str, TextIO], out: Path) -> None:
        self._triples, self._lines, self._out = triples, lines, out
        self._rows: list[dict[str, Any]] = []
        self.sample: list[dict[str, Any]] = []  # the first triples

    def write(self, outcome: Outcome) -> None:
        """Write one caption's outcome, or hold it for the next row group."""
        if isinstance(outcome, KeptTriple):
            self._add(outcome.row)
            for one in outcome.missing:
                self.write(one)
            return
        caption, name = outcome.caption, FAILED
        row: dict[str, Any] = {"id": caption.id, "caption": caption.caption, "step": outcome.step}
        row |= {"kind": outcome.kind} if outcome.kind else {}
        if isinstance(outcome, Rejected):
            name = REJECTED
            row |= {"paraphrase_1": outcome.text} if outcome.step == 2 else {}
            row |= {"image_id": caption.image_id, "reason": outcome.reason}
            row["candidates"] = [
                {
                    "text": one.text, "reason": one.reason,  # JSON has no NaN
                    "similarity": None if isnan(one.similarity) else round(one.similarity, 3),
                }
                for one in outcome.verdicts
            ]  # fmt: skip
        elif outcome.waits:
            return
        else:
            row["problem"] = outcome.problem
        with disk_errors(self._out / name):
            self._lines[name].write(json.dumps(row, ensure_ascii=False) + "\n")

    def append(self, folder: Path) -> None:
        """Append what another run wrote."""
        for name, file in self._lines.items():
            with disk_errors(self._out / name), (folder / name).open(encoding="utf-8") as lines:
                shutil.copyfileobj(lines, file)
        for rows in pq.ParquetFile(folder / TRIPLES).iter_batches():
            for row in rows.to_pylist():
                self._add(row)

    def _add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if len(self.sample) < _SHOWN:
            self.sample.append(row)
        if len(self._rows) >= _ROW_GROUP:
            self._write_rows()

    def _write_rows(self) -> None:
        if self._rows:
            with disk_errors(self._out / TRIPLES):
                self._triples.write_table(
                    pa.Table.from_pylist(self._rows, schema=self._triples.schema)
                )
            self._rows.clear()

    def finish(self) -> None:
        """Write everything to disk."""
        self._write_rows()
        for name, file in self._lines.items():
            with disk_errors(self._out / name):
                file.flush()
        with disk_errors(self._out / TRIPLES):
            self._triples.close()


@contextmanager
def writing(
    outputs: Outputs, summary: Summary, meter: Meter, problems: Problems | None = None
) -> Iterator[_Writers]:
    """Writers whose files, with the counts and the card, appear only if the block succeeds."""
    out, settings = outputs.folder, outputs.settings
    made = provenance(generator=summary.generator, licence=settings["licence"], settings=settings)
    metadata = {PROVENANCE: json.dumps(made, ensure_ascii=False).encode()}
    schema = FURTHER_SCHEMA if summary.wordings else SCHEMA
    folder = _folder(out)
    for name in _ALWAYS:  # leftovers of an interrupted run; the log's lock excludes concurrent runs
        for unfinished in out.glob(f".{name}.*.part"):
            unfinished.unlink(missing_ok=True)
    with (
        folder.replacing(out / TRIPLES) as triples,
        folder.replacing(out / REJECTED) as rejected,
        folder.replacing(out / FAILED) as failed,
        rejected.open("w", encoding="utf-8") as rejected_lines,
        failed.open("w", encoding="utf-8") as failed_lines,
        pq.ParquetWriter(triples, schema.with_metadata(metadata), compression="zstd") as writer,
    ):
        writers = _Writers(writer, {REJECTED: rejected_lines, FAILED: failed_lines}, out)
        yield writers
        writers.finish()
    counted = summary.kept + summary.rejected.total() + summary.failed + summary.waiting
    assert summary.captions == counted, "a row was lost"
    summary.spent, summary.stopped = meter.as_dict(), "--max-cost" if meter.spent else ""
    _write_summary(outputs, summary, writers.sample, problems)


def refuse_inputs(inputs: Iterable[str], out: Path) -> None:
    """Raise UserError if one of the input files is an output of the run in folder `out`."""
    inputs = list(inputs)
    for name in (*_ALWAYS, PROBLEMS, SUMMARY, LOG, _CARD):
        refuse_overwriting(out / name, inputs)


def refuse_foreign_outputs(out: Path, problems: bool = False) -> None:
    """Raise UserError for a file that would be replaced (with `problems`, also problems.txt) but
    that no run wrote."""
    names = (*_ALWAYS, SUMMARY, *([PROBLEMS] if problems else []))
    _folder(out).refuse_foreign(*(out / name for name in names))


def _folder(out: Path) -> OutputFolder:
    return OutputFolder(out, "generation")


def _write_summary(
    outputs: Outputs, summary: Summary, sample: Sequence[Mapping[str, Any]],
    problems: Problems | None,
) -> None:  # fmt: skip
    """Write summary.json, the dataset card, and the broken rows of the source if there are any.

    A README.md that a user wrote or edited stays; problems.txt of an earlier run is replaced.
    """
    out, settings, folder = outputs.folder, outputs.settings, _folder(outputs.folder)
    summary.broken = problems.count if problems else 0
    content = summary.as_dict() | {"provenance": provenance(settings=settings)}
    folder.write(out / SUMMARY, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    if not (out / _CARD).exists() or folder.owns(out / _CARD):
        folder.write(out / _CARD, _render_card(summary.as_dict(), settings, sample))
    folder.remove(out / PROBLEMS)
    if problems and problems.count:
        problems.write(out / PROBLEMS, folder.kind)


def _render_card(
    summary: Mapping[str, Any], settings: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> str:
    """The dataset card of card.txt, in Hugging Face's form: Markdown with YAML metadata, from what
    summary.json holds, the run's options, and some kept triples."""
    total = max(summary["captions"], 1)
    counts = [
        ["captions", summary["captions"]],
        ["kept", summary["kept"]],
        *([f"with a wording: {kind}", count] for kind, count in summary["wordings"].items()),
        *([f"rejected, {reason}", count] for reason, count in summary["rejected"].items()),
        ["failed", summary["failed"]],
        ["broken input rows", summary["broken"]],
    ]
    return Template(
        files("paraclip.paraphrase").joinpath("card.txt").read_text("utf-8")
    ).substitute(
        size=next((name for most, name in _SIZES.items() if summary["kept"] < most), "1B<n<10B"),
        generator=_escape(summary["generator"]),
        licence=_escape(settings["licence"]),
        counts=markdown(
            ["", "rows", "share"],
            [[_escape(name), f"{count:,}", f"{count / total:.1%}"] for name, count in counts],
        ),
        limits=json.dumps(settings["filter_limits"]),
        sample=markdown(TEXTS, [[_cell(row[name]) for name in TEXTS] for row in rows], "---"),
    )


def _cell(text: str) -> str:
    text = " ".join(text.split())
    return _escape(text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 3]}...")


def _escape(text: str) -> str:
    """A text on one line without markup."""
    text = printable(" ".join(text.split()))
    for mark in "\\<>[]`*_!":
        text = text.replace(mark, f"\\{mark}" if mark != "<" else "&lt;")
    return text
