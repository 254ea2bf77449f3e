"""Every published tag of open_clip: activation and preprocessing match its own `create_model`."""

import sys
import warnings
from types import SimpleNamespace
from unittest.mock import Mock

import open_clip
import pytest
import torch
from open_clip import factory
from safetensors.torch import save_file

from paraclip.errors import UserError
from paraclip.models import loading, sources
from paraclip.models.formats.published import download, preprocessing_of

TAGS = [tuple(names) for names in open_clip.list_pretrained()]


@pytest.fixture
def theirs(monkeypatch, tmp_path):
    """The settings that `create_model` chooses for a name and a tag, without building the model."""
    built = {}

    def build(**config):
        size = config["vision_cfg"]["image_size"]
        built.update(config, visual=SimpleNamespace(image_size=size))
        return SimpleNamespace(visual=built["visual"])

    for kind in ("CLIP", "CustomTextCLIP", "CoCa"):
        monkeypatch.setattr(factory, kind, build)
    monkeypatch.setattr(factory, "_set_model_device_and_precision", lambda *rest: None)
    monkeypatch.setattr(factory, "load_checkpoint", lambda *rest, **options: {})
    monkeypatch.setattr(factory, "download_pretrained", lambda *rest, **options: tmp_path / "x")
    monkeypatch.setattr(
        factory, "set_model_preprocess_cfg", lambda model, fields: built.update(fields=fields)
    )

    def decide(name, tag):
        built.clear()
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            open_clip.create_model(name, tag)
        return bool(built.get("quick_gelu")), without_size(built["fields"])

    return decide


@pytest.fixture
def ours(monkeypatch, tmp_path):
    """The settings that ParaCLIP chooses for a name, and the name of its architecture."""
    weights = tmp_path / "weights.safetensors"
    save_file({"weight": torch.zeros(1)}, weights)
    monkeypatch.setattr("paraclip.models.formats.published.download", lambda *names: weights)
    monkeypatch.setattr("paraclip.models.formats.clips.text_files_of", lambda *names: None)

    def decide(name):
        spec = loading._describe(name.replace("FILE", str(weights))).args[0]
        return spec.name, spec.config["quick_gelu"], without_size(spec.preprocessing)

    return decide


def without_size(fields):
    return {key: value for key, value in fields.items() if key != "size"}


@pytest.mark.parametrize(("name", "tag"), TAGS)
def test_a_tag_is_loaded_as_open_clip_loads_it(ours, theirs, name, tag):
    taken, quick, fields = ours(f"{name}:{tag}")
    # Under the plain name open_clip warns that the activation is wrong; `-quickgelu` is right.
    assert taken in (name, f"{name}-quickgelu")
    assert (quick, fields) == theirs(taken, tag)
    assert quick or not open_clip.get_pretrained_cfg(name, tag).get("quick_gelu")


@pytest.fixture
def fetched_by_hand(monkeypatch):
    """The name that a failed download gives to a file that is fetched by hand."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("open_clip.download_pretrained", Mock(side_effect=FileNotFoundError))

    def named(name, tag):
        with pytest.raises(UserError) as caught:
            download(name, tag, open_clip.get_pretrained_cfg(name, tag))
        return caught.value.hint.rpartition(" ")[2]

    return named


@pytest.mark.parametrize(("name", "tag"), TAGS)
def test_a_file_is_loaded_as_its_tag_or_the_choice_is_asked_for(
    ours, theirs, fetched_by_hand, name, tag
):
    named = f"{name}:{tag}:FILE"
    assert ours(named) == ours(f"{name}:{tag}") == ours(fetched_by_hand(name, tag))
    tags = open_clip.list_pretrained_tags_by_model(name)
    if len({str(preprocessing_of(open_clip.get_pretrained_cfg(name, one))) for one in tags}) > 1:
        with pytest.raises(UserError, match=f"2 kinds of preprocessing.*{name}:"):
            ours(f"{name}:FILE")
    else:
        assert ours(f"{name}:FILE")[2] == theirs(name, tag)[1]


@pytest.mark.parametrize("name", open_clip.list_models())
def test_the_tags_of_an_architecture_are_known_without_open_clip(monkeypatch, name):
    expected = open_clip.list_pretrained_tags_by_model(name)
    monkeypatch.delitem(sys.modules, "open_clip")
    assert sources._published_tags(name) == expected


def test_roberta_keeps_the_quickgelu_of_its_configuration(ours):
    for weights in ("laion2b_s12b_b32k", "FILE", "laion2b_s12b_b32k:FILE"):
        assert ours(f"roberta-ViT-B-32:{weights}")[1] is True


def test_openais_file_is_asked_for_under_the_name_with_quickgelu(fetched_by_hand):
    assert fetched_by_hand("ViT-B-32", "openai") == "ViT-B-32-quickgelu:FILE"
    assert fetched_by_hand("ViT-H-14", "dfn5b") == "ViT-H-14-quickgelu:dfn5b:FILE"
