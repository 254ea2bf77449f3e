"""CLIP's tokenizer without torch: the vocabulary included in open_clip, and how texts are split."""

import gzip
import html
from functools import cache

from paraclip.models.hub import wheel_file

START, END = "<|startoftext|>", "<|endoftext|>"
PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""How open_clip splits a lower-case text, without its special tokens."""
MERGES = 49_152 - 256 - 2  # as open_clip takes from the file


@cache
def vocabulary_and_merges() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Ids by token under Hugging Face's names of the special tokens, and the merges in order."""
    path = wheel_file("open_clip", "bpe_simple_vocab_16e6.txt.gz")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = lines.read().split("\n")[1 : 1 + MERGES]
    merges = [(first, second) for first, _, second in (row.partition(" ") for row in rows)]
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = [*map(chr, printable), *(chr(0x100 + index) for index in range(256 - len(printable)))]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges), START, END]
    return {token: index for index, token in enumerate(tokens)}, merges


def clean_text(text: str) -> str:
    """A text as open_clip repairs it before it is split (`open_clip.tokenizer.basic_clean`)."""
    import ftfy

    return html.unescape(html.unescape(ftfy.fix_text(text))).strip().lower()
