"""Removes the wrapping that generators put around a paraphrase: quotes, numbering, "Here is"."""

import re

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
    """Remove one layer of wrapping; a text without wrapping is unchanged."""
    text = text.strip(EDGES)
    bare = WRAPPING.sub("", text, count=1).strip(EDGES)
    if bare != text:
        return bare
    lines = [line for line in text.splitlines() if line.strip()]
    text = " ".join(lines[0].split()) if lines else ""
    emphasis = EMPHASIS.fullmatch(text)
    if emphasis:
        text = emphasis[1]
    if len(text) >= 2 and QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1]:
        text = text[1:-1]
    return text.strip(EDGES)
