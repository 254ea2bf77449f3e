"""The page in headless Chromium: results, wordings, keys, states, address, accessibility."""

import os
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from served import COUNT, NASTY, SCRIPT, FirstAxis, HashTower, Site, made_service, served

from chromium import launched, needs_chromium, needs_playwright
from paraclip.store import picture_id
from postgres_server import wait_until
from tiny import draw

OPACITIES = "all => all.map(one => Number(getComputedStyle(one).opacity))"

pytestmark = [pytest.mark.slow, needs_chromium, needs_playwright]


class FixedReworder:
    """A language model with one fixed answer."""

    async def suggest(self, text: str, has_left: object) -> list[str]:
        """The words in another order."""
        return [" ".join(reversed(text.split())), "<b>bold</b>"]

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture(scope="module")
def site(site: Site) -> Iterator[Site]:
    """The server with a language model."""
    service = made_service(site.service.store)
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
        f"document.querySelectorAll('#columns .tile').length === {tiles}"
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
    ready(page, 24)
    found = site.json("api/search?q=red+disc+small&k=12")
    for column, model in enumerate(found["models"], start=1):
        assert shown(page, column) == [hit["id"] for hit in model["results"][0]]
    one, two = (set(shown(page, column)) for column in (1, 2))
    assert page.locator(".tile.shared").count() == 2 * len(one & two)
    shared = found["between"][0]["shared"]
    assert f"base and tuned share {shared} of 10 (framed)" in page.inner_text("#status")
    assert page.locator("#columns .flags span").count() == 0, "said once, not on each tile"
    assert "q=red+disc+small" in page.url


def test_one_model_is_not_offered_as_a_choice_and_has_no_label(site: Site, browser: Any) -> None:
    service = made_service(site.service.store)
    service.towers = {"base": service.towers["base"]}
    with served(service) as alone:
        page = browser.new_page()
        page.goto(f"{alone.url}?q=disc")
        ready(page, 12)
        assert page.locator("#models").is_hidden()
        page.fill("#second", "circle")
        ready(page, 20)
        assert "base" not in page.inner_text("main")
        page.close()


def test_two_wordings_are_connected_and_counted_in_words(site: Site, page: Any) -> None:
    page.goto(f"{site.url}?q=red+disc+small&second=small+disc+red")
    ready(page, 40)
    found = site.json("api/search?q=red+disc+small&second=small+disc+red&k=10")
    for column, model in enumerate(found["models"], start=1):
        place = page.locator(f".model:nth-child({column})")
        assert f"{model['agreement']['shared']} of 10 found with both" in place.inner_text()
        assert "AO" not in place.inner_text()
        assert place.locator("h3").all_inner_texts() == ["red disc small", "small disc red"]
        one, two = (set(shown(page, column, wording)) for wording in (0, 1))
        assert place.locator("path[data-picture]").count() == len(one & two)
    assert {*page.locator(".tile, .tile img").evaluate_all(OPACITIES)} == {1}
    page.hover(".model:nth-child(2) .tile >> nth=0")
    assert page.locator(".model:nth-child(2) path.same").count() == 1
    assert page.locator("#agreements").is_hidden()
    page.click("#measures summary")
    for model in found["models"]:
        row = page.locator("#agreements tr", has_text=f"{model['label']}, two wordings")
        expected = f"{model['agreement']['ao']:.1f} {model['agreement']['js']:.1f}"
        assert expected in " ".join(row.inner_text().split())


def test_right_pictures_are_marked_and_wrong_agreement_is_not_praised(
    site: Site, page: Any
) -> None:
    """The words of a caption, for a model that ignores their order: all pictures are the same."""
    page.goto(f"{site.url}?q=picture+07&second=07+picture&models=tuned")
    ready(page, 20)
    found = site.json("api/search?q=picture+07&second=07+picture&models=tuned&k=10&judge=1")
    right = sum(hit["right"] for hit in found["models"][0]["results"][0])
    assert page.locator("path.right").count() == right
    assert page.locator("path.wrong").count() == 10 - right
    assert page.locator(".flags", has_text="✓ caption").count() == 2 * right
    said = page.locator(".head").inner_text()
    assert (f"✓ {right} of them right" if right else "✗ none of them right") in said
    assert "by their captions" in said


def test_nonsense_finds_nothing_close(
    site: Site, page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cutoffs = {"base": -1.0, "tuned": 2.0}
    monkeypatch.setattr(site.service, "current", replace(site.service.current, cutoffs=cutoffs))
    page.goto(f"{site.url}?q=xyzzy")
    ready(page, 24)
    assert "Nothing close" not in page.inner_text("#status"), "base finds some"
    assert page.locator(".model:nth-child(2) .nothing").is_visible()
    assert page.locator(".nothing").count() == 1 and page.locator(".tile.far").count() == 12
    faded = page.locator(".tile img").evaluate_all(OPACITIES)
    assert set(faded[:12]) == {1} and max(faded[12:]) < 0.6
    assert "not close" not in page.locator("#columns").inner_text()
    page.uncheck("#models input >> nth=0")
    ready(page, 12)
    assert "Nothing close" in page.inner_text("#status")


def test_the_address_is_the_state(site: Site, page: Any) -> None:
    page.goto(f"{site.url}?q=disc&k=5&scores=1&models=tuned&minus=paper")
    ready(page, 5)
    assert page.locator(".score").count() == 5
    assert page.locator(".model h2").inner_text() == "tuned"
    assert page.input_value("#minus") == "paper"
    page.click("#further")
    ready(page, 17)
    assert "k=17" in page.url
    sixth = shown(page, 1)[5]
    until(page, f"document.activeElement.dataset.picture === '{sixth}'")
    page.click("#further")
    ready(page, 29)
    page.click("#further")
    ready(page, COUNT)
    assert page.locator("#further").is_hidden(), "the index has no more"
    page.go_back()
    ready(page, 29)
    page.fill("#q", "square")
    until(page, "location.search.includes('q=square')")
    ready(page, 12)


def test_back_returns_to_the_query_before(site: Site, page: Any) -> None:
    page.goto(site.url)
    for word in ("disc", "square"):
        for typed in (word[:2], word):
            page.fill("#q", typed)
            until(page, f"location.search === '?q={typed}'")
            ready(page, 24)
        page.press("#q", "Enter")
    page.locator("#columns .tile >> nth=0").click()
    page.go_back()
    until(page, "location.search === '?q=disc'")
    assert page.input_value("#q") == "disc" and page.locator("dialog[open]").count() == 0
    page.go_back()
    until(page, "!document.getElementById('welcome').hidden")


def test_a_picture_as_the_query_stays_it(
    site: Site, page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.service, "image_tower", FirstAxis())
    draw(tmp_path / "own.png")
    page.goto(site.url)
    page.set_input_files("#picture", tmp_path / "own.png")
    ready(page, 12)
    first, like = shown(page, 1), page.get_attribute("#like-picture", "src")
    assert page.locator("#like").is_visible() and f"like={like.split('/')[-1]}" in page.url
    assert page.locator("#unfold img").get_attribute("src") == like, "what a phone shows of it"
    page.reload()
    ready(page, 12)
    assert shown(page, 1) == first
    until(page, "document.getElementById('like-picture').naturalWidth > 0")
    for kind, holder in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        page.click("#unlike")
        until(page, "!document.getElementById('welcome').hidden")
        page.evaluate(
            """async ([kind, holder]) => {
                const made = document.createElement("canvas"), data = new DataTransfer();
                const blob = await new Promise(done => made.toBlob(done));
                data.items.add(new File([blob], "a.png", { type: "image/png" }));
                const type = kind === "drop" ? DragEvent : ClipboardEvent;
                document.dispatchEvent(new type(kind, { [holder]: data, cancelable: true }));
            }""",
            [kind, holder],
        )
        ready(page, 12)
        assert page.locator("#like").is_visible()


def test_the_empty_page_offers_queries_and_pictures(site: Site, page: Any) -> None:
    page.goto(site.url)
    until(page, "document.querySelectorAll('#pictures .tile').length === 12")
    page.locator("#pictures .tile >> nth=0").click()
    assert page.locator("dialog[open]").count() == 1
    assert "score" not in page.inner_text("#large-path")
    page.keyboard.press("Escape")
    page.wait_for_selector("#queries img")
    until(page, "document.querySelector('#queries img').naturalWidth > 0")
    row = page.locator("#counts tbody tr:first-child > *").all_inner_texts()
    assert row == site.json("api/examples")["table"][1]
    texts = page.locator("#queries button >> nth=0 >> .wording").all_inner_texts()
    assert page.locator("#queries button >> nth=0").inner_text().endswith("of 10")
    page.click("#queries button >> nth=0")
    ready(page, 40)
    assert [page.input_value("#q"), page.input_value("#second")] == texts
    assert page.locator("#welcome").is_hidden()


def test_scores_are_shown_of_the_current_results_only(site: Site, page: Any) -> None:
    page.goto(f"{site.url}?q=disc&models=tuned")
    ready(page, 12)
    text = page.inner_text("#status")
    page.check("#scores")
    assert page.locator(".score").count() == 12
    assert page.inner_text("#status") == text, "with the time of the search"
    page.fill("#q", "")
    ready(page, 0)
    page.uncheck("#scores")
    assert page.locator("#columns .tile").count() == 0 and page.locator("#welcome").is_visible()


def test_keys_open_step_and_close(site: Site, page: Any) -> None:
    page.goto(f"{site.url}?q=disc&models=tuned")
    ready(page, 12)
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
    page.click("#copy-path")
    until(page, "document.getElementById('done').textContent !== ''")
    assert page.inner_text("#done") == "Copied the path."
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    page.locator(".tile >> nth=3").click()
    page.click("#similar")
    until(page, f"location.search.includes('like={first[3]}')")
    until(page, f"document.querySelector('.tile').dataset.picture === '{first[3]}'")


def test_arrows_move_between_visible_pictures_only(site: Site, page: Any) -> None:
    page.set_viewport_size({"width": 420, "height": 500})
    page.goto(site.url)
    until(page, "document.querySelectorAll('#pictures .tile').length > 0")
    page.fill("#q", "disc")
    ready(page, 24)
    tile = page.locator(".model:not([hidden]) .tile >> nth=4")
    tile.evaluate("tile => { scrollBy(0, tile.getBoundingClientRect().top - 20); }")
    tile.evaluate("tile => { tile.focus({ preventScroll: true }); }")
    page.keyboard.press("ArrowUp")
    above = page.locator(".model:not([hidden]) .tile >> nth=2").get_attribute("data-picture")
    assert page.evaluate("document.activeElement.dataset.picture") == above


def test_a_rewording_is_suggested_and_taken(site: Site, page: Any) -> None:
    page.goto(f"{site.url}?q=red+disc+small&models=tuned")
    ready(page, 12)
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
    ready(page, 12)
    page.locator(f".tile[data-picture='{picture_id(NASTY)}']").click()
    assert page.inner_text("#large-title") == SCRIPT
    assert NASTY in page.inner_text("#large-path")
    assert page.title() == "ParaCLIP search"
    assert page.locator("[onerror]").count() == 0


def test_errors_are_reported_and_recovered_from(site: Site, page: Any) -> None:
    page.goto(f"{site.url}?q=disc&models=tuned")
    ready(page, 12)
    page.route("**/api/search?*", lambda route: route.abort())
    page.fill("#q", "disc green")
    page.wait_for_selector("#error:not([hidden])")
    assert "does not answer" in page.inner_text("#error")
    page.unroute("**/api/search?*")
    page.click("#retry")
    ready(page, 12)
    assert page.locator("#error").is_hidden()
    page.click("#more summary")
    page.fill("#minus", "disc green")
    page.wait_for_selector("#error:not([hidden])")
    assert "cancel each other" in page.inner_text("#error")


def test_a_phone_folds_the_form_and_has_a_tab_for_each_model(site: Site, page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 800})
    page.goto(site.url)
    page.fill("#q", "red disc small")
    page.fill("#second", "small disc red")
    ready(page, 40)
    first = boxes(page, ".model:not([hidden]) .tile")[0]
    assert first["bottom"] < 600, "in the first screen, also while one is typing"
    page.keyboard.press("Enter")
    ready(page, 40)
    assert page.locator("#form").is_hidden()
    assert "red disc small" in page.inner_text("#unfold")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator("#about").is_hidden()
    page.click("#unfold")
    assert page.locator("#form").is_visible()
    assert page.evaluate("document.activeElement.id") == "q"


def test_models_that_do_not_fit_beside_each_other_have_tabs(site: Site, page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 800})
    page.goto(f"{site.url}?q=red+disc&second=disc+red")
    ready(page, 40)
    assert page.locator("[role=tab]").count() == 2
    visible = page.locator("[role=tabpanel]:visible")
    assert visible.locator("h2").all_inner_texts() == ["tuned"]
    page.focus("[role=tab][aria-selected=true]")
    page.keyboard.press("ArrowLeft")
    assert visible.locator("h2").all_inner_texts() == ["base"]
    assert page.evaluate("document.activeElement.textContent").startswith("base")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.set_viewport_size({"width": 1300, "height": 800})
    until(page, "document.getElementById('tabs').hidden")
    assert page.locator(".model:visible h2").all_inner_texts() == ["base", "tuned"]


def boxes(page: Any, place: str) -> list[dict[str, float]]:
    """Places of elements in the window."""
    measured = "all => all.map(one => one.getBoundingClientRect().toJSON())"
    return list(page.locator(place).evaluate_all(measured))


def test_ten_pictures_of_each_wording_and_model_fit_on_one_screen(site: Site, page: Any) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(f"{site.url}?q=red+disc&second=disc+red")
    ready(page, 40)
    tiles = boxes(page, "#columns .tile")
    assert max(box["bottom"] for box in boxes(page, ".model")) <= 800
    assert max(box["right"] for box in tiles) <= 1280
    assert len({round(box["top"]) for box in tiles}) == 4, "a strip for each wording and model"
    assert min(box["width"] for box in tiles) >= 100
    page.click("#further")
    ready(page, 80)
    more = boxes(page, "#columns .tile")
    assert len({round(box["top"]) for box in more}) == 4, "to the right, in the same strips"
    until(page, "document.querySelector('.pair').scrollLeft > 0")


def test_labels_on_a_phone_are_beside_their_pictures(
    site: Site, page: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = site.service.current.pool
    assert pool.captions is not None
    found = replace(pool, vectors=HashTower("tuned").embed(pool.captions.to_pylist()))
    monkeypatch.setattr(site.service, "current", replace(site.service.current, pool=found))
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{site.url}?q=picture+07.png&second=07.png+picture&models=tuned")
    ready(page, 20)
    left, right = boxes(page, ".pair ol")
    heads = boxes(page, ".pair h3")
    assert [box["x"] for box in heads] == [left["x"], right["x"]], "wordings above their pictures"
    assert left["width"] >= 110
    labels = [box for box in boxes(page, ".pair .flags span") if box["width"]]
    assert labels
    for box in labels:
        assert left["right"] <= box["left"] and box["right"] <= right["left"]


def test_pictures_are_large_fill_their_rows_and_are_not_white_in_the_dark(
    site: Site, page: Any
) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(f"{site.url}?q=disc&models=tuned")
    ready(page, 12)
    for width in (500, 700, 1100, 1300, 1900):
        page.set_viewport_size({"width": width, "height": 900})
        # The page draws them anew: what is seen in one moment counts.
        tiles = "[...document.querySelectorAll('#columns .tile')]"
        until(page, f"{tiles}.every(one => 150 <= one.offsetWidth && one.offsetWidth <= 330)")
        in_rows = "Object.values(Object.groupBy(all, one => one.offsetTop)).map(row => row.length)"
        until(page, f"(all => new Set({in_rows}).size === 1)({tiles})")  # none has fewer pictures
    white = (
        "all => all.filter(one => getComputedStyle(one).backgroundColor.endsWith('255)')).length"
    )
    assert page.locator(".tile, .model").evaluate_all(white) == 0


@pytest.mark.parametrize(("scheme", "width"), [("light", 1300), ("dark", 390)])
@pytest.mark.parametrize("query", ["", "?q=red+disc&second=disc+red&scores=1", "?q=a&minus=a"])
def test_axe_finds_no_fault(site: Site, page: Any, scheme: str, width: int, query: str) -> None:
    spec = find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        pytest.skip("axe-playwright-python is not installed")
    axe = (Path(os.path.dirname(spec.origin)) / "axe.min.js").read_text("utf-8")
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(site.url + query)
    page.wait_for_selector(
        "#columns .model:not([hidden]) .tile, #error:not([hidden]), #welcome:not([hidden])"
    )
    if "second" in query:
        ready(page, 40)
        page.click("#measures summary")
    page.evaluate(axe)
    found = page.evaluate("axe.run()")
    assert [
        (fault["id"], fault["nodes"][0]["html"], fault["nodes"][0]["failureSummary"])
        for fault in found["violations"]
    ] == []
    assert len(found["passes"]) > 10
