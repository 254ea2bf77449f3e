"""CLIP's tokenizer as files."""

import json
import string

from hypothesis import given
from hypothesis import strategies as st
from open_clip import SimpleTokenizer
from tokenizers import Tokenizer

from paraclip.models.formats.clip_tokenizer import END_ID, START_ID, clip_tokenizer_files

FILES = clip_tokenizer_files(33)
THEIRS = SimpleTokenizer()
OURS = Tokenizer.from_str(FILES["tokenizer.json"])
# `&` and `<` may begin entities and special tokens; some sequences of accents are mojibake.
LETTERS = sorted({*string.printable, *"日本猫の🐈“”ﬁ！\ufeff"} - set("&<\x0b\x0c"))
PIECES = [*LETTERS, "'s", "'LL ", "n’t", " a red disc", "e\u0301"]


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_a_text_has_the_same_tokens_as_in_open_clip(text: str) -> None:
    assert OURS.encode(text).ids == [START_ID, *THEIRS.encode(text)[:31], END_ID]


def test_the_vocabulary_and_its_merges_agree_in_all_files() -> None:
    model, vocabulary = (
        json.loads(FILES["tokenizer.json"])["model"],
        json.loads(FILES["vocab.json"]),
    )
    assert model["vocab"] == vocabulary and sorted(vocabulary.values()) == list(range(49408))
    head, *merges = FILES["merges.txt"].splitlines()
    assert head.startswith("#version") and merges == [" ".join(pair) for pair in model["merges"]]
    assert all("".join(merge.split(" ")) in vocabulary for merge in merges)
    settings = json.loads(FILES["tokenizer_config.json"])
    special = json.loads(FILES["special_tokens_map.json"])
    assert special.items() <= settings.items() and settings["model_max_length"] == 33
    assert {vocabulary[token] for token in special.values()} == {START_ID, END_ID}
