"""Every format loads with the target system's own loader."""

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
from export_models import Load, LoadEach, assert_same_search, ours, unit
from PIL import Image
from safetensors.torch import load_file

from paraclip.api import export
from paraclip.exporting.run import export_model
from paraclip.models.features import embed, project
from paraclip.models.formats.clip_tokenizer import clip_tokenizer_files
from paraclip.models.formats.published import preprocessing_of
from paraclip.models.mini import Mini
from paraclip.systems import ExportOptions
from recipes.mini.flickr8k import mini_flickr8k
from tiny import SMALL_CLIP, small_clip

pytestmark = pytest.mark.slow
BPE = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"


FOLDERS = [
    ("open-clip", "here"), ("hf", "here"), ("hf", "transformers4"),
    ("sentence-transformers", "here"), ("sentence-transformers", "transformers4"),
]  # fmt: skip
LOADERS = {"hf": "transformers", "open-clip": "open_clip"}


@pytest.mark.parametrize(("to", "environment"), FOLDERS)
def test_folders(
    quick_clip, plain_clip, mini, to, environment, tmp_path, load_each: LoadEach
) -> None:
    models = [quick_clip, plain_clip]
    if to == "sentence-transformers":
        pytest.importorskip("sentence_transformers")
        models.append(mini)
    folders = [export(model, tmp_path / f"{n}", to=to) for n, model in enumerate(models)]
    loader = f"load_{LOADERS.get(to, 'sentence_transformers')}.py"
    for model, found in zip(models, load_each(loader, environment, folders), strict=True):
        assert_same_search(found, ours(model))


@pytest.mark.weights
def test_the_built_in_models_have_a_dense_layer_only_where_they_have_a_head(
    tmp_path, load_each: LoadEach
) -> None:
    pytest.importorskip("sentence_transformers")
    models, layers = [Mini.from_wheels(), mini_flickr8k()], [[], ["Dense"]]
    folders = [
        export(model, tmp_path / f"{n}", to="sentence-transformers")
        for n, model in enumerate(models)
    ]
    found = load_each("load_sentence_transformers.py", "here", folders)
    for model, folder, dense, vectors in zip(models, folders, layers, found, strict=True):
        types = [module["type"] for module in json.loads((folder / "modules.json").read_text())]
        modules = [kind.rpartition(".")[2] for kind in types]
        assert modules == ["Transformer", "Pooling", *dense, "Normalize"]
        assert_same_search(vectors, ours(model))
        # Loading warns of weights that a file lacks.
        assert "pooler.dense.weight" in load_file(folder / "model.safetensors")


def test_pictures_have_the_same_vectors_in_transformers(quick_clip, tmp_path) -> None:
    import torch
    from transformers import CLIPImageProcessor, CLIPModel

    folder = export(quick_clip, tmp_path / "out", to="hf")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 40, 3), np.uint8))
    processor = CLIPImageProcessor.from_pretrained(folder)
    pixels = processor(picture, return_tensors="pt")["pixel_values"]
    theirs = CLIPModel.from_pretrained(folder).eval()
    with torch.no_grad():
        found = theirs.get_image_features(pixel_values=pixels).pooler_output
    features = embed(quick_clip, quick_clip.preprocess(picture)[None], "fp32")
    vectors = project(quick_clip, features).numpy()
    assert (unit(found.numpy()) * vectors).sum() > 0.999


def rows_that_are_read(vectors: np.ndarray) -> np.ndarray:
    """All but a few unusual texts: a program refuses those, or makes other tokens of them."""
    read = np.isfinite(vectors).all(axis=1)
    assert 0.9 < read.mean() < 1
    return read


def test_rclip(named, tmp_path, load: Load) -> None:
    model = named("ViT-B-32-256")
    folder = export(model, tmp_path / "out", target="rclip", tag="datacomp_s34b_b86k")
    (folder / "tokenizer").mkdir()
    shutil.copy(BPE, folder / "tokenizer" / BPE.name)  # rclip's own file is this one
    for environment in ("rclip3", "rclip4"):
        assert_same_search(load("load_rclip.py", environment, folder), ours(model))


@pytest.mark.parametrize("system", ["fastembed", "immich", "librephotos", "vespa"])
def test_systems_of_openais_model(system, named, tmp_path, load: Load) -> None:
    model = named("ViT-B-32-quickgelu", quick=True)
    folder = export(model, tmp_path / "out", target=system, tag="openai")
    if system == "immich":  # as its exporter writes it for the base; the swap leaves it as it is
        config = folder / "clip" / "ViT-B-32__openai" / "config.json"
        config.write_text('{"text_cfg": {"context_length": 77}}')
    environment = system if system == "fastembed" else "here"
    vectors = load(f"load_{system}.py", environment, folder)
    read = rows_that_are_read(vectors) if system == "vespa" else slice(None)
    assert_same_search(vectors[read], ours(model)[read])
    if system == "immich":
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_librephotos_mobileclip(monkeypatch, tmp_path, load: Load) -> None:
    text = {**SMALL_CLIP["text_cfg"], "no_causal_mask": True}
    name, config = "MobileCLIP-S2", {**SMALL_CLIP, "text_cfg": text}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)
    model = small_clip(name, text_cfg=text)
    published = open_clip.get_pretrained_cfg(name, "datacompdr")
    model.spec.preprocessing.update(preprocessing_of(published))
    folder = export(model, tmp_path / "out", target="librephotos", tag="datacompdr")
    tokenizer = clip_tokenizer_files(77)["tokenizer.json"]  # LibrePhotos' own, which stays
    (folder / "mobileclip_s2" / "tokenizer.json").write_text(str(tokenizer))
    assert_same_search(load("load_librephotos.py", "here", folder), ours(model))


def test_transformers_js(quick_clip, tmp_path, load: Load) -> None:
    folder = export(quick_clip, tmp_path / "out", target="transformers-js")
    found = load("load_transformers_js.mjs", "transformers_js", folder)
    assert_same_search(found, ours(quick_clip))


def test_transformers_js_in_eight_bits(tmp_path, load: Load) -> None:
    model = small_clip(gain=1)
    options = ExportOptions(target="transformers-js", int8=True)
    folder = export_model(model, tmp_path / "out", options).path
    found = load("load_transformers_js.mjs", "transformers_js", folder, "q8")
    assert (unit(found) * unit(ours(model))).sum(axis=1).min() > 0.99


def test_weaviate(quick_clip, tmp_path, load: Load) -> None:
    folder = export(quick_clip, tmp_path / "out", target="weaviate")
    vectors = load("load_weaviate.py", "weaviate", folder)
    read = rows_that_are_read(vectors)
    assert_same_search(vectors[read], ours(quick_clip)[read])


def test_opensearch(quick_clip, tmp_path, load: Load) -> None:
    folder = export(quick_clip, tmp_path / "out", target="opensearch")
    assert {path.suffix for path in folder.iterdir()} >= {".zip"}
    assert not list(folder.glob("*.onnx"))
    assert_same_search(load("load_opensearch.py", "here", folder), ours(quick_clip))


@pytest.mark.parametrize("system", ["clip-retrieval", "lancedb"])
def test_programs_that_take_a_name_and_weights(system, named, tmp_path, load: Load) -> None:
    model = named("ViT-B-32-quickgelu", quick=True)
    folder = export(model, tmp_path / "out", target=system)
    configs = tmp_path / "configs"
    configs.mkdir()
    export(model, tmp_path / "named", to="open-clip")
    config = (tmp_path / "named" / "open_clip_config.json").read_text()
    text = json.dumps(json.loads(config)["model_cfg"])
    (configs / "ViT-B-32-quickgelu.json").write_text(text)
    environment = system.replace("-", "_")
    loader = f"load_{environment}.py"
    found = load(loader, environment, folder, "ViT-B-32-quickgelu", str(configs))
    assert_same_search(found, ours(model))
