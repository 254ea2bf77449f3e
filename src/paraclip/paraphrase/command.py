"""`paraclip generate`: reads captions, asks, filters, writes, prints what became of them."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq

from paraclip.data.captions import Caption
from paraclip.data.problems import Problems
from paraclip.data.reading import find_files, read_captions
from paraclip.data.triples import read_provenance, write_triples
from paraclip.data.untrusted_json import parse_json_object
from paraclip.errors import UserError
from paraclip.files import read_bounded, refuse_overwriting
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.outputs import Summary
from paraclip.paraphrase.run import check_backend, check_options, generate, write_summary
from paraclip.progress import track

OUTPUTS = (
    "triples.parquet", "triples.jsonl", "triples.jsonl.provenance.json", "rejected.jsonl",
    "failed.jsonl", "summary.json", "problems.txt", "answers.jsonl",
)  # fmt: skip


def generate_command(config: GenerateConfig) -> Summary:
    """Do the whole job from the options.

    Raises:
        UserError: the captions cannot be read, or `generate` raised it.
    """
    check_backend(config.backend)
    check_options(config)
    out = Path(config.out)
    refuse_foreign(out, config.source)
    total = count_captions(config)
    problems = Problems(config.max_broken)
    summary = generate(asked_of(config, problems), config, out, total)
    for name in ("problems.txt", "triples.jsonl"):  # of an earlier run
        (out / name).unlink(missing_ok=True)
    if problems.count:
        summary.broken = problems.count
        write_summary(out, summary, config)
        problems.write(out / "problems.txt")
    triples = out / "triples.parquet"
    if config.jsonl:
        write_triples(out / "triples.jsonl", pq.read_table(triples), read_provenance(triples))
    print(summary.table())
    print(f"{summary.kept:,} triples in {triples}")
    if problems.count:
        print(problems.summary())
    if summary.failed:
        print(f"{summary.failed:,} captions got no answer: the same command asks them again.")
    if summary.failed == summary.captions:
        hint = "Look at the reasons there, check the server, and give the same command again."
        raise UserError(out / "failed.jsonl", "no caption got an answer", hint)
    return summary


def refuse_foreign(out: Path, source: str) -> None:
    """Raise UserError where a file in the output folder is the input, or of somebody else.

    What lies beside a log of answers, or a summary, is of an earlier run and is written again.
    """
    inputs = find_files(source)
    for name in OUTPUTS:
        refuse_overwriting(out / name, inputs)
        if (out / name).exists() and not (out / "answers.jsonl").exists() and not finished(out):
            what = "is not of an earlier run"
            raise UserError(out / name, what, "Move it, or choose another output folder.")


def finished(out: Path) -> bool:
    """Whether an earlier run left its summary."""
    try:
        return "reused_answers" in parse_json_object(read_bounded(out / "summary.json"))
    except (OSError, ValueError):
        return False


def count_captions(config: GenerateConfig) -> int:
    """Read the source once, before anything is asked: its faults show now, and its size.

    Raises:
        UserError: the source cannot be read or has too many broken rows.
    """
    problems = Problems(config.max_broken)
    captions = asked_of(config, problems)
    total = sum(1 for _ in track(captions, "reading captions", config.first, "caption"))
    problems.check(total + problems.count)
    return total


def asked_of(config: GenerateConfig, problems: Problems) -> Iterator[Caption]:
    """The captions that are asked for, read from the start."""
    return islice(read_captions(config.source, config.columns, problems), config.first)
