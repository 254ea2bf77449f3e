"""LaCLIP's own models: loaded from their layout and compared with a second implementation."""

from argparse import Namespace
from math import sqrt

import open_clip
import pytest
import torch
from PIL import Image
from tiny_models import TINY_CLIP, draw
from torch.nn.functional import gelu, layer_norm, linear, normalize, scaled_dot_product_attention

from paraclip.api import export
from paraclip.errors import UserError
from paraclip.models.checkpoint import load_checkpoint, save_model
from paraclip.models.loading import load_model

WIDTH, HEADS, DEPTH, PATCH, SIDE, SPACE = 32, 4, 2, 16, 64, 16
TEXT, LAYERS, CONTEXT = 64, 2, 77


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape) / sqrt(shape[-1])


def laclip_weights() -> dict[str, torch.Tensor]:
    """Random weights with the names and shapes of LaCLIP's `CLIP`."""
    torch.manual_seed(0)
    state = {
        "visual.cls_token": normal(1, 1, WIDTH),
        "visual.pos_embed": normal(1, (SIDE // PATCH) ** 2 + 1, WIDTH),
        "visual.patch_embed.proj.weight": normal(WIDTH, 3, PATCH, PATCH),
        "visual.patch_embed.proj.bias": normal(WIDTH),
        **norm("visual.norm", WIDTH),
        "image_projection": normal(WIDTH, SPACE),
        "token_embedding.weight": normal(49408, TEXT),
        "positional_embedding": normal(CONTEXT, TEXT),
        **norm("ln_final", TEXT),
        "text_projection": normal(TEXT, SPACE),
        "logit_scale": torch.tensor(4.0),
    }
    for block in (f"visual.blocks.{number}" for number in range(DEPTH)):
        state |= norm(f"{block}.norm1", WIDTH) | norm(f"{block}.norm2", WIDTH)
        state |= norm(f"{block}.attn.q_norm", WIDTH // HEADS)
        state |= norm(f"{block}.attn.k_norm", WIDTH // HEADS)
        state |= layer(f"{block}.attn.qkv", WIDTH, 3 * WIDTH)
        state |= layer(f"{block}.attn.proj", WIDTH, WIDTH)
        state |= layer(f"{block}.mlp.fc1", WIDTH, 4 * WIDTH)
        state |= layer(f"{block}.mlp.fc2", 4 * WIDTH, WIDTH)
    for block in (f"transformer.resblocks.{number}" for number in range(LAYERS)):
        state |= norm(f"{block}.ln_1", TEXT) | norm(f"{block}.ln_2", TEXT)
        state |= {f"{block}.attn.in_proj_weight": normal(3 * TEXT, TEXT)}
        state |= {f"{block}.attn.in_proj_bias": normal(3 * TEXT)}
        state |= layer(f"{block}.attn.out_proj", TEXT, TEXT)
        state |= layer(f"{block}.mlp.c_fc", TEXT, 4 * TEXT)
        state |= layer(f"{block}.mlp.c_proj", 4 * TEXT, TEXT)
    return state


def layer(name: str, inputs: int, outputs: int) -> dict[str, torch.Tensor]:
    return {f"{name}.weight": normal(outputs, inputs), f"{name}.bias": normal(outputs)}


def norm(name: str, width: int) -> dict[str, torch.Tensor]:
    return {f"{name}.weight": 1 + normal(width), f"{name}.bias": normal(width)}


class Definition:
    """LaCLIP's `models.py` as functions."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        self.state = state

    def layer(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def norm(self, name: str, x: torch.Tensor, eps: float = 1e-6) -> torch.Tensor:
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return layer_norm(x, weight.shape, weight, bias, eps)

    def image(self, pixels: torch.Tensor) -> torch.Tensor:
        weight = self.state["visual.patch_embed.proj.weight"]
        bias = self.state["visual.patch_embed.proj.bias"]
        patches = torch.nn.functional.conv2d(pixels, weight, bias, stride=PATCH)
        x = patches.flatten(2).transpose(1, 2)
        start = self.state["visual.cls_token"].expand(len(x), -1, -1)
        x = torch.cat([start, x], dim=1) + self.state["visual.pos_embed"]
        for number in range(DEPTH):
            name = f"visual.blocks.{number}"
            x = x + self.image_attention(f"{name}.attn", self.norm(f"{name}.norm1", x))
            hidden = gelu(self.layer(f"{name}.mlp.fc1", self.norm(f"{name}.norm2", x)))
            x = x + self.layer(f"{name}.mlp.fc2", hidden)
        return self.norm("visual.norm", x)[:, 0] @ self.state["image_projection"]

    def image_attention(self, name: str, x: torch.Tensor) -> torch.Tensor:
        count, length, _ = x.shape
        parts = self.layer(f"{name}.qkv", x).reshape(count, length, 3, HEADS, WIDTH // HEADS)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        queries = self.norm(f"{name}.q_norm", queries)
        keys = self.norm(f"{name}.k_norm", keys)
        scores = (queries @ keys.transpose(-2, -1)) * (WIDTH // HEADS) ** -0.5
        mixed = (scores.softmax(dim=-1) @ values).transpose(1, 2)
        return self.layer(f"{name}.proj", mixed.reshape(count, length, WIDTH))

    def text(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.state["token_embedding.weight"][ids] + self.state["positional_embedding"]
        for number in range(LAYERS):
            name = f"transformer.resblocks.{number}"
            inner = self.norm(f"{name}.ln_1", x, 1e-5)
            weight, bias = (
                self.state[f"{name}.attn.in_proj_{kind}"] for kind in ("weight", "bias")
            )
            queries, keys, values = linear(inner, weight, bias).chunk(3, dim=-1)  # one head of 64
            mixed = scaled_dot_product_attention(queries, keys, values, is_causal=True)
            x = x + self.layer(f"{name}.attn.out_proj", mixed)
            hidden = self.layer(f"{name}.mlp.c_fc", self.norm(f"{name}.ln_2", x, 1e-5))
            x = x + self.layer(f"{name}.mlp.c_proj", hidden * torch.sigmoid(1.702 * hidden))
        ends = self.norm("ln_final", x, 1e-5)[torch.arange(len(ids)), ids.argmax(dim=-1)]
        return ends @ self.state["text_projection"]


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return laclip_weights()


@pytest.fixture
def checkpoint(state, tmp_path, monkeypatch):
    """As LaCLIP's `train.py` saves it; open_clip's ViT-B-16 has the sizes of the tiny model."""
    vision = {"image_size": SIDE, "layers": DEPTH, "width": WIDTH, "patch_size": PATCH}
    config = {**TINY_CLIP, "vision_cfg": vision}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-16", config)
    path = tmp_path / "cc12m_laclip.pt"
    weights = {f"module.{name}": value for name, value in state.items()}
    arguments = Namespace(model="CLIP_VITB16", lr=1e-3, betas=[0.9, 0.98])
    rest = {"epoch": 35, "optimizer": {"state": {}}, "scaler": {"scale": 1.0}, "args": arguments}
    torch.save({"state_dict": weights, "best_acc1": torch.tensor(48.4), **rest}, path)
    return path


def test_vectors_are_those_of_the_definition(state, checkpoint, tmp_path) -> None:
    model = load_model(f"ViT-B-16:{checkpoint}", "cpu")
    texts = ["a red disc", "", "two cats on a beach at night", "word " * 100]
    ids = open_clip.SimpleTokenizer(context_length=CONTEXT)(texts)
    with torch.no_grad():
        ours = model.encode_tokens(model.tokenize(texts).ids)
        torch.testing.assert_close(ours, normalize(Definition(state).text(ids), dim=-1))
        pixels = torch.randn(3, 3, SIDE, SIDE)
        torch.testing.assert_close(model.embed_pixels(pixels), Definition(state).image(pixels))


def test_pictures_are_prepared_as_laclip_does_also_from_our_checkpoint(
    checkpoint, tmp_path
) -> None:
    from torchvision import transforms

    theirs = transforms.Compose([
        transforms.Resize(SIDE),
        transforms.CenterCrop(SIDE),
        transforms.ToTensor(),
        transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
    ])  # fmt: skip
    draw(tmp_path / "a.png", "disc", "red", (200, 100))
    picture = Image.open(tmp_path / "a.png").convert("RGB")
    model = load_model(f"ViT-B-16:{checkpoint}", "cpu")
    back = load_checkpoint(save_model(model, tmp_path / "tuned.safetensors"))
    assert back.architecture == model.architecture and back.image_key() == model.image_key()
    for one in (model, back):
        torch.testing.assert_close(one.preprocess(picture), theirs(picture))


@pytest.mark.slow
def test_the_text_tower_can_be_exported(checkpoint, tmp_path) -> None:
    model = load_model(f"ViT-B-16:{checkpoint}", "cpu")
    for options, reason in [
        ({"to": "open-clip"}, "LaCLIP's own vision transformer, which open_clip lacks"),
        ({"to": "hf"}, "its image tower is LaCLIP's own and not CLIP's"),
        ({"target": "immich"}, "its base is LaCLIP-ViT-B-16, which immich does not load"),
    ]:
        with pytest.raises(UserError, match=reason):
            export(model, tmp_path / "out", **options)
    export(model, tmp_path / "onnx", target="transformers-js")


@pytest.mark.parametrize(
    ("architecture", "change", "words"),
    [
        ("ViT-B-32", {}, r"does not fit ViT-B-32: .* width 32 and patches of 16"),
        ("ViT-B-16", {"image_projection": None}, r"not a complete checkpoint.*image_projection"),
        ("ViT-B-16", {"visual.pos_embed": torch.zeros(1, 0, WIDTH)}, "not a complete checkpoint"),
        ("ViT-B-16", {"visual.blocks.1.attn.k_norm.bias": None}, r"has no visual\.trunk\..*k_norm"),
    ],
)
def test_what_does_not_fit_is_named(state, checkpoint, architecture, change, words) -> None:
    changed = {name: value for name, value in (state | change).items() if value is not None}
    torch.save({"state_dict": changed}, checkpoint)
    with pytest.raises(UserError, match=words):
        load_model(f"{architecture}:{checkpoint}", "cpu")
