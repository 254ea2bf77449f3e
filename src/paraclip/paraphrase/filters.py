"""Which answers are paraphrases, and the first reason why not.

The checks go from what needs no model (empty, refusal, copy, length, numbers, colours, negation)
to what MiniLM's vectors tell (new content, lost content, drift). Each answer gets one reason.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from paraclip.language import lexicon
from paraclip.language import words as spoken
from paraclip.language.relations import doubtful_reason
from paraclip.language.roles import mixed_up
from paraclip.paraphrase.cleaning import clean
from paraclip.paraphrase.config import STRONG, Limits
from paraclip.paraphrase.similarity import Reading, SentenceEncoder

REASONS = (
    "empty", "refusal", "chatter", "copy", "repetition", "too long", "growth", "number", "colour",
    "negation", "gender", "roles", "relation", "new content", "lost content", "drift",
)  # fmt: skip

NOTHING = frozenset({"none", "null", "nan", "n/a", "na", "undefined", "nil", "no answer"})
CLOSE = 0.4  # share of words in common from which only some words of a sentence were exchanged
CARRIED = 0.65  # cosine at which a word of the source counts as carried on
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
    """What the filters say of one answer.

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
    """An answer with what it must keep.

    Args:
        source: the text that was to be reworded.
        answer: what the generator said.
        caption: for step 2 the caption itself: words of it are no new content either.
        cut: the generator stopped at its token limit, so the answer's end is missing.
    """

    source: str
    answer: str
    caption: str = ""
    cut: bool = False


class Judge:
    """Judges answers with one set of limits.

    Args:
        limits: how far an answer may go.
        encoder: MiniLM; loaded when first needed if not given.

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
        """One verdict for each question, in order; MiniLM reads all texts in one go."""
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
        shared = spoken.overlap(question.source, answer)
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
    """The first check without a model that the cleaned answer fails, or None."""
    source = question.source
    said, asked = spoken.words(answer), spoken.words(source)
    checks = (
        ("empty", not said or answer.lower().strip(" .") in NOTHING),
        ("refusal", bool(REFUSAL.search(answer)) and not REFUSAL.search(source)),
        ("chatter", bool(CHATTER.search(answer)) and not CHATTER.search(source)),
        (
            "copy",
            _bare(said) == _bare(asked) or _bare(said) == _bare(spoken.words(question.caption)),
        ),
        ("repetition", repeats(said, asked)),
        ("too long", question.cut or len(said) > limits.words),
        ("growth", len(said) > max(limits.growth * len(asked), len(asked) + 4)),
        ("number", not same_numbers(source, answer)),
        ("colour", not same_colours(asked, said)),
        ("negation", not same_negation(asked, said)),
        ("gender", not same_gender(asked, said)),
        ("roles", mixed_up(asked, said)),
    )
    reason = next((reason for reason, failed in checks if failed), None)
    if reason is None and limits.doubtful:
        reason = doubtful_reason(source, answer, question.caption)
    return reason


def _bare(found: Sequence[str]) -> list[str]:
    """Words without articles and "There is": "There is a dog." says "The dog" in the same words."""
    begin = 2 if tuple(found[:2]) in (("there", "is"), ("there", "are")) else 0
    return [word for word in found[begin:] if word not in ("a", "an", "the")]


def repeats(said: Sequence[str], asked: Sequence[str]) -> bool:
    """Whether the answer runs in circles: a word doubled, said three times over, a phrase again."""
    asked_counts, said_counts = Counter(asked), Counter(w for w in said if spoken.is_content(w))
    if any(count > max(2, asked_counts[word] + 1) for word, count in said_counts.items()):
        return True
    known = set(pairwise(asked))
    if any(pair[0] == pair[1] and pair not in known for pair in pairwise(said)):
        return True
    phrases = Counter(zip(said, said[1:], said[2:], said[3:], strict=False))
    return any(count > 1 for count in phrases.values())


def same_numbers(source: str, answer: str) -> bool:
    """Whether each text allows every number that the other states."""
    return spoken.numbers(source) <= spoken.may_number(answer) and spoken.numbers(
        answer
    ) <= spoken.may_number(source)


def same_colours(asked: Sequence[str], said: Sequence[str]) -> bool:
    """Whether each text allows every colour that the other names."""
    return spoken.colours(asked) <= spoken.may_colour(said) and spoken.colours(
        said
    ) <= spoken.may_colour(asked)


def same_negation(asked: Sequence[str], said: Sequence[str]) -> bool:
    """Whether both deny something or neither does; "bare" may stand for "without"."""
    return (not spoken.negated(asked) or spoken.may_negate(said)) and (
        not spoken.negated(said) or spoken.may_negate(asked)
    )


def same_gender(asked: Sequence[str], said: Sequence[str]) -> bool:
    """Whether the answer names no gender that the source does not, and drops none of two."""
    before, after = _genders(asked), _genders(said)
    if not after <= before | _pronoun_genders(asked):
        return False
    return len(before) < 2 or len(after) != 1


def _genders(found: Sequence[str]) -> set[str]:
    return spoken.meant(found) & {"male", "female"}


def _pronoun_genders(found: Sequence[str]) -> set[str]:
    male = {"male"} if {"he", "him", "his"} & set(found) else set()
    return male | ({"female"} if {"she", "her", "hers"} & set(found) else set())


def meaning_reason(
    source: Reading, said: Reading, caption: Reading | None, limits: Limits
) -> str | None:
    """New or lost content by the words' vectors, or None."""
    known = [source] if caption is None else [source, caption]
    backed, carried = support(known, said), support([said], source)
    close = spoken.overlap(" ".join(source.words), " ".join(said.words)) >= CLOSE
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
    """Whether one thing stands for another: a new word and a lost word, each unlike all others.

    Where the rest of a sentence stays ("catch ice in its mouth", "catch a ball in its mouth"), this
    tells a contrast from a paraphrase. Where all words are new it would tell nothing.
    """
    new, lost = min(backed.values(), default=1.0), min(carried.values(), default=1.0)
    return new < least and lost < least


def support(known: Sequence[Reading], said: Reading) -> dict[str, float]:
    """How well each content word of `said` is backed by content words of the known texts, -1 to 1.

    A word with the same root, or one that the lexicon counts as the same kind or a parent of it,
    has full support; any other has its best cosine in context.
    """
    roots = {spoken.stem(word) for reading in known for word in reading.words}
    kinds = spoken.meant(word for reading in known for word in reading.words)
    coloured = spoken.may_colour(word for reading in known for word in reading.words)
    rows = [
        vector
        for reading in known
        for word, vector in zip(reading.words, reading.word_vectors, strict=True)
        if spoken.is_content(word)
    ]
    table = np.array(rows) if rows else np.zeros((1, said.vector.shape[0]), np.float32)
    found: dict[str, float] = {}
    for word, vector in zip(said.words, said.word_vectors, strict=True):
        if spoken.is_content(word):
            sure = spoken.stem(word) in roots or bool(spoken.concepts(word) & kinds)
            sure = sure or (word in lexicon.YOUNG and "young" in kinds)
            sure = sure or bool(lexicon.LIKE_COLOUR.get(word, set()) & coloured)
            found[word] = 1.0 if sure or checked_apart(word) else float((table @ vector).max())
    return found


def checked_apart(word: str) -> bool:
    """Whether a check of its own looks at this word (numbers, colours, negation), or none needs."""
    return (
        word in lexicon.NUMBERS
        or word in lexicon.COLOUR_OF
        or word in lexicon.NEGATIONS
        or word in lexicon.FRAME
    )


def changed_kind(known: Sequence[Reading], said: Reading) -> bool:
    """Whether the answer names a kind ("canine") that the known texts do not ("pony")."""
    roots = {spoken.stem(word) for reading in known for word in reading.words}
    kinds = spoken.meant(word for reading in known for word in reading.words)
    for word in said.words:
        named = spoken.concepts(word)
        if not named or spoken.stem(word) in roots or named & kinds:
            continue
        if named <= lexicon.EXCLUSIVE_CONCEPTS:
            return True
    return False
