"""The two-step run over many captions: bounded concurrency, logged answers, rows in order."""

import asyncio
import hashlib
import json
import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from paraclip.data.captions import Caption, Problems
from paraclip.data.reading import find_files, read_captions
from paraclip.errors import UserError, without_password
from paraclip.files import check_room, disk_errors
from paraclip.paraphrase.backends import Backend, LLMOptions, make_backend
from paraclip.paraphrase.config import CaptionSource, Outputs
from paraclip.paraphrase.cost import Meter, meter_of, show_dollars
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.log import AnswerLog
from paraclip.paraphrase.outputs import LOG, Summary, refuse_foreign_outputs, refuse_inputs, writing
from paraclip.paraphrase.steps import Failed, KeptTriple, Outcome, Paraphraser, answer_settings
from paraclip.progress import bar, track

_AHEAD = 3  # captions in progress per question in progress; the others are being judged
_IN_THREAD = "Use `await asyncio.to_thread(...)` with this function and its arguments."
_MOST_WAITING = 10_000  # outcomes in memory that wait for slower captions before them
_SAMPLE = 32  # captions that --dry-run asks about


@dataclass(frozen=True)
class Estimate:
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
class SourceCounts:
    """What a source contains."""

    problems: Problems  # its broken rows
    stored: IO[bytes]  # its captions: a list of their fields in each line
    hash: Any = field(default_factory=hashlib.sha256)  # of `stored`
    captions: int = 0

    def rows(self) -> Iterator[Caption]:
        """The captions, without reading the source again."""
        self.stored.seek(0)
        return map(self.caption, self.stored)

    def rows_at(self, offsets: Iterable[int]) -> Iterator[Caption]:
        """The captions whose lines begin there."""
        for offset in offsets:
            self.stored.seek(offset)
            yield self.caption(self.stored.readline())

    def caption(self, line: bytes) -> Caption:
        """The caption in a line of `stored`."""
        name, text, image_id, image = json.loads(line)
        return Caption(name, text, image_id, image, "")


def check_generation(llm: LLMOptions, outputs: Outputs, backend: Backend) -> None:
    """Raise UserError, before long work, if a run lacks a price, or could not write its files."""
    meter_of(backend, llm)
    refuse_foreign_outputs(outputs.folder)
    check_room(outputs.folder)


def estimate(
    captions: Iterable[Caption], total: int, llm: LLMOptions, judge: Judge, outputs: Outputs
) -> Estimate:
    """Estimate what a run over `total` captions needs: ask about the first ones and extrapolate.

    The sample is really sent to the generator, because neither the length of answers nor the speed
    of the server is known otherwise. Its answers are logged, so the run does not repeat its
    questions.

    Raises:
        UserError: no caption of the sample got an answer; also the errors of `generate`.
    """
    refuse_event_loop()
    sample = list(islice(captions, _SAMPLE))

    async def ask() -> tuple[Meter, list[Outcome]]:
        async with _asking(llm, judge, outputs) as work:
            return work.meter, await asyncio.gather(*map(work.outcome, sample))

    meter, outcomes = asyncio.run(ask())
    failed = [one for one in outcomes if isinstance(one, Failed)]
    if failed and len(failed) == len(outcomes):
        what = f"no caption of the sample got an answer ({failed[0].problem})"
        raise UserError("--dry-run", what, "Check the server and run the same command again.")
    factor = total / max(len(sample), 1)
    tokens = [round(used * factor) for used in meter.used]
    seconds = None
    if meter.answers:  # questions that the log answered count as long as the others
        share = 1 + meter.reused_answers / meter.answers
        seconds = meter.seconds * share / llm.concurrency * factor
    return Estimate(
        captions=total,
        sampled=len(sample),
        kept=sum(isinstance(one, KeptTriple) for one in outcomes),
        prompt_tokens=tokens[0],
        answer_tokens=tokens[1],
        dollars=meter.prices.cost(tokens) if meter.prices else None,
        seconds=seconds,
        source=meter.prices.source if meter.prices else "",
    )


@contextmanager
def count_captions(source: CaptionSource, out: Path) -> Iterator[SourceCounts]:
    """Read the source once, before any question: a slow one would delay the answers.

    A file without a name, on the disk of the outputs, holds the captions until the block ends.

    Raises:
        UserError: the source cannot be read, is an output in `out`, or has too many broken rows;
            or the disk is full.
    """
    refuse_inputs(find_files(source.name), out)
    folder = next(filter(os.path.isdir, (out.absolute(), *out.absolute().parents)))
    with disk_errors(out):
        stored = TemporaryFile(dir=folder)  # noqa: SIM115 closed below
    try:
        counts = SourceCounts(Problems(source.max_broken), stored)
        read = read_captions(source.name, source.columns, counts.problems)
        captions = islice(read, source.first)
        for caption in track(captions, "reading captions", source.first, "caption"):
            counts.captions += 1
            image = caption.image and without_password(caption.image)
            row = json.dumps([caption.id, caption.caption, caption.image_id, image]).encode()
            counts.hash.update(row)
            with disk_errors(out):
                stored.write(row + b"\n")
        with disk_errors(out):
            stored.flush()
        counts.problems.check(counts.captions + counts.problems.count)
        yield counts
    finally:
        with suppress(OSError):  # closing repeats a failed write, which has been reported
            stored.close()


@asynccontextmanager
async def _asking(
    llm: LLMOptions, judge: Judge, outputs: Outputs, backend: Backend | None = None,
    open_log: Callable[..., AnswerLog] = AnswerLog,
) -> AsyncIterator[Paraphraser]:  # fmt: skip
    """What takes captions through both steps, with an open log."""
    backend = backend or make_backend(llm)
    check_generation(llm, outputs, backend)
    meter, settings = meter_of(backend, llm), answer_settings(llm, backend)
    with closing(open_log(outputs.folder / LOG, settings, outputs.fresh)) as log:
        try:
            with closing(judge.queue()) as queue:
                yield Paraphraser(llm, backend, log, queue, meter)
        finally:
            await backend.close()


async def generate_async(
    captions: Iterable[Caption],
    llm: LLMOptions,
    judge: Judge,
    outputs: Outputs,
    *,
    backend: Backend | None = None,
    total: int | None = None,
    problems: Problems | None = None,
    open_log: Callable[..., AnswerLog] = AnswerLog,
) -> Summary:
    """Paraphrase captions in two steps; writes triples, rejected and failed captions.

    Memory is bounded: a window of captions is in progress, results are written in input order, and
    the log needs 16 bytes of memory per earlier answer.

    Args:
        captions: captions, read as the window moves, in the event loop.
        llm, judge: who rewords them, and which answers pass.
        outputs: folder for answers.jsonl (the log), triples.parquet, rejected.jsonl, failed.jsonl
            and summary.json.
        backend: overrides the one that `llm` names.
        total: number of captions, for the progress bar.
        problems: broken rows of the source.
        open_log: makes the log from its path, its settings and whether the run is `fresh`.

    Returns:
        Counts of all outcomes.

    Raises:
        UserError: the server is down or refuses, the log has other settings, the folder contains a
            file that no run wrote, a wheel is missing, or the disk is full. The log keeps all
            answers.
    """
    outputs = outputs.with_settings(filter_limits=asdict(judge.limits))
    async with _asking(llm, judge, outputs, backend, open_log) as work:
        work.meter.tokens = list(work.log.tokens)
        summary = Summary(generator=work.backend.generator, reused_answers=len(work.log))
        summary.wordings.update(dict.fromkeys(llm.kinds, 0))
        with (
            bar("paraphrasing", total, "caption") as shown,
            writing(outputs, summary, work.meter, problems) as writers,
        ):
            async with aclosing(_in_order(captions, work, _AHEAD * llm.concurrency)) as outcomes:
                async for outcome in outcomes:
                    writers.write(outcome)
                    summary.count(outcome)
                    shown.set_postfix_str(summary.line(work.meter, total), refresh=False)
                    shown.update()
    return summary


def generate(
    captions: Iterable[Caption], llm: LLMOptions, judge: Judge, outputs: Outputs, **options: Any
) -> Summary:
    """`generate_async`, where no event loop is running."""
    refuse_event_loop("Use `await generate_async(...)` with the same arguments.")
    return asyncio.run(generate_async(captions, llm, judge, outputs, **options))


def refuse_event_loop(hint: str = _IN_THREAD) -> None:
    """Raise UserError with the hint if an event loop is already running, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UserError("generate", "an event loop is running here, as in a notebook", hint)


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
