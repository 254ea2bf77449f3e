"""Decides which answers are paraphrases, and gives the first reason against each other one.

Checks without a model come first (empty, refusal, copy, length, numbers, colours, negation), then
those on MiniLM's vectors (new content, lost content, drift).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from paraclip.language import words as english
from paraclip.paraphrase.config import STRONG, Limits
from paraclip.paraphrase.filters.checks import FILTERS, Question, plain_reason
from paraclip.paraphrase.filters.cleaning import clean
from paraclip.paraphrase.filters.similarity import Reading, SentenceEncoder, meaning_reason

REASONS = (*FILTERS, "relation", "new content", "lost content", "drift")


@dataclass(frozen=True)
class Verdict:
    """The filters' result for one answer.

    Args:
        text: the answer, cleaned.
        reason: None if it is a paraphrase, else one of `REASONS`.
        similarity: MiniLM cosine with the source; NaN where a check without a model failed.
        overlap: share of content words in common with the source, 0 to 1.
    """

    text: str
    reason: str | None
    similarity: float
    overlap: float


class Judge:
    """Judges answers with one set of limits.

    Args:
        limits: thresholds of the checks.
        encoder: MiniLM; loaded at the first use if not given.
        fast: load it as `SentenceEncoder(fast=True)`.

    Raises:
        UserError: the MiniLM wheel is not installed (at the first answer that needs it).
    """

    def __init__(
        self, limits: Limits = STRONG, encoder: SentenceEncoder | None = None, fast: bool = False
    ) -> None:
        self.limits, self._fast = limits, fast
        self._encoder = encoder

    @property
    def encoder(self) -> SentenceEncoder:
        """MiniLM, loaded at the first use."""
        if self._encoder is None:
            self._encoder = SentenceEncoder(fast=self._fast)
        return self._encoder

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        """One verdict for each question, in order; MiniLM encodes all texts together."""
        cleaned = [clean(question.answer) for question in questions]
        plain = [
            plain_reason(question, text, self.limits)
            for question, text in zip(questions, cleaned, strict=True)
        ]
        texts = {
            text
            for question, answer, reason in zip(questions, cleaned, plain, strict=True)
            if reason is None
            for text in (question.source, question.caption, answer)
            if text
        }
        read = dict(zip(texts, self.encoder.read(list(texts)), strict=True)) if texts else {}
        return [
            self._verdict(question, answer, reason, read)
            for question, answer, reason in zip(questions, cleaned, plain, strict=True)
        ]

    def _verdict(
        self, question: Question, answer: str, reason: str | None, read: dict[str, Reading]
    ) -> Verdict:
        shared = english.overlap(question.source, answer)
        if reason is not None:
            return Verdict(answer, reason, float("nan"), shared)
        skipped = self.limits.skipped
        source, reading = read[question.source], read[answer]
        caption = read.get(question.caption)
        similarity = float(source.vector @ reading.vector)
        reason = meaning_reason(source, reading, caption, self.limits)
        if reason is None and similarity < self.limits.similarity and "drift" not in skipped:
            reason = "drift"
        return Verdict(answer, reason, similarity, shared)
