"""Logs of several processes become one: order, repeated questions, tokens, damaged lines."""

import json
from pathlib import Path
from typing import Any

import pytest

from paraclip.errors import UserError
from paraclip.paraphrase.backends import Answer
from paraclip.paraphrase.log import AnswerLog, entry_of, tokens_in

SETTINGS: dict[str, Any] = {"model": "fake"}
ONE, TWO, THREE = (f"{number:016x}" for number in (1, 2**63, 2**64 - 1))


def logged(path: Path, answers: dict[str, Answer]) -> AnswerLog:
    """An open log that an earlier run filled."""
    log = AnswerLog(path, SETTINGS)
    for key, answer in answers.items():
        log.add(key, [answer])
    log.close()
    return AnswerLog(path, SETTINGS)


def merged(folder: Path, own: dict[str, Answer], others: dict[str, Answer]) -> AnswerLog:
    """A log that absorbed another one and was opened again."""
    log, other = logged(folder / "a.jsonl", own), logged(folder / "b.jsonl", others)
    log.absorb(other)
    log.close()
    other.close()
    return AnswerLog(folder / "a.jsonl", SETTINGS)


def test_only_unknown_questions_are_absorbed(tmp_path: Path) -> None:
    own = {ONE: Answer("Own."), TWO: Answer("Second.", cut=True)}
    log = merged(tmp_path, own, {TWO: Answer("Other."), THREE: Answer("Third «日本»")})
    found = [log.find(key) for key in (ONE, TWO, THREE)]
    assert found == [[Answer("Own.")], [Answer("Second.", cut=True)], [Answer("Third «日本»")]]
    assert len(log) == 3
    log.close()


def test_tokens_are_those_of_the_entries_that_are_kept(tmp_path: Path) -> None:
    own = {ONE: Answer("a", tokens=(10, 3))}
    others = {ONE: Answer("b", tokens=(500, 500)), TWO: Answer("c", tokens=(7, 2))}
    log, other = logged(tmp_path / "a.jsonl", own), logged(tmp_path / "b.jsonl", others)
    assert (log.tokens, other.tokens) == ([10, 3], [507, 502])
    log.absorb(other)
    assert log.tokens == [17, 5]
    log.close()
    other.close()
    again = AnswerLog(tmp_path / "a.jsonl", SETTINGS)
    assert again.tokens == [17, 5]
    again.close()


def test_damaged_lines_and_other_settings_are_not_absorbed(tmp_path: Path) -> None:
    logged(tmp_path / "b.jsonl", {ONE: Answer("One.")}).close()
    with (tmp_path / "b.jsonl").open("ab") as file:
        file.write(b"damaged\n" + json.dumps({"key": TWO, "answers": [["x"]]}).encode() + b"\n")
    log = merged(tmp_path, {}, {THREE: Answer("Three.")})
    assert [log.find(key) for key in (ONE, TWO)] == [[Answer("One.")], None]
    assert b"damaged" not in (tmp_path / "a.jsonl").read_bytes()
    log.close()
    with pytest.raises(UserError, match="model was 'fake' and is 'other'"):
        AnswerLog(tmp_path / "b.jsonl", {"model": "other"})


def test_the_first_of_two_answers_to_a_question_counts(tmp_path: Path) -> None:
    log = logged(tmp_path / "a.jsonl", {ONE: Answer("First.")})
    log.add(ONE, [Answer("Later.")])
    log.close()
    again = AnswerLog(tmp_path / "a.jsonl", SETTINGS)
    assert again.find(ONE) == [Answer("First.")] and len(again) == 2
    again.close()


@pytest.mark.parametrize(
    ("tokens", "counted"),
    [([3, 4], [3, 4]), ([0, 0], [0, 0]), (None, [0, 0]), ([1], [0, 0]), ([1, 2, 3], [0, 0]),
     ([1, -2], [0, 0]), ([True, 2], [0, 0]), ([1.0, 2], [0, 0]), ("12", [0, 0]),
     ([10**400, 2], [0, 0])],
)  # fmt: skip
def test_damaged_numbers_of_tokens_count_as_none(tokens: Any, counted: list[int]) -> None:
    assert tokens_in({"tokens": tokens}) == counted


@pytest.mark.parametrize(
    ("key", "answers"),
    [
        (ONE, [["a", 0]]), (ONE, [["a"]]), (ONE, [["a", False, 1]]), (ONE, ["a"]), (ONE, None),
        (ONE, {}), (ONE[1:], []), (ONE + "0", []), ("G" * 16, []), (5, []), (None, []),
        (f"{ONE}\n", []),
    ],
)  # fmt: skip
def test_an_entry_without_a_key_or_pairs_is_none(key: Any, answers: Any) -> None:
    assert entry_of(json.dumps({"key": ONE, "answers": []}).encode()) is not None
    assert entry_of(json.dumps({"key": key, "answers": answers}).encode()) is None


@pytest.mark.parametrize("line", [b"", b"\xff", b"[" * 100_000, b"null", b"[]", b'"key"'])
def test_a_line_that_is_not_an_object_is_no_entry(line: bytes) -> None:
    assert entry_of(line) is None
