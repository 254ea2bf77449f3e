"""Both steps for one caption: ask, judge, choose."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from traceback import walk_tb
from typing import Any

from paraclip.data.captions import Caption
from paraclip.errors import UserError, printable, without_password
from paraclip.files import text_hash
from paraclip.paraphrase import backends
from paraclip.paraphrase.cost import Meter
from paraclip.paraphrase.english import overlap
from paraclip.paraphrase.filters.checks import Question, is_unsafe
from paraclip.paraphrase.filters.judge import Verdict
from paraclip.paraphrase.log import AnswerLog
from paraclip.paraphrase.prompts import CONTRAST, Prompt, make_prompt
from paraclip.provenance import without_secrets

_SIMILARITY_MARGIN = 0.08  # cosine; within this distance of the highest, candidates count as equal
_MOST_FAILURES = 25  # failures in a row that stop the run
_MOST_REFUSED = 1000  # the same, if the server has answered others but refuses these questions
_LONGEST_PROBLEM = 300  # characters of an exception's message
_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Rejected:
    """No candidate of a step passed; `reason` is the most frequent one."""

    caption: Caption
    step: int  # 0: the caption itself was rejected, without a question; 3: a further wording
    reason: str
    verdicts: list[Verdict]
    kind: str = ""  # of the further wording
    text: str = ""  # that the step was to reword


@dataclass(frozen=True)
class Failed:
    """A question got no answer, or judging it failed; the next run repeats that."""

    caption: Caption
    step: int
    problem: str
    waits: bool = False  # the answer will arrive in a later round of batches
    kind: str = ""
    unjudged: bool = False  # there are answers, but judging them raised an exception


@dataclass(frozen=True)
class KeptTriple:
    """A triple; `row` has the columns of `data.triples.SCHEMA`."""

    row: dict[str, Any]
    missing: tuple[Rejected | Failed, ...] = ()  # further wordings that it lacks


Outcome = KeptTriple | Rejected | Failed


class Paraphraser:
    """Takes captions through both steps; `judge` is the queue of a `Judge`, or another judge."""

    def __init__(
        self,
        options: backends.LLMOptions,
        backend: backends.Backend,
        log: AnswerLog,
        judge: Callable[[Question], Awaitable[Verdict]],
        meter: Meter | None = None,
    ) -> None:
        self.options, self.backend, self.log, self.judge = options, backend, log, judge
        self.meter = meter or Meter()
        self._slots, self._starting = asyncio.Semaphore(options.concurrency), asyncio.Lock()
        self._started = False
        self._failures, self._answered = 0, len(log) > 0

    def skips(self, caption: Caption) -> bool:
        """Whether the cost limit is reached and the log has no answer for the caption."""
        if not self.meter.spent or self._fault_of(caption.caption):
            return False
        _, key = self._question(caption.id, 1, caption.caption, 0)
        return self.log.find(key) is None

    async def outcome(self, caption: Caption) -> Outcome:
        """The outcome of a caption; raises UserError if no question can succeed any more."""
        if fault := self._fault_of(caption.caption):
            return Rejected(caption, 0, fault, [])
        first = await self._step(caption, 1, caption.caption)
        if not isinstance(first, Verdict):
            return first
        second = await self._step(caption, 2, first.text)
        if not isinstance(second, Verdict):
            return second
        kinds = self.options.kinds
        asked = (self._step(caption, 3, caption.caption, kind) for kind in kinds)
        further = dict(zip(kinds, await asyncio.gather(*asked), strict=True))
        missing = tuple(one for one in further.values() if not isinstance(one, Verdict))
        for one in missing:
            if isinstance(one, Failed) and one.waits:
                return one
        texts = {kind: one.text for kind, one in further.items() if isinstance(one, Verdict)}
        contrast = texts.pop(CONTRAST, None)
        return KeptTriple(
            {
                **{name: getattr(caption, name) for name in ("id", "image_id", "caption")},
                "image": caption.image and without_password(caption.image),
                "paraphrase_1": first.text,
                "paraphrase_2": second.text,
                "similarity_1": first.similarity,
                "similarity_2": second.similarity,
                "overlap_1": first.overlap,
                "overlap_2": second.overlap,
                "generator": self.backend.generator,
                "wordings": [{"text": text, "kind": kind} for kind, text in texts.items()],
                "contrast": contrast,
            },
            missing,
        )

    def _fault_of(self, text: str) -> str:
        """Why a caption is rejected without a question, or an empty string."""
        least, most = self.options.words or (0, len(text))
        fits = least <= len(text.split()) <= most
        return "unsafe" if is_unsafe(text) else "" if fits else "number of words"

    async def _step(
        self, caption: Caption, step: int, text: str, kind: str = ""
    ) -> Verdict | Rejected | Failed:
        """The chosen candidate of one step; repeats the question while none passes, if allowed."""
        original = caption.caption if step == 2 else ""
        verdicts: list[Verdict] = []
        for ask in range(self.options.asks):
            try:
                answers = await self._answers(caption.id, kind or step, text, ask)
            except backends.AnswerError as error:
                return Failed(caption, step, str(error), isinstance(error, backends.Waiting), kind)
            questions = (Question(text, one.text, original, one.cut, kind) for one in answers)
            try:
                verdicts += await asyncio.gather(*map(self.judge, dict.fromkeys(questions)))
                if kind:
                    best = next((verdict for verdict in verdicts if verdict.reason is None), None)
                else:
                    best = _choose_candidate(verdicts, (original,) if original else ())
            except UserError:
                raise
            except Exception as error:  # else each further run would end at this caption
                return Failed(caption, step, _problem_of(error), kind=kind, unjudged=True)
            if best is not None:
                return best
        return Rejected(caption, step, _main_reason(verdicts), verdicts, kind, text)

    def _question(
        self, caption_id: str, step: int | str, text: str, ask: int
    ) -> tuple[Prompt, str]:
        """A prompt and the key of its answers in the log."""
        prompt = make_prompt(self.backend.style, step, text, self.options.prompts)
        return prompt, text_hash(f"{caption_id}\n{step}\n{ask}\n{prompt.as_text()}")

    async def _answers(
        self, caption_id: str, step: int | str, text: str, ask: int
    ) -> list[backends.Answer]:
        """Answers from the log, or else from the backend, which are then logged."""
        prompt, key = self._question(caption_id, step, text, ask)
        logged = self.log.find(key)
        if logged is not None:
            self._failures = 0  # those of a resumed run are not in a row: these lay between them
            self.meter.reuse(logged)
            return logged
        async with self._slots:
            if self.meter.spent:
                raise backends.AnswerError("the limit of --max-cost is reached")
            try:
                await self._start()
                began = time.monotonic()
                asked = replace(prompt, key=key)
                answers = await self.backend.answer(asked, self.options.candidates)
                self.meter.seconds += time.monotonic() - began
            except backends.Waiting as error:
                self.meter.reserve(error.tokens)
                raise
            except (backends.RefusedInBatch, UserError):
                raise
            except Exception as error:
                if not isinstance(error, backends.AnswerError):
                    error = backends.AnswerError(_problem_of(error))
                self._count_failure(error)
                raise error
        self._failures, self._answered = 0, True
        self.log.add(key, answers, id=caption_id, step=step, text=text_hash(text))
        self.meter.add(answers)
        return answers

    async def _start(self) -> None:
        """Start the backend at the first question: a run that the log answers needs no server."""
        async with self._starting:
            if not self._started:
                await self.backend.start()
                self._started = True

    def _count_failure(self, error: backends.AnswerError) -> None:
        """Raise UserError after too many failures in a row."""
        self._failures += 1
        others_pass = self._answered and isinstance(error, backends.Refused)
        if self._failures >= (_MOST_REFUSED if others_pass else _MOST_FAILURES):
            what = f"{self._failures} questions in a row got no answer ({error})"
            hint = "Check the server and the key; the same command resumes."
            raise UserError("generator", what, hint)


def _problem_of(error: Exception) -> str:
    """Type, message and place in the package of an unexpected exception: one line, no secrets."""
    message = " ".join(f"{type(error).__name__}: {error}".split())
    lines = ((Path(frame.f_code.co_filename), line) for frame, line in walk_tb(error.__traceback__))
    ours = [(path, line) for path, line in lines if path.is_relative_to(_PACKAGE)]
    where = [f" ({path.relative_to(_PACKAGE.parent)}, line {line})" for path, line in ours[-1:]]
    return "".join([printable(without_secrets(message))[:_LONGEST_PROBLEM], *where])


def answer_settings(options: backends.LLMOptions, backend: backends.Backend) -> dict[str, Any]:
    """The settings that determine the answers, and therefore must not change while a log grows.

    The filters' limits are not included: other limits only judge the same answers again.
    """
    asked = [make_prompt(backend.style, step, "{text}", options.prompts) for step in (1, 2)]
    return {
        "generator": backend.generator,
        "style": backend.style,
        "prompts": text_hash("".join(prompt.as_text() for prompt in asked)),
        "candidates": options.candidates,
        "max_tokens": options.max_tokens,
        **backend.identity,
    }


def _choose_candidate(
    verdicts: Sequence[Verdict], apart_from: Sequence[str] = ()
) -> Verdict | None:
    """Of the most similar candidates that passed, the one that shares the fewest content words with
    its source and the texts in `apart_from`; None if none passed."""
    passed = [verdict for verdict in verdicts if verdict.reason is None]
    if not passed:
        return None
    highest = max(verdict.similarity for verdict in passed)
    near = [verdict for verdict in passed if verdict.similarity >= highest - _SIMILARITY_MARGIN]

    def shared(verdict: Verdict) -> float:
        return verdict.overlap + sum(overlap(text, verdict.text) for text in apart_from)

    return min(near, key=lambda verdict: (shared(verdict), -verdict.similarity))


def _main_reason(verdicts: Sequence[Verdict]) -> str:
    """The most frequent reason among the candidates; the first one on a tie."""
    counted = Counter(verdict.reason for verdict in verdicts if verdict.reason)
    return counted.most_common(1)[0][0] if counted else "empty"
