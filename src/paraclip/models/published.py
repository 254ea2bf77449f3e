"""What open_clip knows of the weights that it publishes: activation and preprocessing.

Weights cannot tell either, and the wrong one gives plausible, worse vectors.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip
from open_clip.transform import PreprocessCfg, merge_preprocess_dict

from paraclip.errors import UserError

QUICK = "-quickgelu"

Settings = dict[str, Any]
"""Fields of a tag: `quick_gelu`, and those of open_clip's `PreprocessCfg`."""


def uses_quick_gelu(config: Settings, tag: Settings) -> bool:
    """Whether the weights of a tag need QuickGELU: the configuration or the tag says so.

    open_clip itself goes by the configuration and warns where the tag disagrees. A tag that is
    silent overrides nothing (`roberta-ViT-B-32`); one that asks for QuickGELU under a name
    without it (`ViT-B-32:openai`) gets it, as under the name with `-quickgelu`.
    """
    return bool(config.get("quick_gelu")) or bool(tag.get("quick_gelu"))


def quick_name(name: str, quick_gelu: bool) -> str:
    """The name of the same architecture with QuickGELU, where it is needed and there is one."""
    quick = f"{name}{QUICK}"
    return quick if quick_gelu and quick in open_clip.list_models() else name


def preprocessing_of(tag: Settings) -> Settings:
    """All fields of `PreprocessCfg`, open_clip's defaults where the tag is silent."""
    fields: Settings = merge_preprocess_dict(asdict(PreprocessCfg()), tag)
    return fields


def published_as(name: str, path: Path) -> Settings | None:
    """The tag under which a file was published, known by its name or hash; None for others."""
    from paraclip.models.weights import from_openai, is_torchscript

    for tag in open_clip.list_pretrained_tags_by_model(name):
        published: Settings = open_clip.get_pretrained_cfg(name, tag)
        if published.get("url", "").rsplit("/", 1)[-1] == path.name:
            return published
    return {"quick_gelu": True} if is_torchscript(path) and from_openai(path) else None


def agreed_preprocessing(name: str, path: object) -> Settings:
    """The preprocessing that all tags of an architecture share; open_clip's without any tag.

    Raises:
        UserError: they differ, so that the user has to choose.
    """
    found = ways(name)
    if len(found) > 1:
        choices = " or ".join(f"{name}:{tags[0]}:{path}" for tags in found.values())
        what = f"the published weights of {name} prepare pictures in {len(found)} ways"
        raise UserError(path, what, f"Name the tag whose way it takes, as in {choices}")
    tags = next(iter(found.values()), [])
    return open_clip.get_pretrained_cfg(name, tags[0]) if tags else {}


def ways(name: str) -> Mapping[str, list[str]]:
    """Tags of an architecture by their preprocessing."""
    found: dict[str, list[str]] = {}
    for tag in open_clip.list_pretrained_tags_by_model(name):
        settings = preprocessing_of(open_clip.get_pretrained_cfg(name, tag))
        found.setdefault(json.dumps(settings, sort_keys=True), []).append(tag)
    return found


def file_name(name: str, tag: str) -> str:
    """How a user names a tag's weights that were fetched by hand."""
    settings = open_clip.get_pretrained_cfg(name, tag)
    named = quick_name(name, bool(settings.get("quick_gelu")))
    tags = open_clip.list_pretrained_tags_by_model(named)
    if named != name and tag not in tags:
        return f"{name}:{tag}:FILE" if len(ways(name)) > 1 else f"{named}:FILE"
    return f"{named}:{tag}:FILE" if len(ways(named)) > 1 else f"{named}:FILE"
