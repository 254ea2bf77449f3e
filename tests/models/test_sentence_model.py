"""The text encoder alone, with a tiny BERT and random weights."""

import pytest
import torch

from paraclip.errors import UserError
from paraclip.models import loading
from paraclip.models.features import encode_images, encode_texts
from paraclip.models.mini import SentenceModel
from tiny import word_files


@pytest.fixture(scope="module")
def sentence() -> SentenceModel:
    torch.manual_seed(0)
    return SentenceModel(word_files("bert"))


def test_a_vector_is_the_mean_of_the_last_states(sentence: SentenceModel) -> None:
    ids = sentence.tokenize(["a red disc"]).ids
    states = sentence.text_tower.transformer(input_ids=ids).last_hidden_state[0]
    mean = states.mean(dim=0)
    torch.testing.assert_close(sentence.encode_tokens(ids)[0], mean / mean.norm())
    texts = ["a red disc", "a small white square on red paper"]
    torch.testing.assert_close(encode_texts(sentence, texts)[0], mean / mean.norm())


def test_all_its_weights_are_the_berts(sentence: SentenceModel) -> None:
    names = [name for name, _ in sentence.named_parameters() if name != "logit_scale"]
    assert names and all(name.startswith("text_tower.transformer.") for name in names)


def test_pictures_are_refused_in_one_line(sentence: SentenceModel, pictures: list[str]) -> None:
    with pytest.raises(UserError, match=r"reads no pictures. Use benchmarks of text"):
        encode_images(sentence, pictures)
    for refused in (sentence.embed_pixels, sentence.project_images):
        with pytest.raises(UserError, match="reads no pictures"):
            refused(torch.zeros(1, 3, 8, 8))


def test_it_is_loaded_by_its_name(monkeypatch: pytest.MonkeyPatch, sentence) -> None:
    monkeypatch.setattr(loading.SentenceModel, "from_wheel", lambda: sentence)
    assert loading.load_model("minilm", "cpu") is sentence
    with pytest.raises(UserError, match="Did you mean minilm"):
        loading.load_model("minilmm", "cpu")
