"""The class that Ray Data runs in each actor: blocks of captions in, outcomes out."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa

from paraclip.data.captions import Caption
from paraclip.errors import UserError
from paraclip.files import cache_folder
from paraclip.micro_batch import MicroBatchQueue
from paraclip.paraphrase.backends import Backend, make_backend
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.distributed.logs import BlockLog, EarlierAnswers
from paraclip.paraphrase.distributed.outcomes import KEY, OUTCOME, caption_of, outcome_row
from paraclip.paraphrase.distributed.places import ERROR, Place
from paraclip.paraphrase.filters.checks import Question
from paraclip.paraphrase.filters.judge import Judge, Verdict, judging
from paraclip.paraphrase.money import Meter
from paraclip.paraphrase.settings import answer_settings
from paraclip.paraphrase.steps import Failed, Outcome, Paraphraser


@dataclass(frozen=True)
class Task:
    """Everything that an asker needs, on any machine.

    Args:
        place: location of the run.
        config: config with the share of one asker; its model and servers are named.
        key: API key of the servers; never shown.
        answers: folder for the logs of blocks, reachable from all machines; None keeps a log on the
            asker's machine until its block is returned.
        earlier: log of earlier answers, or None.
        judge: overrides the config's filter limits.
    """

    place: Place
    config: GenerateConfig
    key: str = field(repr=False)
    answers: Path | None = None
    earlier: Path | None = None
    judge: Judge | None = None


class Asker:
    """Takes blocks of captions through both steps; one event loop serves several blocks.

    Args:
        task: the task, the same for all askers of a run.
    """

    def __init__(self, task: Task) -> None:
        if task.key:
            os.environ["OPENAI_API_KEY"] = task.key
        self.task = task
        self._ready: asyncio.Task[tuple[Backend, MicroBatchQueue[Question, Verdict]]] | None = None
        self._open = ExitStack()  # until the actor's process ends
        self._earlier: EarlierAnswers | None = None

    async def __call__(self, block: pa.Table) -> AsyncIterator[pa.Table]:
        """The outcomes (OUTCOME) of a block (CAPTION), in order; Ray expects a generator.

        Raises:
            UserError: no question can succeed; the run ends and may be resumed. The error is
            written to error.json, because Ray passes on only the text of an exception.
        """
        try:
            outcomes = await self._outcomes(block)
        except UserError as error:
            facts = {"where": error.where, "what": error.what, "hint": error.hint}
        else:
            yield outcomes
            return
        self.task.place.write_json(ERROR, facts)
        raise UserError(**facts)  # without the first traceback, where a server may quote a key

    async def _outcomes(self, block: pa.Table) -> pa.Table:
        if self._ready is None:
            self._ready = asyncio.create_task(self._start())
        backend, judge = await asyncio.shield(self._ready)
        log = self._log(block, answer_settings(self.task.config, backend))
        meter = Meter()
        try:
            work = Paraphraser(self.task.config, backend, log, judge, meter)
            rows = await outcome_rows(work, block)
        finally:
            log.close()
        if rows:
            rows[0] |= {"prompt_tokens": meter.tokens[0], "answer_tokens": meter.tokens[1]}
        if self.task.answers is None:
            log.path.unlink(missing_ok=True)
        return pa.Table.from_pylist(rows, schema=OUTCOME)

    async def _start(self) -> tuple[Backend, MicroBatchQueue[Question, Verdict]]:
        config = self.task.config
        backend = make_backend(config)
        await backend.start()
        if self.task.earlier is not None:
            self._earlier = EarlierAnswers(self.task.earlier, answer_settings(config, backend))
        judge = self.task.judge or Judge(config.filter_limits)
        return backend, self._open.enter_context(judging(judge))

    def _log(self, block: pa.Table, settings: dict[str, Any]) -> BlockLog:
        """The log of a block, named by its content: if a worker dies, another finds its answers.

        Outside the output folder, the name also tells apart runs with other outputs or settings.
        """
        content = repr([self.task.place.address, settings, block[KEY].to_pylist()])
        name = sha256(content.encode()).hexdigest()[:16]
        folder = self.task.answers or cache_folder() / "ray"
        return BlockLog(folder / f"{name}.jsonl", settings, self._earlier)


async def outcome_rows(work: Paraphraser, block: pa.Table) -> list[dict[str, Any]]:
    """Rows of OUTCOME for the captions of a block."""
    rows = block.to_pylist()
    tasks = [asyncio.create_task(outcome_of_one(work, caption_of(row))) for row in rows]
    try:
        outcomes = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    pairs = zip(rows, outcomes, strict=True)
    return [outcome_row(row[KEY], outcome) for row, outcome in pairs]


async def outcome_of_one(work: Paraphraser, caption: Caption) -> Outcome:
    """The outcome of a caption; an unexpected exception fails this caption, not the job."""
    try:
        return await work.outcome(caption)
    except UserError:
        raise
    except Exception as error:
        return Failed(caption, 0, f"{type(error).__name__}: {error}"[:300])
