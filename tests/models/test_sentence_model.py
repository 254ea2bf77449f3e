"""The text encoder alone, with a tiny BERT and random weights."""

import json
from pathlib import Path

import pytest
import torch
from tiny_models import sentence_folder, word_files

from paraclip.errors import UserError
from paraclip.models import loading
from paraclip.models.features import encode_images, encode_texts
from paraclip.models.mini import SentenceModel


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


@pytest.mark.parametrize("kind", ["bert", "mpnet", "xlm-roberta"])
def test_a_folder_has_the_vectors_of_sentence_transformers(tmp_path: Path, kind: str) -> None:
    library = pytest.importorskip("sentence_transformers")
    folder = sentence_folder(tmp_path / "model", kind)
    texts = ["a red disc", "a small white square on red paper", "green"]
    theirs = library.SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    wanted = theirs.encode(texts, convert_to_tensor=True, normalize_embeddings=True)
    model = loading.load_model(str(folder), "cpu")
    torch.testing.assert_close(encode_texts(model, texts), wanted, atol=1e-6, rtol=0)
    assert model.architecture.name == "model"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "model_max_length"),
    ],
)
def test_texts_end_where_sentence_transformers_cuts_them(tmp_path: Path, name, key) -> None:
    library = pytest.importorskip("sentence_transformers")
    folder = sentence_folder(tmp_path / "model")
    settings = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**settings, key: 5}))
    theirs = library.SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    texts = ["a small white square on red paper", "a small white disc"]
    wanted = theirs.encode(texts, convert_to_tensor=True, normalize_embeddings=True)
    model = loading.load_model(str(folder), "cpu")
    torch.testing.assert_close(encode_texts(model, texts), wanted, atol=1e-6, rtol=0)
    assert model.architecture.context_length == 5


def test_folders_that_are_more_than_a_mean_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    folder = sentence_folder(tmp_path / "first", pooling="cls")
    with pytest.raises(UserError, match="pools a transformer's states"):
        loading.load_model(str(folder), "cpu")
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(UserError, match="pools a transformer's states"):
        loading.load_model(str(folder), "cpu")
    (folder / "1_Pooling" / "config.json").write_text(
        '{"pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": false}'
    )
    loading.load_model(str(folder), "cpu")
    listed = json.loads((folder / "modules.json").read_text())
    for parts, reason in (
        ([*listed, {"type": "sentence_transformers.models.Dense", "path": "2_Dense"}], "Dense"),
        ([{**listed[0], "path": "../elsewhere"}, listed[1]], "another folder"),
        ([], "cannot be built"),
        ([{"path": 3}], "lacks"),
    ):
        (folder / "modules.json").write_text(json.dumps(parts))
        with pytest.raises(UserError, match=reason):
            loading.load_model(str(folder), "cpu")


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    folder = sentence_folder(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    for changes in ({"hidden_size": 2**20}, {"num_hidden_layers": 2**20}):
        (folder / "config.json").write_text(json.dumps({**config, **changes}))
        with pytest.raises(UserError, match="cannot be built"):
            loading.load_model(str(folder), "cpu")
    for name in ("tokenizer.json", "model.safetensors"):
        (folder / name).unlink()
        with pytest.raises(UserError, match=f"{name}: there is no such file"):
            loading.load_model(str(folder), "cpu")
