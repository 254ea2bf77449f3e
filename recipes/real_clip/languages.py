"""XTD-10 and Crossmodal-3600, scored as immich scores the models that it offers.

immich runs clip_benchmark's zero-shot retrieval on its sets `xtd10` and `crossmodal3600` in fp32,
with one caption of each picture, and compares models by the mean of R@1, R@5 and R@10 of pictures
(`run.py` and `parse_eval_data.py` of immich-app/ml-models).
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from paraclip.data.captions import Caption
from paraclip.evaluation.benchmarks.image_text_retrieval import ImageTextRetrieval, gallery
from paraclip.files import read_bounded

XTD, XM3600 = "xtd10", "xm3600"
"""The sets, which are folders in `data`."""
NAMES = "test_image_names.txt"  # of XTD-10's pictures, in the order of its captions
_MOST = 2**28  # bytes of the captions of Crossmodal-3600 in all 36 languages


def language_sets(work: Path, languages: Sequence[str]) -> list[ImageTextRetrieval]:
    """A benchmark for each language of each set that was downloaded."""
    got = {path.stem for path in (work / "downloads").glob("*.json")}
    return [
        ImageTextRetrieval(gallery(read(folder, one), f"{name}, {one}"), name=f"{name}-{one}")
        for name, read, sources in (
            (XTD, _xtd, {XTD}),
            (XM3600, _xm3600, {"xm3600_captions", "xm3600_pictures"}),
        )
        for folder in [work / "data" / name]
        if sources <= got
        for one in languages
    ]


def _xtd(folder: Path, language: str) -> Iterator[Caption]:
    """The captions of XTD-10, a line each."""
    file = folder / f"test_1kcaptions_{'jp' if language == 'ja' else language}.txt"
    for name, text in zip(lines(folder / NAMES), lines(file), strict=True):
        yield Caption(name, text.strip(), name, str(folder / "images" / name), str(file))


def _xm3600(folder: Path, language: str) -> Iterator[Caption]:
    """The first caption of each picture of Crossmodal-3600."""
    file = folder / "captions.jsonl"
    for line in lines(file):
        row = json.loads(line)
        name, text = f"{row['image/key']}.jpg", row[language]["caption"][0]
        yield Caption(name, text.strip(), name, str(folder / "images" / name), str(file))


def lines(file: Path) -> list[str]:
    """The lines of a text file."""
    return read_bounded(file, _MOST).decode("utf-8").splitlines()
