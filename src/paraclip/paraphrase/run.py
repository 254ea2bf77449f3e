"""The two-step run over many captions: bounded concurrency, logged answers, rows in order."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from paraclip.data.captions import Caption
from paraclip.data.problems import Problems
from paraclip.data.reading import find_files, read_captions
from paraclip.data.triples import TEXTS, read_provenance, write_triples
from paraclip.errors import UserError
from paraclip.files import write_text
from paraclip.micro_batch import MicroBatchQueue
from paraclip.paraphrase.backends import Backend, check_backend, make_backend
from paraclip.paraphrase.batch.backend import BatchBackend
from paraclip.paraphrase.batch.files import Exchange, generate_by_files
from paraclip.paraphrase.card import card_of
from paraclip.paraphrase.config import BUILTIN_SLOTS, GenerateConfig
from paraclip.paraphrase.distributed.places import FOLDED, shown_path
from paraclip.paraphrase.diversity import diversity_of
from paraclip.paraphrase.estimate import Estimate, estimate, meter_of
from paraclip.paraphrase.event_loop import refuse_event_loop, without_event_loop
from paraclip.paraphrase.filters.checks import NearDuplicates, Question
from paraclip.paraphrase.filters.judge import Judge, Verdict, check_models, judging
from paraclip.paraphrase.log import AnswerLog
from paraclip.paraphrase.money import Meter
from paraclip.paraphrase.outputs import (
    FAILED,
    JSONL,
    LOG,
    PROBLEMS,
    SUMMARY,
    TRIPLES,
    Summary,
    open_outputs,
    optional_files,
    refuse_foreign_outputs,
    refuse_inputs,
    summary_of,
    write_card,
)
from paraclip.paraphrase.panel import Panel
from paraclip.paraphrase.settings import answer_settings, settings_of
from paraclip.paraphrase.steps import KeptTriple, Outcome, Paraphraser, Rejected
from paraclip.progress import track
from paraclip.provenance import provenance

AHEAD = 3  # captions in progress per question in progress; the others are being judged
IN_THREAD = "Use `await asyncio.to_thread(...)` with this function and its arguments."
MOST_WAITING = 10_000  # outcomes in memory that wait for slower captions before them


@dataclass(frozen=True)
class Generation:
    """The result of `generate_from_source`.

    Args:
        triples: the Parquet file.
        summary: counts of all outcomes.
        problems: the broken rows of the source.
        exchange: files of answers read and of questions written, if any.
    """

    triples: Path
    summary: Summary
    problems: Problems
    exchange: Exchange | None = None

    def check(self) -> None:
        """Raise UserError if no caption got an answer, unless an option stopped the run."""
        if self.summary.failed == self.summary.captions and not self.summary.stopped:
            hint = "Read the reasons there, check the server and run the same command again."
            where = shown_path(self.triples.with_name(FAILED))
            raise UserError(where, "no caption got an answer", hint)


def generate_from_source(
    config: GenerateConfig, backend: Backend | None = None, judge: Judge | None = None
) -> Generation:
    """Read the captions that the config names, paraphrase them and write every output file.

    Args:
        config: source, output folder and all other options.
        backend: overrides the config's backend.
        judge: overrides the config's filter limits.

    Raises:
        UserError: the source cannot be read or is itself an output; also errors of `generate`.
    """
    refuse_event_loop(IN_THREAD)
    if backend is None:
        check_backend(config.backend)
    check_generate_options(config)
    if config.dry_run:
        hint = "Call `paraclip.paraphrase.run.estimate_from_source`, or use the command."
        raise UserError("--dry-run", "is an estimate, and this function generates", hint)
    if config.engine == "ray":
        from paraclip.paraphrase.distributed.run import generate_with_ray

        _, summary, problems = generate_with_ray(config, judge)
        return Generation(Path(config.out) / TRIPLES, summary, problems)
    out = Path(config.out)
    refuse_inputs(find_files(config.source), out)
    total, broken = count_captions(config)
    refuse_foreign_outputs(out, problems=broken > 0, jsonl=config.jsonl)
    summary, problems, exchange = asyncio.run(run_passes(config, total, backend, judge))
    return Generation(out / TRIPLES, summary, problems, exchange)


def write_optional(
    config: GenerateConfig, summary: Summary, problems: Problems, earlier: Iterable[str]
) -> None:
    """Replace the optional files of an earlier run; the summary lists them, so it is theirs."""
    for name in earlier:
        (config.out / name).unlink(missing_ok=True)
    if problems.count:
        summary.broken = problems.count
        write_summary(config.out, summary, config)
        problems.write(config.out / PROBLEMS)
    if config.jsonl:
        write_paper_layout(config.out)


def write_paper_layout(out: Path) -> None:
    """Also write the triples of an output folder as JSON lines."""
    triples = out / TRIPLES
    write_triples(out / JSONL, pq.read_table(triples), read_provenance(triples))


def estimate_from_source(config: GenerateConfig) -> Estimate:
    """Estimate what a run needs; asks about a sample and writes only the log.

    Raises:
        UserError: see `generate_from_source`.
    """
    refuse_event_loop(IN_THREAD)
    check_backend(config.backend)
    check_generate_options(config)
    refuse_inputs(find_files(config.source), Path(config.out))
    total, _ = count_captions(config)
    captions = source_captions(config, Problems(config.max_broken))
    return asyncio.run(estimate(captions, total, config))


def count_captions(config: GenerateConfig) -> tuple[int, int]:
    """Read the source once before any question, to get its size and its broken rows.

    Returns:
        Numbers of captions and of broken rows.

    Raises:
        UserError: the source cannot be read or has too many broken rows.
    """
    problems = Problems(config.max_broken)
    captions = source_captions(config, problems)
    total = sum(1 for _ in track(captions, "reading captions", config.first, "caption"))
    problems.check(total + problems.count)
    return total, problems.count


def source_captions(config: GenerateConfig, problems: Problems) -> Iterator[Caption]:
    """The captions of the source, at most `config.first`."""
    return islice(read_captions(config.source, config.columns, problems), config.first)


def check_generate_options(config: GenerateConfig) -> None:
    """Raise UserError for incompatible options, and for an unknown filter."""
    if FOLDED.fullmatch(str(config.out)) and (config.engine != "ray" or config.dry_run):
        hint = "Name a folder; --engine ray writes to object stores, except with --dry-run."
        raise UserError("--out", "is a URL", hint)
    if config.builtin and config.drawn > BUILTIN_SLOTS:
        what = f"{config.drawn} is out of range"
        raise UserError("--candidates", what, f"Give 1 to {BUILTIN_SLOTS}.")
    if config.adapter is not None and not (config.builtin and config.prompt_style == "short"):
        hint = "Use --backend builtin with --style short or auto."
        raise UserError("--adapter", "is for the built-in model and its own prompts", hint)
    check_batch_options(config)
    if config.base_url and config.builtin:
        hint = "Give --backend openai and --model."
        raise UserError("--base-url", "is for servers only", hint)
    check_models(config.filter_limits)


def check_batch_options(config: GenerateConfig) -> None:
    """Raise UserError for options that cannot be combined with files."""
    option = "--to-file and --from-file"
    if not config.by_files:
        return
    if config.backend != "openai":
        raise UserError(option, "is for servers only", "Give --backend openai and --model.")
    if config.max_rows is not None:
        hint = "Limit the captions with --first, or the cost with --max-cost."
        raise UserError("--max-rows", "does not go with files, which hold all questions", hint)
    if config.dry_run:
        raise UserError("--dry-run", "asks a server, and files need none", "Leave one of them out.")


async def generate_async(
    captions: Iterable[Caption],
    config: GenerateConfig,
    out: Path,
    total: int | None = None,
    backend: Backend | None = None,
    judge: Judge | None = None,
) -> Summary:
    """Paraphrase captions in two steps; writes triples, rejected and failed captions.

    Memory is bounded: a window of captions is in progress, results are written in input order, and
    the log needs 16 bytes of memory per earlier answer.

    Args:
        captions: captions, read as the window moves.
        config: backend, sampling and filters; its source is only recorded.
        out: folder for answers.jsonl (the log), triples.parquet, rejected.jsonl, failed.jsonl and
            summary.json.
        total: number of captions, for the progress bar.
        backend: overrides the config's backend.
        judge: overrides the config's filter limits.

    Returns:
        Counts of all outcomes.

    Raises:
        UserError: the server is down or refuses, the log has other settings, `out` contains a file
            that no run wrote, a wheel is missing, or the disk is full. The log keeps all answers.
    """
    check_generate_options(config)
    refuse_foreign_outputs(out)
    backend = backend or make_backend(config)
    meter = meter_of(config, backend)
    log = AnswerLog(out / LOG, answer_settings(config, backend), config.fresh)
    meter.tokens = list(log.tokens)
    summary = Summary(generator=backend.generator, reused_answers=len(log))
    record = provenance(
        generator=backend.generator, licence=config.terms, settings=settings_of(config)
    )
    window = AHEAD * config.most_in_flight
    try:
        await backend.start()
        with judging(judge or Judge(config.filter_limits)) as queue:
            work = paraphraser(config, backend, log, queue, meter)
            outcomes = in_order(captions, work, window)
            duplicates = NearDuplicates() if config.drop_near_duplicates else None
            with Panel(summary, meter, total) as panel:
                await write_outcomes(outcomes, out, record, panel, duplicates, config.max_rows)
    finally:
        log.close()
        await backend.close()
    summary.check()
    summary.diversity = diversity_of(summary.sample.rows)
    summary.spent = meter.as_dict()
    summary.stopped = stopped_by(summary, meter, config)
    write_summary(out, summary, config)
    return summary


def paraphraser(
    config: GenerateConfig,
    backend: Backend,
    log: AnswerLog,
    judge: MicroBatchQueue[Question, Verdict],
    meter: Meter,
) -> Paraphraser:
    """Create the object that asks and judges; tokens of batch answers that arrived are reserved."""
    if not isinstance(backend, BatchBackend):
        return Paraphraser(config, backend, log, judge, meter)
    log.begin()  # the next round is not `fresh` and must not find the answers of an older run
    meter.reserve(backend.results.tokens)
    return Paraphraser(config, backend, log, judge, meter, backend.arrived)


generate = without_event_loop(generate_async)


async def write_outcomes(
    outcomes: AsyncGenerator[Outcome, None],
    out: Path,
    record: dict[str, Any],
    panel: Panel,
    duplicates: NearDuplicates | None = None,
    most: int | None = None,
) -> None:
    """Write and count the outcomes until `most` triples are kept, and show the counts."""
    async with aclosing(outcomes):
        with open_outputs(out, record) as writers:
            async for outcome in outcomes:
                outcome = without_near_duplicate(outcome, duplicates)
                writers.write(outcome)
                panel.summary.count(outcome)
                panel.update()
                if panel.summary.kept == most:
                    break


def stopped_by(summary: Summary, meter: Meter, config: GenerateConfig) -> str:
    """The option that ended the run before its input did, or an empty string."""
    if meter.spent:
        return "--max-cost"
    return "--max-rows" if summary.kept == config.max_rows else ""


def without_near_duplicate(outcome: Outcome, duplicates: NearDuplicates | None) -> Outcome:
    """The outcome, or a rejection if it is a triple similar to an earlier one."""
    if duplicates is None or not isinstance(outcome, KeptTriple):
        return outcome
    row = outcome.row
    if not duplicates.seen([row[name] for name in TEXTS]):
        return outcome
    caption = Caption(row["id"], row["caption"], row["image_id"], row["image"], "")
    return Rejected(caption, 2, "near duplicate", [])


async def in_order(
    captions: Iterable[Caption], work: Paraphraser, window: int
) -> AsyncGenerator[Outcome, None]:
    """Outcomes in the order of the captions, with at most `window` captions in progress.

    Outcomes wait for slower captions before them, so one slow answer does not delay others.
    """
    tasks: deque[asyncio.Task[Outcome]] = deque()
    room = asyncio.Semaphore(window)
    try:
        for caption in captions:
            await room.acquire()
            if work.skips(caption):
                room.release()
                await asyncio.sleep(0)  # there may be millions of them
                continue
            tasks.append(asyncio.create_task(work.outcome(caption)))
            tasks[-1].add_done_callback(lambda _: room.release())
            while tasks and (tasks[0].done() or len(tasks) >= MOST_WAITING):
                yield await tasks.popleft()
        while tasks:
            yield await tasks.popleft()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def run_passes(
    config: GenerateConfig, total: int, backend: Backend | None, judge: Judge | None
) -> tuple[Summary, Problems, Exchange | None]:
    """Pass over the captions of the source."""
    problems = Problems(config.max_broken)

    async def one_pass(backend: Backend | None, fresh: bool) -> Summary:
        nonlocal problems
        problems = Problems(config.max_broken)
        captions, settings = source_captions(config, problems), replace(config, fresh=fresh)
        earlier = optional_files(summary_of(config.out))
        summary = await generate_async(captions, settings, config.out, total, backend, judge)
        write_optional(config, summary, problems, earlier)
        return summary

    if config.by_files:
        summary, exchange = await generate_by_files(config, one_pass)
        return summary, problems, exchange
    return await one_pass(backend, config.fresh), problems, None


def write_summary(out: Path, summary: Summary, config: GenerateConfig) -> None:
    """Write summary.json (the counts and their settings) and the dataset card."""
    content = summary.as_dict() | {"provenance": provenance(settings=settings_of(config))}
    write_text(out / SUMMARY, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    card = card_of(summary.as_dict(), settings_of(config), config.terms, summary.sample.rows)
    write_card(out, card)
