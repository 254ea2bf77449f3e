"""The recipe of `clip-small` trains a model that ParaCLIP and open_clip can load."""

from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image

from paraclip.models.loading import load_model
from recipes.clip_small import pretrain, teacher
from tiny import write_flickr8k

pytestmark = [pytest.mark.weights, pytest.mark.slow]
SMALL = pretrain.CONFIG | {
    "embed_dim": 16,
    "text_cfg": pretrain.CONFIG["text_cfg"] | {"width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """Twelve pictures in Flickr8k's layout, eight of them for training."""
    folder = tmp_path_factory.mktemp("drawn")
    names = [path.name for path in write_flickr8k(folder, shades=3)]
    (folder / "train_images.txt").write_text("\n".join(names[:8]))
    return folder


@pytest.fixture(scope="module")
def trained(drawn) -> Path:
    """The folder of a model with a tiny text tower after two passes."""
    options = replace(pretrain.OPTIONS, epochs=2, batch_size=8)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PARACLIP_CACHE", str(drawn / "cache"))
        return pretrain.pretrain(drawn, drawn / "out", options, SMALL)


@pytest.fixture(scope="module")
def picture(drawn) -> Image.Image:
    return Image.open(min((drawn / "images").iterdir())).convert("RGB")


def test_training_changes_the_text_tower_and_the_projection_alone(trained):
    before, after = pretrain.untrained(SMALL, 0), load_model(str(trained), "cpu")
    same = {
        name: torch.equal(value, after.state_dict()[name])
        for name, value in before.state_dict().items()
    }
    assert all(same[name] for name in same if name.startswith("image_tower.trunk"))
    assert not same["image_tower.head.proj.weight"]
    assert not same["text_tower.transformer.resblocks.0.mlp.c_fc.weight"]


def test_open_clip_loads_it_with_the_same_vectors(trained, picture):
    ours = load_model(f"local-dir:{trained}", "cpu")
    theirs, _, transform = open_clip.create_model_and_transforms(f"local-dir:{trained}")
    theirs.eval()
    text = open_clip.get_tokenizer(f"local-dir:{trained}")(["a red disc"])
    with torch.no_grad():
        assert torch.equal(transform(picture), ours.preprocess(picture))
        image = theirs.encode_image(transform(picture)[None], normalize=True)
        own = ours.embed_pixels(ours.preprocess(picture)[None])
        assert torch.allclose(image, ours.project_images(own), atol=1e-5)
        words = ours.encode_tokens(ours.tokenize(["a red disc"]).ids)
        assert torch.allclose(theirs.encode_text(text, normalize=True), words, atol=1e-5)


def test_the_teacher_starts_near_the_model_whose_text_tower_it_has(drawn, picture, monkeypatch):
    monkeypatch.setenv("PARACLIP_CACHE", str(drawn / "cache"))
    options = replace(teacher.OPTIONS, batch_size=8, learning_rate=1e-9, head_learning_rate=1e-9)
    folder = teacher.make(drawn, "mini", drawn / "teacher", options)
    made, start = load_model(str(folder), "cpu"), load_model("mini", "cpu")
    assert (made.architecture.embed_dim, made.image_size) == (384, teacher.SIZE)
    texts = [model.encode_tokens(model.tokenize(["a red disc"]).ids) for model in (made, start)]
    torch.testing.assert_close(*texts, atol=1e-4, rtol=0)
    with torch.no_grad():
        seen = [
            model.project_images(model.embed_pixels(model.preprocess(picture)[None]))
            for model in (made, start)
        ]
    assert float((seen[0] * seen[1]).sum()) > 0.9  # fitted to the vectors of few pictures
