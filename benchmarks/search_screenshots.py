"""The screenshots of `paraclip serve` in the documents, made in headless Chromium.

    python benchmarks/search_screenshots.py --tuned runs/tuned/last.safetensors

Indexes the drawn scenes that ship with ParaCLIP, serves them with base and tuned, and takes the
page wide, narrow, dark, and with the server stopped. It chooses the pair of wordings among the
benchmark's whose AO@10 gains most, and prints it. Needs Chromium and playwright.
"""

import argparse
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from PIL import Image

from machine import say
from paraclip.data.problems import Problems
from paraclip.evaluation.benchmarks.scenes import SCENES, scene_pool
from paraclip.search.config import IndexConfig
from paraclip.search.indexing.run import build_index

IMAGES = Path(__file__).parents[1] / "docs" / "images"
COLOURS = 256
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
SHOTS = {
    "wide": ((1360, 900), "light"),
    "narrow": ((390, 844), "light"),
    "dark": ((1360, 900), "dark"),
    "error": ((1360, 420), "light"),
}
"""Size of the window in pixels and colour scheme by the name of the screenshot."""


def wordings() -> list[tuple[str, str]]:
    """Captions of the scenes, each with a wording in other words."""
    rows = [json.loads(line) for line in SCENES.read_text(encoding="utf-8").splitlines()]
    return [(row["caption"], row["variations"]["lexical"]) for row in rows]


def gain(url: str, pair: tuple[str, str]) -> float:
    """AO@10 of the last model minus that of the first."""
    query = urlencode({"q": pair[0], "second": pair[1], "k": 10})
    with urllib.request.urlopen(f"{url}api/search?{query}", timeout=60) as response:
        models = json.loads(response.read())["models"]
    return float(models[-1]["agreement"]["ao"] - models[0]["agreement"]["ao"])


def take(page: Any, name: str, folder: Path) -> None:
    """Write what the page shows as a PNG with a palette."""
    with Image.open(io.BytesIO(page.screenshot())) as shot:
        small = shot.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        small.save(folder / f"search-{name}.png", optimize=True)
    say(f"{folder / f'search-{name}.png'}")


def open_page(browser: Any, name: str, address: str) -> Any:
    """The page in a window of the screenshot's size, when its thumbnails are there."""
    (width, height), scheme = SHOTS[name]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.goto(address)
    page.set_default_timeout(120_000)
    page.wait_for_selector(".tile img")
    page.wait_for_load_state("networkidle")
    return page


def take_all(url: str, process: subprocess.Popen[str], folder: Path) -> None:
    """All screenshots; the server is stopped for the last one."""
    from playwright.sync_api import sync_playwright

    pair = max(wordings(), key=lambda pair: gain(url, pair))
    say(f"The pair that gains most: {pair}")
    both = f"{url}?{urlencode({'q': pair[0], 'second': pair[1]})}"
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
        for name in ("wide", "narrow"):
            page = open_page(browser, name, both)
            page.evaluate("scrollTo(0, 0)")
            take(page, name, folder)
        page = open_page(browser, "dark", f"{url}?{urlencode({'q': pair[0], 'scores': 1})}")
        take(page, "dark", folder)
        page = open_page(browser, "error", both)
        process.send_signal(signal.SIGINT)
        process.wait(30)
        page.fill("#second", f"{pair[1]} ")
        page.fill("#q", f"{pair[0]} again")
        page.wait_for_selector("#error:not([hidden])")
        take(page, "error", folder)
        browser.close()


def main() -> None:
    """Index, serve, take the screenshots."""
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--base", default="mini")
    made.add_argument("--tuned", required=True)
    made.add_argument("--out", type=Path, default=IMAGES)
    options = made.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(scene_pool(Path(folder) / "scenes").references[0]).parent
        store = f"{folder}/index"
        build_index(
            IndexConfig(str(pictures), store=store, model=options.base, tuned=options.tuned),
            Problems(),
        )
        command = [sys.executable, "-m", "paraclip", "serve", "--store", store, "--port", "0"]
        with subprocess.Popen([*command, "--no-log"], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            url = re.search(r"http://\S+/", process.stdout.readline())
            assert url is not None
            take_all(url[0], process, options.out)


if __name__ == "__main__":
    main()
