"""Bad folders and files of language models for `paraclip generate --backend transformers`."""

import json
import random
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.inputs.attacks.cases import DAMAGE, LISTED, Case, command

HUGE = 1 << 40
TEMPLATE = "{% for one in messages %}<{{ one.role }}>{{ one.content }}{% endfor %}"


def write_language_model(folder: Path) -> None:
    """A byte-level Llama of one layer with random weights."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(["<end>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=1, bos_token_id=None, eos_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)


def generate(sound: Path, model: Path, folder: Path) -> int:
    """Paraphrase one caption with one token."""
    return command(
        "generate", sound / "csv" / "a.csv", "--out", folder / "out", "--first", 1, "--backend",
        "transformers", "--model", model, "--max-tokens", 1, "--device", "cpu",
    )  # fmt: skip


def cases(sound: Path) -> Iterator[Case]:
    """Every file of a folder, bad values of its configuration, templates, and GGUF files."""
    for name in NAMES:
        for what, content in LISTED.items() if name in LARGE else ():
            yield Case(f"language models: {name}", what, partial(with_file, sound, name, content))
        for what, change in DAMAGE.items():
            run = partial(with_damage, sound, name, what, change)
            yield Case(f"language models: {name}", what, run)
    for name, value in CHANGES:
        run = partial(with_value, sound, name, value)
        yield Case("language models: configuration", f"{name} {value!r:.30}", run)
    for text in TEMPLATES:
        run = partial(with_file, sound, "chat_template.jinja", text.encode())
        yield Case("language models: templates", text[:50], run)
    for what, content in (LISTED | GGUF).items():
        yield Case("language models: gguf", what, partial(with_gguf, sound, content))


def copied(sound: Path, folder: Path) -> Path:
    """Copy the sound folder."""
    (folder / "model").mkdir()
    for path in (sound / "language model").iterdir():
        (folder / "model" / path.name).write_bytes(path.read_bytes())
    return folder / "model"


def with_file(sound: Path, name: str, content: bytes, folder: Path) -> int:
    """A folder in which one file has different content."""
    model = copied(sound, folder)
    (model / name).write_bytes(content)
    return generate(sound, model, folder)


def with_damage(sound: Path, name: str, what: str, change: Any, folder: Path) -> int:
    """A folder with one damaged file."""
    content = (sound / "language model" / name).read_bytes()
    damaged = change(content, random.Random(f"{name} {what}"))
    return with_file(sound, name, damaged, folder)


def with_value(sound: Path, name: str, value: object, folder: Path) -> int:
    """A folder with a changed value in its configuration."""
    found = json.loads((sound / "language model" / "config.json").read_text())
    return with_file(sound, "config.json", json.dumps(found | {name: value}).encode(), folder)


def with_gguf(sound: Path, content: bytes, folder: Path) -> int:
    """A GGUF file with these bytes."""
    (folder / "m.gguf").write_bytes(content)
    return generate(sound, folder / "m.gguf", folder)


def gguf(tensors: int, facts: int, more: bytes = b"") -> bytes:
    """The header of a GGUF file, version 3."""
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, facts) + more


NAMES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
         "model.safetensors")  # fmt: skip
LARGE = ("config.json", "tokenizer.json", "model.safetensors")
CHANGES: list[tuple[str, object]] = [
    *((name, value) for name in ("num_hidden_layers", "hidden_size", "num_attention_heads",
      "vocab_size", "max_position_embeddings", "intermediate_size", "head_dim")
      for value in (None, 0, -1, HUGE, "x", [])),
    *(("model_type", value) for value in (None, "x", "bert", "clip", [], "../..")),
    ("auto_map", {"AutoModelForCausalLM": "evil.Model"}), ("architectures", ["Evil"]),
    ("eos_token_id", [HUGE]), ("eos_token_id", "x"), ("pad_token_id", -5), ("dtype", "x"),
    ("quantization_config", {"quant_method": "x"}), ("rope_parameters", {"rope_type": "x"}),
]  # fmt: skip
TEMPLATES = [
    "", "{{", "{% for %}", "{{ messages[99].content }}", "{{ 1 / 0 }}", "{{ missing.attribute }}",
    "{{ raise_exception('no') }}", "{% for i in range(10 ** 12) %}x{% endfor %}",
    "{{ ().__class__.__mro__[1].__subclasses__() }}", "{{ 'x' * 100000 }}", "{% include 'x' %}",
    "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "\0", "{{ messages }}",
]  # fmt: skip
GGUF = {
    "no tensors": gguf(0, 0), "tensors without an end": gguf(1 << 60, 0),
    "facts without an end": gguf(0, 1 << 60), "a text without an end": gguf(
        0, 1, struct.pack("<Q", 1 << 60)),
    "an array without an end": gguf(0, 1, struct.pack("<Q1sIIQ", 1, b"a", 9, 9, 1 << 60)),
    "an unknown type": gguf(0, 1, struct.pack("<Q1sI", 1, b"a", 99)),
    "a later version": b"GGUF" + struct.pack("<I", 99) + bytes(99),
}  # fmt: skip
