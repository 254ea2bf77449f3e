"""A run resumes from its log, whatever happens between: no answer is lost or asked for again."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from fake_encoder import BagEncoder
from fake_server import FakeServer, rotate
from generating import bag_judge, captions, fake_config, generated, name_of
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from extent import EXAMPLES
from forked import SERVER
from paraclip.data.captions import Caption
from paraclip.data.triples import read_triples
from paraclip.errors import UserError
from paraclip.paraphrase.backends import Answer, Refused
from paraclip.paraphrase.config import Limits
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.outputs import Summary
from paraclip.paraphrase.prompts import Prompt
from paraclip.paraphrase.run import generate

MOST = 6
"""Captions of the machine."""
NUMBERS = st.integers(0, MOST - 1)
Question = tuple[str, str]
"""A caption's id, and the text that is to be reworded."""


class Told:
    """A backend that answers all but some captions, and ends the run after so many questions."""

    generator, style = "told", "paper"

    def __init__(self, refused: Sequence[str] = (), most: int = 99, down: bool = False) -> None:
        self.refused, self.most, self.down = refused, most, down
        self.identity: dict[str, str] = {}
        self.asked, self.given = list[str](), list[str]()

    async def start(self) -> None:
        if self.down:
            raise UserError("generator", "no server answers there", "Start it.")

    async def answer(self, prompt: Prompt, candidates: int) -> list[Answer]:
        assert prompt.messages is not None
        text = prompt.messages[-1]["content"]
        if len(self.asked) == self.most:
            raise UserError("generator", "is killed", "Start it again.")
        self.asked.append(text)
        if any(name in text for name in self.refused):
            raise Refused("403")
        self.given.append(text)
        return [Answer(rotate(text))]

    async def close(self) -> None: ...


class Resuming(RuleBasedStateMachine):
    """Runs over captions that are added and edited, refused, and whose log is damaged."""

    def __init__(self) -> None:
        super().__init__()
        self.out = Path(tempfile.mkdtemp())
        self.edits = [0]  # of each caption
        self.refused: set[int] = set()
        self.lines: list[Question | None] = []  # of the log, after its head; None is damaged

    def teardown(self) -> None:
        shutil.rmtree(self.out)

    def rows(self) -> list[Caption]:
        rows = zip(captions(len(self.edits)), self.edits, strict=True)
        return [replace(one, caption=one.caption + " Now." * edited) for one, edited in rows]

    def walk(self, steps: int = 2) -> tuple[list[Question], list[str]]:
        """The questions that are left, and the captions of which one is refused."""
        left, failed = list[Question](), list[str]()
        for number, row in enumerate(self.rows()):
            text = row.caption
            for _ in range(steps):
                question, text = (row.id, text), rotate(text)
                if question in self.lines:
                    continue
                left.append(question)
                if number in self.refused:
                    failed.append(row.id)
                    break
        return left, failed

    def run(self, told: Told, judge: Judge | None = None, fresh: bool = False) -> Summary:
        """A run; what it was told goes to the log also if it ends with an error."""
        told.refused = [name_of(number) for number in self.refused]
        config = fake_config("http://none", self.out, fresh=fresh)
        try:
            return generate(
                self.rows(), config.llm, judge or bag_judge(), config.outputs, backend=told
            )
        finally:
            owners = {rotate(one.caption): one.id for one in self.rows()}
            owners |= {one.caption: one.id for one in self.rows()}
            given = [(owners[text], text) for text in told.given]
            self.lines = given if fresh and given else [*self.lines, *given]

    @rule()
    def resume(self) -> None:
        (left, failed), known = self.walk(), len([one for one in self.lines if one])
        told = Told()
        summary = self.run(told)
        assert sorted(told.asked) == sorted(text for _, text in left)
        rows = [row for row in self.rows() if row.id not in failed]
        assert (summary.kept, summary.failed) == (len(rows), len(failed))
        assert summary.reused_answers == known
        if rows:
            table = read_triples(self.out / "triples.parquet").to_pylist()
            assert [(row["id"], row["caption"]) for row in table] == [
                (row.id, row.caption) for row in rows
            ]
            assert all(row["paraphrase_1"] == rotate(row["caption"]) for row in table)
            assert all(row["paraphrase_2"] == rotate(row["paraphrase_1"]) for row in table)

    @rule(most=st.integers(0, 5))
    def kill(self, most: int) -> None:
        left, _ = self.walk()
        if len(left) > most:
            with pytest.raises(UserError, match="is killed"):
                self.run(Told(most=most))

    @rule()
    def judge_by_other_limits(self) -> None:
        left, failed = self.walk(steps=1)
        told = Told()
        strict = Judge(Limits(similarity=1.01, fault=1.0), BagEncoder())  # type: ignore[arg-type]
        rejected = self.run(told, strict).rejected
        assert sorted(told.asked) == sorted(text for _, text in left)
        count = len(self.edits) - len(failed)
        assert rejected == ({"step 1: drift": count} if count else {})

    @rule()
    def run_without_a_server(self) -> None:
        left, _ = self.walk()
        if left:
            with pytest.raises(UserError, match="no server answers"):
                self.run(Told(down=True))
        else:
            self.run(Told(down=True))

    @precondition(lambda self: self.lines)
    @rule()
    def run_with_other_settings(self) -> None:
        told, before = Told(), (self.out / "answers.jsonl").read_bytes()
        told.generator = "other"
        with pytest.raises(UserError, match=r"generator was 'told' and is 'other'.*--fresh"):
            self.run(told)
        assert not told.asked
        assert before.startswith((self.out / "answers.jsonl").read_bytes())

    @rule(down=st.booleans())
    def run_afresh(self, down: bool) -> None:
        told = Told(down=down)
        if down:
            with pytest.raises(UserError, match="no server answers"):
                self.run(told, fresh=True)
        else:
            self.run(told, fresh=True)
            assert len(told.asked) == 2 * len(self.edits) - len(self.refused)

    @rule(number=NUMBERS)
    def edit(self, number: int) -> None:
        # One edit after another makes a caption too long for its own paraphrase.
        self.edits[number % len(self.edits)] = min(3, self.edits[number % len(self.edits)] + 1)

    @precondition(lambda self: len(self.edits) < MOST)
    @rule()
    def add(self) -> None:
        self.edits.append(0)

    @rule(number=NUMBERS)
    def refuse_or_not(self, number: int) -> None:
        self.refused ^= {number % len(self.edits)}

    @precondition(lambda self: self.lines)
    @rule(place=st.integers(0, 99), how=st.sampled_from(["cut", "append", "insert", "exchange"]))
    def damage(self, place: int, how: str) -> None:
        path = self.out / "answers.jsonl"
        head, *lines = path.read_bytes().splitlines(keepends=True)
        lines, place = lines[: len(self.lines)], place % len(self.lines)
        # Without the end of the line: a damaged one is shorter than what a kill would leave of it.
        if how == "cut":
            lines[-1] = lines[-1].rstrip(b"\n")[: place + 1]
            self.lines.pop()
        elif how == "append":
            lines.append(lines[place].rstrip(b"\n")[: place + 9])
        else:
            end = place + (how == "exchange")
            lines[place:end], self.lines[place:end] = [b"\0\xff\n"], [None]
        path.write_bytes(b"".join([head, *lines]))


@pytest.mark.slow
def test_no_answer_is_lost_and_none_is_asked_for_again(quiet: None) -> None:
    tried = settings(max_examples=EXAMPLES // 3, stateful_step_count=15)
    run_state_machine_as_test(Resuming, settings=tried)


# --- killed from outside ---


def run(url: str, out: Path) -> None:
    """A run, killed by the test."""
    generated(captions(60), fake_config(url, out))


def started(url: str, out: Path) -> BaseProcess:
    process = SERVER.Process(target=run, args=(url, out))
    process.start()
    return process


def logged(out: Path) -> int:
    path = out / "answers.jsonl"
    return path.read_bytes().count(b"\n") - 1 if path.exists() else 0


def test_killed_twice_and_finished(quiet: None, server: FakeServer, tmp_path: Path) -> None:
    server.delay = 0.02
    in_flight = 0
    for count in (15, 50):
        process = started(server.url, tmp_path)
        while server.answered.total() < count and process.is_alive():
            time.sleep(0.005)
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        server.finish_requests()  # what was on the wire when the run was killed
        in_flight += 4  # at most `concurrency` answers may have been on the wire
        assert logged(tmp_path) >= server.answered.total() - in_flight
        assert not (tmp_path / "triples.parquet").exists()
    with (tmp_path / "answers.jsonl").open("ab") as log:
        log.write(b'{"id": "c59", "step": 1, "key": "00')  # killed while writing
    known, before = logged(tmp_path), server.asked.total()
    process = started(server.url, tmp_path)
    process.join()
    assert process.exitcode == 0
    assert server.asked.total() - before == 120 - known  # two steps of 60 captions
    asked = server.asked.total()
    again = generated(captions(60), fake_config(server.url, tmp_path))
    assert again.kept == 60 and again.reused_answers == 120 and server.asked.total() == asked
    table = read_triples(tmp_path / "triples.parquet")
    assert table["id"].to_pylist() == [caption.id for caption in captions(60)]
