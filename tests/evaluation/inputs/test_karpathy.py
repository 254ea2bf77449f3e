"""Karpathy's splits of COCO and Flickr8k, with drawn pictures and made-up captions."""

import json
from functools import partial
from pathlib import Path

import pytest

from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Arithmetic
from paraclip.evaluation.benchmarks.image_text_retrieval import (
    GET_FLICKR8K,
    load_coco,
    load_split,
)
from paraclip.evaluation.config import EvaluateConfig
from paraclip.evaluation.registry import _load
from tiny import COLOURS, ColourEncoder, draw_pictures

HOW = Arithmetic()
load_flickr8k = partial(load_split, "Flickr8k", GET_FLICKR8K)


def entry(name: str, split: str = "test", captions: int = 2, **more) -> dict:
    colour = name.split("_")[0]
    texts = [f"a {colour} thing", f"something {colour}", f"it is {colour}"]
    sentences = [{"raw": text, "tokens": text.split()} for text in texts[:captions]]
    return {"filename": name, "split": split, "sentences": sentences, **more}


def write(file: Path, entries: list, name: str = "x") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"dataset": name, "images": entries}))


@pytest.fixture
def flickr8k(tmp_path: Path) -> Path:
    """Twenty test pictures, each with two captions, the first with three; two of training."""
    names = [path.name for path in draw_pictures(tmp_path / "flickr8k" / "images")]
    rows = [entry(name, captions=3 if row == 0 else 2) for row, name in enumerate(names)]
    learnt = [entry("red_9.png", "train"), entry("red_8.png", "val")]
    write(tmp_path / "flickr8k" / "dataset_flickr8k.json", [learnt[0], *rows, learnt[1]])
    return tmp_path


def test_the_test_split_with_all_its_captions(flickr8k: Path) -> None:
    benchmark = _load("flickr8k-retrieval", EvaluateConfig(data=str(flickr8k)))
    assert benchmark.name == "flickr8k-retrieval"
    assert benchmark.pool == "20 pictures and 41 captions of Flickr8k, Karpathy's test split"
    assert benchmark.shown.owners[:5] == (0, 0, 0, 1, 1)
    assert Path(benchmark.shown.references[0]).parent.name == "images"
    scores = benchmark.score(ColourEncoder(0.01), None)
    found = {metric.name: metric.value() for metric in scores.metrics}
    # Five pictures share each colour: the first five of a caption are those.
    assert found["T2I R@5"] == 1 and found["I2T R@10"] == 1
    assert list(found) == [f"{way} R@{k}" for way in ("T2I", "I2T") for k in (1, 5, 10)]


def test_coco_pictures_are_in_their_filepath(tmp_path: Path) -> None:
    names = [path.name for path in draw_pictures(tmp_path / "coco" / "val2014")]
    file = tmp_path / "coco" / "dataset_coco.json"
    write(file, [entry(name, filepath="val2014", cocoid=n) for n, name in enumerate(names)])
    benchmark = load_coco(tmp_path, HOW)
    assert benchmark.pool == "20 pictures and 40 captions of COCO, Karpathy's test split"
    assert len(benchmark.score(ColourEncoder(), None).metrics[0].items) == 40


def test_without_the_whole_coco_the_sample_is_named_as_what_it_is(tmp_path: Path) -> None:
    names = [path.name for path in draw_pictures(tmp_path / "coco" / "images")]
    rows = [
        {"image_id": n, "file_name": name, "captions": [f"a {name[:3]}", "one", "two"]}
        for n, name in enumerate(names)
    ]
    (tmp_path / "coco" / "captions.json").write_text(json.dumps(rows))
    benchmark = _load("coco-retrieval", EvaluateConfig(data=str(tmp_path)))
    assert benchmark.pool.startswith("20 pictures and 60 captions of a sample of COCO")
    assert "not Karpathy's 5,000 test pictures" in benchmark.pool
    assert len(benchmark.shown.references) == 5 * len(COLOURS)


def test_a_set_half_downloaded_is_refused(flickr8k: Path) -> None:
    pictures = flickr8k / "flickr8k" / "images"
    (pictures / "red_0.png").unlink()
    with pytest.raises(UserError, match=r"red_0.png: there is no such picture \(1 of 20 rows"):
        load_flickr8k(flickr8k, HOW)
    lenient = load_flickr8k(flickr8k, Arithmetic(max_broken=0.1))
    scores = lenient.score(ColourEncoder(), None)
    assert len(scores.metrics[0].items) == 38
    assert scores.notes[0].startswith("1 of 20 pictures left out")
    file = flickr8k / "flickr8k" / "dataset_flickr8k.json"
    file.write_text(file.read_text()[:900])
    with pytest.raises(UserError, match=r"dataset_flickr8k.json"):
        load_flickr8k(flickr8k, HOW)


def test_what_is_wrong_with_a_split_is_reported(flickr8k: Path) -> None:
    file = flickr8k / "flickr8k" / "dataset_flickr8k.json"
    write(file, [entry("red_0.png"), entry("red_1.png"), entry("red_0.png")])
    with pytest.raises(UserError, match=r"image 3: the picture 'red_0.png' occurs twice"):
        load_flickr8k(flickr8k, HOW)
    write(file, [entry("red_0.png", "train")])
    with pytest.raises(UserError, match=r"contains no picture of the split 'test'. Get dataset_"):
        load_flickr8k(flickr8k, HOW)
    for broken, what in (
        ({"filename": "red_0.png", "split": "test", "sentences": []}, "there are no sentences"),
        ({"filename": "red_0.png", "split": "test", "sentences": ["a"]}, "caption is empty"),
        ({"filename": "", "split": "test", "sentences": [{"raw": "a"}]}, "filename"),
    ):
        write(file, [entry("red_1.png"), broken])
        with pytest.raises(UserError, match=rf"image 2: .*({what}).*1 of 2 rows are broken"):
            load_flickr8k(flickr8k, HOW)
    for text, what in (("[]", "no picture of"), ('{"dataset": "x"}', "object"), ("", "not JSON")):
        file.write_text(text)
        with pytest.raises(UserError, match=what):
            load_flickr8k(flickr8k, HOW)
