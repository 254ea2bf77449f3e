"""CLIP's tokenizer as Hugging Face files, made from the vocabulary included in open_clip.

open_clip repairs a text with ftfy and resolves HTML entities before converting it to lower case;
Hugging Face's own files of CLIP do not, so curly quotes or `&amp;` give other tokens there. The
normaliser written here does what a short table can: common entities, quotes, ligatures, wide
punctuation and control characters. Rare entities, wide letters and mojibake are not changed.
"""

import json
from functools import cache

from paraclip.models.sources import END, PIECES, START, vocabulary_and_merges

START_ID, END_ID = 49406, 49407
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'"}
_WIDE = "ﬀﬁﬂﬃﬄ！？，：；（）＂"
"""Ligatures and wide punctuation. Each replacement takes 20 microseconds per text, so the others in
ftfy's tables are left out."""
_CONTROL = r"[\x00-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]"
"""Characters that ftfy removes (`ftfy.chardata.CONTROL_CHARS`)."""


def clip_tokenizer_files(context_length: int) -> dict[str, str]:
    """Contents by file name, as loaded by transformers, tokenizers and transformers.js.

    Args:
        context_length: maximum length of a text in tokens, including start and end token.
    """
    vocabulary, merges = vocabulary_and_merges()
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    settings = {
        # CLIPTokenizer of transformers 5 would replace this normaliser by its own.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context_length,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        **special,
    }
    return {
        "tokenizer.json": clip_tokenizer(),
        "tokenizer_config.json": json.dumps(settings, indent=1),
        "special_tokens_map.json": json.dumps(special, indent=1),
        "vocab.json": json.dumps(vocabulary, ensure_ascii=False),
        "merges.txt": "\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges), ""]),
    }


@cache
def clip_tokenizer() -> str:
    """`tokenizer.json`."""
    from ftfy.chardata import LIGATURES, WIDTH_MAP
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
    from tokenizers import pre_tokenizers as splitters
    from tokenizers.processors import RobertaProcessing

    wide = {**LIGATURES, **WIDTH_MAP}
    replaced: list[tuple[str | Regex, str]] = [  # in ftfy's order
        *_ENTITIES.items(),
        *((letter, wide[ord(letter)]) for letter in _WIDE),
        (Regex("[\u02bc\u2018-\u201b]"), "'"),
        (Regex("[\u201c-\u201f]"), '"'),
        (Regex(_CONTROL), ""),
    ]
    vocabulary, merges = vocabulary_and_merges()
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, unk_token=END, end_of_word_suffix="</w>", fuse_unk=False)
    )
    tokenizer.normalizer = normalizers.Sequence([
        *(normalizers.Replace(pattern, text) for pattern, text in replaced),
        normalizers.NFC(),
        normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Lowercase(),
    ])  # fmt: skip
    tokenizer.pre_tokenizer = splitters.Sequence([
        splitters.Split(Regex(PIECES), behavior="removed", invert=True),
        splitters.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = RobertaProcessing((END, END_ID), (START, START_ID), False, False)
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in (START, END)])
    text: str = tokenizer.to_str()
    return text
