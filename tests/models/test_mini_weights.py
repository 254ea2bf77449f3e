"""The real weights, as shipped in the wheels."""

import importlib.util
import json
from importlib.resources import files

import pytest
import torch
from PIL import Image

from paraclip.models.card import model_card
from paraclip.models.checkpoint import load_checkpoint, read_header, save_model
from paraclip.models.features import encode_texts
from paraclip.models.mini import Mini, SentenceModel
from paraclip.models.wheels import HASHES, IMAGE_PACKAGE, TEXT_PACKAGE, wheel_file
from recipes.mini.flickr8k import mini_flickr8k

pytestmark = pytest.mark.weights(IMAGE_PACKAGE, TEXT_PACKAGE)
TEXTS = ["A dog runs over the grass.", "A puppy races across a lawn.", "The stock market fell."]


@pytest.fixture(scope="module")
def real() -> Mini:
    return Mini.from_wheels()


@pytest.fixture(scope="module")
def flickr8k() -> Mini:
    return mini_flickr8k()


def test_without_alignment_the_text_encoder_is_minilm(real):
    theirs = encode_texts(SentenceModel.from_wheel(), TEXTS)
    assert torch.equal(encode_texts(real, TEXTS), theirs)
    assert real.architecture.embed_dim == 384
    near, far = (theirs @ theirs[0])[1:].tolist()
    assert near > 0.5 > far


def test_latin_script_is_cut_into_word_pieces_and_other_scripts_may_be_unknown(real):
    latin = real.tokenize(["ein schwarzer Hund kämpft", "černý pes"]).ids
    assert real.unknown_id not in latin
    thai = real.tokenize(["หมา"]).ids[0].tolist()
    assert thai[1:-1] == [real.unknown_id]


def test_a_picture_is_the_mixture_of_its_class_names(real):
    torch.manual_seed(0)
    features = torch.rand(3, 1280)
    tower = real.image_tower
    shares = torch.softmax(0.5 * (features @ tower.classifier.weight.T + tower.classifier.bias), 1)
    names = tower.class_head.weight.T  # [1000, 384]
    mixed = shares @ names - names.mean(0)
    expected = torch.nn.functional.normalize(mixed, dim=1)
    torch.testing.assert_close(real.project_images(features), expected, atol=1e-5, rtol=0)


def test_a_plain_colour_is_found_by_its_name_after_flickr8k(flickr8k):
    names = ["blue", "green", "red"]
    pixels = torch.stack([flickr8k.preprocess(Image.new("RGB", (64, 64), name)) for name in names])
    with torch.no_grad():
        images = flickr8k.project_images(flickr8k.embed_pixels(pixels))
    scores = encode_texts(flickr8k, [f"a {name} wall" for name in names]) @ images.T
    assert scores.trace() > scores.flip(0).trace()


def test_the_shipped_head_carries_no_non_commercial_terms(real, tmp_path):
    assert (
        len(files("paraclip.models").joinpath("weights/class_head.safetensors").read_bytes()) < 1e6
    )
    made = json.dumps(real.made_from)
    assert "Flickr8k" not in made and "non-commercial" not in made
    assert '"/' not in made, "no path of a machine"
    path = save_model(real, tmp_path / "mini.safetensors")
    assert "non-commercial" not in path.with_suffix(".md").read_text()


def test_the_option_trained_on_flickr8k_reports_it(flickr8k, tmp_path):
    path = save_model(flickr8k, tmp_path / "mini.safetensors")
    assert "non-commercial" in model_card(path.name, read_header(path))
    figures = flickr8k.made_from["figures"]["text to image, percent, 1,000 pictures"]["test"]
    assert figures["R@10"] > 57.6  # the first prototype


@pytest.mark.slow
def test_checkpoints_of_both_kinds_are_read_again(real, flickr8k, tmp_path):
    features = torch.rand(2, 1280)
    for name, model in (("new", real), ("old", flickr8k)):
        again = load_checkpoint(save_model(model, tmp_path / f"{name}.safetensors"))
        assert torch.equal(encode_texts(again, TEXTS), encode_texts(model, TEXTS))
        assert torch.equal(again.project_images(features), model.project_images(features))


def test_the_wheels_are_those_whose_hashes_are_known() -> None:
    for package, inside in HASHES:
        if importlib.util.find_spec(package):
            assert wheel_file(package, inside).exists()
