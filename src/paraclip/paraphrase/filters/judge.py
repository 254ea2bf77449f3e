"""Decides which answers are paraphrases, and gives the first reason against each of the others.

Checks without a model come first (empty, refusal, copy, length), then the similarity of MiniLM's
vectors (drift), then the checker, which reads both texts together (meaning), for answers that
passed all others.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from paraclip.compute.micro_batch import MicroBatchQueue
from paraclip.errors import UserError
from paraclip.models.sources import sentence_files
from paraclip.paraphrase import english
from paraclip.paraphrase.config import Limits
from paraclip.paraphrase.filters.checks import FILTERS, Question, most_fault, plain_reason
from paraclip.paraphrase.filters.minilm import Checker, SentenceEncoder
from paraclip.paraphrase.prompts import CONTRAST, KINDS, is_loose

# A paraphrase may begin like wrapping ("Great Danes run, ...", "Here is a train at 10:45"), so an
# opening word is removed only directly before a punctuation mark, and not before a colon in a time.
_WRAPPING = re.compile(
    r"""^\s*(?:
      (?:sure(?:\s+thing)?|certainly|of\s+course|okay|ok|absolutely|great(?:\s+question)?)
        (?:\s*,[^:\n]{0,60}:(?!\d\d)\s* | \s*[!,.:]\s+ | \s+(?=here\b[^:\n]{0,80}:))
      | (?:here\s+is|here['’]s|here\s+are)\s[^:\n]{0,80}:(?!\d\d)\s*
      | this\s+is\s[^:\n]{0,40}(?:paraphras|rephras|reword|rewrit|version|caption)[^:\n]{0,40}
        :(?!\d\d)\s*
      | \*{0,3}(?:the\s+|a\s+|my\s+)?(?:possible\s+|concise\s+|new\s+)?(?:paraphrased?|rephrased|
        reworded|rewritten|revised|caption|answer|output|sentence|version|step\s*\d)
        (?:\s+(?:caption|sentence|version|text|is))?(?:\s*\d)?\*{0,3}\s*:\s*(?:\*{1,3}\s+)?
      | [-*•]\s+ | \(?\d{1,2}[.)]\s+(?=\D) | \#{1,6}\s[^\n]*\n | `{3}\w*[ \t\r]*\n
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_QUOTES = {'"': '"', "“": "”", "'": "'", "‘": "’", "`": "`", "«": "»"}
_EMPHASIS = re.compile(r"(?:\*{1,3}|_{1,3})([^*_]+)(?:\*{1,3}|_{1,3})")
_EDGES = " \t\r\n"


def clean(answer: str) -> str:
    """The first line of the paraphrase without the quotes, numbers and "Here is" around it.

    Idempotent: cleaning a cleaned text changes nothing.
    """
    text = answer.replace("\0", " ")  # no reader of triples takes NUL
    while True:
        inner = _without_wrapping(text)
        if inner == text:
            return text
        text = inner


def _without_wrapping(text: str) -> str:
    """Remove one layer of wrapping; a text without wrapping is unchanged."""
    text = text.strip(_EDGES)
    bare = _WRAPPING.sub("", text, count=1).strip(_EDGES)
    if bare != text:
        return bare
    lines = [line for line in text.splitlines() if line.strip()]
    text = " ".join(lines[0].split()) if lines else ""
    emphasis = _EMPHASIS.fullmatch(text)
    if emphasis:
        text = emphasis[1]
    return _without_quotes(text).strip(_EDGES)


def _without_quotes(text: str) -> str:
    """The text without quotation marks around all of it; a full stop may follow them."""
    end = text[-1:] if text[-1:] in (".", "!", "?") else ""
    for last in ("", end):
        inner = text.removesuffix(last)
        whole = len(inner) >= 2 and _QUOTES.get(inner[0]) == inner[-1]
        if whole and inner[0] not in inner[1:-1]:
            return inner[1:-1] + last
    return text


_BATCH = 256  # maximum number of answers that are judged together


@dataclass(frozen=True)
class Verdict:
    """The filters' result for one answer."""

    text: str  # the answer, cleaned
    reason: str | None  # None for a paraphrase, else the check that failed, such as "copy"
    similarity: float  # MiniLM cosine with the source; NaN if a check without a model failed
    overlap: float  # share of content words in common with the source, 0 to 1


class Judge:
    """Judges answers with one set of limits; raises UserError without MiniLM's files."""

    def __init__(
        self,
        limits: Limits = Limits(),  # noqa: B008 frozen
        encoder: SentenceEncoder | None = None,
    ) -> None:
        self.limits = limits
        if encoder is not None:
            self.encoder = encoder
        else:  # reported now, not after the first answers of a server
            sentence_files()
            tuple(FILTERS.values())  # imports those of other packages

    @cached_property
    def encoder(self) -> SentenceEncoder:
        """MiniLM, loaded at the first use."""
        return SentenceEncoder()

    @cached_property
    def checker(self) -> Checker:
        """The checker, loaded at the first use."""
        return Checker()

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        """One verdict per question, in order; models get all texts together."""
        limits = [self._limits_for(one) for one in questions]
        verdicts = self._judge_apart(questions, limits)
        # The checker would refuse a wording that may leave out facts.
        passing = [
            index
            for index, (one, own) in enumerate(zip(questions, limits, strict=True))
            if verdicts[index].reason is None and not is_loose(one.kind) and own.asks_checker
        ]
        pairs = [(questions[index].source, verdicts[index].text) for index in passing]
        for index, fault in zip(passing, self.checker.faults(pairs) if pairs else (), strict=True):
            if fault > most_fault(questions[index].source, limits[index]):
                verdicts[index] = replace(verdicts[index], reason="meaning")
        return [
            _reversed(verdict) if question.kind == CONTRAST and own.asks_checker else verdict
            for question, own, verdict in zip(questions, limits, verdicts, strict=True)
        ]

    def judge_each(self, questions: Sequence[Question]) -> list[Verdict | BaseException]:
        """`judge`, with an exception as the result of each answer that raises one on its own."""
        try:
            return [*self.judge(questions)]
        except UserError:  # about a file or a package, not about an answer
            raise
        except BaseException as error:  # a panic of a Rust package is no Exception
            if len(questions) == 1:
                return [error]
        half = len(questions) // 2
        return [*self.judge_each(questions[:half]), *self.judge_each(questions[half:])]

    def queue(self) -> MicroBatchQueue[Question, Verdict]:
        """Judges in a thread: answers that arrive during a batch form the next one."""
        return MicroBatchQueue(self.judge_each, _BATCH, waiting=None)

    def _judge_apart(
        self, questions: Sequence[Question], limits: Sequence[Limits]
    ) -> list[Verdict]:
        """Verdicts by the checks without a model, then by the similarity of MiniLM's vectors."""
        cleaned = [clean(question.answer) for question in questions]
        plain = [
            plain_reason(question, text, own)
            for question, text, own in zip(questions, cleaned, limits, strict=True)
        ]
        texts = {
            text
            for question, answer, reason in zip(questions, cleaned, plain, strict=True)
            if reason is None
            for text in (question.source, answer)
        }
        vectors = dict(zip(texts, self.encoder.encode(list(texts)), strict=True)) if texts else {}
        verdicts = []
        judged = zip(questions, cleaned, plain, limits, strict=True)
        for question, answer, reason, own in judged:
            similarity = float("nan")
            if reason is None:
                similarity = float(vectors[question.source] @ vectors[answer])
                if own.filters == "default" and similarity < own.similarity:
                    reason = "drift"
            shared = english.overlap(question.source, answer)
            verdicts.append(Verdict(answer, reason, similarity, shared))
        return verdicts

    def _limits_for(self, question: Question) -> Limits:
        """The thresholds, with those of the kind of wording."""
        kind = KINDS.get(question.kind)
        return self.limits if kind is None else replace(self.limits, **kind.limits)


def _reversed(verdict: Verdict) -> Verdict:
    """The verdict on a contrast: another meaning speaks for it."""
    if verdict.reason == "meaning":
        return replace(verdict, reason=None)
    return verdict if verdict.reason else replace(verdict, reason="same meaning")
