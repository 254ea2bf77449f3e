"""Rounds without a server: open questions go to files, which any runner may answer.

Each pass over all captions is a round: new answers are logged, step 2 follows step 1, and open
questions are written for the next round. A round is an ordinary run whose backend looks up answers.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paraclip.data.untrusted_json import read_json_object
from paraclip.errors import UserError, printable
from paraclip.files import write_text
from paraclip.paraphrase.backends import Answer, LLMOptions, RefusedInBatch, Waiting
from paraclip.paraphrase.backends.messages import (
    NEWER_LIMIT,
    generator_of,
    model_of,
    request_of,
)
from paraclip.paraphrase.batch.files import (
    REQUESTS,
    UNFINISHED,
    RequestFile,
    RequestWriter,
    Results,
    custom_id,
)
from paraclip.paraphrase.outputs import Summary
from paraclip.paraphrase.prompts import Prompt
from paraclip.paraphrase.steps import answer_settings

MANIFEST = "manifest.json"
LETTERS_PER_TOKEN = 3  # fewer than in English, so that --max-cost is not exceeded


class BatchBackend:
    """Looks up answers in the files of the previous round, and writes other questions to new files.

    Args:
        options: model, sampling, and how often a failed question is repeated (`max_retries`).
        results: answers of the previous round.
        writer: writes the open questions; None if no question can be asked.

    Raises:
        UserError: no model is named.
    """

    def __init__(
        self, options: LLMOptions, results: Results, writer: RequestWriter | None = None
    ) -> None:
        self.options, self.results, self.writer = options, results, writer
        self.model = model_of(options)
        self.generator = generator_of(self.model, options)
        self.identity: dict[str, str] = {}
        self.style = options.style or "paper"
        newer = any(NEWER_LIMIT in failure.reason for failure in results.failures.values())
        self._limit_name = NEWER_LIMIT if newer else "max_tokens"

    def arrived(self, key: str, used: bool = True) -> list[Answer] | None:
        """The answers to a question from the previous round; `used` as in `Results.find`."""
        answers = self.results.find(key, used)
        return answers[: self.options.candidates] if isinstance(answers, list) else None

    async def start(self) -> None:
        """Nothing to prepare."""

    async def answer(self, prompt: Prompt, candidates: int) -> list[Answer]:
        """Write the question for the next round.

        Raises:
            Waiting: the question was written.
            RefusedInBatch: it failed permanently, or there is no next round.
        """
        failure = self.results.failures.get(prompt.key)
        if failure is not None:
            name_was_wrong = NEWER_LIMIT in failure.reason and failure.attempt == 1
            may_repeat = failure.passes and failure.attempt <= self.options.max_retries
            if self.writer is None or not (name_was_wrong or may_repeat):
                raise RefusedInBatch(failure.reason)
        if self.writer is None:
            raise RefusedInBatch("no file holds an answer")
        attempt = 1 if failure is None else failure.attempt + 1
        endpoint, body = request_of(self.model, self.options, prompt, candidates, self._limit_name)
        self.writer.add(custom_id(prompt.key, attempt), f"/v1{endpoint}", body)
        most = self.options.max_tokens * candidates
        text = len(prompt.as_text()) // LETTERS_PER_TOKEN
        raise Waiting("waits for the answer of a batch", (text, most))

    async def close(self) -> None:
        """Nothing to close."""


@dataclass(frozen=True)
class Exchange:
    """Result of a round with files.

    Args:
        source: folder of the answers, or None.
        answers: number of questions with an answer in it.
        failures: number of questions that failed in it.
        unused: number of lines without an answer to an open question.
        written: files with open questions.
        requests: number of requests in these files.
        model: model that is to answer them.
    """

    source: Path | None
    answers: int
    failures: int
    unused: int
    written: tuple[Path, ...]
    requests: int
    model: str

    def lines(self) -> list[str]:
        """Lines for the terminal, including the next commands."""
        lines = []
        if self.source is not None:
            lines.append(
                f"{self.answers:,} answers and {self.failures:,} failures in {self.source}"
            )
        if self.unused:
            lines.append(f"{self.unused:,} of its lines hold no answer to an open question")
        if self.written:
            first = self.written[0]
            answers = first.with_name(first.name.replace("requests", "answers"))
            more = f", and the {len(self.written) - 1:,} other files" if self.written[1:] else ""
            lines += [
                f"{self.requests:,} open questions in {first.parent}; answer them, for example by:",
                f"  vllm run-batch -i {first} -o {answers} --model {self.model}{more}",
                f"then run this command with --from-file {first.parent} and a new --to-file",
            ]
        return [printable(line) for line in lines]


async def generate_by_files(
    options: LLMOptions,
    from_file: Path | None,
    to_file: Path | None,
    one_pass: Callable[[BatchBackend], Awaitable[Summary]],
) -> tuple[Summary, Exchange]:
    """Read answers from one folder, and write open questions to another.

    Args:
        options: how the LLM is asked.
        from_file: folder of an earlier round with its answers, or None.
        to_file: new folder, or None.
        one_pass: takes all captions through both steps with a backend.

    Raises:
        UserError: a folder contains other files, or answers under other settings; also errors of
            `one_pass`.
    """
    settings = answer_settings(options, BatchBackend(options, Results([])))
    results = Results(answer_files(from_file, settings) if from_file else [])
    writer = None if to_file is None else new_writer(to_file)
    backend = BatchBackend(options, results, writer)
    try:
        summary = await one_pass(backend)
        written = finish(writer, to_file, settings) if writer and to_file else []
    finally:
        if writer is not None:
            writer.discard()
    exchange = Exchange(
        source=from_file,
        answers=results.answered,
        failures=len(results.failures),
        unused=results.unused + results.unknown,
        written=tuple((to_file or Path()) / file.name for file in written),
        requests=sum(file.requests for file in written),
        model=backend.model,
    )
    return summary, exchange


def finish(writer: RequestWriter, folder: Path, settings: Mapping[str, Any]) -> list[RequestFile]:
    """Write the manifest, then rename the files: those that it lists form the complete round."""
    written = writer.close()
    if not written:
        return []
    manifest = {"files": [file.name for file in written], "settings": settings}
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    return writer.finish()


def new_writer(folder: Path) -> RequestWriter:
    """A writer to a folder that is new, empty, or contains a round that a killed run began.

    Raises:
        UserError: the folder contains other files, or requests that may have been answered.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(folder, "is not a folder", "Give --to-file a new folder.")
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    listed = set(listed_files(folder)) if MANIFEST in names else set()
    if listed and listed <= names:
        hint = "Give its answers with --from-file, and --to-file a new folder."
        raise UserError(folder, "holds the questions of an earlier round", hint)
    if any(not UNFINISHED.fullmatch(name) for name in names - listed - {MANIFEST}):
        raise UserError(folder, "holds other files", "Give --to-file a new folder.")
    for name in names:
        (folder / name).unlink()
    return RequestWriter(folder)


def listed_files(folder: Path) -> list[str]:
    """The names of the request files that a manifest lists; raises UserError if it is damaged."""
    files = read_json_object(folder / MANIFEST, "Give --to-file a new folder.").get("files")
    if isinstance(files, list) and all(isinstance(one, str) for one in files):
        return [name for name in files if REQUESTS.fullmatch(name)]
    raise UserError(folder / MANIFEST, "lists no files", "Give --to-file a new folder.")


def answer_files(folder: Path, settings: Mapping[str, Any]) -> list[Path]:
    """Find the answer files in a folder that `--to-file` wrote.

    Raises:
        UserError: the folder is not one of these, its questions were asked with other settings, or
            there are no answers.
    """
    hint = "Name the folder that --to-file wrote, with the runner's answers in it."
    stored = read_json_object(folder / MANIFEST, hint).get("settings")
    stored = stored if isinstance(stored, dict) else {}
    current = json.loads(json.dumps(settings))
    for name, value in current.items():
        if stored.get(name) != value:
            what = f"asked with other settings: {name} was {stored.get(name)!r} and is {value!r}"
            raise UserError(folder / MANIFEST, what, "Give the options of the run that wrote it.")
    paths = sorted(path for path in folder.glob("*.jsonl") if not REQUESTS.fullmatch(path.name))
    if not paths:
        raise UserError(folder, "holds no answers (*.jsonl beside the requests)", hint)
    return paths
