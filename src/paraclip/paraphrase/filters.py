"""Decides which answers are paraphrases, and gives the first reason against each other one.

Checks without a model come first (empty, refusal, copy, length, numbers, colours, negation), then
those on MiniLM's vectors (new content, lost content, drift).
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from paraclip.language import lexicon
from paraclip.language import words as english
from paraclip.language.relations import doubtful_reason
from paraclip.language.roles import roles_changed
from paraclip.paraphrase.config import STRONG, Limits
from paraclip.paraphrase.similarity import Reading, SentenceEncoder, meaning_reason

EMPTY_ANSWERS = frozenset({"none", "null", "nan", "n/a", "na", "undefined", "nil", "no answer"})
REFUSAL = re.compile(
    r"\b(?:as an? (?:ai|artificial|language model)|i(?:'m| am) (?:sorry|unable|not able|afraid)|"
    r"(?:sorry|apologies|unfortunately),? (?:but )?i\b|i (?:cannot|can't|can not|won't|will not|"
    r"do not have|don't have|must decline)|i apologi[sz]e)",
    re.IGNORECASE,
)
CHATTER = re.compile(
    r"\b(?:paraphras\w*|rephras\w*|reword\w*|captions?|sentences?|original text|synonyms?|"
    r"here(?:'s| is| are)|let me know|i hope|please note|note:|means that|in other words|"
    r"in plain words|the user|you (?:can|could|asked|provided))\b|:\s*$|</?\w+>|\{\w+\}",
    re.IGNORECASE,
)
WRAPPING = re.compile(
    r"""^\s*(?:
      (?:sure|certainly|of\s+course|okay|ok|absolutely|great)\b[^:\n]{0,40}[!,.:]\s+
      | (?:here\s+is|here's|here\s+are|this\s+is)\s[^:\n]{0,80}:\s*
      | (?:the\s+|a\s+|my\s+)?(?:possible\s+|concise\s+|new\s+)?(?:paraphrased?|rephrased|reworded|
        rewritten|revised|caption|answer|output|sentence|version|step\s*\d)
        (?:\s+(?:caption|sentence|version|text|is))?(?:\s*\d)?\s*:\s*
      | [-*•]\s+ | \(?\d{1,2}[.)]\s+(?=\D)
    )""",
    re.IGNORECASE | re.VERBOSE,
)
QUOTES = {'"': '"', "“": "”", "'": "'", "‘": "’", "`": "`", "«": "»"}
EMPHASIS = re.compile(r"(?:\*{1,3}|_{1,3})([^*_]+)(?:\*{1,3}|_{1,3})")
EDGES = " \t\r\n"


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


@dataclass(frozen=True)
class Question:
    """An answer with the texts it is compared to.

    Args:
        source: the text to paraphrase.
        answer: the generator's answer, as it came.
        caption: in step 2 the caption itself; its words are no new content either.
        cut: the generator stopped at its token limit, so the answer is incomplete.
    """

    source: str
    answer: str
    caption: str = ""
    cut: bool = False


class Judge:
    """Judges answers with one set of limits.

    Args:
        limits: thresholds of the checks.
        encoder: MiniLM; loaded at the first use if not given.

    Raises:
        UserError: the MiniLM wheel is not installed (at the first answer that needs it).
    """

    def __init__(self, limits: Limits = STRONG, encoder: SentenceEncoder | None = None) -> None:
        self.limits = limits
        self._encoder = encoder

    @property
    def encoder(self) -> SentenceEncoder:
        """MiniLM, loaded at the first use."""
        if self._encoder is None:
            self._encoder = SentenceEncoder()
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
        source, reading = read[question.source], read[answer]
        caption = read.get(question.caption)
        similarity = float(source.vector @ reading.vector)
        reason = meaning_reason(source, reading, caption, self.limits)
        if reason is None and similarity < self.limits.similarity:
            reason = "drift"
        return Verdict(answer, reason, similarity, shared)


def clean(answer: str) -> str:
    """The first line of the paraphrase without wrapping, with single spaces.

    Idempotent: cleaning a cleaned text changes nothing.
    """
    text = answer
    while True:
        inner = _without_wrapping(text)
        if inner == text:
            return text
        text = inner


def _without_wrapping(text: str) -> str:
    """Remove one layer of wrapping; a text without any stays the same."""
    text = text.strip(EDGES)
    bare = WRAPPING.sub("", text, count=1).strip(EDGES)
    if bare != text:
        return bare
    lines = [line for line in text.splitlines() if line.strip(EDGES)]
    text = " ".join(lines[0].split()) if lines else ""
    emphasis = EMPHASIS.fullmatch(text)
    if emphasis:
        text = emphasis[1]
    if len(text) >= 2 and QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1]:
        text = text[1:-1]
    return text.strip(EDGES)


@dataclass(frozen=True)
class Candidate:
    """A cleaned answer beside its source, as the checks without a model see them.

    Args:
        question: the answer as it came, with its source and caption.
        answer: the cleaned answer.
        limits: thresholds of the checks.
    """

    question: Question
    answer: str
    limits: Limits

    @cached_property
    def answer_words(self) -> list[str]:
        """Words of the answer."""
        return english.words(self.answer)

    @cached_property
    def source_words(self) -> list[str]:
        """Words of the source."""
        return english.words(self.question.source)


Filter = Callable[[Candidate], bool]
"""Whether an answer fails a check."""


def plain_reason(question: Question, answer: str, limits: Limits) -> str | None:
    """The reason of the first check without a model that the answer fails, or None."""
    candidate = Candidate(question, answer, limits)
    reason = next((reason for reason, fails in FILTERS.items() if fails(candidate)), None)
    if reason is None and limits.doubtful:
        reason = doubtful_reason(question.source, answer, question.caption)
    return reason


def is_empty(candidate: Candidate) -> bool:
    """Whether the answer has no words, or only one such as "None"."""
    return not candidate.answer_words or candidate.answer.lower().strip(" .") in EMPTY_ANSWERS


def is_refusal(candidate: Candidate) -> bool:
    """Whether the generator refused, where the source is no refusal itself."""
    return bool(REFUSAL.search(candidate.answer)) and not REFUSAL.search(candidate.question.source)


def is_chatter(candidate: Candidate) -> bool:
    """Whether the answer talks about the task, where the source does not."""
    return bool(CHATTER.search(candidate.answer)) and not CHATTER.search(candidate.question.source)


def is_copy(candidate: Candidate) -> bool:
    """Whether the answer has the words of the source or of the caption."""
    known = (candidate.question.source, candidate.question.caption)
    return any(same_words(candidate.answer_words, english.words(text)) for text in known)


def is_too_long(candidate: Candidate) -> bool:
    """Whether the answer was cut off or exceeds the limit of words."""
    return candidate.question.cut or len(candidate.answer_words) > candidate.limits.words


def has_grown(candidate: Candidate) -> bool:
    """Whether the answer is too many times as long as its source."""
    length = len(candidate.source_words)
    return len(candidate.answer_words) > max(candidate.limits.growth * length, length + 4)


def same_words(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether the texts are equal but for articles and a leading "There is"."""
    return _without_articles(one) == _without_articles(other)


def _without_articles(tokens: Sequence[str]) -> list[str]:
    """Words without articles and a leading "There is", which make no paraphrase."""
    begin = 2 if tuple(tokens[:2]) in (("there", "is"), ("there", "are")) else 0
    return [word for word in tokens[begin:] if word not in ("a", "an", "the")]


def repeats(answer_words: Sequence[str], source_words: Sequence[str]) -> bool:
    """Whether the answer repeats itself: a doubled word, a word three times, a phrase twice."""
    before = Counter(source_words)
    after = Counter(word for word in answer_words if english.is_content(word))
    if any(count > max(2, before[word] + 1) for word, count in after.items()):
        return True
    known = set(pairwise(source_words))
    if any(pair[0] == pair[1] and pair not in known for pair in pairwise(answer_words)):
        return True
    phrases = Counter(zip(*(answer_words[start:] for start in range(4)), strict=False))
    return any(count > 1 for count in phrases.values())


def same_numbers(source: str, answer: str) -> bool:
    """Whether each text allows every number that the other states."""
    pairs = ((source, answer), (answer, source))
    return all(english.numbers(one) <= english.allowed_numbers(other) for one, other in pairs)


def same_colours(source_words: Sequence[str], answer_words: Sequence[str]) -> bool:
    """Whether each text allows every colour that the other names."""
    pairs = ((source_words, answer_words), (answer_words, source_words))
    return all(english.colours(one) <= english.allowed_colours(other) for one, other in pairs)


def same_negation(source_words: Sequence[str], answer_words: Sequence[str]) -> bool:
    """Whether both texts negate or neither does; "bare" may replace "without"."""
    return (not english.is_negated(source_words) or english.allows_negation(answer_words)) and (
        not english.is_negated(answer_words) or english.allows_negation(source_words)
    )


def same_gender(source_words: Sequence[str], answer_words: Sequence[str]) -> bool:
    """Whether the answer adds no gender and does not drop one of two."""
    before, after = _genders(source_words), _genders(answer_words)
    if not after <= before | _pronoun_genders(source_words):
        return False
    return len(before) < 2 or len(after) != 1


def _genders(tokens: Sequence[str]) -> set[str]:
    """Genders that the words state; "man-made" states none, nor does "a fellow dog"."""
    stated = (
        word
        for word, after in pairwise([*tokens, ""])
        if word not in lexicon.EITHER_GENDER and (word, after) != ("man", "made")
    )
    return english.with_parents(stated) & {"male", "female"}


def _pronoun_genders(tokens: Sequence[str]) -> set[str]:
    male = {"male"} if {"he", "him", "his"} & set(tokens) else set()
    return male | ({"female"} if {"she", "her", "hers"} & set(tokens) else set())


# Reason and check, in order of application.
FILTERS: dict[str, Filter] = {
    "empty": is_empty,
    "refusal": is_refusal,
    "chatter": is_chatter,
    "copy": is_copy,
    "repetition": lambda candidate: repeats(candidate.answer_words, candidate.source_words),
    "too long": is_too_long,
    "growth": has_grown,
    "number": lambda candidate: not same_numbers(candidate.question.source, candidate.answer),
    "colour": lambda candidate: not same_colours(candidate.source_words, candidate.answer_words),
    "negation": lambda candidate: not same_negation(candidate.source_words, candidate.answer_words),
    "gender": lambda candidate: not same_gender(candidate.source_words, candidate.answer_words),
    "roles": lambda candidate: roles_changed(candidate.source_words, candidate.answer_words),
}
REASONS = (*FILTERS, "relation", "new content", "lost content", "drift")
