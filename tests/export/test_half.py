"""16-bit weights: the change of the vectors is measured, and a large change is refused."""

import numpy as np
import pytest
import torch
from export_models import ours, small_clip

from paraclip.api import export
from paraclip.errors import UserError
from paraclip.exporting.config import ExportOptions
from paraclip.exporting.drift import LEAST_HALF, drift, probes
from paraclip.exporting.run import export_model
from paraclip.models.features import encode_texts
from paraclip.models.loading import load_model

HALF = ExportOptions(half=True)


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
    found = export_model(model, tmp_path / "out", HALF)
    back = load_model(f"local-dir:{found.path}", "cpu")
    vectors = [encode_texts(one, list(probes())).numpy() for one in (back, model)]
    cosines = (vectors[0] * vectors[1]).sum(axis=1)
    assert found.drift is not None
    assert found.drift.lowest == pytest.approx(cosines.min(), abs=1e-5)
    assert found.drift.mean == pytest.approx(cosines.mean(), abs=1e-5)
    assert (ours(back) * ours(model)).sum(axis=1).min() > LEAST_HALF
    assert str(found.drift) in (found.path / "README.md").read_text()


def test_half_precision_halves_the_file(tmp_path) -> None:
    model = small_clip(gain=1)
    folder = export(model, tmp_path / "out", half=True)
    back = load_model(f"local-dir:{folder}", "cpu")
    assert np.abs(ours(back) - ours(model)).max() < 5e-3
    assert 2 * (folder / "open_clip_model.safetensors").stat().st_size < 1.1 * sum(
        4 * value.numel() for value in model.state_dict().values()
    )


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
    found = drift("int8", shortened, floats)
    assert found.lowest == -1 and found.texts == 3
