"""Questions in files of OpenAI's batch format, for a batch API or `vllm run-batch`.

Each run over all captions is a round: the answers in the files of the last round go to the log,
step 2 follows step 1, and open questions are written for the next round.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any, BinaryIO

from paraclip.data.untrusted_json import read_json_object
from paraclip.errors import UserError, printable
from paraclip.files import check_input, disk_errors, read_errors
from paraclip.output_folder import RECORD, OutputFolder
from paraclip.paraphrase.backends import (
    Answer,
    LLMOptions,
    RefusedInBatch,
    Waiting,
    backend_class,
    messages,
)
from paraclip.paraphrase.log import AnswerLog, lines_with_offsets, object_of
from paraclip.paraphrase.prompts import Prompt

_MANIFEST, _FORMAT = "manifest.json", "paraclip-batch-1"
MOST_REQUESTS = 50_000  # per file; OpenAI's limit
MOST_BYTES = 200_000_000
_REQUESTS = re.compile(r"requests-(\d{4,})\.jsonl")
_CUSTOM_ID = re.compile(r"([0-9a-f]{16})-(\d{1,3})")  # key of the question in the log, and attempt
_LONGEST_REASON = 200  # characters
_LETTERS_PER_TOKEN = 3  # fewer than in English, so that --max-cost is not exceeded
LIMIT = "token_limit"  # its name in the requests, among the settings of a manifest
_ANSWERED = "Name the folder that --to-file wrote, with the runner's answers in it."
_NEW_FOLDER = "Give --to-file a new folder."


@dataclass(frozen=True)
class _Failure:
    """A request without an answer."""

    attempt: int  # for its question, from 1
    reason: str  # printable
    passes: bool  # whether the same request may succeed later


@dataclass
class Arrived:
    """What the files of a round contained."""

    answers: int = 0  # questions with answers
    failures: dict[str, _Failure] = field(default_factory=dict)  # by the key of their question
    unknown: int = 0  # lines that are damaged, or belong to no question of ParaCLIP


def log_answers(paths: Iterable[Path], log: AnswerLog, most: int) -> Arrived:
    """Append the answers in the files of a runner, which are untrusted and in any order, to the log
    of the run, at most `most` of a question.

    Raises UserError if a file cannot be read, or the log cannot be written.
    """
    arrived, seen = Arrived(), set[str]()
    for path in paths:
        check_input(path)
        with read_errors(path, "Check the file and its rights."):
            file = path.open("rb")
        with file:
            for _, line in lines_with_offsets(file):
                entry = object_of(line) or {}
                identifier = entry.get("custom_id")
                found = _CUSTOM_ID.fullmatch(identifier) if isinstance(identifier, str) else None
                if found is None:
                    arrived.unknown += 1
                    continue
                key, outcome = found[1], _outcome_of(entry, int(found[2]))
                if isinstance(outcome, _Failure):
                    arrived.failures[key] = outcome
                elif key not in seen:
                    seen.add(key)
                    if log.find(key) is None:
                        log.add(key, outcome[:most])
    arrived.answers = len(seen)
    return arrived


def _outcome_of(entry: dict[str, Any], attempt: int) -> list[Answer] | _Failure:
    """The answers in a line of a result file, or its failure."""
    # OpenAI reports a failed request by the status of its response, or by an error (for an expired
    # batch); `vllm run-batch` does both.
    response, error = entry.get("response"), entry.get("error")
    response = response if isinstance(response, dict) else {}
    status, body = response.get("status_code"), response.get("body")
    if not error and status == 200:
        try:
            return messages.answers_in(body)
        except ValueError as problem:
            return _Failure(attempt, f"malformed answer: {problem}", True)
    inner = body.get("error") if isinstance(body, dict) else None
    shown = _message_of(error) or _message_of(inner) or f"status {status}"
    reason = printable(" ".join(shown.split()))[:_LONGEST_REASON]
    return _Failure(attempt, reason, messages.may_pass(status) if type(status) is int else True)


def _message_of(error: object) -> str:
    """The text of an error object, or an empty string."""
    if isinstance(error, str):
        return error
    if not isinstance(error, dict):
        return ""
    inner = error.get("error")
    if isinstance(inner, dict):
        return _message_of(inner)
    parts = [error.get(name) for name in ("code", "message")]
    return ": ".join(str(part) for part in parts if isinstance(part, str | int) and part != "")


class _RequestWriter:
    """Writes requests to numbered files of a folder, which get their final names in `finish`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.written = folder, dict[str, int]()  # requests of each complete file
        self.output = OutputFolder(folder, "batch")
        self._file: BinaryIO | None = None
        self._name, self._lines, self._bytes = "", 0, 0

    def add(self, custom_id: str, endpoint: str, body: dict[str, Any]) -> None:
        """Write one request; all requests of a writer have the same endpoint."""
        line = {"custom_id": custom_id, "method": "POST", "url": endpoint, "body": body}
        content = json.dumps(line).encode() + b"\n"
        if self._lines == MOST_REQUESTS or self._bytes + len(content) > MOST_BYTES:
            self._close()
        with disk_errors(self.folder):
            if self._file is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._name = f"requests-{len(self.written) + 1:04}.jsonl"
                names = (self._name, f".{self._name}.part")
                self.output.record({self.folder / name: None for name in names})
                self._file = self._unfinished(self._name).open("wb")
            self._file.write(content)
        self._lines, self._bytes = self._lines + 1, self._bytes + len(content)

    def _unfinished(self, name: str) -> Path:
        return self.folder / f".{name}.part"

    def _close(self) -> None:
        if self._file is not None:
            with disk_errors(self.folder):
                self._file.close()
            self.written[self._name] = self._lines
            self._file, self._lines, self._bytes = None, 0, 0

    def finish(self, settings: Mapping[str, Any]) -> None:
        """Write the manifest, then rename the files: those that it lists form the whole round."""
        self._close()
        if self.written:
            manifest = {"format": _FORMAT, "files": list(self.written), "settings": settings}
            self.output.write(self.folder / _MANIFEST, json.dumps(manifest, indent=1) + "\n")
        for name in self.written:
            with disk_errors(self.folder):
                self._unfinished(name).replace(self.folder / name)

    def discard(self) -> None:
        """Delete files without their final names."""
        self._close()
        for name in self.written:
            self._unfinished(name).unlink(missing_ok=True)


class BatchBackend:
    """Writes questions to files instead of sending them, if there is a next round (`writer`).

    Failures of the last round, by the key of their question, are repeated `max_retries` times. If
    that round, in the folder `last`, used the newer name of the token limit, so does this one.
    """

    def __init__(
        self,
        options: LLMOptions,
        failures: Mapping[str, _Failure] | None = None,
        writer: _RequestWriter | None = None,
        last: Path | None = None,
    ) -> None:
        self.options, self.failures, self.writer = options, failures or {}, writer
        self.model = messages.model_of(options)
        self.generator = messages.generator_of(self.model, options)
        self.identity: dict[str, str] = {}
        self.style: str = backend_class(options.backend).style  # asks what its server is asked
        asked = _settings_of(last).get(LIMIT) if last else None
        reasons = (failure.reason for failure in self.failures.values())
        newer = any(messages.NEWER_LIMIT in text for text in (str(asked), *reasons))
        self.limit_name = messages.NEWER_LIMIT if newer else "max_tokens"

    async def start(self) -> None:
        """Nothing to prepare."""

    async def answer(self, prompt: Prompt, candidates: int) -> list[Answer]:
        """Write the question for the next round, and raise Waiting; or RefusedInBatch, if it failed
        permanently or there is no next round."""
        failure = self.failures.get(prompt.key)
        if failure is not None:
            name_was_wrong = messages.NEWER_LIMIT in failure.reason and failure.attempt == 1
            may_repeat = failure.passes and failure.attempt <= self.options.max_retries
            if self.writer is None or not (name_was_wrong or may_repeat):
                raise RefusedInBatch(failure.reason)
        if self.writer is None:
            raise RefusedInBatch("no file holds an answer")
        attempt = 1 if failure is None else failure.attempt + 1
        endpoint, body = messages.request_of(
            self.model, self.options, prompt, candidates, self.limit_name
        )
        self.writer.add(f"{prompt.key}-{attempt}", f"/v1{endpoint}", body)
        text = len(prompt.as_text()) // _LETTERS_PER_TOKEN
        most = self.options.max_tokens * candidates
        raise Waiting("waits for the answer of a batch", (text, most))

    async def close(self) -> None:
        """Nothing to close."""


def new_writer(folder: Path) -> _RequestWriter:
    """A writer to a folder that is new, empty, or contains a round that a killed run began; raises
    UserError for other files, or requests that may have been answered."""
    with disk_errors(folder):
        if folder.exists() and not folder.is_dir():
            raise UserError(folder, "is not a folder", _NEW_FOLDER)
        paths = [one for one in folder.glob("*") if one.name != RECORD]
        names = {path.name for path in paths}
        listed = _listed_files(folder) if _MANIFEST in names else set()
        if listed and listed <= names:
            hint = "Give its answers with --from-file, and --to-file a new folder."
            raise UserError(folder, "holds the questions of an earlier round", hint)
    writer = _RequestWriter(folder)
    if not all(map(writer.output.owns, paths)):
        raise UserError(folder, "holds other files", _NEW_FOLDER)
    writer.output.remove(*paths)
    return writer


def _listed_files(folder: Path) -> set[str]:
    """The names of the request files that a manifest lists; raises UserError if it is damaged."""
    files = read_json_object(folder / _MANIFEST, _NEW_FOLDER).get("files")
    if isinstance(files, list) and all(isinstance(one, str) for one in files):
        return {name for name in files if _REQUESTS.fullmatch(name)}
    raise UserError(folder / _MANIFEST, "lists no files", _NEW_FOLDER)


def answer_files(folder: Path, settings: Mapping[str, Any]) -> list[Path]:
    """Find the answer files in a folder that `--to-file` wrote; raises UserError for another
    folder, for questions that were asked with other settings, and without answers."""
    stored = _settings_of(folder)
    for name, value in json.loads(json.dumps(settings)).items():
        if stored.get(name) != value:
            what = f"asked with other settings: {name} was {stored.get(name)!r} and is {value!r}"
            raise UserError(folder / _MANIFEST, what, "Give the options of the run that wrote it.")
    paths = sorted(path for path in folder.glob("*.jsonl") if not _REQUESTS.fullmatch(path.name))
    if not paths:
        raise UserError(folder, "holds no answers (*.jsonl beside the requests)", _ANSWERED)
    return paths


def _settings_of(folder: Path) -> dict[str, Any]:
    """The settings with which a folder's questions were asked."""
    stored = read_json_object(folder / _MANIFEST, _ANSWERED).get("settings")
    return stored if isinstance(stored, dict) else {}


def next_steps(writer: _RequestWriter, model: str) -> list[str]:
    """Lines for the terminal: how many questions are open, and how to continue."""
    folder, first = writer.folder, next(iter(writer.written))
    answers = first.replace("requests", "answers")
    more = f", and the {len(writer.written) - 1:,} other files" if len(writer.written) > 1 else ""
    questions = f"{sum(writer.written.values()):,} open questions"
    return [
        f"{questions} in {folder}; answer them, for example by:",
        f"  vllm run-batch -i {quote(str(folder / first))} -o {quote(str(folder / answers))}"
        f" --model {quote(model)}{more}",
        f"then run this command with --from-file {quote(str(folder))} and a new --to-file",
    ]
