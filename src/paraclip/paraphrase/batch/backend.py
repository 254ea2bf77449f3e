"""A backend that looks up answers in result files, and writes other questions to request files.

Each pass over all captions is a round: new answers are logged, step 2 follows step 1, and open
questions are written for the next round.
"""

from paraclip.paraphrase.backends import Answer, RefusedInBatch, Waiting
from paraclip.paraphrase.backends.openai_server import (
    NEWER_LIMIT,
    generator_of,
    model_of,
    request_of,
)
from paraclip.paraphrase.batch.requests import RequestWriter, custom_id
from paraclip.paraphrase.batch.results import Failure, Results
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.prompts import Prompt

LETTERS_PER_TOKEN = 3  # fewer than in English, so that --max-cost is not exceeded


class BatchBackend:
    """See the module's docstring.

    Args:
        config: model, sampling, and how often a failed question is repeated (`max_retries`).
        base_url: address of the server, used to look up prices; empty without one.

    Attributes:
        results: answers of the previous round.
        writer: writes the open questions; None if no question can be asked.
        refused: questions that failed permanently, with the reason, by key.
        retried: questions of this round that failed before.

    Raises:
        UserError: no model is named.
    """

    def __init__(self, config: GenerateConfig, base_url: str = "") -> None:
        self.config, self.base_url = config, base_url
        self.model = model_of(config)
        self.generator = generator_of(config, self.model)
        self.identity: dict[str, str] = {}
        self.refused: dict[str, str] = {}
        self._limit_name = "max_tokens"
        self.begin(Results([]), None)

    def begin(self, results: Results, writer: RequestWriter | None) -> None:
        """Begin a round with the answers of the previous one."""
        self.results, self.writer, self.retried = results, writer, 0
        if any(NEWER_LIMIT in failure.reason for failure in results.failures.values()):
            self._limit_name = NEWER_LIMIT

    def arrived(self, key: str, used: bool = True) -> list[Answer] | None:
        """The answers to a question from the previous round; `used` as in `Results.find`."""
        answers = self.results.find(key, used)
        return answers[: self.config.drawn] if isinstance(answers, list) else None

    async def start(self) -> None:
        """Nothing to prepare."""

    async def answer(self, prompt: Prompt, candidates: int) -> list[Answer]:
        """Write the question for the next round.

        Raises:
            Waiting: the question was written.
            RefusedInBatch: it failed permanently, or there is no next round.
        """
        failure = self.results.failures.get(prompt.key)
        if prompt.key in self.refused:
            raise RefusedInBatch(self.refused[prompt.key])
        attempt = 1
        if failure is not None:
            self._refuse(prompt.key, failure)
            attempt, self.retried = failure.attempt + 1, self.retried + 1
        if self.writer is None:
            raise RefusedInBatch(failure.reason if failure else "no file holds an answer")
        endpoint, body = request_of(self.config, self.model, prompt, candidates, self._limit_name)
        self.writer.add(custom_id(prompt.key, attempt), f"/v1{endpoint}", body)
        most = self.config.max_tokens * candidates
        text = len(prompt.as_text()) // LETTERS_PER_TOKEN
        raise Waiting("waits for the answer of a batch", (text, most))

    def _refuse(self, key: str, failure: Failure) -> None:
        """Raise RefusedInBatch unless the question may be repeated."""
        name_is_wrong = NEWER_LIMIT in failure.reason and failure.attempt == 1
        if name_is_wrong or (failure.passes and failure.attempt <= self.config.max_retries):
            return
        self.refused[key] = failure.reason
        raise RefusedInBatch(failure.reason)

    async def close(self) -> None:
        """Nothing to close."""
