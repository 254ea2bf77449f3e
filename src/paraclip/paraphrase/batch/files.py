"""Rounds without a server: questions in files for a runner such as `vllm run-batch`."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paraclip.data.untrusted_json import read_json_object
from paraclip.errors import UserError, printable
from paraclip.files import write_text
from paraclip.paraphrase.backends import Backend
from paraclip.paraphrase.batch.backend import BatchBackend
from paraclip.paraphrase.batch.requests import (
    REQUESTS,
    UNFINISHED,
    RequestFile,
    RequestWriter,
)
from paraclip.paraphrase.batch.results import Results
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.outputs import Summary
from paraclip.paraphrase.settings import answer_settings

MANIFEST = "manifest.json"
Pass = Callable[[Backend, bool], Awaitable[Summary]]
"""Takes all captions through both steps with a backend; the flag deletes earlier answers."""


@dataclass(frozen=True)
class Exchange:
    """Result of a round with files.

    Args:
        answers: number of questions with an answer in the files.
        failures: number of questions that failed in the files.
        unused: number of lines without an answer to an open question.
        written: files with open questions.
        requests: number of requests in these files.
        model: model that is to answer them.
    """

    answers: int
    failures: int
    unused: int
    written: tuple[Path, ...]
    requests: int
    model: str

    def lines(self, config: GenerateConfig) -> list[str]:
        """Lines for the terminal, including the next commands."""
        lines = []
        if config.from_file is not None:
            lines.append(
                f"{self.answers:,} answers and {self.failures:,} failures in {config.from_file}"
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


async def generate_by_files(config: GenerateConfig, one_pass: Pass) -> tuple[Summary, Exchange]:
    """Read answers from `config.from_file`, write open questions to `config.to_file`.

    Raises:
        UserError: a folder contains other files, or answers under other settings; also errors of
            `one_pass`.
    """
    backend = BatchBackend(config)
    settings = answer_settings(config, backend)
    paths = answer_files(config.from_file, settings) if config.from_file else []
    results = Results(paths)
    writer = None if config.to_file is None else new_writer(config.to_file, config.batch_requests)
    backend.begin(results, writer)
    try:
        summary = await one_pass(backend, config.fresh)
        folder = config.to_file or Path()
        written = [] if writer is None else finish(writer, folder, settings)
    finally:
        if writer is not None:
            writer.discard()
    exchange = Exchange(
        answers=results.answered,
        failures=len(results.failures),
        unused=results.unused + results.unknown,
        written=tuple(folder / file.name for file in written),
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


def new_writer(folder: Path, most: int) -> RequestWriter:
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
    return RequestWriter(folder, most)


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
