"""Folders of sentence-transformers, read and written."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from paraclip.api import export
from paraclip.errors import UserError
from paraclip.models.checkpoint import load_checkpoint, save_model
from paraclip.models.features import encode_texts
from paraclip.models.loading import load_model
from paraclip.models.mini import SentenceModel
from tiny import retuned, word_files

TEXTS = ["a red disc", "small blue square on paper", "", "red " * 30]


def saved(folder: Path, kind: str, pooling: str, dense: dict[str, Any] | None, **prompts: str):
    """A folder that sentence-transformers wrote, with random weights."""
    library = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    from sentence_transformers import SentenceTransformer
    from transformers import AutoConfig, AutoModel

    bert = folder / "bert"
    bert.mkdir(parents=True)
    for name, text in word_files("bert").items():
        (bert / name).write_text(text)
    config = json.loads((bert / "config.json").read_text()) | {"model_type": kind}
    (bert / "config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.from_pretrained(bert)).save_pretrained(bert)
    modules = [library.Transformer(str(bert)), library.Pooling(32, pooling_mode=pooling)]
    modules[0].max_seq_length = 12
    if dense is not None:
        modules.append(library.Dense(32, 16, **dense))
        modules.append(library.Normalize())
    SentenceTransformer(modules=modules, prompts=prompts, device="cpu").save(str(folder / "model"))
    return folder / "model"


def theirs(folder: Path) -> np.ndarray:
    """Unit vectors of the texts as queries, by sentence-transformers itself."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    return model.encode_query(TEXTS, normalize_embeddings=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "pooling", "dense", "prompts"),
    [
        ("bert", "mean", None, {}),
        ("roberta", "cls", {"bias": False, "activation_function": torch.nn.Identity()}, {}),
        ("distilbert", "mean", {}, {"query": "red ", "document": "blue "}),
    ],
)
def test_a_text_encoder_is_read_tuned_and_written(
    tmp_path: Path, kind: str, pooling: str, dense: dict[str, Any] | None, prompts: dict[str, str]
) -> None:
    folder = saved(tmp_path, kind, pooling, dense, **prompts)
    model = load_model(str(folder), "cpu")
    np.testing.assert_allclose(encode_texts(model, TEXTS), theirs(folder), rtol=0, atol=1e-5)
    tuned = retuned(load_checkpoint(save_model(model, tmp_path / "tuned.safetensors")))
    again = export(tuned, tmp_path / "again", to="sentence-transformers")
    np.testing.assert_allclose(encode_texts(tuned, TEXTS), theirs(again), rtol=0, atol=1e-5)
    assert not np.allclose(theirs(again), theirs(folder), atol=1e-3)
    found = load_model(str(again), "cpu")
    assert found.header() == tuned.header()
    assert [one["type"].rpartition(".")[2] for one in modules_of(again)] == [
        one["type"].rpartition(".")[2] for one in modules_of(folder)
    ]


def modules_of(folder: Path) -> Any:
    return json.loads((folder / "modules.json").read_text())


@pytest.fixture
def sentence_folder(tmp_path: Path) -> Path:
    """A folder as ParaCLIP writes it."""
    return export(SentenceModel(word_files("bert")), tmp_path / "model", to="sentence-transformers")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("embeddings.LayerNorm.bias", torch.ones(32).char(), "bias has the type int8"),
        ("embeddings.LayerNorm.bias", torch.full([32], torch.nan), "bias .* not finite"),
        ("embeddings.LayerNorm.scale", torch.ones(1), "an extra transformer.embeddings"),
        ("pooler.dense.bias", torch.ones(32), ""),
    ],
)
def test_weights_that_are_quantised_left_over_or_not_finite_are_refused(
    sentence_folder: Path, name: str, value: torch.Tensor, reason: str
) -> None:
    path = sentence_folder / "model.safetensors"
    save_file({**load_file(path), name: value}, path)
    with pytest.raises(UserError, match=reason) if reason else nullcontext():
        load_model(str(sentence_folder), "cpu")


POOLING = {"pooling_mode_mean_tokens": True}


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("modules.json", [{"type": "a.Transformer", "path": ""}], "has the modules Transformer"),
        (
            "modules.json",
            [{"type": "a.Transformer", "path": ".."}, {"type": "a.Pooling", "path": "1_Pooling"}],
            "not in its folder",
        ),
        ("modules.json", {"a": 1}, "is not a model of sentence-transformers"),
        ("1_Pooling/config.json", {"pooling_mode": "lasttoken"}, "pools by lasttoken"),
        ("1_Pooling/config.json", POOLING | {"pooling_mode_max_tokens": True}, "pools by"),
        ("sentence_bert_config.json", {"do_lower_case": True}, "lowers texts"),
        ("config.json", {"model_type": "bert", "hidden_size": 10**12}, "impossibly large"),
        ("config.json", {"model_type": "bert"}, r"is \[15, 32\], not \[30522, 768\]"),
        ("config.json", {"model_type": "nosuch"}, "cannot be built"),
    ],
)
def test_what_is_no_text_encoder_is_refused(
    sentence_folder: Path, file: str, content: object, reason: str
) -> None:
    (sentence_folder / file).write_text(json.dumps(content))
    with pytest.raises(UserError, match=reason):
        load_model(str(sentence_folder), "cpu")
