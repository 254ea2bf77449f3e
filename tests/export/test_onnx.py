"""ONNX: names and shapes, 8-bit weights, and the checks before a file is kept."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from export_models import TEXTS, assert_same_search, ours
from tokenizers import Tokenizer

from paraclip.api import export
from paraclip.compute.onnx_session import TextGraph, weight_files
from paraclip.errors import UserError
from paraclip.exporting.run import export_model
from paraclip.files import file_hash
from paraclip.models.features import encode_texts
from paraclip.models.formats.onnx_graph import write_image_graph, write_text_graph
from paraclip.models.mini import SentenceModel, SentenceSettings
from paraclip.systems import ExportOptions
from tiny import small_clip, word_files

pytestmark = pytest.mark.slow
EIGHT_BITS = ExportOptions(target="transformers-js", int8=True)


def run(folder, texts=TEXTS):
    """Vectors of the plain layout, computed as a user's own program does."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(77)
    graph = onnxruntime.InferenceSession(folder / "text_model.onnx")
    rows = [tokenizer.encode(text).ids for text in texts]
    length = max(map(len, rows))
    ids = np.array([row + [49407] * (length - len(row)) for row in rows], np.int64)
    return graph.run(["text_embeds"], {"input_ids": ids})[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, plain_clip):
    """Both towers in float."""
    out = tmp_path_factory.mktemp("onnx") / "out"
    return export(plain_clip, out, to="onnx", image_tower=True)


def test_the_plain_layout(folder, plain_clip) -> None:
    assert_same_search(run(folder), ours(plain_clip))
    for size in (1, 7):  # batch and length are free
        found = run(folder, TEXTS[5 : 5 + size])
        np.testing.assert_allclose(found, ours(plain_clip)[5 : 5 + size], atol=1e-5)


def test_what_is_written_is_described_and_the_image_tower_agrees(folder, plain_clip) -> None:
    facts = json.loads((folder / "interface.json").read_text())
    for part, file in (("text", "text_model.onnx"), ("image", "image_model.onnx")):
        graph = onnxruntime.InferenceSession(folder / file)
        assert [facts[part]["input"]] == [node.name for node in graph.get_inputs()]
        assert [facts[part]["output"]] == [node.name for node in graph.get_outputs()]
        assert facts[part]["width"] == plain_clip.architecture.embed_dim
    pixels = torch.rand(3, 3, 32, 32)
    theirs = graph.run(None, {"pixel_values": pixels.numpy()})[0]
    with torch.no_grad():
        own = plain_clip.project_images(plain_clip.embed_pixels(pixels)).numpy()
    np.testing.assert_allclose(theirs, own, atol=1e-5)


def test_the_prompt_before_every_text_is_written(plain_clip, folder, tmp_path) -> None:
    settings = SentenceSettings(prompts={"query": "red "})
    model = SentenceModel(word_files("bert"), settings)
    for written, prompt in ((export(model, tmp_path / "out", to="onnx"), "red "), (folder, "")):
        facts = json.loads((written / "interface.json").read_text())
        assert facts["text"]["prompt"] == prompt
    graph = onnxruntime.InferenceSession(tmp_path / "out" / "text_model.onnx")
    tokenizer = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    ids = np.array([tokenizer.encode("red a dog").ids], np.int64)
    found = graph.run(None, {"input_ids": ids})[0]
    np.testing.assert_allclose(found, encode_texts(model, ["a dog"]), atol=1e-5)


def test_eight_bits(tmp_path) -> None:
    model = small_clip(gain=1)
    found = export_model(model, tmp_path / "small", EIGHT_BITS)
    files = [found.path / "onnx" / f"text_model{end}.onnx" for end in ("_quantized", "")]
    assert files[0].stat().st_size < 0.35 * files[1].stat().st_size
    graph = onnxruntime.InferenceSession(files[0])
    rows = [model.tokenize([text]).ids.numpy() for text in TEXTS]
    vectors = np.concatenate([graph.run(None, {"input_ids": ids})[0] for ids in rows])
    cosines = (vectors * ours(model)).sum(axis=1) / np.linalg.norm(vectors, axis=1)
    assert cosines.min() > 0.99
    stored = onnx.load(files[0]).graph
    types = {value.name: value.data_type for value in stored.initializer}
    products = [node for node in stored.node if node.op_type == "MatMulInteger"]
    # Processors without VNNI overflow where weights are signed; this one may have it.
    assert {types[node.input[1]] for node in products} == {onnx.TensorProto.UINT8}
    assert found.drift is not None and str(found.drift) in (found.path / "README.md").read_text()


def test_eight_bits_that_change_the_vectors_are_refused(tmp_path) -> None:
    with pytest.raises(UserError, match=r"--int8: changes vectors .* Leave --int8 out"):
        export_model(small_clip(gain=2), tmp_path / "small", EIGHT_BITS)
    assert not list(tmp_path.iterdir())


def test_weights_beside_a_graph(tmp_path, plain_clip) -> None:
    """As for towers of more than 2 GiB, with a small limit."""
    text, image = tmp_path / "text.onnx", tmp_path / "image.onnx"
    write_text_graph(plain_clip, text, TextGraph(), largest=1000)
    write_image_graph(plain_clip, image, ("pixels", "vectors"), largest=1000)
    ids, pixels = plain_clip.tokenize(TEXTS[5:9]).ids, torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = plain_clip.project_images(plain_clip.embed_pixels(pixels)).numpy()
    for path, inputs, vectors in (
        (text, {"input_ids": ids}, ours(plain_clip)[5:9]), (image, {"pixels": pixels}, expected)
    ):  # fmt: skip
        (weights,) = weight_files(path)
        assert weights.name == f"{path.name}.{file_hash(weights)}.data"
        assert path.stat().st_size < weights.stat().st_size
        graph = onnxruntime.InferenceSession(path)
        found = graph.run(None, {name: value.numpy() for name, value in inputs.items()})[0]
        np.testing.assert_allclose(found, vectors, atol=1e-5)
    assert len([*tmp_path.iterdir()]) == 4


def test_mini_keeps_its_tokenizer(mini, tmp_path) -> None:
    out = export(mini, tmp_path / "out", to="onnx")
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    texts = ["a red disc", "small blue square on white paper"]
    ids = mini.tokenize(texts).ids
    assert tokenizer.encode(texts[1]).ids == ids[1].tolist()
    found = onnxruntime.InferenceSession(out / "text_model.onnx").run(
        None, {"input_ids": ids.numpy()}
    )[0]
    np.testing.assert_allclose(found, mini.encode_tokens(ids).detach().numpy(), atol=1e-5)


def test_a_file_that_computes_something_else_is_not_kept(tmp_path, monkeypatch) -> None:
    model = small_clip()
    written = torch.onnx.export

    def other(graph, *arguments, **options) -> None:
        written(graph, *arguments, **options)
        with torch.no_grad():
            graph.tower.text_projection.mul_(-1)

    monkeypatch.setattr(torch.onnx, "export", other)
    with pytest.raises(UserError, match="its vectors differ from torch's"):
        write_text_graph(model, tmp_path / "a.onnx", TextGraph())
