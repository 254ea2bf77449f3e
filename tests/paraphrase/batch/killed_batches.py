"""Batch runs, each killed at a different step: `python killed_batches.py URL FOLDER`.

Run n is killed after its n-th step, then run again to its end; the last one has fewer steps. Each
run is a fork of this process, which imports everything once. The line that is printed counts the
kills.
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fake_encoder import BagEncoder
from generating import captions_file, fake_config

from paraclip.paraphrase.batch import journal, requests, server
from paraclip.paraphrase.config import SMALL
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.log import AnswerLog
from paraclip.paraphrase.run import generate_from_source

CAPTIONS = 2
STEPS = (
    (journal.Journal, "_append"), (requests.RequestWriter, "finish"),
    (server.BatchServer, "upload"), (server.BatchServer, "submit"),
    (server.BatchServer, "download"), (AnswerLog, "add"),
)  # fmt: skip


def killing(function: Callable[..., Any], count: list[int]) -> Callable[..., Any]:
    """Wrap a function so that the process is killed after this many steps."""

    def step() -> None:
        count[0] -= 1
        if count[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def plain(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if hasattr(result, "__await__"):
            return awaited(result)
        step()
        return result

    async def awaited(result: Any) -> Any:
        value = await result
        step()
        return value

    return plain


def run(url: str, folder: Path, number: int) -> None:
    """One run."""
    folder.mkdir(exist_ok=True)
    source = captions_file(folder, CAPTIONS, number * CAPTIONS)
    config = fake_config(url, folder / "out", batch_api=True, poll=0.001)
    judge = Judge(SMALL, BagEncoder())  # type: ignore[arg-type]
    summary = generate_from_source(replace(config, source=str(source)), judge=judge).summary
    assert summary.kept == CAPTIONS


def forked(kill_at: int, *args: Any) -> int:
    """The exit status of a run in a separate process, killed if `kill_at` is above 0."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    count = [kill_at]
    for owner, name in STEPS:
        setattr(owner, name, killing(getattr(owner, name), count))
    try:
        run(*args)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        os._exit(1)
    os._exit(0)


def main(url: str, root: Path) -> None:
    """Kill one run after another until a run has no step left to kill."""
    run(url, root / "0", 0)  # imports what is imported late
    number = 1
    while (status := forked(number, url, root / str(number), number)) != 0:
        assert status == -signal.SIGKILL, status
        assert forked(0, url, root / str(number), number) == 0
        number += 1
    print(number - 1)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
