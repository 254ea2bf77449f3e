"""The model card beside a checkpoint: what it is, what made it, whose terms it carries."""

import html
import json
from typing import Any

ASIDE = ("text_files", "open_clip")
WORDS = {  # line of the card: where its values stand in the header
    "base": ("base",),
    "data": ("data", "source"),
    "generator": ("generator", "generators"),
    "licence": ("licence", "license"),
}
TERMS = """\
Weights carry the terms of what they were made from: the base model, the pictures and captions,
and the paraphrases of the generator named above. A language model's licence or its vendor's terms
may bind what is trained on its answers. ParaCLIP itself is Apache-2.0.
"""


def model_card(name: str, header: dict[str, Any]) -> str:
    """Markdown from a checkpoint's header.

    Args:
        name: of the file.
        header: as `checkpoint.read_header` gives it.
    """
    architecture = header["architecture"]
    facts = {key: value for key, value in header.items() if key not in ASIDE}
    lines = [
        f"# {name}",
        "",
        "An image and a text encoder with one vector space, tuned by ParaCLIP.",
        "",
        f"- architecture: {architecture['name']} ({architecture['kind']})",
        f"- width of the vectors: {architecture['embed_dim']}",
        f"- QuickGELU: {'yes' if architecture['quick_gelu'] else 'no'}",
        f"- weights: {header.get('weights', 'unknown')} (SHA-256, first 16 digits)",
    ]
    for word, places in WORDS.items():
        found = sorted(set().union(*(named(facts, place) for place in places)))
        lines += [f"- {word}: {plain(value)}" for value in found or ["not recorded"]]
    lines += ["", "## Terms", "", TERMS, "## Everything in the header", "", "```json"]
    return "\n".join([*lines, json.dumps(facts, indent=2, default=str), "```", ""])


def plain(value: str) -> str:
    """A value from a header on one line of Markdown, where it is no HTML."""
    return html.escape(" ".join(value.split()), quote=False)


def named(facts: Any, word: str) -> set[str]:
    """Texts that stand under `word`, alone or in a list, anywhere in nested dictionaries.

    Hashes under `identity` are passed over: they say sameness, not what a thing is.
    """
    if not isinstance(facts, dict):
        return set()
    held = facts.get(word)
    values = held if isinstance(held, list) else [held]
    found = {value for value in values if isinstance(value, str) and value}
    return found.union(*(named(value, word) for key, value in facts.items() if key != "identity"))
