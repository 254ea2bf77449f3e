"""A whole distributed run: captions to Parquet, Ray Data over them, then the usual files."""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from paraclip.cluster import cluster
from paraclip.data.problems import Problems
from paraclip.data.reading import find_files
from paraclip.errors import UserError
from paraclip.files import take_lock
from paraclip.paraphrase.backends import Backend, LLMOptions, make_backend
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.cost import meter_of
from paraclip.paraphrase.distributed import places
from paraclip.paraphrase.distributed.asker import Task, ask, committed_shown
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.log import AnswerLog
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
from paraclip.paraphrase.steps import Outcome, answer_settings

PATIENCE = 60.0  # seconds; Ray ends the workers of a killed driver with a delay


def generate_with_ray(
    config: GenerateConfig, judge: Judge | None = None
) -> tuple[Summary, Problems]:
    """`generate_from_source` on a Ray cluster; returns the counts and the broken rows.

    The same command resumes. Captions that Ray committed are not repeated and, on disk, neither are
    questions that were answered: the logs of blocks become part of answers.jsonl.

    Raises:
        UserError: the cluster is too small, no question can succeed, or an error of
            `generate_from_source`.
    """
    place = places.place_of(config.out)
    if place.local:
        refuse_inputs(find_files(config.source), place.local)
        refuse_foreign_outputs(place.local)
    backend = make_backend(config.backend, config.llm)
    try:
        return _generate_in(place, config, backend, judge or Judge(config.filter_limits))
    finally:
        asyncio.run(backend.close())


def _generate_in(
    place: places.Place, config: GenerateConfig, backend: Backend, judge: Judge
) -> tuple[Summary, Problems]:
    """Ask about the captions that are not committed yet, and write every output file."""
    problems, meter = Problems(config.max_broken), meter_of(backend, config.prices, None)
    settings, workers = answer_settings(config.llm, backend), config.ray_workers or 1
    with _earlier_log(place, settings, config.fresh) as log:
        if config.fresh:  # it deletes answers, which a wrong address must not
            asyncio.run(_check(backend))
        keys = _prepared(config, place, problems, settings)
        if place.local:
            refuse_foreign_outputs(place.local, problems.count > 0)
        if config.fresh and log is not None:  # the answers in the logs of blocks go as well
            log.begin()
            place.clear(places.ANSWERS)
        done = int(np.isin(keys, places.committed_keys(place)).sum())
        if done < len(keys):
            # An argument of the actors, not in Ray's `runtime_env`, which its dashboard shows.
            key = os.environ.get("OPENAI_API_KEY", "").strip()
            options = share_of(config.llm, workers, backend)
            blocks = None if log is None else Path(place.path_of(places.ANSWERS))
            known = log.path if log is not None and len(log) else None
            task = Task(place, options, judge, key, blocks, known)
            with cluster(workers) as ray, committed_shown(place, len(keys), done):
                ask(ray, task, workers)
        if log is not None:
            absorb_blocks(place, log, settings)
        meter.tokens = list(log.tokens) if log is not None else places.tokens_of_blocks(place)
        reused = len(log) if log is not None else 0
        summary = Summary(generator=backend.generator, reused_answers=reused)

        async def write(out: Path) -> None:
            outcomes = _each(places.outcomes_in_order(place, keys))
            await write_outcomes(outcomes, config, out, summary, meter, problems=problems)

        if place.local:
            asyncio.run(write(place.local))
        else:
            earlier = valid_summary(place.read(SUMMARY))
            with tempfile.TemporaryDirectory() as folder:
                asyncio.run(write(Path(folder)))
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
        if not fresh and absorb_blocks(place, log, settings):
            log.close()  # reopened, to index them
            log = AnswerLog(path, settings)
        yield log
    finally:
        log.close()


def absorb_blocks(place: places.Place, log: AnswerLog, settings: dict[str, Any]) -> int:
    """Move the answers in the logs of blocks to the log; returns the number of these logs."""
    paths = sorted(Path(place.path_of(places.ANSWERS)).glob("*.jsonl"))
    for path in paths:
        until = time.monotonic() + PATIENCE
        while is_locked(path) and time.monotonic() < until:
            time.sleep(0.2)
        block = AnswerLog(path, settings)
        log.absorb(block)
        block.close()
        path.unlink()
    return len(paths)


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock on a file."""
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
    config: GenerateConfig, place: places.Place, problems: Problems, settings: dict[str, Any]
) -> np.ndarray:
    """Write the captions and return their keys; outcomes under other filters are made again.

    Raises:
        UserError: the source is broken, or a run without a log of answers has other settings.
    """
    limits = asdict(config.filter_limits)
    current = {"answers": settings, "filters": limits, "asks": config.llm.asks}
    known = place.read_json(places.SETTINGS)
    if known not in (None, current) and place.local is None and not config.fresh:
        hint = "Name another output folder, or start from scratch with --fresh."
        raise UserError(places.shown_path(config.out), "was written with other settings", hint)
    restart = known != current or config.fresh
    failed = set() if restart else places.failed_keys(place)
    keys = places.write_captions(source_captions(config, problems), place, failed)
    problems.check(len(keys) + problems.count)
    if restart:  # not before the source has been read: in an object store, these are the answers
        for part in (places.OUTCOMES, places.CHECKPOINT):
            place.clear(part)
        place.write_json(places.SETTINGS, current)
    return keys


def share_of(options: LLMOptions, workers: int, backend: Any) -> LLMOptions:
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
