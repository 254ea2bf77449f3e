"""CLIP's tokens, from the vocabulary included in open_clip, and tokenizers as Hugging Face files:
CLIP's, and those of other models, with what cleans their texts.

open_clip repairs a text with ftfy and resolves HTML entities before converting it to lower case;
Hugging Face's own files of CLIP do not, so curly quotes or `&amp;` give other tokens there. The
normaliser written here does what a short table can: common entities, quotes, ligatures, wide
punctuation and control characters. Rare entities, wide letters and mojibake are not changed.
"""

import gzip
import html
import json
import re
import string
from functools import cache
from typing import Any

from paraclip.models.sources import TextFiles
from paraclip.models.wheels import wheel_file

START, END = "<|startoftext|>", "<|endoftext|>"
START_ID, END_ID = 49406, 49407  # the last two of the vocabulary
_MERGES = 49_152 - 256 - 2  # as open_clip takes from the file
_PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""How open_clip splits a lower-case text, without its special tokens."""
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'"}
_WIDE = "ﬀﬁﬂﬃﬄ！？，：；（）＂"
"""Ligatures and wide punctuation. Each replacement takes 20 microseconds per text, so the others in
ftfy's tables are left out."""
_CONTROL = r"[\x00-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]"
"""Characters that ftfy removes (`ftfy.chardata.CONTROL_CHARS`)."""


@cache
def _vocabulary_and_merges() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Ids by token under Hugging Face's names of the special tokens, and the merges in order."""
    path = wheel_file("open_clip", "bpe_simple_vocab_16e6.txt.gz")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = lines.read().split("\n")[1 : 1 + _MERGES]  # the first line is a version
    merges = [(first, second) for first, _, second in (row.partition(" ") for row in rows)]
    # GPT-2's letters for the 256 bytes: printable ones stand for themselves.
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = [*map(chr, printable), *(chr(0x100 + index) for index in range(256 - len(printable)))]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges), START, END]
    return {token: index for index, token in enumerate(tokens)}, merges


def repaired_text(text: str) -> str:
    """A text as open_clip repairs it before it is split (`open_clip.tokenizer.basic_clean`)."""
    import ftfy

    return html.unescape(html.unescape(ftfy.fix_text(text))).strip().lower()


def clip_tokenizer_files(context_length: int) -> dict[str, str]:
    """Contents by file name, as loaded by transformers, tokenizers and transformers.js, for texts
    of at most `context_length` tokens, including start and end token."""
    vocabulary, merges = _vocabulary_and_merges()
    # As in `CLIPTokenizer` of transformers, where the end token has three uses.
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    return {
        **_files(clip_tokenizer(context_length), context_length, special),
        "vocab.json": json.dumps(vocabulary, ensure_ascii=False),
        # Readers skip the first line.
        "merges.txt": "\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges), ""]),
    }


@cache
def clip_tokenizer(context_length: int) -> str:
    """`tokenizer.json`, which cuts a text to the context, as open_clip does."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
    from tokenizers import pre_tokenizers as splitters
    from tokenizers.processors import RobertaProcessing

    vocabulary, merges = _vocabulary_and_merges()
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, unk_token=END, end_of_word_suffix="</w>", fuse_unk=False)
    )
    tokenizer.normalizer = normalizers.Sequence([
        *_repairs(),
        normalizers.NFC(),  # from here on as `CLIPConverter` of transformers makes it
        normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Lowercase(),
    ])  # fmt: skip
    tokenizer.pre_tokenizer = splitters.Sequence([
        splitters.Split(Regex(_PIECES), behavior="removed", invert=True),
        splitters.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = RobertaProcessing((END, END_ID), (START, START_ID), False, False)
    tokenizer.enable_truncation(context_length)
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in (START, END)])
    text: str = tokenizer.to_str()
    return text


def _repairs() -> list[Any]:
    """What ftfy repairs before CLIP's tokenizer, as far as a short table can."""
    from ftfy.chardata import LIGATURES, WIDTH_MAP
    from tokenizers import Regex
    from tokenizers.normalizers import Replace

    wide = {**LIGATURES, **WIDTH_MAP}
    replaced: list[tuple[str | Regex, str]] = [  # in ftfy's order
        *_ENTITIES.items(),
        *((letter, wide[ord(letter)]) for letter in _WIDE),
        (Regex("[\u02bc\u2018-\u201b]"), "'"),
        (Regex("[\u201c-\u201f]"), '"'),
        (Regex(_CONTROL), ""),
    ]
    return [Replace(pattern, text) for pattern, text in replaced]


def _cleaning_tokenizer(tokenizer: str, clean: str) -> str:
    """`tokenizer.json` that gives a text the ids of the text cleaned by one of `get_clean_fn` of
    open_clip, or as by `SiglipTokenizer` of transformers (`siglip`: `canonicalize_text`)."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.normalizers import Lowercase, Replace, Sequence, Strip

    found = Tokenizer.from_str(tokenizer)
    found.no_padding()  # the program that loads it sets both
    found.no_truncation()
    # Python lowers a Greek sigma by its place in the word.
    lower = [Replace(Regex(r"(?<=\p{L})\u03a3(?!\p{L})"), "\u03c2"), Lowercase()]
    # Python's \s, with four separators that the tokenizers' does not have.
    space = [Replace(Regex(r"[\s\x1c-\x1f]+"), " "), Strip()]
    bare = Replace(Regex(f"[{re.escape(string.punctuation)}]"), "")
    steps = {
        # U+2581 is a space of SentencePiece.
        "siglip": [Replace("\u2581", " "), *lower, bare, *space],
        "canonicalize": [*_repairs(), Replace("_", " "), bare, *lower, *space],
        "lower": [*_repairs(), *space, *lower],
        "whitespace": [*_repairs(), *space],
    }[clean]
    found.normalizer = Sequence([*steps, *([found.normalizer] if found.normalizer else [])])
    text: str = found.to_str()
    return text


def siglip_tokenizer_files(files: TextFiles) -> TextFiles:
    """Files with a `SiglipTokenizer` that needs no SentencePiece; those of another as they are.
    Raises KeyError without a `tokenizer.json`."""
    settings = json.loads(files["tokenizer_config.json"])
    if settings.get("tokenizer_class") != "SiglipTokenizer":
        return files
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    return {
        **files,
        "tokenizer.json": _cleaning_tokenizer(files["tokenizer.json"], "siglip"),
        "tokenizer_config.json": json.dumps(settings),
    }


def tokenizer_files_of(tokenizer: Any, context_length: int, clean: str) -> dict[str, str]:
    """Files of a tokenizer of transformers, backed by `tokenizers`, whose texts open_clip cleans
    before as `_cleaning_tokenizer` says, and cuts to `context_length` tokens."""
    names = ("bos_token", "eos_token", "pad_token", "unk_token")
    special = {name: token for name in names if (token := getattr(tokenizer, name))}
    found = _cleaning_tokenizer(tokenizer.backend_tokenizer.to_str(), clean)
    return _files(found, context_length, special, padding_side=tokenizer.padding_side)


def _files(
    tokenizer: str, context_length: int, special: dict[str, str], **settings: str
) -> dict[str, str]:
    """The files of a tokenizer that transformers loads, given its `tokenizer.json`."""
    whole = {
        # CLIPTokenizer of transformers 5 would replace the normaliser by its own.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context_length,
        "clean_up_tokenization_spaces": False,
        **settings,
        "model_input_names": ["input_ids", "attention_mask"],
        **special,
    }
    return {
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": json.dumps(whole, indent=1),
        "special_tokens_map.json": json.dumps(special, indent=1),
    }
