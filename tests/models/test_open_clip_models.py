import copy
import json
import re

import open_clip
import pytest
import torch
from PIL import Image

from paraclip.errors import UserError
from paraclip.given_models import loaded_model
from paraclip.models.checkpoint import load_checkpoint, save_model
from paraclip.models.formats.published import preprocessing_of
from paraclip.models.loading import load_model
from paraclip.models.openclip import ClipSpec, OpenClip, build_clip
from tiny import ROBERTA, SMALL_CLIP, TINY_CLIP, roberta_clip, tiny_clip, word_files

TEXTS = ["a dog on a beach", "two cats", "a very small disc of paper"]


def uncut(model: OpenClip, texts: list[str]) -> torch.Tensor:
    """Ids over the whole context, as open_clip's own tokenizer gives them."""
    return open_clip.SimpleTokenizer(context_length=model.architecture.context_length)(texts)


def test_a_causal_tower_gives_the_same_vectors_and_gradients_for_a_cut_batch(clip):
    tokens = clip.tokenize(TEXTS)
    assert clip.architecture.causal_text and tokens.ids.shape[1] < clip.architecture.context_length
    whole = clip.encode_tokens(uncut(clip, TEXTS))
    torch.testing.assert_close(clip.encode_tokens(tokens.ids), whole, rtol=0, atol=1e-6)
    gradients = []
    for ids in (tokens.ids, uncut(clip, TEXTS)):
        exact = copy.deepcopy(clip).double()
        exact.encode_tokens(ids).sum().backward()
        gradients.append(exact.text_tower.token_embedding.weight.grad)
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


def test_ids_are_those_of_open_clip_and_truncation_keeps_the_end(clip):
    texts = [*TEXTS, "word " * 40]
    tokens = clip.tokenize(texts)
    assert torch.equal(tokens.ids, uncut(clip, texts))
    assert tokens.truncated == 1
    assert tokens.ids[-1, -1] == tokens.ids.max()


def test_quick_gelu_is_in_the_architecture_and_changes_vectors(clip):
    quick = tiny_clip(quick_gelu=True)
    assert quick.architecture.quick_gelu and not clip.architecture.quick_gelu
    quick.load_state_dict(clip.state_dict())
    ids = clip.tokenize(TEXTS).ids
    assert not torch.allclose(quick.encode_tokens(ids), clip.encode_tokens(ids), atol=1e-4)
    assert quick.image_key() != clip.image_key()


def test_images_are_embedded_as_open_clip_does(clip):
    torch.manual_seed(0)
    theirs = build_clip(clip.spec).eval()
    pixels = torch.stack([clip.preprocess(Image.new("RGB", (50, 40), "red"))] * 2)
    assert list(pixels.shape) == [2, 3, 32, 32]
    vectors = clip.project_images(clip.embed_pixels(pixels))
    torch.testing.assert_close(vectors, theirs.encode_image(pixels, normalize=True))


def test_a_tower_that_sees_its_padding_keeps_its_whole_context():
    text = {**TINY_CLIP["text_cfg"], "no_causal_mask": True, "pool_type": "last"}
    model = tiny_clip(text_cfg=text)
    assert not model.architecture.causal_text
    ids = model.tokenize(TEXTS).ids
    whole = torch.nn.functional.normalize(model.text_tower(uncut(model, TEXTS)), dim=-1)
    torch.testing.assert_close(model.encode_tokens(ids), whole)


def test_a_roberta_tower_is_loaded_without_a_hub_and_its_checkpoint_needs_nothing_else(tmp_path):
    for name, text in word_files("roberta").items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    config = {"model_cfg": ROBERTA, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    torch.save(build_clip(roberta_clip().spec).state_dict(), tmp_path / "weights.pt")
    model = load_model(f"local-dir:{tmp_path}", "cpu")
    assert model.spec.preprocessing["mean"] == [0.5] * 3
    tokens = model.tokenize(["a red disc", "a small red square on white paper"])
    assert tokens.ids.shape[1] == 9
    ids = model.tokenize(["a red disc"]).ids
    alone = model.encode_tokens(ids)
    torch.testing.assert_close(model.encode_tokens(tokens.ids)[:1], alone)
    long = model.tokenize(["red " * 30, "red"])
    assert long.truncated == 1 and long.ids[0, -1] == 3  # the end token
    again = load_checkpoint(save_model(model, tmp_path / "elsewhere" / "tuned.safetensors"))
    assert torch.equal(again.tokenize(["a red disc"]).ids, ids)
    assert torch.equal(again.encode_tokens(ids), alone)


@pytest.mark.parametrize("kind", ["clip", "mini"])
def test_training_mode_is_for_the_text_side_only(request, kind):
    model = request.getfixturevalue(kind)
    before = {name: value.clone() for name, value in model.image_tower.state_dict().items()}
    try:
        assert model.train().text_tower.training
        assert not any(module.training for module in model.image_tower.modules())
        model.embed_pixels(torch.randn(4, 3, model.image_size, model.image_size))
    finally:
        model.eval()
    after = model.image_tower.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not model.text_tower.training


@pytest.mark.parametrize("option", ["pad is the end token", "strip_sep_token", "clips"])
def test_texts_that_lose_their_tail_are_counted_whatever_fills_the_end(option):
    files = word_files("roberta")
    config = json.loads(files["tokenizer_config.json"])
    if option == "pad is the end token":  # as SigLIP
        config["pad_token"] = config["eos_token"] = "[SEP]"
    if option == "clips":
        config |= {"bos_token": "[CLS]", "eos_token": "[SEP]"}
    files["tokenizer_config.json"] = json.dumps(config)
    text = {**TINY_CLIP["text_cfg"], "hf_tokenizer_name": "any", "no_causal_mask": True}
    if option == "strip_sep_token":  # as CLIPA
        text["tokenizer_kwargs"] = {"strip_sep_token": True}
    if option == "clips":
        text["tokenizer_mode"] = "clips"
    spec = ClipSpec("tiny", {**TINY_CLIP, "text_cfg": text}, {}, files)
    model = OpenClip(spec, build_clip(spec))
    fits = 9 if option == "clips" else 10
    texts = ["red " * fits, "red " * (fits + 1), "red", "blue " * 40]
    assert [model.tokenize([text]).truncated for text in texts] == [0, 1, 0, 1]
    assert model.tokenize(texts).truncated == 2


QUICK = "tiny-in-memory-quickgelu"


@pytest.fixture
def described(monkeypatch):
    """Two architectures of open_clip that differ in their activation alone."""
    clip = {**SMALL_CLIP, "embed_dim": 15}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-in-memory", clip)
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, QUICK, {**clip, "quick_gelu": True})


@pytest.mark.parametrize("name", ["tiny-in-memory", QUICK])
def test_a_model_in_memory_is_copied_and_its_checkpoint_needs_nothing_else(
    name, described, tmp_path, monkeypatch
):
    theirs, _, preprocess = open_clip.create_model_and_transforms(name, image_mean=(0.4, 0.5, 0.6))
    ours = loaded_model((theirs.train(), open_clip.get_tokenizer(name), preprocess))
    assert ours.architecture.name == name and theirs.training
    with torch.no_grad():
        expected = theirs.eval().encode_text(uncut(ours, TEXTS), normalize=True)
        torch.testing.assert_close(ours.encode_tokens(ours.tokenize(TEXTS).ids), expected)
        theirs.logit_scale.zero_()
    assert ours.logit_scale != 0
    path = save_model(ours, tmp_path / "model.safetensors")
    monkeypatch.delitem(open_clip.factory._MODEL_CONFIGS, name)
    again = load_checkpoint(path)
    picture = Image.effect_noise((50, 40), 99).convert("RGB")
    assert torch.equal(again.preprocess(picture), preprocess(picture))
    assert again.image_key() == ours.image_key()


def test_a_hugging_face_tower_in_memory_is_copied_without_a_hub(monkeypatch, tmp_path):
    model = roberta_clip()
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-in-memory", ROBERTA)
    theirs = build_clip(model.spec)
    open_clip.model.set_model_preprocess_cfg(theirs, preprocessing_of({"size": 32}))
    theirs.text.transformer.load_state_dict(model.text_tower.transformer.state_dict())
    ours = loaded_model((theirs, model.tokenizer, model.preprocess))
    assert ours.tokenizer.tokenizer.get_vocab() == model.tokenizer.tokenizer.get_vocab()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda *parts: parts[0], "CLIP: is neither the name"),
        (lambda *_: 3, "int: is neither the name"),
        (
            lambda _, *others: (torch.nn.Linear(2, 2), *others),
            "Linear: is not a model of",
        ),
        (lambda clip, _, pre: (clip, None, pre), "does not work with its other parts"),
        (lambda clip, _, pre: (clip, lambda texts: uncut_ids(texts) // 2, pre), "its tokenizer is"),
        (
            lambda clip, tok, _: (clip, tok, lambda _: torch.zeros(3, 32, 32)),
            "its preproc",
        ),
        (
            lambda _, *others: (build_clip(unknown_spec()), *others),
            "none of open_clip.list_models()",
        ),
    ],
)
def test_what_is_no_model_is_refused_with_what_may_be_passed(change, said, described):
    clip, _, preprocess = open_clip.create_model_and_transforms("tiny-in-memory")
    with pytest.raises(UserError, match=re.escape(said)):
        loaded_model(change(clip, open_clip.get_tokenizer("tiny-in-memory"), preprocess))


def uncut_ids(texts):
    return open_clip.SimpleTokenizer(context_length=77)(texts)


def unknown_spec():
    """An architecture that open_clip does not list: its heads differ, which no weight shows."""
    text = {**SMALL_CLIP["text_cfg"], "heads": 4}
    return ClipSpec("other", {**SMALL_CLIP, "embed_dim": 15, "text_cfg": text}, {})
