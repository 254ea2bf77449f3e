"""The page of examples: its content, its safety, and its behaviour in a browser."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chromium import launched, needs_chromium, needs_playwright
from paraclip.evaluation import examples
from paraclip.evaluation.benchmark import Shown
from paraclip.evaluation.benchmarks.paraphrased_retrieval import ParaphrasedRetrieval
from paraclip.evaluation.benchmarks.variations import Variations
from paraclip.evaluation.examples import RankedPairs, most_changed, render_browser
from paraclip.evaluation.metrics import average_overlap
from paraclip.evaluation.pairs import Pairs, read_wordings
from paraclip.evaluation.pictures import read_pool
from paraclip.evaluation.run import evaluate
from tiny import COLOURS, ColourEncoder, draw_pictures

pytestmark = pytest.mark.slow

NASTY = "</script><img src=x onerror=alert(1)> & \u2028 'quoted'"


def made(folder: Path, texts: list[tuple[str, str]] | None = None, **changes: Any) -> RankedPairs:
    """Three pairs over six pictures: the first improves, the second worsens, the third stays."""
    references = [str(path) for path in draw_pictures(folder / "pictures", 2)][:6]
    first = np.array([[0, 1, 2], [3, 4, 5], [0, 1, 2]])
    base = np.array([[3, 4, 5], [3, 4, 5], [0, 1, 2]])
    tuned = np.array([[0, 1, 2], [3, 0, 1], [0, 1, 2]])
    texts = texts or [("a red hat", "hat of red"), ("a blue car", "car in blue"), ("one", "two")]
    models = [
        replace(Shown(texts, [""] * 3, (first, second), references), **changes)
        for second in (base, tuned)
    ]
    return RankedPairs("made", "3 pairs over 6", *models)


def write_page(path: Path, pairs: list[RankedPairs], models: tuple[str, str]) -> None:
    """Write the page of pairs."""
    page = render_browser(pairs, models)
    assert page is not None
    path.write_text(page, "utf-8")


def content(path: Path) -> dict:
    """The JSON island of a page."""
    (found,) = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', path.read_text())
    return json.loads(found)


def test_the_pairs_that_changed_most_are_chosen() -> None:
    gains = np.array([0.1, -0.5, 0.0, 0.4, -0.1, 0.2])
    assert most_changed(gains, 2) == [1, 3, 5, 4]
    assert most_changed(gains) == [1, 3, 5, 0, 4]
    assert most_changed(np.zeros(3)) == []


def test_the_page_holds_texts_rankings_and_pictures(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", [made(tmp_path)], ("base", "tuned"))
    found = content(tmp_path / "page.html")
    (one,) = found["sets"]
    assert (one["all"], one["gained"], one["lost"], one["k"]) == (3, 1, 1, 3)
    assert [pair["texts"][0] for pair in one["pairs"]] == ["a red hat", "a blue car"]
    red, blue = one["pairs"]
    assert red["overlap"] == [0.0, 100.0]
    assert blue["overlap"] == [100.0, round(100 * (1 + 1 / 2 + 1 / 3) / 3, 2)]
    # picture 3 is first for both wordings of blue; 0 and 1 only the second wording finds
    second = blue["results"][1][1]
    assert [rank for _, rank in second] == [1, 0, 0]
    names = [found["pictures"][number]["name"] for number, _ in second]
    assert names == ["green_1.png", "red_0.png", "red_1.png"]
    assert all(p["source"].startswith("data:image/jpeg;base64,") for p in found["pictures"])
    assert len(found["pictures"]) == 6, "each once"
    assert red["answer"] is None


def test_texts_cannot_leave_their_island(tmp_path: Path) -> None:
    texts = [(NASTY, "<b>bold</b>"), ("a", "b"), ("c", "d")]
    write_page(tmp_path / "p.html", [made(tmp_path, texts)], ("base", "<i>"))
    text = (tmp_path / "p.html").read_text()
    assert "onerror=alert" in text and "<img src=x" not in text and "<b>" not in text
    assert "<i>" not in text and "&lt;i&gt;" in text
    assert content(tmp_path / "p.html")["sets"][0]["pairs"][0]["texts"][0] == NASTY
    assert not re.search(r"innerHTML|outerHTML|document\.write|insertAdjacentHTML|eval\(", text)
    assert "default-src 'none'" in text


def test_the_size_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "LARGEST_PAGE", 1)
    write_page(tmp_path / "page.html", [made(tmp_path)], ("base", "tuned"))
    assert len(content(tmp_path / "page.html")["sets"][0]["pairs"]) == 1


def test_nothing_changed_gives_no_page(tmp_path: Path) -> None:
    pairs = made(tmp_path)
    still = replace(pairs, tuned=pairs.base)
    assert render_browser([still], ("base", "tuned")) is None


def test_paraphrases_and_variations_both_give_examples(tmp_path: Path) -> None:
    pictures = draw_pictures(tmp_path / "pictures", 3)
    pool = read_pool(tmp_path / "pictures")
    texts = [(f"a {name} thing", f"some {name} stuff") for name in COLOURS]
    first, second = zip(*texts, strict=True)
    paraphrases = ParaphrasedRetrieval(Pairs("p", tuple(COLOURS), first, second, "0"), pool, 3)
    rows = [
        {"image_id": path.name, "caption": f"a {path.stem}",
         "variations": {"lexical": f"one {path.stem}", "typo": f"a {path.stem}x", "contrast": "no"}}
        for path in pictures[:4]
    ]  # fmt: skip
    (tmp_path / "w.jsonl").write_text("\n".join(map(json.dumps, rows)))
    wordings = read_wordings(tmp_path / "w.jsonl", ("lexical", "typo"))
    variations = Variations("variations", wordings, pool, 3)
    models = {"base": ColourEncoder(1.5), "tuned": ColourEncoder(0.1)}
    evaluate(models, [paraphrases, variations], tmp_path / "out", {"resamples": 5})
    found = content(tmp_path / "out" / "browser.html")
    assert [one["name"] for one in found["sets"]] == ["paraphrased-retrieval", "variations"]
    assert found["sets"][1]["kinds"] == ["lexical", "typo"]
    kinds = {pair["kind"]: pair["texts"] for pair in found["sets"][1]["pairs"]}
    assert all(("one " in texts[1]) == (kind == "lexical") for kind, texts in kinds.items())
    assert "(browser.html)" in (tmp_path / "out" / "report.md").read_text()
    scores = paraphrases.score(models["base"], None)
    assert scores.shown is not None
    assert np.allclose(average_overlap(*scores.shown.rankings), scores.metrics[0].items)


@needs_chromium
@needs_playwright
def test_a_browser_draws_sorts_and_filters(tmp_path: Path) -> None:
    texts = [("a red hat", NASTY), ("a blue car", "car in blue"), ("one", "two")]
    write_page(tmp_path / "page.html", [made(tmp_path, texts)], ("base", "tuned"))
    address = (tmp_path / "page.html").as_uri()
    with launched() as chromium:
        page = chromium.new_page()
        page.goto(f"{address}#order=loss")
        assert page.locator("#count").inner_text() == "2 of 2 pairs"
        shown = page.locator(".text").all_text_contents()
        assert shown == ["a blue car", "car in blue"] * 2 + ["a red hat", NASTY] * 2, "each model"
        assert page.locator("[onerror]").count() == 0, "a text became an element"
        # blue: all three and their twins before, one of each after; red: none before, all after
        assert page.locator("li.shared").count() == 6 + 2 + 0 + 6
        page = chromium.new_page()
        page.goto(f"{address}#words=BLUE+car&change=loss")
        assert page.locator(".text").all_text_contents() == ["a blue car", "car in blue"] * 2
        assert page.locator("#count").inner_text() == "1 of 2 pairs"
        known = made(tmp_path, answers=[0, 5, 0])
        write_page(tmp_path / "page.html", [known], ("base", "tuned"))
        page = chromium.new_page()
        page.goto(f"{address}#order=gain")
        base, tuned, *_ = page.locator("h3").all_text_contents()
        assert "0 of 3 the same" in base and "right for one wording" in base
        assert "3 of 3 the same" in tuned and "right for both wordings" in tuned
        assert (
            page.locator("li.shared.right").count() == 0 < page.locator("li.shared.wrong").count()
        )
        dimmed = "all => all.filter(one => getComputedStyle(one).opacity !== '1').length"
        assert page.locator("li img").evaluate_all(dimmed) == 0


@needs_chromium
@needs_playwright
def test_ten_results_of_both_models_fit_every_width(tmp_path: Path) -> None:
    references = [str(path) for path in draw_pictures(tmp_path / "pictures", 4)][:20]
    low, high = np.arange(10), np.arange(10, 20) % len(references)
    low, high = low[None].repeat(2, 0), high[None].repeat(2, 0)
    texts = [("a man in a long red coat", "a coat " * 20), ("one", "two")]
    both = (Shown(texts, ["", ""], (low, second), references) for second in (high, low))
    pairs = RankedPairs("made", "20 pictures", *both)
    write_page(tmp_path / "page.html", [pairs], ("base", "tuned"))
    with launched() as chromium:
        for width in (360, 1200, 1920):
            page = chromium.new_page(viewport={"width": width, "height": 800})
            page.goto((tmp_path / "page.html").as_uri())
            assert page.locator("li").count() == 80
            edges = page.eval_on_selector_all(
                "li", "all => all.map(one => one.getBoundingClientRect().right)"
            )
            assert max(edges) <= width
            assert page.evaluate("document.documentElement.scrollWidth") <= width
