"""CLIP's tokenizer as files, the card of an export, and which models count as a CLIP."""

import json
import string
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from export_models import small_clip
from hypothesis import given
from hypothesis import strategies as st
from open_clip import SimpleTokenizer
from tokenizers import Tokenizer

from paraclip.errors import UserError
from paraclip.exporting.clip_tokenizer import END_ID, START_ID, clip_tokenizer_files
from paraclip.exporting.drift import Drift
from paraclip.exporting.hugging_face import clip_model, clip_text
from paraclip.exporting.run import write_card
from paraclip.exporting.source import Source, read_source
from paraclip.models.openclip import OpenClip

FILES = clip_tokenizer_files(33)
THEIRS = SimpleTokenizer()
OURS = Tokenizer.from_str(FILES["tokenizer.json"])
# `&` and `<` may begin entities and special tokens; some sequences of accents are mojibake.
LETTERS = sorted({*string.printable, *"日本猫の🐈“”ﬁ！\ufeff"} - set("&<\x0b\x0c"))
PIECES = [*LETTERS, "'s", "'LL ", "n’t", " a red disc", "e\u0301"]


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_a_text_has_the_same_tokens_as_in_open_clip(text: str) -> None:
    assert OURS.encode(text).ids == [START_ID, *THEIRS.encode(text), END_ID]


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


def card(source: Source, folder: Path, **options: Any) -> str:
    """The card of an export."""
    write_card(source, folder / "README.md", "Größe 日本", {"target": "immich"}, **options)
    return (folder / "README.md").read_text(encoding="utf-8")


def test_a_card_has_its_parts_in_order_whatever_the_values_look_like(
    quick_clip: OpenClip, tmp_path: Path
) -> None:
    source, drift = read_source(quick_clip, "openai"), Drift("int8", 0.9912, 0.9987, 66)
    source.header["base"] = "a ## Terms b\n## Terms\nc"
    text = card(source, tmp_path, steps=("Stop it.", "Copy {x}."), drift=drift)
    assert "- base: a ## Terms b ## Terms c\n" in text
    parts = [
        "# Größe 日本",
        "\n## What an index",
        str(drift),
        "\n## Steps",
        "\n## Terms\n",
        "```json",
    ]
    positions = [text.index(part) for part in parts]
    assert positions == sorted(positions)
    facts = json.loads(text.split("```json\n")[1].split("```")[0])["export"]
    assert facts["versions"] and facts | {"target": "immich"} | source.facts() == facts
    plain = card(source, tmp_path)
    assert "## Steps" not in plain and "cosine" not in plain


def reshaped(part: str, **options: Any) -> OpenClip:
    """A tiny CLIP whose configuration has other options in a part, but the same towers."""
    model = copy(small_clip())
    config = {**model.spec.config, part: {**model.spec.config.get(part, {}), **options}}
    model.spec = replace(model.spec, config=config)
    return model


@pytest.mark.parametrize(
    ("part", "options", "reason"),
    [
        ("text_cfg", {"hf_tokenizer_name": "t"}, "its tokenizer is not CLIP's"),
        ("text_cfg", {"tokenizer_kwargs": {"clean": "lower"}}, "its tokenizer is not CLIP's"),
        ("text_cfg", {"mlp_ratio": 2, "proj_bias": 1}, "its text tower has the option proj_bias"),
        ("text_cfg", {"unheard_of": 1}, "its text tower has the option unheard_of"),
        ("vision_cfg", {"pool_type": "avg"}, "its image tower has the option pool_type"),
        ("multimodal_cfg", {}, "it has a decoder (CoCa) and is not CLIP"),
    ],
)  # fmt: skip
def test_an_option_that_clip_lacks_is_named(
    part: str, options: dict[str, Any], reason: str
) -> None:
    model = reshaped(part, **options)
    with pytest.raises(UserError) as caught:
        clip_model(model, "this test")
    assert caught.value.what.startswith(reason)
    assert caught.value.what.endswith(", which this test needs")
    assert caught.value.where == "small" and "--to onnx" in caught.value.hint
    if part != "text_cfg":
        assert clip_text(model, "this test") is model
