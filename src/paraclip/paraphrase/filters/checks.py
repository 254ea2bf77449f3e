"""The checks without a model: of answers, listed in `FILTERS` with their reasons, of captions, and
of triples that are nearly equal to an earlier one."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from typing import Any

from paraclip.errors import optional_import
from paraclip.models.sources import PIECES, clean_text, vocabulary_and_merges
from paraclip.paraphrase.config import Limits
from paraclip.paraphrase.language import lexicon
from paraclip.paraphrase.language import words as english
from paraclip.paraphrase.language.relations import doubtful_reason, roles_changed

EMPTY_ANSWERS = frozenset({"none", "null", "nan", "n/a", "na", "undefined", "nil", "no answer"})
# An answer that refuses, or that talks about the task, unless its source reads like that as well.
REFUSAL = re.compile(
    r"\b(?:as an? (?:ai|artificial|language model)|i(?:'m| am) (?:sorry|unable|not able|afraid)|"
    r"(?:sorry|apologies|unfortunately),? (?:but )?i\b|i (?:cannot|can't|can not|won't|will not|"
    r"do not have|don't have|must decline)|i apologi[sz]e)",
    re.IGNORECASE,
)
THERE_IS = (("there", "is"), ("there", "are"))
CLOSE = 0.4
"""Word overlap above which an answer counts as the same sentence with replaced words."""
CHATTER = re.compile(
    r"\b(?:paraphras\w*|rephras\w*|reword\w*|captions?|sentences?|original text|synonyms?|"
    r"here(?:'s| is| are)|let me know|i hope|please note|note:|means that|in other words|"
    r"in plain words|the user|you (?:can|could|asked|provided))\b|:\s*$|</?\w+>|\{\w+\}",
    re.IGNORECASE,
)


# A list of words that name pornography and little else; not a safety filter for pictures.
UNSAFE = re.compile(
    r"\b(?:porn\w*|xxx+|nsfw|hentai|milfs?|blowjobs?|handjobs?|deepthroat\w*|cumshots?|creampies?|"
    r"gangbangs?|threesomes?|bukkake|dildos?|camgirls?|upskirts?|masturbat\w+|fellatio|cunnilingus|"
    r"orgasm\w*|anal sex|oral sex|hardcore sex|sex (?:tapes?|videos?|cams?|toys?)|"
    r"(?:nude|naked|topless|horny|busty) (?:girls?|boys?|teens?|women|woman|wife|wives|babes?|"
    r"celebs?|celebrit\w+|selfies?|leak\w*)|escort (?:girls?|service)|child(?:ren)? porn\w*|"
    r"only ?fans leak\w*)\b",
    re.IGNORECASE,
)
LEAST_WORDS = 3  # fewer words are not enough to recognise a language
FEW_KNOWN = 0.6  # maximum share of English words in a text of another language
LESS_KNOWN = 0.3  # minimum distance to the source's share; names are unknown in both
CLIP_TOKENS = 77  # including start and end tokens


@dataclass(frozen=True)
class Question:
    """An answer with the texts to which it is compared.

    Args:
        source: the text to paraphrase.
        answer: the generator's answer, unprocessed.
        caption: the caption itself, in step 2; its words do not count as new content either.
        cut: the generator stopped at its token limit, so the answer is incomplete.
    """

    source: str
    answer: str
    caption: str = ""
    cut: bool = False


@dataclass(frozen=True)
class Candidate:
    """A cleaned answer with its source, as used by the checks without a model.

    Args:
        question: the unprocessed answer, with its source and caption.
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

    @cached_property
    def exact(self) -> bool:
        """Whether both texts must state the same numbers and colours.

        If most words differ, a good answer describes things in its own way: "a red fruit" for
        "a tomato", "eight-armed" for "an octopus". A small generator is not trusted with that.
        """
        shared = english.overlap(self.question.source, self.answer)
        return self.limits.doubtful or shared >= CLOSE


Filter = Callable[[Candidate], bool]
"""Whether an answer fails a check."""


def plain_reason(question: Question, answer: str, limits: Limits) -> str | None:
    """The reason of the first failed check without a model, or None."""
    candidate = Candidate(question, answer, limits)
    reason = next((reason for reason, fails in FILTERS.items() if fails(candidate)), None)
    if reason is None and limits.doubtful:
        reason = doubtful_reason(question.source, answer, question.caption)
    return reason


def is_empty(candidate: Candidate) -> bool:
    """Whether the answer has no words, or only one such as "None"."""
    return not candidate.answer_words or candidate.answer.lower().strip(" .") in EMPTY_ANSWERS


def says(pattern: re.Pattern[str], candidate: Candidate) -> bool:
    """Whether the answer matches a pattern with straight apostrophes, and the source does not."""
    answer = candidate.answer.replace("’", "'")
    source = candidate.question.source.replace("’", "'")
    return bool(pattern.search(answer)) and not pattern.search(source)


def is_copy(candidate: Candidate) -> bool:
    """Whether the answer has the same words as the source or the caption."""
    known = (candidate.question.source, candidate.question.caption)
    return any(same_words(candidate.answer_words, english.words(text)) for text in known)


def same_words(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether the texts are equal except for articles and a leading "There is"."""
    first, second = (
        [
            word
            for word in tokens[2 if tuple(tokens[:2]) in THERE_IS else 0 :]
            if word not in ("a", "an", "the")
        ]
        for tokens in (one, other)
    )
    return first == second


def is_other_language(source: str, answer: str) -> bool:
    """Whether the answer has far fewer English words than its source (simplemma's dictionary).

    For short answers, only the letters are considered.
    """
    detector = optional_import("simplemma.language_detector", "llm")
    share: float = detector.in_target_language(answer, lang="en")
    if len(answer.split()) < LEAST_WORDS:
        return source.isascii() and not answer.isascii() and share == 0
    more: float = detector.in_target_language(source, lang="en") - share
    return share <= FEW_KNOWN and more >= LESS_KNOWN


def exceeds_context(answer: str) -> bool:
    """Whether the answer has more than CLIP's 77 tokens, so that its end would be cut."""
    longest = CLIP_TOKENS - 2
    if len(answer.encode()) <= longest:  # no token is shorter than a byte
        return False
    return len(_clip_tokenizer().encode(clean_text(answer)).ids) > longest


@cache
def _clip_tokenizer() -> Any:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE(*vocabulary_and_merges(), end_of_word_suffix="</w>"))
    split = pre_tokenizers.Split(Regex(PIECES), behavior="removed", invert=True)
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, letters])
    return tokenizer


def has_grown(candidate: Candidate) -> bool:
    """Whether the answer exceeds the allowed multiple of its source's length."""
    length = len(candidate.source_words)
    return len(candidate.answer_words) > max(candidate.limits.growth * length, length + 4)


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


def same_numbers(source: str, answer: str, exact: bool = True) -> bool:
    """Whether each text allows every number that the other states.

    Args:
        source: one text.
        answer: the other.
        exact: if False, one of the texts may state numbers about which the other is silent.
    """
    before, after = english.numbers(source), english.numbers(answer)
    lost = before - english.allowed_numbers(answer)
    added = after - english.allowed_numbers(source)
    return not (lost or added) if exact else not (lost and added)


def same_colours(
    source_words: Sequence[str], answer_words: Sequence[str], exact: bool = True
) -> bool:
    """Whether each text allows every colour that the other names; `exact` as in `same_numbers`."""
    before, after = english.colours(source_words), english.colours(answer_words)
    lost = before - english.allowed_colours(answer_words)
    added = after - english.allowed_colours(source_words)
    return not (lost or added) if exact else not (lost and added)


def same_negation(source_words: Sequence[str], answer_words: Sequence[str]) -> bool:
    """Whether both texts negate or neither does; "bare" may replace "without"."""
    return (not english.is_negated(source_words) or english.allows_negation(answer_words)) and (
        not english.is_negated(answer_words) or english.allows_negation(source_words)
    )


def same_gender(source_words: Sequence[str], answer_words: Sequence[str]) -> bool:
    """Whether the answer adds no gender and does not drop one of two."""
    before, after = _genders(source_words), _genders(answer_words)
    allowed = set(before)
    for gender, names in lexicon.GENDER_WORDS.items():
        if (names | lexicon.COUPLES) & set(source_words):
            allowed.add(gender)
    if not after <= allowed:
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


# Reason and check, in order of application.
FILTERS: dict[str, Filter] = {
    "empty": is_empty,
    "refusal": lambda candidate: says(REFUSAL, candidate),
    "chatter": lambda candidate: says(CHATTER, candidate),
    "copy": is_copy,
    "repetition": lambda candidate: repeats(candidate.answer_words, candidate.source_words),
    "too long": lambda candidate: (
        candidate.question.cut or len(candidate.answer_words) > candidate.limits.words
    ),
    "tokens": lambda candidate: exceeds_context(candidate.answer),
    "growth": has_grown,
    "language": lambda candidate: is_other_language(candidate.question.source, candidate.answer),
    "number": lambda candidate: (
        not same_numbers(candidate.question.source, candidate.answer, candidate.exact)
    ),
    "colour": lambda candidate: (
        not same_colours(candidate.source_words, candidate.answer_words, candidate.exact)
    ),
    "negation": lambda candidate: not same_negation(candidate.source_words, candidate.answer_words),
    "gender": lambda candidate: (
        not same_gender(
            [*candidate.source_words, *english.words(candidate.question.caption)],
            candidate.answer_words,
        )
    ),
    "roles": lambda candidate: roles_changed(candidate.source_words, candidate.answer_words),
}


def is_unsafe(caption: str) -> bool:
    """Whether a caption's words indicate pornography; such captions are never sent."""
    return bool(UNSAFE.search(caption))


PERMUTATIONS, BANDS = 128, 8  # 16 values per band: finds texts with a similarity of about 0.85
SHINGLE = 3  # words


class NearDuplicates:
    """Stores triples, as 8 hashes each (about 0.6 KiB), and recognises similar ones by MinHash
    (Broder 1997) from `datasketch`.

    A triple counts as a near-duplicate if one of its bands equals that of an earlier triple. The
    probability of this is 0.80 if the word trigrams of both have a Jaccard similarity of 0.9, 0.99
    at 0.95, 0.03 at 0.7, and 1 for equal texts.

    Raises:
        UserError: datasketch is not installed.
    """

    def __init__(self) -> None:
        self._datasketch = optional_import("datasketch", "duplicates")
        self._bands: set[int] = set()

    def seen(self, texts: Sequence[str]) -> bool:
        """Whether an earlier triple was similar; if not, this one is stored."""
        shingles = set()
        for position, text in enumerate(texts):
            tokens = english.words(text)
            for start in range(max(1, len(tokens) - SHINGLE + 1)):
                shingles.add(f"{position} {' '.join(tokens[start : start + SHINGLE])}")
        sketch = self._datasketch.MinHash(num_perm=PERMUTATIONS, seed=1)
        sketch.update_batch([shingle.encode() for shingle in shingles])
        rows = sketch.hashvalues.reshape(BANDS, -1)
        bands = {hash((number, row.tobytes())) for number, row in enumerate(rows)}
        if bands & self._bands:
            return True
        self._bands |= bands
        return False
