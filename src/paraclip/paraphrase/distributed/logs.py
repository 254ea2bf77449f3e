"""The logs of answers in a distributed run: one per block, merged into one for all.

A block's log is named after its content. If a worker dies, another one gets the same block and
finds the answers; if the driver dies, the next run moves them to answers.jsonl.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paraclip.errors import UserError
from paraclip.files import take_lock
from paraclip.paraphrase.backends import Answer
from paraclip.paraphrase.distributed.places import ANSWERS, Place
from paraclip.paraphrase.log import AnswerLog
from paraclip.paraphrase.outputs import LOG

PATIENCE = 60.0  # seconds; Ray ends the workers of a killed driver with a delay


class EarlierAnswers(AnswerLog):
    """The log of earlier runs, which the driver has locked: read-only."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path, self.tokens = path, [0, 0]
        self._file = path.open("rb")  # type: ignore[assignment]
        self._read(settings)


class BlockLog(AnswerLog):
    """The log of one block; earlier answers are looked up first."""

    def __init__(
        self, path: Path, settings: dict[str, Any], earlier: EarlierAnswers | None
    ) -> None:
        super().__init__(path, settings)
        self._earlier = earlier

    def __len__(self) -> int:
        """Number of questions that were answered before, in this block or in earlier runs."""
        return super().__len__() + (0 if self._earlier is None else len(self._earlier))

    def find(self, key: str) -> list[Answer] | None:
        """See `AnswerLog.find`."""
        answers = super().find(key)
        return answers if answers or self._earlier is None else self._earlier.find(key)


@contextmanager
def earlier_answers(
    place: Place, settings: dict[str, Any], fresh: bool
) -> Iterator[AnswerLog | None]:
    """The log of answers, including those that a killed run left in the logs of blocks; locked.

    None in an object store, which cannot append: a killed run there repeats the questions of the
    blocks in progress.
    """
    if place.local is None:
        yield None
        return
    path = place.local / LOG
    log = AnswerLog(path, settings, fresh)
    try:
        if not fresh and absorb_blocks(place, log, settings):
            log.close()  # reopened below, to index them
            log = AnswerLog(path, settings)
        yield log
    finally:
        log.close()


def start_over(place: Place, log: AnswerLog | None) -> None:
    """Delete the answers of earlier runs, those in the logs of blocks too."""
    if log is not None:
        log.begin()
        place.clear(ANSWERS)


def absorb_blocks(place: Place, log: AnswerLog, settings: dict[str, Any]) -> int:
    """Move the answers in the logs of blocks to the log; returns the number of these logs."""
    paths = sorted(Path(place.path_of(ANSWERS)).glob("*.jsonl"))
    for path in paths:
        block = log_when_free(path, settings)
        log.absorb(block)
        block.close()
        path.unlink()
    return len(paths)


def log_when_free(path: Path, settings: dict[str, Any]) -> AnswerLog:
    """The log of a block, as soon as the worker of a killed driver has ended."""
    until = time.monotonic() + PATIENCE
    while is_locked(path) and time.monotonic() < until:
        time.sleep(0.2)
    return AnswerLog(path, settings)


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock on a file."""
    with path.open("rb") as file:
        try:
            take_lock(file, path, "")
        except UserError:
            return True
    return False


def logs_of(place: Place, log: AnswerLog | None) -> tuple[Path | None, Path | None]:
    """The folder for logs of blocks, and the log of earlier answers."""
    if log is None:
        return None, None
    return Path(place.path_of(ANSWERS)), log.path if len(log) else None
