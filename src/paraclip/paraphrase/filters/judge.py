"""Decides which answers are paraphrases, and gives the first reason against each of the others.

Checks without a model come first (empty, refusal, copy, length, numbers, colours, negation), then
those on MiniLM's vectors (new content, lost content, drift), then models that read both texts
together (`together.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from paraclip.paraphrase.config import STRONG, Limits
from paraclip.paraphrase.filters.checks import FILTERS, Question, plain_reason
from paraclip.paraphrase.filters.cleaning import clean
from paraclip.paraphrase.filters.similarity import Reading, SentenceEncoder, meaning_reason
from paraclip.paraphrase.filters.together import PairCheck, pair_checks
from paraclip.paraphrase.language import words as english

REASONS = (
    *FILTERS, "relation", "new content", "lost content", "drift", "meaning", "entailment",
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """The filters' result for one answer.

    Args:
        text: the answer, cleaned.
        reason: None for a paraphrase, else one of `REASONS`.
        similarity: MiniLM cosine with the source; NaN if a check without a model failed.
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
        encoder: MiniLM; by default loaded at the first use.
        fast: whether to load it as `SentenceEncoder(fast=True)`.

    Raises:
        UserError: the MiniLM wheel or, at the first answer that needs it, a model of `together.py`
            is not installed.
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

    @cached_property
    def pair_checks(self) -> dict[str, PairCheck]:
        """Models that read both texts together, loaded at the first use."""
        return pair_checks(self.limits)

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        """One verdict per question, in order; models get all texts together."""
        verdicts = self._by_vectors(questions)
        passing = [index for index, verdict in enumerate(verdicts) if verdict.reason is None]
        for reason, fails in (self.pair_checks if passing else {}).items():
            pairs = [(questions[index].source, verdicts[index].text) for index in passing]
            failed = fails(pairs) if pairs else []
            for index, one in zip(passing, failed, strict=True):
                if one:
                    verdicts[index] = replace(verdicts[index], reason=reason)
            passing = [index for index in passing if verdicts[index].reason is None]
        return verdicts

    def _by_vectors(self, questions: Sequence[Question]) -> list[Verdict]:
        """Verdicts by the checks without a model, then by those on MiniLM's vectors."""
        cleaned = [clean(question.answer) for question in questions]
        plain = [
            plain_reason(question, text, self.limits)
            for question, text in zip(questions, cleaned, strict=True)
        ]
        texts = {
            text
            for question, answer, reason in zip(questions, cleaned, plain, strict=True)
            if reason is None
            for text in (question.source, question.caption or question.source, answer)
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
        caption = read[question.caption] if question.caption else None
        similarity = float(source.vector @ reading.vector)
        reason = meaning_reason(source, reading, caption, self.limits)
        if reason is None and similarity < self.limits.similarity and "drift" not in skipped:
            reason = "drift"
        return Verdict(answer, reason, similarity, shared)
