"""A small run of the sweep shown in the documentation."""

from pathlib import Path

import torch
from colour_encoder import write_flickr8k
from text_sets import write_sts, write_sugar_crepe_pp
from tiny_models import tiny_clip

from benchmarks.evaluation import sweep
from paraclip.models.checkpoint import save_model


def test_the_sweep_is_kept_with_its_plot(run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    base, tuned = tiny_clip(), tiny_clip()
    with torch.no_grad():
        tuned.text_tower.text_projection.add_(0.3 * torch.randn(32, 16))
    places = [save_model(base, tmp_path / "a.safetensors"),
              save_model(tuned, tmp_path / "b.safetensors")]  # fmt: skip
    data = tmp_path / "data"
    write_sts(data / "sts")
    write_sugar_crepe_pp(data / "sugar_crepe_pp")
    write_flickr8k(data / "flickr8k", shades=3)
    plot = tmp_path / "sweep.png"
    found = run(
        sweep, "--data", data, "--base", places[0], "--tuned", places[1], "--sweep", 0.4,
        "--report", tmp_path / "report", "--plot", plot,
    )  # fmt: skip
    assert [point["alpha"] for point in found["points"]] == [0.0, 0.4, 1.0]
    assert found["knee"] in (0.0, 0.4, 1.0) and set(found["weights"]) == {"base", "tuned"}
    assert plot.read_bytes()[:4] == b"\x89PNG"
