"""The page in headless Chromium: results, wordings, keys, states, address, accessibility."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import NASTY, SCRIPT, WIDTH, Site, made_index, made_service, served
from tiny_models import draw

from chromium import launched, needs_chromium, needs_playwright
from paraclip.image_search.stores import picture_id
from postgres_server import wait_until

FORBIDDEN = "Content Security"

pytestmark = [pytest.mark.slow, needs_chromium, needs_playwright]


class FixedReworder:
    """A language model with one fixed answer."""

    async def suggest(self, text: str, has_left: object) -> list[str]:
        """The words in another order."""
        return [" ".join(reversed(text.split())), "<b>bold</b>"]

    def stop(self) -> None:
        """Nothing is running."""

    async def close(self) -> None:
        """Nothing is open."""


class FirstAxis:
    """An image tower with one vector for all pictures."""

    def embed_image(self, image: Any) -> np.ndarray:
        """The first unit vector."""
        return np.eye(WIDTH, dtype=np.float32)[0]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARACLIP_CACHE", str(folder / "cache"))
        service = made_service(made_index(folder, str(folder / "index")))
        with served(service, reworder=FixedReworder()) as running:  # type: ignore[arg-type]
            yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as made:
        yield made


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on(
        "console",
        lambda line: faults.append(line.text) if "Content Security" in line.text else None,
    )
    yield opened
    context.close()
    assert faults == []


def ready(page: Any, tiles: int) -> None:
    """Wait for this number of results."""
    until(
        page,
        f"document.querySelectorAll('.tile').length === {tiles}"
        " && document.querySelector('#columns').getAttribute('aria-busy') === 'false'",
    )


def until(page: Any, condition: str) -> None:
    """Wait for a condition; Playwright's own method needs `eval`, which the page forbids."""
    wait_until(lambda: page.evaluate(condition), 60)


def shown(page: Any, column: int, wording: int = 0) -> list[str]:
    """Ids of the results in a list."""
    place = f".model:nth-child({column}) ol >> nth={wording}"
    return list(
        page.locator(place)
        .locator(".tile")
        .evaluate_all("tiles => tiles.map(tile => tile.dataset.picture)")
    )


def test_typing_shows_both_models_side_by_side(site: Site, page: Any) -> None:
    page.goto(site.url)
    assert page.locator("#welcome").is_visible()
    assert page.evaluate("document.activeElement.id") == "q"
    page.fill("#q", "red disc small")
    ready(page, 20)
    found = site.json("api/search?q=red+disc+small")
    for column, model in enumerate(found["models"], start=1):
        assert shown(page, column) == [hit["id"] for hit in model["results"][0]]
    shared = found["between"][0]["shared"]
    assert page.locator(".tile.shared").count() == 2 * shared
    assert f"share {shared} of 10" in page.inner_text("#status")
    assert "q=red+disc+small" in page.url


def test_one_model_is_not_offered_as_a_choice(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    service = made_service(made_index(tmp_path, str(tmp_path / "index")))
    service.towers = {"base": service.towers["base"]}
    with served(service) as alone:
        page = browser.new_page()
        page.goto(f"{alone.url}?q=disc")
        ready(page, 10)
        assert page.locator("#models").is_hidden()
        page.close()


def test_two_wordings_are_connected_and_scored(site: Site, page: Any) -> None:
    page.goto(f"{site.url}?q=red+disc+small&second=small+disc+red")
    ready(page, 40)
    found = site.json("api/search?q=red+disc+small&second=small+disc+red")
    for column, model in enumerate(found["models"], start=1):
        text = page.locator(f".model:nth-child({column}) .head").inner_text()
        assert f"AO@10 {model['agreement']['ao']:.1f}" in text
        assert f"JS@10 {model['agreement']['js']:.1f}" in text
        lines = page.locator(f".model:nth-child({column}) path").count()
        assert lines == model["agreement"]["shared"]
    page.hover(".model:nth-child(2) .tile >> nth=0")
    assert page.locator(".model:nth-child(2) path.same").count() == 1


def test_the_address_is_the_state(site: Site, page: Any) -> None:
    page.goto(f"{site.url}?q=disc&k=5&scores=1&models=tuned&minus=paper")
    ready(page, 5)
    assert page.locator(".score").count() == 5
    assert page.locator(".model h2").inner_text() == "tuned"
    assert page.input_value("#minus") == "paper"
    page.select_option("#k", "20")
    ready(page, 20)
    page.go_back()
    ready(page, 5)
    assert page.input_value("#k") == "5"


def test_an_uploaded_picture_stays_the_query_until_another_one(
    site: Site, page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.service, "image_tower", FirstAxis())
    draw(tmp_path / "own.png", "disc", "red")
    page.goto(site.url)
    page.set_input_files("#picture", tmp_path / "own.png")
    ready(page, 10)
    first = shown(page, 1)
    page.select_option("#k", "20")
    ready(page, 20)
    assert shown(page, 1)[:10] == first
    page.uncheck("#models input >> nth=1")
    ready(page, 20)
    page.fill("#q", "disc")
    until(page, "location.search.includes('q=disc')")
    ready(page, 20)
    page.fill("#q", "")
    ready(page, 0)
    assert page.locator("#welcome").is_visible()


def test_scores_are_shown_of_the_current_results_only(site: Site, page: Any) -> None:
    page.goto(f"{site.url}?q=disc&models=tuned")
    ready(page, 10)
    text = page.inner_text("#status")
    page.check("#scores")
    assert page.locator(".score").count() == 10
    assert page.inner_text("#status") == text, "with the time of the search"
    page.fill("#q", "")
    ready(page, 0)
    page.uncheck("#scores")
    assert page.locator(".tile").count() == 0 and page.locator("#welcome").is_visible()


def test_keys_open_step_and_close(site: Site, page: Any) -> None:
    page.goto(f"{site.url}?q=disc&models=tuned")
    ready(page, 10)
    page.locator("h1").click()
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.locator(".tile >> nth=0").focus()
    page.keyboard.press("ArrowRight")
    first = shown(page, 1)
    assert page.evaluate("document.activeElement.dataset.picture") == first[1]
    page.keyboard.press("Enter")
    assert page.locator("dialog[open]").count() == 1
    assert page.get_attribute("#large-picture", "src") == f"api/picture/{first[1]}"
    page.keyboard.press("ArrowRight")
    assert page.get_attribute("#large-picture", "src") == f"api/picture/{first[2]}"
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    page.locator(".tile >> nth=3").click()
    page.click("#similar")
    until(page, f"location.search.includes('like={first[3]}')")
    until(page, f"document.querySelector('.tile').dataset.picture === '{first[3]}'")


def test_a_rewording_is_suggested_and_taken(site: Site, page: Any) -> None:
    page.goto(f"{site.url}?q=red+disc+small&models=tuned")
    ready(page, 10)
    page.click("#suggest")
    page.wait_for_selector("#suggestions button")
    texts = page.locator("#suggestions button").all_inner_texts()
    assert texts == ["small disc red", "<b>bold</b>"]
    page.click("#suggestions button >> nth=0")
    ready(page, 20)
    assert page.input_value("#second") == "small disc red"


def test_names_and_captions_stay_text(site: Site, page: Any) -> None:
    page.goto(
        f"{site.url}?like={picture_id(NASTY)}&models=base&q=%3Cscript%3Ealert(1)%3C/script%3E"
    )
    ready(page, 10)
    page.locator(f".tile[data-picture='{picture_id(NASTY)}']").click()
    assert page.inner_text("#large-title") == SCRIPT
    assert NASTY in page.inner_text("#large-path")
    assert page.title() == "ParaCLIP search"
    assert page.locator("[onerror]").count() == 0


def test_errors_are_reported_and_recovered_from(site: Site, page: Any) -> None:
    page.goto(f"{site.url}?q=disc&models=tuned")
    ready(page, 10)
    page.route("**/api/search?*", lambda route: route.abort())
    page.fill("#q", "disc green")
    page.wait_for_selector("#error:not([hidden])")
    assert "does not answer" in page.inner_text("#error")
    page.unroute("**/api/search?*")
    page.click("#retry")
    ready(page, 10)
    assert page.locator("#error").is_hidden()
    page.click("summary")
    page.fill("#minus", "disc green")
    page.wait_for_selector("#error:not([hidden])")
    assert "cancel each other" in page.inner_text("#error")


@pytest.mark.parametrize("width", [360, 800])
def test_narrow_screens_need_no_sideways_scrolling(site: Site, page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(f"{site.url}?q=red+disc+small&second=small+disc+red")
    ready(page, 40)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = [page.locator(f".model:nth-child({n})").bounding_box() for n in (1, 2)]
    assert boxes[0]["y"] < boxes[1]["y"], "models below each other"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("query", ["", "?q=red+disc&second=disc+red&scores=1", "?q=a&minus=a"])
def test_axe_finds_no_serious_fault(site: Site, page: Any, scheme: str, query: str) -> None:
    spec = find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        pytest.skip("axe-playwright-python is not installed")
    axe = (Path(os.path.dirname(spec.origin)) / "axe.min.js").read_text("utf-8")
    page.emulate_media(color_scheme=scheme)
    page.goto(site.url + query)
    page.wait_for_selector(".tile, #error:not([hidden]), #welcome:not([hidden])")
    if "second" in query:
        ready(page, 40)
    page.evaluate(axe)
    found = page.evaluate("axe.run()")
    serious = [
        (fault["id"], fault["nodes"][0]["html"], fault["nodes"][0]["failureSummary"])
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
    ]
    assert serious == []
    assert len(found["passes"]) > 10
