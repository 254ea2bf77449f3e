"""Checks for answers in another language, and for texts that CLIP would truncate."""

from functools import cache

LEAST_WORDS = 3  # fewer words are not enough to recognise a language
FEW_KNOWN = 0.6  # maximum share of English words in a text of another language
LESS_KNOWN = 0.3  # minimum distance to the source's share; names are unknown in both
CLIP_TOKENS = 77  # including start and end tokens


def is_other_language(source: str, answer: str) -> bool:
    """Whether the answer has far fewer English words than its source (simplemma's dictionary).

    For short answers, only the letters are considered.
    """
    if len(answer.split()) < LEAST_WORDS:
        return source.isascii() and not answer.isascii() and english_share(answer) == 0
    share = english_share(answer)
    return share <= FEW_KNOWN and english_share(source) - share >= LESS_KNOWN


def english_share(text: str) -> float:
    """Share of a text's words that are English, 0 to 1."""
    from simplemma.language_detector import in_target_language

    share: float = in_target_language(text, lang="en")
    return share


def exceeds_context(answer: str) -> bool:
    """Whether the answer has more than CLIP's 77 tokens, so that its end would be cut."""
    longest = CLIP_TOKENS - 2
    if len(answer.encode()) <= longest:  # no token is shorter than a byte
        return False
    return len(clip_tokenizer().encode(answer)) > longest


@cache
def clip_tokenizer():  # type: ignore[no-untyped-def]
    """CLIP's tokenizer; imported at the first long answer, because it loads torch."""
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()
