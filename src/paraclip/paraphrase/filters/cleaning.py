"""Removes the wrapping that generators put around a paraphrase: quotes, numbering, "Here is".

A paraphrase may begin like wrapping ("Great Danes run, ...", "Here is a train at 10:45"), so an
opening word is removed only directly before a punctuation mark, and not before a colon in a time.
"""

import re

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
    """The first line of the paraphrase without wrapping, with single spaces.

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
