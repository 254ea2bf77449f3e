"""The figures of docs/method.md: drawn from the committed results, and the worked example."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.evaluation import method_figures
from paraclip.evaluation.metrics import average_overlap, jaccard


def test_all_figures_of_the_page_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["method_figures.py", "--images", str(tmp_path / "new")])
    method_figures.main()
    page = (method_figures.IMAGES.parent / "method.md").read_text()
    for path in (tmp_path / "new").iterdir():
        assert f"images/{path.name}" in page and (method_figures.IMAGES / path.name).exists()
        assert np.asarray(Image.open(path).convert("L")).std() > 10
    assert len(list((tmp_path / "new").iterdir())) == page.count("(images/method_")


def test_the_example_is_computed_as_the_benchmark_does() -> None:
    ranks = [np.array([[ord(name) for name in row.split()]]) for row in method_figures.LISTS]
    by_hand = np.mean([0, 2 / 2, 2 / 3, 3 / 4, 3 / 5])
    assert average_overlap(*ranks)[0] == pytest.approx(by_hand)
    assert jaccard(*ranks)[0] == pytest.approx(3 / 7)
