"""Files of answers in OpenAI's batch format, in any order, from untrusted servers."""

from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paraclip.data.untrusted_json import BadJson, parse_json_object
from paraclip.errors import UserError, printable
from paraclip.files import check_input
from paraclip.paraphrase.backends import Answer
from paraclip.paraphrase.backends.openai_server import answers_of, status_may_pass, tokens_used
from paraclip.paraphrase.batch.requests import parts_of
from paraclip.paraphrase.log import LONGEST_LINE, bounded_lines, lookup, sorted_pair

LONGEST_REASON = 200  # characters
OFFSET_BITS = 44  # in a location: file number in the upper bits, line offset in the lower ones


@dataclass(frozen=True)
class Failure:
    """A request without an answer.

    Args:
        attempt: number of the attempt for its question, from 1.
        reason: printable reason.
        passes: whether the same request may succeed later.
    """

    attempt: int
    reason: str
    passes: bool


class Results:
    """Answers by question; each uses 16 bytes of memory, and failures are held completely.

    Args:
        paths: result and error files.
        hide: removes secrets from a text.

    Attributes:
        answered: number of answers.
        unknown: number of lines that belong to no question of ParaCLIP, or are damaged.
        failures: failures by key.
        tokens: numbers of prompt and answer tokens, if the server reports them.

    Raises:
        UserError: a file cannot be read.
    """

    def __init__(self, paths: Iterable[Path], hide: Callable[[str], str] = str) -> None:
        self._paths, self._hide = list(paths), hide
        self.unknown, self.failures, self.tokens = 0, dict[str, Failure](), (0, 0)
        keys, places = array("Q"), array("Q")
        for number, path in enumerate(self._paths):
            check_input(path)
            try:
                with path.open("rb") as file:
                    for offset, line in bounded_lines(file):
                        if (key := self._read(line)) is not None:
                            keys.append(int(key, 16))
                            places.append(number << OFFSET_BITS | offset)
            except OSError as error:
                hint = "Check the file and its rights."
                raise UserError(path, f"cannot be read ({error.strerror})", hint) from error
        self._keys, self._places = sorted_pair(keys, places)
        self._first = np.unique(self._keys, return_index=True)[1]  # the first of equal keys
        self._used = np.zeros(len(self._keys), bool)

    def _read(self, line: bytes) -> str | None:
        """Return the key of a line with answers; count failures and unknown lines."""
        entry = entry_of(line)
        identity = parts_of(entry.get("custom_id"))
        if identity is None:
            self.unknown += 1
            return None
        outcome = outcome_of(entry, identity[1], self._hide)
        if isinstance(outcome, Failure):
            self.failures[identity[0]] = outcome
            return None
        self.tokens = (self.tokens[0] + outcome[0].tokens[0], self.tokens[1] + outcome[0].tokens[1])
        return identity[0]

    @property
    def answered(self) -> int:
        """Number of questions with answers."""
        return len(self._first)

    @property
    def unused(self) -> int:
        """Number of answers to no known question."""
        return int(np.count_nonzero(~self._used[self._first]))

    def find(self, key: str, used: bool = True) -> list[Answer] | Failure | None:
        """The answers to a question, its failure, or None if nothing is known.

        Args:
            key: key of the question.
            used: whether the answers are used; a log that has them already needs only their tokens.
        """
        place = lookup(self._keys, self._places, int(key, 16))
        if place is None:
            return self.failures.get(key)
        self._used[np.searchsorted(self._keys, np.uint64(int(key, 16)))] |= used
        path = self._paths[place >> OFFSET_BITS]
        with path.open("rb") as file:
            file.seek(place & ((1 << OFFSET_BITS) - 1))
            entry = entry_of(file.readline(LONGEST_LINE))
        return outcome_of(entry, 1, self._hide)


def entry_of(line: bytes) -> dict[str, Any]:
    """The object in a line, or an empty dict if it is damaged."""
    try:
        return parse_json_object(line)
    except BadJson:
        return {}


def outcome_of(
    entry: dict[str, Any], attempt: int, hide: Callable[[str], str]
) -> list[Answer] | Failure:
    """The answers in a line of a result file, or its failure.

    OpenAI reports a failed request by the status of its response, or by an error (for an expired
    batch); `vllm run-batch` does both.
    """
    response, error = entry.get("response"), entry.get("error")
    response = response if isinstance(response, dict) else {}
    status, body = response.get("status_code"), response.get("body")
    if error is None and status == 200:
        try:
            answers = answers_of(body, hide)
        except ValueError as problem:
            return Failure(attempt, f"malformed answer: {problem}", True)
        return [Answer(answers[0].text, answers[0].cut, tokens_used(body)), *answers[1:]]
    inner = body.get("error") if isinstance(body, dict) else None
    shown = message_of(error) or message_of(inner) or f"status {status}"
    reason = printable(" ".join(hide(shown).split()))[:LONGEST_REASON]
    passes = status_may_pass(status) if type(status) is int else True
    return Failure(attempt, reason, passes)


def message_of(error: object) -> str:
    """The text of an error object, or an empty string."""
    if isinstance(error, str):
        return error
    if not isinstance(error, dict):
        return ""
    inner = error.get("error")
    if isinstance(inner, dict):
        return message_of(inner)
    parts = [error.get(name) for name in ("code", "message")]
    return ": ".join(str(part) for part in parts if isinstance(part, str | int) and part != "")
