"""The screenshots of `paraclip serve` in the documents, made in headless Chromium.

    python -m benchmarks.search.screenshots --tuned runs/quickstart/tuned/last.safetensors

Indexes Debian's captioned Tux Paint stamps, serves them with base and tuned, and captures the page
wide, narrow, dark, for a query of which nothing is close, and for wordings that agree on wrong
pictures. Among the pairs of short held-out wordings, it selects and prints the one with the largest
gain in AO@10 and in the reciprocal rank of the picture that is right by its caption: an example,
not a result. The wrong agreement is the pair for which most of tuned's results are the same and
none is right. Needs Chromium and playwright.
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
from itertools import permutations
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from PIL import Image

from benchmarks.machine import say
from paraclip.data.problems import Problems
from paraclip.image_search.build import build_index
from paraclip.quickstart.page import stamps_file
from paraclip.quickstart.stamps import read_stamps, read_texts, stamps_folder
from paraclip.starter import STAMPS

IMAGES = Path(__file__).parents[2] / "docs" / "images"
COLOURS = 256
LARGE = 320_000
"""Size in bytes above which a screenshot gets a palette."""
ALL_HUES = Image.Quantize.MAXCOVERAGE
"""Keeps a colour of few pixels, such as the dots of the wordings."""
FITS = 62
"""Number of characters that a search box of the wide page shows."""
ABSENT = "spreadsheet formula for compound interest"
"""A query for something that no stamp shows."""
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
SHOTS = {
    "wide": ((1360, 900), "light"),
    "narrow": ((390, 844), "light"),
    "dark": ((1360, 900), "dark"),
    "nothing": ((1360, 640), "light"),
    "wrong": ((1360, 640), "light"),
}
"""Size of the window in pixels and colour scheme by the name of the screenshot."""


def pairs() -> list[tuple[str, str]]:
    """Short wordings of each held-out stamp, each with another."""
    held_out = [row for row in read_texts(STAMPS) if row["split"] == "test"]
    return [
        (row[first], row[second])
        for row in held_out
        for first, second in permutations(("caption", "sentence", "short", "colloquial"), 2)
        if max(len(row[first]), len(row[second])) <= FITS
    ]


def compare(url: str, pair: tuple[str, str]) -> tuple[float, int]:
    """How much better tuned is than base, and how many of its results are the same but wrong.

    The first is the gain in AO@10 and in the mean reciprocal rank of the right picture, in percent;
    the second is -1 if tuned finds that picture, or if captions do not tell.
    """
    query = urlencode({"q": pair[0], "second": pair[1], "judge": True})
    with urllib.request.urlopen(f"{url}api/search?{query}", timeout=60) as response:
        base, tuned = json.loads(response.read())["models"]
    known = {hit["right"] for hits in tuned["results"] for hit in hits}
    benefits = []
    for model in (base, tuned):
        places = [[hit["right"] for hit in hits] for hits in model["results"]]
        ranks = [1 / (1 + one.index(True)) if True in one else 0 for one in places]
        benefits.append(model["agreement"]["ao"] + 100 * sum(ranks) / 2)
    return benefits[1] - benefits[0], tuned["agreement"]["shared"] if known == {False} else -1


def take(page: Any, name: str, folder: Path) -> None:
    """Write the page as a PNG, with a palette if it is large otherwise."""
    with Image.open(io.BytesIO(page.screenshot())) as shot:
        path, picture = folder / f"search-{name}.png", shot.convert("RGB")
        picture.save(path, optimize=True)
        if path.stat().st_size > LARGE:
            picture.quantize(COLOURS, ALL_HUES, dither=Image.Dither.NONE).save(path, optimize=True)
    say(f"{folder / f'search-{name}.png'}")


def open_page(browser: Any, name: str, address: str) -> Any:
    """The page in a window of the screenshot's size, after its thumbnails are loaded."""
    (width, height), scheme = SHOTS[name]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.goto(address)
    page.set_default_timeout(120_000)
    page.wait_for_selector("#columns .model:not([hidden]) .tile img")
    page.wait_for_load_state("networkidle")
    return page


def take_all(url: str, folder: Path) -> None:
    """All screenshots."""
    from playwright.sync_api import sync_playwright

    compared = {pair: compare(url, pair) for pair in pairs()}
    pair = max(compared, key=lambda one: compared[one][0])
    wrong = max(compared, key=lambda one: compared[one][1])
    say(f"The pair that gains most: {pair}; the same and wrong: {wrong}")
    both, wrongly = (
        f"{url}?{urlencode({'q': q, 'second': second})}" for q, second in (pair, wrong)
    )
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
        for name in ("wide", "narrow"):
            page = open_page(browser, name, both)
            page.evaluate("scrollTo(0, 0)")
            take(page, name, folder)
        others = {"dark": both, "nothing": f"{url}?{urlencode({'q': ABSENT})}", "wrong": wrongly}
        for name, address in others.items():
            take(open_page(browser, name, address), name, folder)
        browser.close()


def main() -> None:
    """Index, serve, take the screenshots."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="mini")
    parser.add_argument("--tuned", required=True)
    parser.add_argument("--out", type=Path, default=IMAGES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stamps, store = stamps_folder(), f"{folder}/index"
        captions = stamps_file(read_stamps(stamps).captions, stamps)
        build_index(captions, store, options.base, Problems(), tuned=options.tuned)
        command = [sys.executable, "-m", "paraclip", "serve", "--index", store, "--port", "0"]
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            assert process.stdout is not None
            url = re.search(r"http://\S+/", process.stdout.readline())
            assert url is not None
            take_all(url[0], options.out)
            process.send_signal(signal.SIGINT)


if __name__ == "__main__":
    main()
