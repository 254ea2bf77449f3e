"""A second run of the same suite uses the cache, and stale scores are never used."""

import json
from pathlib import Path

import numpy as np
import pytest
from colour_encoder import COLOURS, ColourEncoder, draw_pictures
from PIL import Image
from text_sets import write_sts, write_sugar_crepe_pp

from paraclip.commands import evaluate as command
from paraclip.evaluation import kept_scores
from paraclip.evaluation.benchmark import Arithmetic, Benchmark
from paraclip.evaluation.benchmarks.aro import _make_visual_genome
from paraclip.evaluation.benchmarks.paraphrased_retrieval import ParaphrasedRetrieval
from paraclip.evaluation.benchmarks.sugar_crepe import (
    Subset,
    SugarCrepePlusPlus,
    _make_sugar_crepe,
)
from paraclip.evaluation.config import EvaluateConfig
from paraclip.evaluation.kept_scores import _key_of, _read_kept, keep_scores
from paraclip.evaluation.pairs import Pairs
from paraclip.evaluation.pictures import Found, read_pool
from paraclip.evaluation.report import data_hash, read_report


class Counting(ColourEncoder):
    """Counts the calls of a tower."""

    def __init__(self, noise: float = 0.5) -> None:
        super().__init__(noise)
        self.texts = self.pictures = 0

    def encode_tokens(self, ids):
        self.texts += 1
        return super().encode_tokens(ids)

    def embed_pixels(self, pixels):
        self.pictures += 1
        return super().embed_pixels(pixels)


@pytest.fixture
def benchmark(tmp_path: Path) -> Benchmark:
    """Paraphrased retrieval over drawn pictures."""
    draw_pictures(tmp_path / "pictures", 2)
    first = tuple(f"a {name} thing" for name in COLOURS)
    second = tuple(f"some {name} stuff" for name in COLOURS)
    pairs = Pairs("made here", tuple(COLOURS), first, second, "0")
    return ParaphrasedRetrieval(pairs, read_pool(tmp_path / "pictures"), 3)


def test_the_encoder_is_not_asked_twice(benchmark: Benchmark, tmp_path: Path) -> None:
    model = Counting()
    first = keep_scores(benchmark, model, tmp_path / "results")
    calls = model.texts, model.pictures
    assert min(calls) > 0 and not first.from_disk
    again = keep_scores(benchmark, model, tmp_path / "results")
    assert (model.texts, model.pictures) == calls and again.from_disk
    assert again.made == first.made and {"time", "seconds", "versions"} == set(first.made)
    assert list(again.scores.arrays) == ["caption_ranking", "paraphrase_ranking"]
    for name, array in first.scores.arrays.items():
        assert np.array_equal(again.scores.arrays[name], array)
    for one, other in zip(first.scores.metrics, again.scores.metrics, strict=True):
        assert one.name == other.name and np.array_equal(one.items, other.items)


def of_sugar_crepe(folder: Path) -> Benchmark:
    subset = Subset("add_att", (("a red thing", "a blue thing"),), "0", ("red_0.png",))
    found = Found({"red_0.png": str(folder / "images" / "red_0.png")})
    return _make_sugar_crepe([subset], found, Arithmetic(), [])


def of_sugar_crepe_pp(folder: Path) -> Benchmark:
    rows, images = (("a red thing", "some red stuff", "a blue thing"),), ("red_0.png",)
    found = Found({"red_0.png": str(folder / "images" / "red_0.png")})
    subset = Subset("swap_obj", rows, "0", images)
    return SugarCrepePlusPlus([subset], found=found)


def of_visual_genome(folder: Path) -> Benchmark:
    box = {"bbox_x": 0, "bbox_y": 0, "bbox_w": 8, "bbox_h": 8}
    texts = {"true_caption": "a red thing", "false_caption": "a blue thing"}
    entry = {"image_path": "red_0.png", "relation_name": "on", **box, **texts}
    file = folder / "visual_genome_relation.json"
    file.write_text(json.dumps([entry]))
    return _make_visual_genome("aro-vg-relation", file)


@pytest.mark.parametrize("make", [of_sugar_crepe, of_sugar_crepe_pp, of_visual_genome])
def test_another_picture_under_the_same_name_is_scored_again(tmp_path: Path, make) -> None:
    draw_pictures(tmp_path / "images", 2)
    model, results = ColourEncoder(0.01), tmp_path / "results"
    first = make(tmp_path)
    (right, *_) = keep_scores(first, model, results).scores.metrics[::-1]
    assert right.value() == 1
    Image.new("RGB", (40, 40), (0, 0, 255)).save(tmp_path / "images" / "red_0.png")
    other = make(tmp_path)
    kept = keep_scores(other, model, results)
    assert not kept.from_disk and kept.scores.metrics[-1].value() == 0
    assert other.data["pictures_hash"] != first.data["pictures_hash"]
    assert data_hash(other.pool, other.data) != data_hash(first.pool, first.data)


def test_everything_that_determines_a_score_is_in_its_key(
    benchmark: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ColourEncoder()
    before = _key_of(benchmark, model)
    assert _key_of(benchmark, ColourEncoder()) == before
    keys = {before, _key_of(benchmark, ColourEncoder(0.7)), _key_of(benchmark, ColourEncoder(0.7))}
    benchmark.how = Arithmetic("bf16")
    keys.add(_key_of(benchmark, model))
    benchmark.how = Arithmetic()
    benchmark.data = {**benchmark.data, "pairs_hash": "1"}
    keys.add(_key_of(benchmark, model))
    picture = next((tmp_path / "pictures").iterdir())
    picture.write_bytes(picture.read_bytes() + b"\0")
    keys.add(_key_of(benchmark, model))
    monkeypatch.setattr(kept_scores, "_code_hash", lambda: "other")
    keys.add(_key_of(benchmark, model))
    assert len(keys) == 6


def test_a_damaged_file_is_computed_again(benchmark: Benchmark, tmp_path: Path) -> None:
    model = Counting()
    keep_scores(benchmark, model, tmp_path / "results")
    (path,) = (tmp_path / "results").iterdir()
    whole = path.read_bytes()
    flipped = [bytes([*whole[:at], whole[at] ^ 255, *whole[at + 1 :]]) for at in range(30, 400, 7)]
    for damage in flipped:
        path.write_bytes(damage)
        _read_kept(path)  # None, or what was kept where the byte is no one's; never an error
    for damage in (b"", whole[:100]):
        path.write_bytes(damage)
        assert _read_kept(path) is None
        assert not keep_scores(benchmark, model, tmp_path / "results").from_disk


def test_a_second_run_of_the_command_reports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Counting()
    monkeypatch.setattr(command, "load_model", lambda name, device: model)
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    write_sts(tmp_path / "sts")
    write_sugar_crepe_pp(tmp_path / "sugar_crepe_pp")
    config = EvaluateConfig(
        ("base=any",), "sts,sugar-crepe-pp", data=str(tmp_path), out=str(tmp_path / "out"),
        resamples=20,
    )  # fmt: skip
    reports = []
    for _ in range(2):
        before = model.texts
        command.evaluate_command(config)
        reports.append((read_report(tmp_path / "out" / "report.json"), model.texts - before))
    (first, some), (second, none) = reports
    assert some > 0 and none == 0
    assert [s.lines for s in first.sections] == [s.lines for s in second.sections]
    taken = [
        {m["from_earlier_run"] for s in r.sections for m in s.made.values()} for r, _ in reports
    ]
    assert taken == [{False}, {True}]
