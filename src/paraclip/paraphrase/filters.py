"""Decides which answers are paraphrases, and gives the first reason against each other one.

Checks without a model come first (empty, refusal, copy, length, numbers, colours, negation), then
those on MiniLM's vectors (new content, lost content, drift).
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from paraclip.language import lexicon
from paraclip.language import words as english
from paraclip.language.relations import doubtful_reason
from paraclip.language.roles import roles_changed
from paraclip.paraphrase.cleaning import clean
from paraclip.paraphrase.config import STRONG, Limits
from paraclip.paraphrase.similarity import Reading, SentenceEncoder

REASONS = (
    "empty", "refusal", "chatter", "copy", "repetition", "too long", "growth", "number", "colour",
    "negation", "gender", "roles", "relation", "new content", "lost content", "drift",
)  # fmt: skip

EMPTY_ANSWERS = frozenset({"none", "null", "nan", "n/a", "na", "undefined", "nil", "no answer"})
CLOSE = 0.4  # word overlap from which an answer counts as the same sentence with words replaced
CARRIED = 0.65  # cosine at which a word of the source counts as kept
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
        source, said = read[question.source], read[answer]
        caption = read.get(question.caption)
        similarity = float(source.vector @ said.vector)
        reason = meaning_reason(source, said, caption, self.limits)
        if reason is None and similarity < self.limits.similarity:
            reason = "drift"
        return Verdict(answer, reason, similarity, shared)


def plain_reason(question: Question, answer: str, limits: Limits) -> str | None:
    """The reason of the first check without a model that the answer fails, or None."""
    source = question.source
    said, asked = english.words(answer), english.words(source)
    checks = (
        ("empty", not said or answer.lower().strip(" .") in EMPTY_ANSWERS),
        ("refusal", bool(REFUSAL.search(answer)) and not REFUSAL.search(source)),
        ("chatter", bool(CHATTER.search(answer)) and not CHATTER.search(source)),
        (
            "copy",
            _without_articles(said) == _without_articles(asked)
            or _without_articles(said) == _without_articles(english.words(question.caption)),
        ),
        ("repetition", repeats(said, asked)),
        ("too long", question.cut or len(said) > limits.words),
        ("growth", len(said) > max(limits.growth * len(asked), len(asked) + 4)),
        ("number", not same_numbers(source, answer)),
        ("colour", not same_colours(asked, said)),
        ("negation", not same_negation(asked, said)),
        ("gender", not same_gender(asked, said)),
        ("roles", roles_changed(asked, said)),
    )
    reason = next((reason for reason, failed in checks if failed), None)
    if reason is None and limits.doubtful:
        reason = doubtful_reason(source, answer, question.caption)
    return reason


def _without_articles(tokens: Sequence[str]) -> list[str]:
    """Words without articles and a leading "There is", which make no paraphrase."""
    begin = 2 if tuple(tokens[:2]) in (("there", "is"), ("there", "are")) else 0
    return [word for word in tokens[begin:] if word not in ("a", "an", "the")]


def repeats(said: Sequence[str], asked: Sequence[str]) -> bool:
    """Whether the answer repeats itself: a doubled word, a word three times, a phrase twice."""
    asked_counts, said_counts = Counter(asked), Counter(w for w in said if english.is_content(w))
    if any(count > max(2, asked_counts[word] + 1) for word, count in said_counts.items()):
        return True
    known = set(pairwise(asked))
    if any(pair[0] == pair[1] and pair not in known for pair in pairwise(said)):
        return True
    phrases = Counter(zip(said, said[1:], said[2:], said[3:], strict=False))
    return any(count > 1 for count in phrases.values())


def same_numbers(source: str, answer: str) -> bool:
    """Whether each text allows every number that the other states."""
    return english.numbers(source) <= english.allowed_numbers(answer) and english.numbers(
        answer
    ) <= english.allowed_numbers(source)


def same_colours(asked: Sequence[str], said: Sequence[str]) -> bool:
    """Whether each text allows every colour that the other names."""
    return english.colours(asked) <= english.allowed_colours(said) and english.colours(
        said
    ) <= english.allowed_colours(asked)


def same_negation(asked: Sequence[str], said: Sequence[str]) -> bool:
    """Whether both texts negate or neither does; "bare" may replace "without"."""
    return (not english.is_negated(asked) or english.allows_negation(said)) and (
        not english.is_negated(said) or english.allows_negation(asked)
    )


def same_gender(asked: Sequence[str], said: Sequence[str]) -> bool:
    """Whether the answer adds no gender and does not drop one of two."""
    before, after = _genders(asked), _genders(said)
    if not after <= before | _pronoun_genders(asked):
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


def meaning_reason(
    source: Reading, said: Reading, caption: Reading | None, limits: Limits
) -> str | None:
    """New or lost content, by concepts and word vectors, or None."""
    known = [source] if caption is None else [source, caption]
    backed, carried = support(known, said), support([said], source)
    close = english.overlap(" ".join(source.words), " ".join(said.words)) >= CLOSE
    if (limits.changed_kind or close) and changed_kind(known, said):
        return "new content"
    if min(backed.values(), default=1.0) < limits.support:
        return "new content"
    if close and exchanged(backed, carried, limits.exchange):
        return "new content"
    level = min(limits.support, CARRIED)
    if carried and np.mean([score >= level for score in carried.values()]) < limits.kept:
        return "lost content"
    return None


def exchanged(backed: dict[str, float], carried: dict[str, float], least: float) -> bool:
    """Whether a word was replaced by an unrelated one: a new and a lost word, both unsupported.

    This separates contrasts from paraphrases where the rest of the sentence stays ("catch ice in
    its mouth", "catch a ball in its mouth"). Where all words are new it says nothing.
    """
    new, lost = min(backed.values(), default=1.0), min(carried.values(), default=1.0)
    return new < least and lost < least


def support(known: Sequence[Reading], said: Reading) -> dict[str, float]:
    """Support of each content word of `said` by content words of the known texts, -1 to 1.

    A word with the same root or concept, or with a parent concept, has full support; any other
    has its best cosine in context.
    """
    roots = {english.root(word) for reading in known for word in reading.words}
    kinds = english.with_parents(word for reading in known for word in reading.words)
    coloured = english.allowed_colours(word for reading in known for word in reading.words)
    rows = [
        vector
        for reading in known
        for word, vector in zip(reading.words, reading.word_vectors, strict=True)
        if english.is_content(word)
    ]
    table = np.array(rows) if rows else np.zeros((1, said.vector.shape[0]), np.float32)
    supported: dict[str, float] = {}
    for word, vector in zip(said.words, said.word_vectors, strict=True):
        if english.is_content(word):
            sure = english.root(word) in roots or bool(english.concepts(word) & kinds)
            sure = sure or (word in lexicon.YOUNG and "young" in kinds)
            sure = sure or bool(lexicon.LIKE_COLOUR.get(word, set()) & coloured)
            supported[word] = (
                1.0 if sure or covered_elsewhere(word) else float((table @ vector).max())
            )
    return supported


def covered_elsewhere(word: str) -> bool:
    """Whether another check covers this word (numbers, colours, negation), or none has to."""
    return (
        word in lexicon.NUMBERS
        or word in lexicon.COLOUR_OF
        or word in lexicon.NEGATIONS
        or word in lexicon.CARRIER_WORDS
    )


def changed_kind(known: Sequence[Reading], said: Reading) -> bool:
    """Whether the answer names a kind ("canine") that the known texts do not ("pony")."""
    roots = {english.root(word) for reading in known for word in reading.words}
    kinds = english.with_parents(word for reading in known for word in reading.words)
    for word in said.words:
        named = english.concepts(word)
        if not named or english.root(word) in roots or named & kinds:
            continue
        if named <= lexicon.EXCLUSIVE_CONCEPTS:
            return True
    return False
