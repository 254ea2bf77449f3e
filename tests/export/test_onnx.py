"""ONNX: names and shapes, 8-bit weights, and what is checked before a file is kept."""

import json

import numpy as np
import pytest
import torch
from export_models import ours, small_clip
from export_texts import TEXTS, assert_same_search
from tokenizers import Tokenizer

from paraclip.api import export
from paraclip.errors import UserError
from paraclip.exporting import onnx_graph
from paraclip.exporting.onnx_graph import TextInterface, session, write_text_graph
from paraclip.exporting.quantise import split_table


def run(folder, texts=TEXTS):
    """Vectors of the plain layout, as a program of the user's own computes them."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(77)
    graph = session(folder / "text_model.onnx")
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


def test_what_is_written_is_described(folder, plain_clip) -> None:
    facts = json.loads((folder / "interface.json").read_text())
    for part, file in (("text", "text_model.onnx"), ("image", "image_model.onnx")):
        graph = session(folder / file)
        assert [facts[part]["input"]] == [node.name for node in graph.get_inputs()]
        assert [facts[part]["output"]] == [node.name for node in graph.get_outputs()]
        assert facts[part]["width"] == plain_clip.architecture.embed_dim
    assert (folder / "README.md").is_file()


def test_the_image_tower(folder, plain_clip) -> None:
    pixels = torch.rand(3, 3, 32, 32)
    theirs = session(folder / "image_model.onnx").run(None, {"pixel_values": pixels.numpy()})[0]
    with torch.no_grad():
        own = plain_clip.project_images(plain_clip.embed_pixels(pixels)).numpy()
    np.testing.assert_allclose(theirs, own, atol=1e-5)


def test_eight_bits(folder, tmp_path) -> None:
    model = small_clip(gain=1)
    small = export(model, tmp_path / "small", to="onnx", int8=True)
    sizes = [(one / "text_model.onnx").stat().st_size for one in (small, folder)]
    assert sizes[0] < 0.35 * sizes[1]
    assert (run(small) * ours(model)).sum(axis=1).min() > 0.99
    assert json.loads((small / "interface.json").read_text())["text"]["weights"] == "int8"


def test_mini_keeps_its_tokenizer(mini, tmp_path) -> None:
    out = export(mini, tmp_path / "out", to="onnx")
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    texts = ["a red disc", "small blue square on white paper"]
    ids = mini.tokenize(texts).ids
    assert tokenizer.encode(texts[1]).ids == ids[1].tolist()
    found = session(out / "text_model.onnx").run(None, {"input_ids": ids.numpy()})[0]
    np.testing.assert_allclose(found, mini.encode_tokens(ids).detach().numpy(), atol=1e-5)


def test_rows_of_a_table_have_their_own_scale() -> None:
    from onnx import numpy_helper

    table = np.array([[1.0, -0.5], [1000.0, 10.0], [0.0, 0.0]], np.float32)
    whole, scale = map(numpy_helper.to_array, split_table(numpy_helper.from_array(table, "t")))
    assert whole.dtype == np.int8 and scale.shape == (3, 1)
    np.testing.assert_allclose(whole * scale, table, rtol=0.01, atol=5)
    np.testing.assert_allclose(whole[0] * scale[0], table[0], atol=0.005)


def test_a_file_that_computes_something_else_is_not_kept(tmp_path, monkeypatch) -> None:
    model = small_clip()
    written = onnx_graph.export_graph

    def other(graph, *arguments) -> None:
        written(graph, *arguments)
        with torch.no_grad():
            graph.tower.text_projection.mul_(-1)

    monkeypatch.setattr(onnx_graph, "export_graph", other)
    with pytest.raises(UserError, match="its vectors differ from torch's"):
        write_text_graph(model, tmp_path / "a.onnx", TextInterface(), 18)


def test_without_onnx_the_hint_is_what_to_install(quick_clip, tmp_path, monkeypatch) -> None:
    import builtins

    real = builtins.__import__

    def missing(name, *arguments, **options):
        if name == "onnxscript":
            raise ImportError(name=name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match=r"onnxscript is not installed.*paraclip\[export\]"):
        export(quick_clip, tmp_path / "out", to="onnx")
