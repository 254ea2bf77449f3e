"""The checks without a model: of answers, listed in `FILTERS` with their reasons, of captions, and
of triples that are nearly equal to an earlier one."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from typing import Any

from paraclip.data.words import is_content, words
from paraclip.errors import optional_import
from paraclip.models.formats.clip_tokenizer import clip_tokenizer, repaired_text
from paraclip.paraphrase.config import Limits
from paraclip.paraphrase.prompts import KINDS, TYPO
from paraclip.plugins import Table

_EMPTY = "empty"
_ARTICLES = frozenset({"a", "an", "the", "is", "are"})  # and what titles also lack
_EMPTY_ANSWERS = frozenset({"none", "null", "nan", "n/a", "na", "undefined", "nil", "no answer"})
# An answer that refuses, or that talks about the task, unless its source reads like that as well.
_REFUSAL = re.compile(
    r"\b(?:as an? (?:ai|artificial|language model)|i(?:'m| am) (?:sorry|unable|not able|afraid)|"
    r"(?:sorry|apologies|unfortunately),? (?:but )?i\b|i (?:cannot|can't|can not|won't|will not|"
    r"do not have|don't have|must decline)|i apologi[sz]e)",
    re.IGNORECASE,
)
_THERE_IS = (("there", "is"), ("there", "are"))
_CHATTER = re.compile(
    r"\b(?:paraphras\w*|rephras\w*|reword\w*|captions?|sentences?|original text|synonyms?|"
    r"here(?:'s| is| are)|let me know|i hope|please note|note:|means that|in other words|"
    r"in plain words|the user|you (?:can|could|asked|provided))\b|:\s*$|<[/|]?\w+\|?>|\{\w+\}",
    re.IGNORECASE,
)


# A list of words that name pornography and little else; not a safety filter for pictures.
_UNSAFE = re.compile(
    r"\b(?:porn\w*|xxx+|nsfw|hentai|milfs?|blowjobs?|handjobs?|deepthroat\w*|cumshots?|creampies?|"
    r"gangbangs?|threesomes?|bukkake|dildos?|camgirls?|upskirts?|masturbat\w+|fellatio|cunnilingus|"
    r"orgasm\w*|anal sex|oral sex|hardcore sex|sex (?:tapes?|videos?|cams?|toys?)|"
    r"(?:nude|naked|topless|horny|busty) (?:girls?|boys?|teens?|women|woman|wife|wives|babes?|"
    r"celebs?|celebrit\w+|selfies?|leak\w*)|escort (?:girls?|service)|child(?:ren)? porn\w*|"
    r"only ?fans leak\w*)\b",
    re.IGNORECASE,
)
_LEAST_WORDS = 3  # fewer words are not enough to recognise a language
_FEW_KNOWN = 0.6  # maximum share of English words in a text of another language
_LESS_KNOWN = 0.3  # minimum distance to the source's share; names are unknown in both
_CLIP_TOKENS = 77  # including start and end tokens


@dataclass(frozen=True)
class Question:
    """An answer with the texts to which it is compared."""

    source: str  # the text to paraphrase
    answer: str  # the generator's answer, unprocessed
    caption: str = ""  # in step 2; the answer may not copy it
    cut: bool = False  # the generator stopped at its token limit: the end is missing
    kind: str = ""  # of KINDS, if this is no paraphrase


@dataclass(frozen=True)
class _Candidate:
    """A cleaned answer with its question and the thresholds, for the checks without a model."""

    question: Question
    answer: str
    limits: Limits

    @cached_property
    def answer_words(self) -> list[str]:
        """Words of the answer."""
        return words(self.answer)

    @cached_property
    def source_words(self) -> list[str]:
        """Words of the source."""
        return words(self.question.source)


_Filter = Callable[[_Candidate], bool]
"""Whether an answer fails a check."""


def plain_reason(question: Question, answer: str, limits: Limits) -> str | None:
    """The reason of the first failed check without a model, or None."""
    candidate = _Candidate(question, answer, limits)
    checks = (_EMPTY,) if limits.filters == "none" else FILTERS
    return next((reason for reason in checks if FILTERS[reason](candidate)), None)


def _says(pattern: re.Pattern[str], candidate: _Candidate) -> bool:
    """Whether the answer matches a pattern with straight apostrophes, and the source does not."""
    answer = candidate.answer.replace("’", "'")
    source = candidate.question.source.replace("’", "'")
    return bool(pattern.search(answer)) and not pattern.search(source)


def same_words(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether the texts are equal except for articles and a leading "There is"."""

    def essential(tokens: Sequence[str]) -> list[str]:
        start = 2 if tuple(tokens[:2]) in _THERE_IS else 0
        return [word for word in tokens[start:] if word not in ("a", "an", "the")]

    return essential(one) == essential(other)


def _is_other_language(source: str, answer: str) -> bool:
    """Whether the answer has far fewer English words than its source (simplemma's dictionary)."""
    detector = optional_import("simplemma.language_detector", "llm")
    share: float = detector.in_target_language(answer, lang="en")
    if len(answer.split()) < _LEAST_WORDS:  # only the letters are considered
        return source.isascii() and not answer.isascii() and share == 0
    more: float = detector.in_target_language(source, lang="en") - share
    return share <= _FEW_KNOWN and more >= _LESS_KNOWN


def _exceeds_context(answer: str) -> bool:
    """Whether the answer has more than CLIP's 77 tokens, so that its end would be cut."""
    if len(answer.encode()) <= _CLIP_TOKENS - 2:  # no token is shorter than a byte
        return False
    return len(_clip_tokenizer().encode(repaired_text(answer)).ids) > _CLIP_TOKENS


@cache
def _clip_tokenizer() -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_str(clip_tokenizer(_CLIP_TOKENS + 1))


def _repeats(answer_words: Sequence[str], source_words: Sequence[str]) -> bool:
    """Whether the answer repeats itself: a doubled word, a word three times, a phrase twice."""
    before = Counter(source_words)
    after = Counter(word for word in answer_words if is_content(word))
    if any(count > max(2, before[word] + 1) for word, count in after.items()):
        return True
    known = set(pairwise(source_words))
    if any(pair[0] == pair[1] and pair not in known for pair in pairwise(answer_words)):
        return True
    phrases = Counter(zip(*(answer_words[start:] for start in range(4)), strict=False))
    return any(count > 1 for count in phrases.values())


# Reason and check, in order of application.
FILTERS: Table[_Filter] = Table(
    "filters",
    {
        _EMPTY: lambda one: (
            not one.answer_words
            or one.answer.lower().strip(" .") in _EMPTY_ANSWERS  # such as "None"
        ),
        "refusal": lambda one: _says(_REFUSAL, one),
        "chatter": lambda one: _says(_CHATTER, one),
        "copy": lambda one: any(
            same_words(one.answer_words, words(text))
            for text in (one.question.source, one.question.caption)
        ),
        "kind": lambda one: (
            one.question.kind in KINDS
            and not KINDS[one.question.kind].fits(one.source_words, one.answer_words)
        ),
        "repetition": lambda one: _repeats(one.answer_words, one.source_words),
        "too long": lambda one: one.question.cut or len(one.answer_words) > one.limits.words,
        "tokens": lambda one: _exceeds_context(one.answer),
        "growth": lambda one: (
            len(one.answer_words)
            > max(one.limits.growth * len(one.source_words), len(one.source_words) + 4)
        ),
        "language": lambda one: (
            one.question.kind != TYPO and _is_other_language(one.question.source, one.answer)
        ),
    },
)


def most_fault(source: str, limits: Limits) -> float:
    """The largest probability of a fault with which an answer to the source passes."""
    return limits.fault if _ARTICLES & set(words(source)) else limits.title_fault


def is_unsafe(caption: str) -> bool:
    """Whether a caption's words indicate pornography; such captions are never sent."""
    return bool(_UNSAFE.search(caption))
