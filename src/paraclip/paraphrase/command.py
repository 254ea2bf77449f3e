"""`paraclip generate`: reads captions, asks, filters, writes, prints what became of them."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq

from paraclip.data.captions import Caption
from paraclip.data.problems import Problems
from paraclip.data.reading import find_files, read_captions
from paraclip.data.triples import read_provenance, write_triples
from paraclip.errors import UserError, printable
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.outputs import Summary
from paraclip.paraphrase.ownership import (
    JSONL,
    PROBLEMS,
    extras,
    refuse_foreign,
    refuse_inputs,
    summary_of,
)
from paraclip.paraphrase.run import check_backend, check_options, generate, write_summary
from paraclip.progress import track


def generate_command(config: GenerateConfig) -> Summary:
    """Do the whole job from the options.

    Raises:
        UserError: the captions cannot be read, or `generate` raised it.
    """
    check_backend(config.backend)
    check_options(config)
    out = Path(config.out)
    refuse_inputs(find_files(config.source), out)
    total, broken = count_captions(config)
    refuse_foreign(out, problems=broken > 0, jsonl=config.jsonl)
    problems = Problems(config.max_broken)
    earlier = extras(summary_of(out))
    summary = generate(asked_of(config, problems), config, out, total)
    write_extras(out, summary, config, problems, earlier)
    triples = out / "triples.parquet"
    print(summary.table())
    print(printable(f"{summary.kept:,} triples in {triples}"))
    if problems.count:
        print(problems.summary())
    if summary.failed:
        print(f"{summary.failed:,} captions got no answer: the same command asks them again.")
    if summary.failed == summary.captions:
        hint = "Look at the reasons there, check the server, and give the same command again."
        raise UserError(out / "failed.jsonl", "no caption got an answer", hint)
    return summary


def write_extras(
    out: Path, summary: Summary, config: GenerateConfig, problems: Problems, earlier: list[str]
) -> None:
    """Write the files that not every run writes; those of the earlier run are deleted first."""
    for name in earlier:
        (out / name).unlink(missing_ok=True)
    if problems.count:
        summary.broken = problems.count
        write_summary(out, summary, config)
        problems.write(out / PROBLEMS)
    if config.jsonl:
        triples = out / "triples.parquet"
        write_triples(out / JSONL, pq.read_table(triples), read_provenance(triples))


def count_captions(config: GenerateConfig) -> tuple[int, int]:
    """Read the source once, before anything is asked: its faults show now, and its size.

    Returns:
        Captions, and broken rows.

    Raises:
        UserError: the source cannot be read or has too many broken rows.
    """
    problems = Problems(config.max_broken)
    captions = asked_of(config, problems)
    total = sum(1 for _ in track(captions, "reading captions", config.first, "caption"))
    problems.check(total + problems.count)
    return total, problems.count


def asked_of(config: GenerateConfig, problems: Problems) -> Iterator[Caption]:
    """The captions that are asked for, read from the start."""
    return islice(read_captions(config.source, config.columns, problems), config.first)
