"""The two-step run over many captions: bounded concurrency, logged answers, rows in order."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from paraclip.data.captions import Caption
from paraclip.data.problems import Problems
from paraclip.data.reading import find_files, read_captions
from paraclip.data.triples import TEXTS
from paraclip.errors import UserError
from paraclip.paraphrase.backends import Backend, make_backend
from paraclip.paraphrase.batch import (
    BatchBackend,
    answer_files,
    log_answers,
    new_writer,
    next_steps,
)
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.cost import Meter, RunProgress, meter_of, show_dollars
from paraclip.paraphrase.distributed.places import FOLDED, caption_of, shown_path
from paraclip.paraphrase.filters.checks import NearDuplicates
from paraclip.paraphrase.filters.judge import Judge, check_models, judging
from paraclip.paraphrase.log import AnswerLog
from paraclip.paraphrase.outputs import (
    FAILED,
    LOG,
    TRIPLES,
    Summary,
    open_outputs,
    refuse_foreign_outputs,
    refuse_inputs,
    settings_of,
    write_summary,
)
from paraclip.paraphrase.steps import (
    Failed,
    KeptTriple,
    Outcome,
    Paraphraser,
    Rejected,
    answer_settings,
)
from paraclip.progress import track
from paraclip.provenance import provenance

_AHEAD = 3  # captions in progress per question in progress; the others are being judged
_IN_THREAD = "Use `await asyncio.to_thread(...)` with this function and its arguments."
_MOST_WAITING = 10_000  # outcomes in memory that wait for slower captions before them
_SHOWN = 5  # captions
_SAMPLE = 32  # captions that --dry-run asks about


@dataclass(frozen=True)
class _Generation:
    """The result of `generate_from_source`."""

    triples: Path
    summary: Summary
    problems: Problems  # the broken rows of the source
    notes: tuple[str, ...] = ()  # what files of answers contained, and how to continue

    def check(self) -> None:
        """Raise UserError if no caption got an answer, unless an option stopped the run."""
        if self.summary.failed == self.summary.captions and not self.summary.stopped:
            hint = "Read the reasons there, check the server and run the same command again."
            where = shown_path(self.triples.with_name(FAILED))
            raise UserError(where, "no caption got an answer", hint)


@dataclass(frozen=True)
class _Estimate:
    """Estimate for all captions of a source, assuming that the sample is representative."""

    captions: int
    sampled: int
    kept: int  # of the sample
    prompt_tokens: int
    answer_tokens: int
    dollars: float | None  # None if the price is unknown
    seconds: float | None  # at the speed of the sample; None if the log had all its answers
    source: str  # of the prices

    def table(self) -> str:
        """Lines for the terminal."""
        time = "unknown, because the log has all answers of the sample"
        if self.seconds is not None:
            hours, minutes = divmod(round(self.seconds / 60), 60)
            time = f"about {hours:,} h {minutes:02} min" if hours else f"about {minutes} min"
        cost = show_dollars(self.dollars) + (f" ({self.source})" if self.source else "")
        return (
            f"asked {self.sampled:,} of {self.captions:,} captions; kept {self.kept:,}\n"
            f"tokens of prompts: about {self.prompt_tokens:,}\n"
            f"tokens of answers: about {self.answer_tokens:,}\ncost: {cost}\ntime: {time}"
        )


@dataclass
class _SourceCounts:
    """What a source contains."""

    problems: Problems  # its broken rows
    captions: int = 0
    pictures: int = 0  # captions with a picture
    beginning: list[Caption] = field(default_factory=list)


def generate_from_source(
    config: GenerateConfig, backend: Backend | None = None, judge: Judge | None = None
) -> _Generation:
    """Read the captions that the config names, paraphrase them and write every output file.

    Args:
        config: source, output folder and all other options.
        backend: overrides the config's backend.
        judge: overrides the config's filter limits.

    Raises:
        UserError: the source cannot be read or is itself an output; also errors of `generate`.
    """
    _refuse_event_loop(_IN_THREAD)
    check_generate_options(config)
    if config.dry_run:
        hint = "Call `paraclip.paraphrase.run.estimate_from_source`, or use the command."
        raise UserError("--dry-run", "is an estimate, and this function generates", hint)
    if config.ray_workers:
        from paraclip.paraphrase.distributed.run import generate_with_ray

        summary, problems = generate_with_ray(config, judge)
        return _Generation(config.out / TRIPLES, summary, problems)
    counts = count_captions(config)
    refuse_foreign_outputs(config.out, problems=counts.problems.count > 0)
    problems = Problems(config.max_broken)
    captions = source_captions(config, problems)
    run = partial(generate_async, captions, total=counts.captions, judge=judge, problems=problems)
    notes: tuple[str, ...] = ()
    if config.by_files:
        summary, notes = _run_a_round(config, run)
    else:
        summary = asyncio.run(run(config, config.out, backend=backend))
    return _Generation(config.out / TRIPLES, summary, problems, notes)


def _run_a_round(
    config: GenerateConfig, run: Callable[..., Coroutine[Any, Any, Summary]]
) -> tuple[Summary, tuple[str, ...]]:
    """Log the answers of `from_file`, run, and write the questions that are open to `to_file`."""
    settings = answer_settings(config.llm, BatchBackend(config.llm))
    paths = answer_files(config.from_file, settings) if config.from_file else []
    writer = new_writer(config.to_file) if config.to_file else None
    with closing(AnswerLog(config.out / LOG, settings, config.fresh)) as log:
        log.begin()
        arrived = log_answers(paths, log, config.llm.candidates)
    backend = BatchBackend(config.llm, arrived.failures, writer)
    try:
        summary = asyncio.run(run(replace(config, fresh=False), config.out, backend=backend))
        if writer is not None:
            writer.finish(settings)
    finally:
        if writer is not None:
            writer.discard()
    notes = []
    if config.from_file:
        counted = f"{arrived.answers:,} answers and {len(arrived.failures):,} failures"
        notes.append(f"{counted} in {config.from_file}")
    if arrived.unknown:
        notes.append(f"{arrived.unknown:,} of its lines answer no question of ParaCLIP")
    if writer is not None and writer.written:
        notes += next_steps(writer, backend.model)
    return summary, tuple(notes)


def estimate_from_source(config: GenerateConfig, total: int | None = None) -> _Estimate:
    """Estimate what a run needs; asks about a sample and writes only the log.

    `total` is the number of captions, if known. Raises UserError like `generate_from_source`.
    """
    _refuse_event_loop(_IN_THREAD)
    check_generate_options(config)
    total = count_captions(config).captions if total is None else total
    captions = source_captions(config, Problems(config.max_broken))
    return asyncio.run(_estimate(captions, total, config))


async def _estimate(
    captions: Iterable[Caption],
    total: int,
    config: GenerateConfig,
    backend: Backend | None = None,
    judge: Judge | None = None,
) -> _Estimate:
    """Ask about the first captions and extrapolate.

    The sample is really sent to the generator, because neither the length of answers nor the speed
    of the server is known otherwise. Its answers are logged, so the run does not repeat its
    questions.

    Raises:
        UserError: no caption of the sample got an answer; also the errors of `generate`.
    """
    sample = list(islice(captions, _SAMPLE))
    async with _asking(config, config.out, backend, judge) as work:
        outcomes = await asyncio.gather(*map(work.outcome, sample))
    failed = [one for one in outcomes if isinstance(one, Failed)]
    if failed and len(failed) == len(outcomes):
        what = f"no caption of the sample got an answer ({failed[0].problem})"
        raise UserError("--dry-run", what, "Check the server and run the same command again.")
    meter, factor = work.meter, total / max(len(sample), 1)
    tokens = [round(used * factor) for used in meter.used]
    seconds = None
    if meter.answers:  # questions that the log answered count as long as the others
        share = 1 + meter.reused_answers / meter.answers
        seconds = meter.seconds * share / config.llm.concurrency * factor
    return _Estimate(
        captions=total,
        sampled=len(sample),
        kept=sum(isinstance(one, KeptTriple) for one in outcomes),
        prompt_tokens=tokens[0],
        answer_tokens=tokens[1],
        dollars=meter.prices.cost(tokens) if meter.prices else None,
        seconds=seconds,
        source=meter.prices.source if meter.prices else "",
    )


def count_captions(config: GenerateConfig) -> _SourceCounts:
    """Read the source once before any question, to get its size and its broken rows.

    Raises:
        UserError: the source cannot be read, is an output of the run, or has too many broken rows.
    """
    refuse_inputs(find_files(config.source), config.out)
    counts = _SourceCounts(Problems(config.max_broken))
    captions = source_captions(config, counts.problems)
    for caption in track(captions, "reading captions", config.first, "caption"):
        counts.captions += 1
        counts.pictures += caption.image is not None
        if counts.captions <= _SHOWN:
            counts.beginning.append(caption)
    counts.problems.check(counts.captions + counts.problems.count)
    return counts


def source_captions(config: GenerateConfig, problems: Problems) -> Iterator[Caption]:
    """The captions of the source, at most `config.first`."""
    return islice(read_captions(config.source, config.columns, problems), config.first)


def check_generate_options(config: GenerateConfig) -> None:
    """Raise UserError for incompatible options, and for models that are not installed."""
    if FOLDED.fullmatch(str(config.out)) and (not config.ray_workers or config.dry_run):
        hint = "Name a folder; --ray-workers writes to object stores, except with --dry-run."
        raise UserError("--out", "is a URL", hint)
    files = "--to-file and --from-file"
    if config.backend != "openai" and (config.by_files or config.ray_workers):
        option = files if config.by_files else "--ray-workers"
        raise UserError(option, "is for servers only", "Give --backend openai and --model.")
    if config.by_files and config.dry_run:
        raise UserError("--dry-run", "asks a server, and files need none", "Leave one of them out.")
    if config.by_files and config.ray_workers:
        hint = "Leave out --ray-workers: files of questions are not asked one by one."
        raise UserError("--ray-workers", f"does not go with {files}", hint)
    if config.max_cost is not None and config.ray_workers:
        hint = "Bound the run with --first; --dry-run estimates its cost."
        raise UserError("--max-cost", "does not go with --ray-workers", hint)
    check_models(config.filter_limits)


@asynccontextmanager
async def _asking(
    config: GenerateConfig, out: Path, backend: Backend | None, judge: Judge | None
) -> AsyncIterator[Paraphraser]:
    """What takes captions through both steps, with an open log and a backend that has started."""
    check_generate_options(config)
    refuse_foreign_outputs(out)
    options = config.llm
    backend = backend or make_backend(config.backend, options)
    meter = meter_of(backend, config.prices, config.max_cost)
    with closing(AnswerLog(out / LOG, answer_settings(options, backend), config.fresh)) as log:
        try:
            await backend.start()
            with judging(judge or Judge(config.filter_limits)) as queue:
                yield Paraphraser(options, backend, log, queue, meter)
        finally:
            await backend.close()


async def generate_async(
    captions: Iterable[Caption],
    config: GenerateConfig,
    out: Path,
    total: int | None = None,
    backend: Backend | None = None,
    judge: Judge | None = None,
    problems: Problems | None = None,
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
        problems: broken rows, found while the captions are read.

    Returns:
        Counts of all outcomes.

    Raises:
        UserError: the server is down or refuses, the log has other settings, `out` contains a file
            that no run wrote, a wheel is missing, or the disk is full. The log keeps all answers.
    """
    async with _asking(config, out, backend, judge) as work:
        work.meter.tokens = list(work.log.tokens)
        summary = Summary(generator=work.backend.generator, reused_answers=len(work.log))
        outcomes = _in_order(captions, work, _AHEAD * work.options.concurrency)
        await write_outcomes(outcomes, config, out, summary, work.meter, total, problems)
    return summary


def generate(
    captions: Iterable[Caption],
    config: GenerateConfig,
    out: Path,
    total: int | None = None,
    backend: Backend | None = None,
    judge: Judge | None = None,
) -> Summary:
    """`generate_async`, where no event loop is running."""
    _refuse_event_loop("Use `await generate_async(...)` with the same arguments.")
    return asyncio.run(generate_async(captions, config, out, total, backend, judge))


def _refuse_event_loop(hint: str) -> None:
    """Raise UserError with the hint if an event loop is already running, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UserError("generate", "an event loop is running here, as in a notebook", hint)


async def write_outcomes(
    outcomes: AsyncGenerator[Outcome, None],
    config: GenerateConfig,
    out: Path,
    summary: Summary,
    meter: Meter,
    total: int | None = None,
    problems: Problems | None = None,
) -> None:
    """Write every output file and count the outcomes, with a progress bar."""
    record = provenance(
        generator=summary.generator, licence=config.terms, settings=settings_of(config)
    )
    duplicates = NearDuplicates() if config.drop_near_duplicates else None
    with RunProgress(summary, meter, total) as progress:
        async with aclosing(outcomes):
            with open_outputs(out, record) as writers:
                async for outcome in outcomes:
                    if duplicates is not None and isinstance(outcome, KeptTriple):
                        row = outcome.row
                        if duplicates.seen([row[name] for name in TEXTS]):
                            outcome = Rejected(caption_of(row), 2, "near duplicate", [])
                    writers.write(outcome)
                    summary.count(outcome)
                    progress.update()
    summary.check()
    summary.spent = meter.as_dict()
    summary.stopped = "--max-cost" if meter.spent else ""
    write_summary(out, summary, config, problems)


async def _in_order(
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
            while tasks and (tasks[0].done() or len(tasks) >= _MOST_WAITING):
                yield await tasks.popleft()
        while tasks:
            yield await tasks.popleft()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
