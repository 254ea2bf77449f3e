"""Input formats: Hugging Face CLIP folders, the hub's cache, and refused inputs."""

import json

import numpy as np
import pytest
import torch
from export_models import ours
from safetensors.torch import load_file, save_file

from paraclip.api import export
from paraclip.errors import UserError
from paraclip.models.loading import load_model


@pytest.fixture
def folder(quick_clip, tmp_path):
    """A Hugging Face folder of the tiny CLIP."""
    return export(quick_clip, tmp_path / "theirs", to="hf")


def edited(folder, name, **changes):
    path = folder / name
    content = json.loads(path.read_text())
    for key, value in changes.items():
        part, _, inner = key.partition("__")
        if inner:
            content[part][inner] = value
        else:
            content[part] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("quick", [True, False])
def test_a_folder_is_a_model(request, quick, tmp_path) -> None:
    model = request.getfixturevalue("quick_clip" if quick else "plain_clip")
    folder = export(model, tmp_path / "theirs", to="hf")
    for name in ("model.fp16.safetensors", "pytorch_model.bin", "a.bin"):
        (folder / name).touch()  # of several files of weights, the full precision is read
    found = load_model(str(folder), "cpu")
    assert found.architecture.quick_gelu is quick and found.architecture.name == "theirs"
    np.testing.assert_array_equal(ours(found), ours(model))
    assert found.image_key() == model.image_key()
    again = export(found, tmp_path / "again", to="hf")
    assert json.loads((again / "config.json").read_text()) == json.loads(
        (folder / "config.json").read_text()
    )


def test_what_transformers_saves_is_a_model(quick_clip, folder, tmp_path) -> None:
    from transformers import CLIPModel, CLIPProcessor

    saved = tmp_path / "saved"
    CLIPModel.from_pretrained(folder).save_pretrained(saved)
    CLIPProcessor.from_pretrained(folder).save_pretrained(saved)
    found = load_model(f"local-dir:{saved}", "cpu")
    np.testing.assert_array_equal(ours(found), ours(quick_clip))
    assert found.image_key() == quick_clip.image_key()


def test_older_configurations_and_weights(quick_clip, folder) -> None:
    edited(folder, "config.json", text_config__eos_token_id=2)
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    torch.save(state, folder / "pytorch_model.bin")
    np.testing.assert_array_equal(ours(load_model(str(folder), "cpu")), ours(quick_clip))


@pytest.mark.parametrize(
    ("file", "changes", "reason"),
    [
        ("config.json", {"text_config__hidden_act": "relu"}, "has the activations 'relu'"),
        ("config.json", {"vision_config__hidden_act": "gelu"}, "activations 'quick_gelu' and"),
        ("config.json", {"text_config__layer_norm_eps": 1e-6}, "layer_norm_eps"),
        ("config.json", {"text_config__vocab_size": 30000}, "has 30000 tokens"),
        ("config.json", {"text_config__eos_token_id": 7}, "reads texts at token 7"),
        ("config.json", {"text_config__hidden_size": 10**12}, "impossibly large"),
        ("config.json", {"text_config": "x"}, "is not a configuration of CLIP"),
        ("config.json", {"text_config__num_hidden_layers": 3}, "does not fit"),
        ("config.json", {"vision_config__patch_size": 0}, "theirs"),
        ("config.json", {"model_type": "siglip"}, "no open_clip_config.json, and no config.json"),
        ("preprocessor_config.json", {"resample": 0}, "filter 0, which open_clip lacks"),
        ("preprocessor_config.json", {"size": {"shortest_edge": 64}}, "to 64 and crops to 32"),
        ("preprocessor_config.json", {"size": 64, "crop_size": 32}, "to 64 and crops to 32"),
        ("preprocessor_config.json", {"do_normalize": False}, "sets do_normalize to false"),
    ],
)
def test_what_is_not_a_clip_is_refused(folder, file, changes, reason) -> None:
    edited(folder, file, **changes)
    with pytest.raises(UserError, match=reason):
        load_model(str(folder), "cpu")


@pytest.mark.parametrize(
    "changes",
    [
        {"resample": [1]}, {"size": None}, {"image_mean": 0.5}, {"image_std": None},
        {"image_std": [0, 0, 0]},
    ],
)  # fmt: skip
def test_preprocessing_that_cannot_be_used_is_refused(folder, changes) -> None:
    edited(folder, "preprocessor_config.json", **changes)
    with pytest.raises(UserError, match=r"preprocessor_config\.json: is not a configuration"):
        load_model(str(folder), "cpu")
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text('{"image_processor": "x"}')
    with pytest.raises(UserError, match=r"processor_config\.json: is not a configuration"):
        load_model(str(folder), "cpu")


def test_broken_json_and_shards(folder) -> None:
    shard = folder / "model-00001-of-00002.safetensors"
    (folder / "model.safetensors").rename(shard)
    with pytest.raises(UserError, match="over several files"):
        load_model(str(folder), "cpu")
    shard.unlink()
    with pytest.raises(UserError, match="holds no weights"):
        load_model(str(folder), "cpu")
    (folder / "config.json").write_text("[" * 10_000)
    with pytest.raises(UserError, match="is nested deeper"):
        load_model(str(folder), "cpu")


def test_nothing_in_a_folder_reaches_the_network(folder, monkeypatch) -> None:
    import socket

    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    names = {"_name_or_path": "someone/else", "auto_map": {"AutoModel": "someone/else--code.M"}}
    edited(folder, "config.json", **names, text_config___name_or_path="someone/else")
    load_model(str(folder), "cpu")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of the hub, and no server."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("paraclip.models.sources._reachable", lambda _: False)
    return tmp_path / "hub"


def cached(hub, repository: str):
    """Folder of a snapshot in the cache, in the layout of the hub's client."""
    place = hub / f"models--{repository.replace('/', '--')}"
    revision = "0" * 40
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(revision)
    return place / "snapshots" / revision


@pytest.mark.parametrize("to", ["hf", "open-clip"])
def test_a_repository_in_the_cache(hub, to, quick_clip) -> None:
    snapshot = cached(hub, "someone/tuned")
    export(quick_clip, snapshot, to=to)
    if to == "open-clip":  # the hub's repositories of open_clip hold both kinds of weights
        save_file({"x": torch.zeros(1)}, snapshot / "model.safetensors")
    found = load_model("hf-hub:someone/tuned", "cpu")
    assert found.architecture.name == "tuned" and found.image_key() == quick_clip.image_key()
    np.testing.assert_array_equal(ours(found), ours(quick_clip))


def test_without_network_one_line_reports_what_to_do(hub) -> None:
    with pytest.raises(UserError, match=r"hf-hub:a/b: it could not be .*local-dir:FOLDER"):
        load_model("hf-hub:a/b", "cpu")
    for name in ("hf-hub:a", "hf-hub:../..", "hf-hub:a/b/c"):
        with pytest.raises(UserError, match="is not OWNER/NAME"):
            load_model(name, "cpu")
