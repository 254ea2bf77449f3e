"""Weights in full and in 16 bits: the change of vectors is measured, a large one refused."""

import ast
import json
import re
import shlex
from copy import deepcopy

import numpy as np
import open_clip
import pytest
import torch
from export_models import ours
from safetensors.torch import load_file

from paraclip.api import export
from paraclip.cli import parse
from paraclip.commands.export import ExportConfig, export_command
from paraclip.errors import UserError
from paraclip.exporting.run import export_model
from paraclip.exporting.source import check_drift, probes
from paraclip.models.checkpoint import save_model
from paraclip.models.features import encode_texts
from paraclip.models.loading import load_model
from paraclip.systems import ExportOptions
from tiny import TINY_CLIP, small_clip

TEXTS = ["a red disc", "two cats on a beach"]


def test_open_clip_itself_loads_what_is_exported(clip, tmp_path, monkeypatch, capsys):
    path = save_model(clip, tmp_path / "ours.safetensors", {"base": "random"})
    out = str(tmp_path / "exported.safetensors")
    export_command(ExportConfig(model=str(path), out=out))
    assert f"pretrained='{out}'" in capsys.readouterr().out
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", json.loads(json.dumps(TINY_CLIP)))
    theirs = open_clip.create_model("tiny", pretrained=out).eval()
    ids = open_clip.SimpleTokenizer(context_length=12)(TEXTS)
    vectors = theirs.encode_text(ids, normalize=True)
    torch.testing.assert_close(vectors, clip.encode_tokens(ids), rtol=0, atol=1e-6)
    assert "- base: random" in (tmp_path / "exported.md").read_text()


@pytest.mark.parametrize("folder", ["", "weights/"])
def test_a_file_of_weights_is_exported_by_its_architecture(folder, clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", json.loads(json.dumps(TINY_CLIP)))
    export(clip, f"{folder}theirs.safetensors")
    name = f"tiny:{folder}theirs.safetensors"
    out = export(name, "again.safetensors")
    ours, theirs = load_file(out), load_file(f"{folder}theirs.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert f"- base: {name}" in (tmp_path / "again.md").read_text()


def test_the_commands_in_the_steps_can_be_pasted(clip, mini, tmp_path):
    folder = tmp_path / "it's mine"
    for name, model, base in (("clip", clip, "tiny:TAG"), ("mini", mini, "mini")):
        path = save_model(model, folder / f"{name} tuned.safetensors")
        system = "open-clip" if name == "clip" else "sentence-transformers"
        first, load, *_ = export_model(path, folder / name, ExportOptions(target=system)).steps
        words = shlex.split(first.partition(": paraclip ")[2])
        config = parse(words)
        assert (config.base, config.tuned) == (base, str(path))
        for call in re.findall(r"\w+(\(.*?[\"']\))", load):
            assert str(folder / name) in ast.literal_eval(call)


@pytest.mark.parametrize("kind", ["mini", "clip"])
def test_a_model_in_memory_exports_like_its_checkpoint(request, kind, tmp_path, capsys):
    model = deepcopy(request.getfixturevalue(kind)).train()
    path = save_model(model, tmp_path / "ours.safetensors")
    first = export(path, tmp_path / "a.safetensors")
    second = export(model, str(tmp_path / "b.safetensors"))
    assert model.training, "the caller's stays as it is"
    assert (first.name, second.name) == ("a.safetensors", "b.safetensors")
    one, other = load_file(first), load_file(second)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    cards = [(tmp_path / f"{name}.md").read_text() for name in ("a", "b")]
    assert cards[0] == cards[1].replace("# b.", "# a.")
    assert capsys.readouterr().out == ""


def test_mini_keeps_its_names_and_halves(mini, tmp_path):
    tensors = load_file(export(mini, tmp_path / "out.safetensors", half=True))
    assert tensors.keys() == mini.state_dict().keys()
    assert tensors["image_tower.head.weight"].dtype == torch.float16
    assert tensors["image_tower.backbone.bn1.num_batches_tracked"].dtype == torch.int64


# --- 16 bits ---


def shifted_clip(shift: float):
    """A tiny CLIP of the same vectors in float: LayerNorm removes what all channels share.

    Sixteen bits round the rest away.
    """
    model = small_clip()
    with torch.no_grad():
        model.text_tower.token_embedding.weight.add_(shift)
    return model


@pytest.mark.parametrize("gain", [1, 2])
def test_the_drift_that_is_stated_is_that_of_the_file(gain, tmp_path) -> None:
    model = small_clip(gain=gain)
    found = export_model(model, tmp_path / "out", ExportOptions(half=True))
    back = load_model(f"local-dir:{found.path}", "cpu")
    vectors = [encode_texts(one, list(probes())).numpy() for one in (back, model)]
    cosines = (vectors[0] * vectors[1]).sum(axis=1)
    assert found.drift is not None
    assert found.drift.lowest == pytest.approx(cosines.min(), abs=1e-5)
    assert found.drift.mean == pytest.approx(cosines.mean(), abs=1e-5)
    assert (ours(back) * ours(model)).sum(axis=1).min() > 0.999
    assert 2 * (found.path / "open_clip_model.safetensors").stat().st_size < 1.1 * sum(
        4 * value.numel() for value in model.state_dict().values()
    )
    assert str(found.drift) in (found.path / "README.md").read_text()


@pytest.mark.parametrize("to", ["open-clip", "hf", "weights"])
def test_a_model_whose_vectors_change_is_refused(to, tmp_path) -> None:
    out = tmp_path / ("out.safetensors" if to == "weights" else "out")
    with pytest.raises(UserError, match="--half: changes vectors of this model to a cosine of"):
        export(shifted_clip(20), out, to=to, half=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["text_tower.positional_embedding", "image_tower.proj"])
def test_weights_beyond_sixteen_bits(name, tmp_path) -> None:
    model = small_clip()
    with torch.no_grad():
        model.get_parameter(name)[3, 0] = 1e5
    with pytest.raises(UserError, match=rf"weights of {name} exceed .*--half out"):
        export(model, tmp_path / "out", half=True)


def test_vectors_without_a_direction_count_as_the_worst() -> None:
    floats = np.ones((3, 4), np.float32)
    shortened = np.array([[1, 1, 1, 1], [0, 0, 0, 0], [np.nan, 1, 1, 1]], np.float32)
    with pytest.raises(UserError, match=r"--int8: changes vectors .* cosine of -1\.0000"):
        check_drift("--int8", shortened, floats)
