"""The method in one file learns what `paraclip train` learns."""

from argparse import Namespace
from pathlib import Path

import pyarrow as pa
import pytest
import torch

import paraclip
from paraclip.models.checkpoint import save_model
from paraclip.training import sentences
from paraclip.training.log import read_metrics
from recipes import minimal
from tiny import TinyModel, draw_pictures, tiny_clip

ROWS = 20


def test_its_first_loss_is_that_of_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [str(path) for path in draw_pictures(tmp_path / "pictures")][:ROWS]
    rows = [
        {"id": f"{n}", "image": name, "caption": f"a dog {n}", "paraphrase_1": f"one dog, {n}",
         "paraphrase_2": f"{n} hounds"}
        for n, name in enumerate(pictures)
    ]  # fmt: skip
    base, load = tmp_path / "base.safetensors", paraclip.load_model
    save_model(tiny_clip(), base)

    def meanings(name: str, device: str = "auto"):
        return TinyModel(seed=7) if name == "minilm" else load(name, device)

    monkeypatch.setattr(sentences, "load_model", meanings)
    monkeypatch.setattr(paraclip, "load_model", meanings)
    monkeypatch.setattr(minimal, "read_triples", lambda _: pa.Table.from_pylist(rows))
    common = {"epochs": 2, "batch_size": ROWS, "learning_rate": 1e-3}
    out = tmp_path / "minimal.safetensors"
    options = {"triples": "", "base": str(base), "device": "cpu", "seed": 0, "out": str(out)}
    found = minimal.train(Namespace(**common, **options))
    paraclip.train(base, rows, tmp_path / "run", recipe="ranked", precision="fp32", **common)
    ours = [step["loss"] for step in read_metrics(tmp_path / "run" / "metrics.jsonl")]
    assert found == pytest.approx(ours, rel=1e-3) and found[1] < found[0]
    before, after = (load(str(path)).state_dict() for path in (base, out))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith(("text", "inside", "logit")) for name in changed)
