"""The model card of a checkpoint or an export: Markdown, with the metadata that the hub reads."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from paraclip.models.sources import BUILT_IN, HUB, MINILM, REPOSITORY, TEXT_ONLY
from paraclip.provenance import publishable
from paraclip.tables import inert

_NOT_ON_CARD = ("text_files", "open_clip")  # whole files of a tokenizer, and a long configuration
_FIELDS = {  # line of the card: keys of the header that hold its values
    "base": ("base",),
    "teacher": ("taught_by",),
    "data": ("data", "source"),
    "generator": ("generator", "generators"),
    "licence": ("licence", "license"),
}
_LIBRARIES = {  # by format; the hub has no name for graphs alone
    "checkpoint": "paraclip",
    "weights": "open_clip",
    "open-clip": "open_clip",
    "hf": "transformers",
    "sentence-transformers": "sentence-transformers",
}
_DATASET = re.compile(r"hf:/+datasets/([\w.-]+/[\w.-]+)")
_TERMS = """\
Weights carry the terms of what they were made from: the base model, the pictures and captions,
and the paraphrases of the generator named above. A language model's licence or its vendor's terms
may bind what is trained on its answers. ParaCLIP itself is Apache-2.0.
"""


def model_card(
    name: str,
    header: dict[str, Any],
    parts: Sequence[str] = (),
    *,
    form: str = "checkpoint",
    bases: Iterable[str] = (),
) -> str:
    """The model card: metadata, description, provenance, further parts and terms.

    Args:
        name: its title.
        header: of the checkpoint.
        parts: Markdown before the terms.
        form: format of the files, as in `Layout.format`.
        bases: names of the base beside those in the header.
    """
    architecture = header["architecture"]
    facts = publishable({key: one for key, one in header.items() if key not in _NOT_ON_CARD})
    lines = [
        f"---\n{_metadata(facts, form, bases)}---",
        f"# {name}",
        "",
        "An image and a text encoder with one vector space, tuned by ParaCLIP.",
        "",
        f"- architecture: {inert(architecture['name'])} ({architecture['kind']})",
        f"- width of the vectors: {architecture['embed_dim']}",
        f"- QuickGELU: {'yes' if architecture['quick_gelu'] else 'no'}",
        f"- weights: {header.get('weights', 'unknown')} (SHA-256, first 16 digits)",
    ]
    for field, keys in _FIELDS.items():
        values = sorted(set().union(*(values_of(facts, key) for key in keys)))
        unknown = [] if field == "teacher" else ["not recorded"]  # few models have teachers
        lines += [f"- {field}: {inert(value)}" for value in values or unknown]
    lines += ["", *parts, "## Terms", "", _TERMS, "## Everything in the header", "", "```json"]
    return "\n".join([*lines, json.dumps(facts, indent=2, default=str), "```", ""])


def _metadata(facts: dict[str, Any], form: str, bases: Iterable[str]) -> str:
    """YAML for the hub; what is not recorded is left out."""
    from huggingface_hub import ModelCardData  # imports yaml

    kind = facts["architecture"]["kind"]
    named = {_on_hub(one) for one in (*values_of(facts, "base"), *bases)} - {""}
    spoken = {code for one in values_of(facts, "languages") for code in one.split(",")}
    sources = " ".join(set().union(*(values_of(facts, key) for key in _FIELDS["data"])))
    text_only = kind == TEXT_ONLY or form == "sentence-transformers"
    data = ModelCardData(
        base_model=sorted(named) or None,
        base_model_relation="finetune" if named else None,
        datasets=sorted(set(_DATASET.findall(sources))) or None,
        language=sorted(spoken) or None,
        library_name=_LIBRARIES.get(form),
        license="other",  # that of several works, which the card lists
        license_name="see-card",
        pipeline_tag="sentence-similarity" if text_only else "zero-shot-image-classification",
        tags=["paraclip", *["clip"] * (kind == "open_clip"), *["onnx"] * (form == "onnx")],
    )
    return f"{data.to_yaml(line_break=chr(10))}\n"


def _on_hub(base: str) -> str:
    """OWNER/NAME of a base on the Hugging Face hub; empty for a file, and what is not there."""
    if base in BUILT_IN:
        return MINILM  # what is tuned of it
    from paraclip.models.formats import published  # imports open_clip

    name = base.removeprefix(HUB)
    if name == base:  # ARCHITECTURE:TAG; the file of a longer name may be another's
        name = published.repository_of(*base.split(":")) if base.count(":") == 1 else ""
    return name if REPOSITORY.fullmatch(name) else ""


def values_of(facts: Any, key: str) -> set[str]:
    """Strings under `key`, single or in lists, at any depth of nested dictionaries.

    Hashes under `identity` are excluded, and of a base those of teachers, which have their own.
    """
    if not isinstance(facts, dict):
        return set()
    left = ("identity", "teachers") if key == "base" else ("identity",)
    value = facts.get(key)
    listed = value if isinstance(value, list) else [value]
    strings = {item for item in listed if isinstance(item, str) and item}
    return strings.union(*(values_of(inner, key) for k, inner in facts.items() if k not in left))
