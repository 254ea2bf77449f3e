"""The screenshots of `paraclip serve` in the documents, made in headless Chromium.

    python -m benchmarks.search.screenshots --tuned runs/demo/tuned/last.safetensors

Indexes the photographs among Debian's captioned Tux Paint stamps, serves them with base and tuned,
and captures the page wide, narrow, dark, for a query of which nothing is close, and for wordings
that agree on wrong pictures. The pairs are wordings as people type them, of held-out photographs:
two of the short one, the caption and the sentence. Of the pairs for which base and tuned find
different numbers of right pictures among the first ten of both wordings, it shows the one with the
largest gain of tuned, and for equal gains of pictures that both wordings find: an example, not a
result. It prints the number of pairs for which each finds more. The wrong agreement is the pair for
which most of tuned's results are the same and none is right. Needs Chromium and playwright.
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
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import numpy as np
from PIL import Image

from benchmarks.machine import say
from paraclip.data.captions import Problems
from paraclip.image_search.build import build_index
from recipes.demo.stamps import STAMPS, read_stamps, read_texts, stamps_folder, write_captions

IMAGES = Path(__file__).parents[2] / "docs" / "images"
COLOURS = 256
LARGE = 640_000
"""Size in bytes above which a screenshot gets a palette."""
ALL_HUES = Image.Quantize.MAXCOVERAGE
"""Keeps a colour of few pixels, such as the dots of the wordings."""
FITS = 62
"""Number of characters that a search box of the wide page shows."""
ABSENT = "spreadsheet formula for compound interest"
"""A query for something that no stamp shows."""
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
PLAIN = 0.1
"""Largest share of neighbouring pixels of one colour in a photograph; drawings have more."""
SHOTS = {
    "wide": ((1280, 800), "light"),
    "narrow": ((390, 844), "light"),
    "dark": ((1280, 800), "dark"),
    "nothing": ((1280, 640), "light"),
    "wrong": ((1280, 800), "light"),
}
"""Size of the window in pixels and colour scheme by the name of the screenshot."""


class Found(NamedTuple):
    """What tuned finds, in results of two wordings."""

    right: int  # more right pictures than base
    shared: int  # more pictures that are in both results than base
    wrong: int  # pictures in both results; -1 if one is right, or captions do not tell


@cache
def is_photograph(path: Path) -> bool:
    """Whether few neighbouring pixels have one colour."""
    with Image.open(path) as opened:
        pixels = np.asarray(opened.convert("RGBA"))
    left, right = pixels[:, :-1], pixels[:, 1:]
    opaque = (left[..., 3] == 255) & (right[..., 3] == 255)
    return bool(opaque.any()) and (left == right).all(axis=2)[opaque].mean() < PLAIN


def pairs(folder: Path) -> list[tuple[str, str]]:
    """Wordings of each held-out photograph of a folder, each with another."""
    rows = [row for row in read_texts(STAMPS) if row["split"] == "test"]
    return [
        (row[one], row[other])
        for row in rows
        if is_photograph(folder / row["image"])
        for one, other in combinations(("short", "caption", "sentence"), 2)
        if max(len(row[one]), len(row[other])) <= FITS
    ]


def compare(url: str, pair: tuple[str, str]) -> Found:
    """What the served models find for a pair."""
    query = urlencode({"q": pair[0], "second": pair[1], "judge": True})
    with urllib.request.urlopen(f"{url}api/search?{query}", timeout=60) as response:
        base, tuned = json.loads(response.read())["models"]
    judged = [
        [hit["right"] for hits in model["results"] for hit in hits] for model in (base, tuned)
    ]
    before, after = (one.count(True) for one in judged)
    shared = [model["agreement"]["shared"] for model in (base, tuned)]
    known_wrong = {*judged[1]} == {False}
    return Found(after - before, shared[1] - shared[0], shared[1] if known_wrong else -1)


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

    compared = {pair: compare(url, pair) for pair in pairs(stamps_folder())}
    differ = sorted((one for one in compared if compared[one].right), key=lambda one: compared[one])
    pair, gained = differ[-1], sum(compared[one].right > 0 for one in differ)
    wrong = max(compared, key=lambda one: compared[one].wrong)
    say(f"{len(compared)} pairs: tuned finds more right pictures for {gained}, base for")
    say(f"{len(differ) - gained}. The largest gain: {pair}. The same and wrong: {wrong}")
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
        others = {
            "dark": f"{url}?{urlencode({'q': pair[0], 'scores': 1})}",
            "nothing": f"{url}?{urlencode({'q': ABSENT})}",
            "wrong": wrongly,
        }
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
        captions = read_stamps(stamps).captions
        shown = [row for row in captions if is_photograph(stamps / row.image_id)]
        for row in shown:
            copied = Path(folder, row.image_id)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(stamps / row.image_id, copied)
        build_index(
            str(write_captions(shown, Path(folder))),
            store,
            options.base,
            Problems(),
            tuned=options.tuned,
        )
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
