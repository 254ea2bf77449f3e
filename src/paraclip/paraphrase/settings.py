"""Settings of a run: those that determine answers, and all of them for the record."""

from dataclasses import asdict
from typing import Any

from paraclip.files import text_hash
from paraclip.paraphrase.backends import Backend
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.distributed.places import shown_path
from paraclip.paraphrase.prompts import make_prompt
from paraclip.provenance import without_secrets


def answer_settings(config: GenerateConfig, backend: Backend) -> dict[str, Any]:
    """The settings that determine the answers, and therefore must not change while a log grows.

    The filters' limits are not included: other limits only judge the same answers again.
    """
    prompts = [make_prompt(config.prompt_style, step, "{text}").as_text() for step in (1, 2)]
    return {
        "generator": backend.generator,
        "style": config.prompt_style,
        "prompts": text_hash("".join(prompts)),
        "candidates": config.drawn,
        "max_tokens": config.max_tokens,
        **backend.identity,
    }


def settings_of(config: GenerateConfig) -> dict[str, Any]:
    """All options as JSON-serialisable dict, for the provenance, without passwords in addresses."""
    return asdict(config) | {
        "source": without_secrets(str(config.source)),
        "out": shown_path(config.out),
        "adapter": config.adapter and str(config.adapter),
        "to_file": config.to_file and str(config.to_file),
        "from_file": config.from_file and str(config.from_file),
        "base_url": ", ".join(map(without_secrets, config.base_url)) or None,
        "filter_limits": asdict(config.filter_limits),
    }
