"""The log of answers: no answer is lost, requested twice or mixed up; logs become one."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from paraclip.errors import UserError
from paraclip.paraphrase.backends import Answer, tokens_in
from paraclip.paraphrase.log import AnswerLog, EarlierAnswers, lines_with_offsets

SETTINGS: dict[str, Any] = {"model": "fake", "temperature": 1.0}
KEY_JSON = b'"00ffee0011223344"'
KEY, OTHER = "00ffee0011223344", "f0ffee0011223344"


def opened(folder: Path, **changed: Any) -> AnswerLog:
    return AnswerLog(folder / "answers.jsonl", SETTINGS | changed)


def with_one_answer(folder: Path) -> Path:
    log = opened(folder)
    log.add(KEY, [Answer("A pup.", tokens=(5, 2)), Answer("Hound", cut=True)])
    log.close()
    return folder / "answers.jsonl"


def test_half_written_settings_are_written_anew(tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_bytes(b'{"paraclip": 1, "sett')
    with_one_answer(tmp_path)
    log = opened(tmp_path)
    assert log.find(KEY) is not None and len(log) == 1
    log.close()


@pytest.mark.parametrize("damaged", [
    b"\x00\xff\n", b"{}\n", b"[1]\n", b'{"key": "zz"}\n', b"[" * 100_000 + b"\n",
    *(b'{"key": %s, "answers": %s}\n' % (key, answers) for key, answers in [
        (b"7", b"[]"), (b'"-1"', b"[]"), (b'"%s"' % (b"f" * 17), b"[]"), (KEY_JSON, b"7"),
        (KEY_JSON, b"[7]"), (KEY_JSON, b'[["a"]]'), (KEY_JSON, b"[[7, true]]"),
        (KEY_JSON, b'[["a", 1]]'), (KEY_JSON, b'{"a": 1}'), (KEY_JSON, b'[["\\ud800", true]]'),
    ]),
])  # fmt: skip
def test_a_damaged_line_is_repeated(tmp_path: Path, damaged: bytes) -> None:
    path = with_one_answer(tmp_path)
    head, line = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(head + damaged + line)
    log = opened(tmp_path)
    assert len(log) == 1 and log.find(KEY) is not None
    log.close()


def test_lines_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paraclip.paraphrase.log.LONGEST_LINE", 10)
    path = tmp_path / "x"
    path.write_bytes(b"short\n" + b"x" * 95 + b"\nlast")
    with path.open("rb") as file:
        assert list(lines_with_offsets(file)) == [(0, b"short\n"), (6, b""), (102, b"last")]


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        *((text, "not a log") for text in ("id,caption\n", "notes without a line end", "{}\n[]\n",
                                           "id,caption\nhalf a", "\n")),
        ('{"paraclip": 2, "settings": {}}\n{}\nunfinished', "format of another version"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_a_log_is_refused_and_stays(
    tmp_path: Path, content: str, what: str, fresh: bool
) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=what):
        AnswerLog(path, SETTINGS, fresh)
    assert path.read_text() == content


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "answers.jsonl")
    with pytest.raises(UserError, match="is a pipe"):
        AnswerLog(tmp_path / "answers.jsonl", SETTINGS)


@pytest.mark.parametrize("settings", ["7", "[]", "null", "[" * 100_000])
def test_damaged_settings_are_one_line(tmp_path: Path, settings: str) -> None:
    path = with_one_answer(tmp_path)
    line = path.read_text().splitlines()[1]
    path.write_text(f'{{"paraclip": 1, "settings": {settings}}}\n{line}\n')
    with pytest.raises(UserError, match="settings are damaged"):
        opened(tmp_path)


def test_two_runs_may_not_write_one_log(tmp_path: Path) -> None:
    log = opened(tmp_path)
    with pytest.raises(UserError, match="another run"):
        opened(tmp_path)
    log.close()
    opened(tmp_path).close()


def test_settings_without_answers_are_not_binding(tmp_path: Path) -> None:
    opened(tmp_path).close()
    log = opened(tmp_path, temperature=0.5)
    log.add(KEY, [Answer("A pup.")])
    log.close()
    with pytest.raises(UserError, match=r"temperature was 0\.5 and is 1\.0"):
        opened(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
def test_a_full_disk_is_one_line_also_when_the_log_is_closed(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.begin()
    log._file.close()
    log._file = open("/dev/full", "wb")  # noqa: SIM115 the log closes it
    with pytest.raises(UserError, match=r"answers\.jsonl: the disk is full"):
        log.add(KEY, [Answer("A pup.")])
    log.close()


def test_earlier_answers_are_found_and_not_counted(tmp_path: Path) -> None:
    path = with_one_answer(tmp_path)
    with path.open("ab") as file:
        file.write(b"damaged\n" + json.dumps({"key": OTHER, "answers": [["x"]]}).encode() + b"\n")
    earlier = EarlierAnswers(path, SETTINGS)
    log = AnswerLog(tmp_path / "b.jsonl", SETTINGS, earlier=earlier)
    assert log.find(KEY) == [Answer("A pup."), Answer("Hound", cut=True)]
    assert log.find(OTHER) is None and len(log) == 0 and earlier.tokens == [5, 2]
    log.close()
    earlier.close()


def test_the_first_of_two_answers_to_a_question_counts(tmp_path: Path) -> None:
    with_one_answer(tmp_path)
    log = opened(tmp_path)
    log.add(KEY, [Answer("Later.")])
    log.close()
    again = opened(tmp_path)
    assert again.find(KEY) == [Answer("A pup."), Answer("Hound", cut=True)] and len(again) == 2
    again.close()


@pytest.mark.parametrize(
    ("tokens", "counted"),
    [([3, 4], [3, 4]), ([0, 0], [0, 0]), (None, [0, 0]), ([1], [0, 0]), ([1, 2, 3], [0, 0]),
     ([1, -2], [0, 0]), ([True, 2], [0, 0]), ([1.0, 2], [0, 0]), ("12", [0, 0]),
     ([10**400, 2], [0, 0])],
)  # fmt: skip
def test_damaged_numbers_of_tokens_count_as_none(tokens: Any, counted: list[int]) -> None:
    assert tokens_in({"tokens": tokens}) == counted
