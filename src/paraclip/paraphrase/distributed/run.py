"""A whole distributed run: captions to Parquet, Ray Data over them, then the usual files.

Ray reads, writes and commits blocks of captions. ParaCLIP's own client sends the questions, from a
class that Ray runs in each actor.
"""

import asyncio
import os
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from paraclip.cluster import cluster
from paraclip.data.captions import Caption
from paraclip.data.problems import Problems
from paraclip.data.reading import find_files
from paraclip.errors import UserError
from paraclip.files import cache_folder, take_lock
from paraclip.micro_batch import MicroBatchQueue
from paraclip.paraphrase.backends import Backend, LLMOptions, make_backend
from paraclip.paraphrase.config import CaptionSource, Outputs
from paraclip.paraphrase.cost import Meter, meter_of
from paraclip.paraphrase.distributed import places
from paraclip.paraphrase.filters.checks import Question
from paraclip.paraphrase.filters.judge import Judge, Verdict, judging
from paraclip.paraphrase.log import AnswerLog, EarlierAnswers
from paraclip.paraphrase.outputs import (
    LOG,
    PROBLEMS,
    SUMMARY,
    Summary,
    lists_problems,
    refuse_foreign_outputs,
    refuse_inputs,
    valid_summary,
)
from paraclip.paraphrase.run import source_captions, write_outcomes
from paraclip.paraphrase.steps import Outcome, Paraphraser, answer_settings
from paraclip.progress import bar
from paraclip.provenance import without_secrets

_CALLS_OF_ASKER = 2  # blocks at a time, so that the end of one does not leave the server idle
_ROWS_OF_BLOCK = 512  # captions that an asker takes and commits together
_PAUSE = 5.0  # seconds between updates of the progress bar
_PATIENCE = 60.0  # seconds; Ray ends the workers of a killed driver with a delay


def generate_with_ray(
    source: CaptionSource, llm: LLMOptions, judge: Judge, outputs: Outputs, workers: int
) -> tuple[Summary, Problems]:
    """`generate_from_source` on a Ray cluster; returns the counts and the broken rows.

    The same call resumes. Captions that Ray committed are not repeated and, on disk, neither are
    questions that were answered: the logs of blocks become part of answers.jsonl.

    Raises:
        UserError: the cluster is too small, no question can succeed, or an error of
            `generate_from_source`.
    """
    place, problems = places.place_of(outputs.folder), Problems(source.max_broken)
    if place.local:
        refuse_inputs(find_files(source.name), place.local)
        refuse_foreign_outputs(place.local)
    backend = make_backend(llm)
    meter, settings = meter_of(backend, llm), answer_settings(llm, backend)
    with ExitStack() as stack:
        stack.callback(lambda: asyncio.run(backend.close()))
        log = stack.enter_context(_earlier_log(place, settings, outputs.fresh))
        if outputs.fresh:  # it deletes answers, which a wrong address must not
            asyncio.run(_check(backend))
        current = {"answers": settings, "filters": asdict(judge.limits), "asks": llm.asks}
        current |= {"kinds": list(llm.kinds)} if llm.kinds else {}
        keys = _prepared(source_captions(source, problems), place, problems, current, outputs.fresh)
        if place.local:
            refuse_foreign_outputs(place.local, problems.count > 0)
        if outputs.fresh and log is not None:  # the answers in the logs of blocks go as well
            log.begin()
            place.clear(places.ANSWERS)
        done = int(np.isin(keys, places.committed_keys(place)).sum())
        if done < len(keys):
            # An argument of the actors, not in Ray's `runtime_env`, which its dashboard shows.
            key = os.environ.get("OPENAI_API_KEY", "").strip()
            blocks = None if log is None else Path(place.path_of(places.ANSWERS))
            known = log.path if log is not None and len(log) else None
            task = _Task(place, _share_of(llm, workers, backend), judge, key, blocks, known)
            with cluster(workers) as ray, _committed_shown(place, len(keys), done):
                _ask(ray, task, workers)
        if log is not None:
            _absorb_blocks(place, log, settings)
        meter.tokens = list(log.tokens) if log is not None else places.tokens_of_blocks(place)
        reused = len(log) if log is not None else 0
        summary = Summary(generator=backend.generator, reused_answers=reused)
        summary.wordings.update(dict.fromkeys(llm.kinds, 0))

        def write(folder: Path) -> None:
            outcomes = _each(places.outcomes_in_order(place, keys))
            here = replace(outputs, folder=folder)
            asyncio.run(write_outcomes(outcomes, here, summary, meter, problems=problems))

        if place.local:
            write(place.local)
        else:
            earlier = valid_summary(place.read(SUMMARY))
            with tempfile.TemporaryDirectory() as folder:
                write(Path(folder))
                place.take(Path(folder), [PROBLEMS] if lists_problems(earlier) else [])
    return summary, problems


@contextmanager
def _earlier_log(
    place: places.Place, settings: dict[str, Any], fresh: bool
) -> Iterator[AnswerLog | None]:
    """The log of answers, including those that a killed run left in the logs of blocks; locked."""
    if place.local is None:  # it cannot append: the questions of blocks in progress are repeated
        yield None
        return
    path = place.local / LOG
    log = AnswerLog(path, settings, fresh)
    try:
        if not fresh and _absorb_blocks(place, log, settings):
            log.close()  # reopened, to index them
            log = AnswerLog(path, settings)
        yield log
    finally:
        log.close()


def _absorb_blocks(place: places.Place, log: AnswerLog, settings: dict[str, Any]) -> int:
    """Move the answers in the logs of blocks to the log; returns the number of these logs."""
    lock, until = Path(place.path_of(places.ASKERS)), time.monotonic() + _PATIENCE
    while _is_locked(lock) and time.monotonic() < until:  # they still ask, and begin further blocks
        time.sleep(0.2)
    paths = sorted(Path(place.path_of(places.ANSWERS)).glob("*.jsonl"))
    for path in paths:
        block = AnswerLog(path, settings)
        log.absorb(block)
        block.close()
        path.unlink()
    return len(paths)


def _is_locked(path: Path) -> bool:
    """Whether a process holds the lock on a file; False if there is no file."""
    if not path.exists():
        return False
    with path.open("rb") as file:
        try:
            take_lock(file, path, "")
        except UserError:
            return True
    return False


async def _check(backend: Backend) -> None:
    """Raise UserError if no server of the backend can be used."""
    try:
        await backend.start()
    finally:
        await backend.close()


def _prepared(
    captions: Iterable[Caption], place: places.Place, problems: Problems,
    current: dict[str, Any], fresh: bool,
) -> np.ndarray:  # fmt: skip
    """Write the captions and return their keys; outcomes under other filters are made again.

    Raises:
        UserError: the source is broken, or a run without a log of answers had other settings than
            the `current` ones.
    """
    known = place.read_json(places.SETTINGS)
    if known not in (None, current) and place.local is None and not fresh:
        hint = "Name another output folder, or start from scratch with --fresh."
        raise UserError(without_secrets(place.address), "was written with other settings", hint)
    restart = known != current or fresh
    failed = set() if restart else places.failed_keys(place)
    keys = places.write_captions(captions, place, failed)
    problems.check(len(keys) + problems.count)
    if restart:  # not before the source has been read: in an object store, these are the answers
        for part in (places.OUTCOMES, places.CHECKPOINT):
            place.clear(part)
        place.write_json(places.SETTINGS, current)
    return keys


def _share_of(options: LLMOptions, workers: int, backend: Any) -> LLMOptions:
    """The options of one asker, complete without the environment of this machine."""
    rates = options.per_minute
    return replace(
        options,
        model=backend.model,
        base_url=backend.addresses,
        concurrency=max(1, -(-options.concurrency // workers)),
        per_minute=rates and (rates[0] / workers, rates[1] / workers),
    )


async def _each(outcomes: Iterator[Outcome]) -> AsyncGenerator[Outcome, None]:
    for outcome in outcomes:
        yield outcome


@dataclass(frozen=True)
class _Task:
    """Everything that an asker needs, on any machine."""

    place: places.Place
    options: LLMOptions  # with the share of one asker; model and servers are named
    judge: Judge
    key: str = field(repr=False)  # API key of the servers; never shown
    # Folder for the logs of blocks, reachable from all machines; None keeps a log on the asker's
    # machine until its block is returned.
    answers: Path | None = None
    earlier: Path | None = None  # log of earlier answers


class _Asker:
    """Takes blocks of captions through both steps; one event loop serves several blocks."""

    def __init__(self, task: _Task) -> None:
        self.task = task
        self._ready: asyncio.Task[tuple[Backend, MicroBatchQueue[Question, Verdict]]] | None = None
        self._open = ExitStack()  # until the actor's process ends
        self._earlier: EarlierAnswers | None = None
        if task.answers is not None:  # a later run waits until this process has ended
            path = task.answers.parent / places.ASKERS
            take_lock(self._open.enter_context(path.open("ab")), path, "", shared=True)

    async def __call__(self, block: pa.Table) -> AsyncIterator[pa.Table]:
        """The outcomes (OUTCOME) of a block (CAPTION), in order; Ray expects a generator.

        Raises:
            UserError: no question can succeed; the run ends and may be resumed.
        """
        try:
            outcomes = await self._outcomes(block)
        except UserError as error:
            facts = {"where": error.where, "what": error.what, "hint": error.hint}
        else:
            yield outcomes
            return
        # Ray passes on only the text of an exception.
        self.task.place.write_json(places.ERROR, facts)
        raise UserError(**facts)  # without the first traceback, where a server may quote a key

    async def _outcomes(self, block: pa.Table) -> pa.Table:
        if self._ready is None:
            self._ready = asyncio.create_task(self._start())
        backend, judge = await asyncio.shield(self._ready)
        log = self._log(block, answer_settings(self.task.options, backend))
        meter, captions = Meter(), block.to_pylist()
        work = Paraphraser(self.task.options, backend, log, judge, meter)
        tasks = [asyncio.create_task(work.outcome(places.caption_of(row))) for row in captions]
        try:
            outcomes = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            log.close()
        rows = [
            places.outcome_row(row[places.KEY], one)
            for row, one in zip(captions, outcomes, strict=True)
        ]
        if rows:
            rows[0] |= {"prompt_tokens": meter.tokens[0], "answer_tokens": meter.tokens[1]}
        if self.task.answers is None:
            log.path.unlink(missing_ok=True)
        return pa.Table.from_pylist(rows, schema=places.OUTCOME)

    async def _start(self) -> tuple[Backend, MicroBatchQueue[Question, Verdict]]:
        from paraclip.paraphrase.backends.openai_server import OpenAIBackend

        backend = OpenAIBackend(self.task.options, self.task.key)
        await backend.start()
        if self.task.earlier is not None:
            settings = answer_settings(self.task.options, backend)
            self._earlier = EarlierAnswers(self.task.earlier, settings)
        return backend, self._open.enter_context(judging(self.task.judge))

    def _log(self, block: pa.Table, settings: dict[str, Any]) -> AnswerLog:
        """The log of a block, named by its content: if a worker dies, another finds its answers."""
        # Outside the output folder, the name also tells apart runs with other outputs or settings.
        content = repr([self.task.place.address, settings, block[places.KEY].to_pylist()])
        name = sha256(content.encode()).hexdigest()[:16]
        folder = self.task.answers or cache_folder() / "ray"
        return AnswerLog(folder / f"{name}.jsonl", settings, earlier=self._earlier)


def _ask(ray: Any, task: _Task, workers: int) -> None:
    """Run Ray Data over the captions that are not in the checkpoint.

    Raises:
        UserError: an asker raised it.
    """
    place = task.place
    place.clear(places.ERROR)
    with _checkpointing(ray, place):
        try:
            (
                ray.data.read_parquet(place.address_of(places.CAPTIONS))
                # Otherwise a file is one block, and nothing is committed before its end.
                .repartition(target_num_rows_per_block=_ROWS_OF_BLOCK)
                .map_batches(
                    _Asker, fn_constructor_kwargs={"task": task}, batch_size=None,
                    batch_format="pyarrow", num_cpus=1,
                    compute=ray.data.ActorPoolStrategy(
                        size=workers, max_concurrent_calls_per_actor=_CALLS_OF_ASKER,
                        max_tasks_in_flight_per_actor=_CALLS_OF_ASKER + 1,
                    ),
                )
                .write_parquet(place.address_of(places.OUTCOMES))
            )  # fmt: skip
        except ray.exceptions.RayError as error:
            facts = place.read_json(places.ERROR)
            raise (UserError(**facts) if facts else error) from error


@contextmanager
def _checkpointing(ray: Any, place: places.Place) -> Iterator[None]:
    """Let Ray Data commit each written block and skip those that an earlier run committed.

    As of Ray 2.60, the ids must be unique and survive all operators; a block is committed in two
    phases (a pending file before the data, renamed after it); and files of other blocks are deleted
    when the checkpoint is loaded. Its filter is an actor pool of up to 10; one actor is enough and
    holds one CPU. The checkpoint is kept after success: a later run may have more captions.
    """
    from ray.data.checkpoint import CheckpointConfig

    context = ray.data.DataContext.get_current()
    before = context.checkpoint_config, context.enable_progress_bars
    checkpoint = CheckpointConfig(
        id_column=places.KEY, checkpoint_path=place.address_of(places.CHECKPOINT),
        delete_checkpoint_on_success=False,
    )  # fmt: skip
    checkpoint.checkpoint_actor_pool_max_size = 1
    context.checkpoint_config = checkpoint
    context.enable_progress_bars = False  # `watch` shows the committed captions
    try:
        yield
    finally:
        context.checkpoint_config, context.enable_progress_bars = before


@contextmanager
def _committed_shown(place: places.Place, total: int, done: int) -> Iterator[None]:
    """Show a bar of committed captions, `done` of them by earlier runs, while the block runs."""
    stop, seen = threading.Event(), set(place.tables(places.CHECKPOINT))

    def new_rows() -> int:
        paths = set(place.tables(places.CHECKPOINT)) - seen
        rows: int = sum(pq.read_metadata(path, filesystem=place.files).num_rows for path in paths)
        seen.update(paths)  # not before: a failed update is repeated
        return rows

    with bar("asking", total, "caption", done) as shown:

        def watch() -> None:
            while not stop.wait(_PAUSE):
                with suppress(OSError):  # the next update counts again
                    shown.update(new_rows())

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            shown.update(new_rows())
