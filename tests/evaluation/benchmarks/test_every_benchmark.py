"""Every benchmark of the table on small data: figures by hand, and what is wrong with data."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from text_sets import change, write_data

from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Benchmark, Scores
from paraclip.evaluation.config import EvaluateConfig
from paraclip.evaluation.pairs import KINDS
from paraclip.evaluation.registry import load_benchmark
from paraclip.evaluation.report import data_hash
from tiny import ColourEncoder

RECALLS = [f"{way} R@{k}" for way in ("T2I", "I2T") for k in (1, 5, 10)]
# What each benchmark reads and its headlines, with the figures that follow from the data.
BENCHMARKS: dict[str, tuple[str, dict[str, float | None]]] = {
    "paraphrased-retrieval": (
        "15 pairs of sugar_crepe_pp (caption and caption2), over 20 pictures of flickr8k/images, "
        "not the 8,091 of Flickr8k", {"AO@10": None, "JS@10": None},
    ),
    "image-text-retrieval": (
        "20 pictures and 40 captions of captions.csv (test_images.txt)", dict.fromkeys(RECALLS),
    ),
    "sugar-crepe": ("21 rows over 3 pictures (add_att 3, add_obj 3, ", {"SugarCrepe": 2 / 3}),
    "sugar-crepe-pp": (
        "15 rows; ITT on 15 of them (replace_att 3, replace_obj 3, ", {"TOT": 2 / 3, "ITT": 2 / 3},
    ),
    "sts": ("130 pairs, test sets of STS12, STS13, ", {"STS mean of 7": None}),
    "variations": (
        "3 captions of variations.jsonl in 21 rewordings, over 20 pictures of flickr8k/images",
        {"AO@10": None, "R@10": 1, "text discrimination": 2 / 3, "picture discrimination": 1},
    ),
    "aro-vg-relation": (
        "27 entries of visual_genome_relation.json, 3 pictures cut to boxes", {"VG-R macro": 2 / 3},
    ),
    "aro-vg-attribution": (
        "27 entries of visual_genome_attribution.json, 3 pictures cut ", {"VG-A macro": 2 / 3},
    ),
    "coco-retrieval": (
        "20 pictures and 40 captions of COCO, Karpathy's test split", dict.fromkeys(RECALLS),
    ),
    "flickr8k-retrieval": (
        "20 pictures and 40 captions of Flickr8k, Karpathy's test split", dict.fromkeys(RECALLS),
    ),
    "image-folder": ("10 pictures of 2 classes, by_class/ by folder; 7 templates", {"top-1": None}),
}  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


def load(name: str, data: Path, max_broken: float = 0.01) -> Benchmark:
    folder = str(data / "by_class")
    config = EvaluateConfig(data=str(data), images_by_class=folder, max_broken=max_broken)
    return load_benchmark(name, config)


def values(scores: Scores) -> dict[str, float]:
    return {metric.name: metric.value() for metric in scores.metrics}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_it_is_read_and_scored(data: Path, name: str) -> None:
    benchmark = load(name, data)
    pool, headlines = BENCHMARKS[name]
    assert benchmark.name == name and benchmark.pool.startswith(pool)
    model, cache = ColourEncoder(0.2), data / "cache"
    scores = benchmark.score(model, cache)
    assert [metric.name for metric in scores.metrics if metric.headline] == list(headlines)
    known = {figure: value for figure, value in headlines.items() if value is not None}
    found = values(scores)
    assert {figure: found[figure] for figure in known} == pytest.approx(known)
    assert all(
        (cluster := metric.clusters) is None or len(cluster) == len(metric.items)
        for metric in scores.metrics
    )
    if benchmark.pictures:  # another picture under the same name is other data
        assert data_of(load(name, data)) == data_of(benchmark)
        picture = next(path for path in benchmark.pictures if path.endswith("red_0.png"))
        Image.new("RGB", (40, 40), (0, 0, 255)).save(picture)
        other = load(name, data)
        assert data_of(other) != data_of(benchmark)
        if name.startswith(("sugar-crepe", "aro-vg")):
            assert values(other.score(model, cache)) != found


def data_of(benchmark: Benchmark) -> str:
    return data_hash(benchmark.pool, benchmark.data)


SUGAR, SUGAR_PP = "sugar_crepe/add_obj.json", "sugar_crepe_pp/swap_obj.json"
RELATION, SPLIT = "aro/visual_genome_relation.json", "flickr8k/dataset_flickr8k.json"
WORDS = "paraphrases/variations.jsonl"
GOLD, BENCH = "sts/STS/STS12-en-test/STS.gs.MSRpar.txt", "sts/STS/STSBenchmark/sts-test.csv"
PLAIN = dict.fromkeys(KINDS[:-1], "x")
# Benchmark; file; what becomes of it (None: removed; a dict: changes of its first row, of which
# None removes a value; `,x,`: the first score; else its text); the error.
REFUSED: list[tuple[str, str, Any, str]] = [
    ("sugar-crepe", SUGAR, None, r"1 of the seven files are missing: add_obj.json. Get the seven"),
    ("sugar-crepe", SUGAR, "{}", "add_obj.json: contains no rows"),
    ("sugar-crepe", SUGAR, '{"7": 3}', "contains no rows"),
    ("sugar-crepe", SUGAR, '{"7": ', "is not JSON"),
    ("sugar-crepe", SUGAR, {"filename": None}, r":1: has no column 'filename' .*Get the"),
    ("sugar-crepe", SUGAR, {"caption": ""}, r":1: the caption is empty \(1 of 21 rows"),
    ("sugar-crepe", SUGAR, {"filename": "x.png"}, r"x.png: there is no such picture \(1 of"),
    ("sugar-crepe", SUGAR, {"id": 1}, r":2: id '1' occurs twice"),
    ("sugar-crepe-pp", SUGAR_PP, {"negative_caption": None}, "no column 'negative_caption'"),
    ("sugar-crepe-pp", SUGAR_PP, {"caption2": " "}, r"caption2 is empty \(1 of 15 rows"),
    ("aro-vg-relation", RELATION, {"bbox_w": None}, r":1: has no column 'bbox_w' .*Get vis"),
    ("aro-vg-relation", RELATION, {"true_caption": None}, "no column 'true_caption'"),
    ("aro-vg-relation", RELATION, {"bbox_x": 1.5}, "is not of whole pixels"),
    ("aro-vg-attribution", "aro/visual_genome_attribution.json", {"attributes": ["one"]},
     "the attributes are not two"),
    ("aro-vg-relation", RELATION, {"image_path": "x.png"}, r"x.png: there is no .* \(1 of 4"),
    ("aro-vg-relation", "aro/images", None, "aro/images is missing. Get visual_genome"),
    ("flickr8k-retrieval", SPLIT, '{"images": [' * 2, "is not JSON"),
    ("flickr8k-retrieval", SPLIT, '{"dataset": "x"}', "object"),
    ("flickr8k-retrieval", SPLIT, "[]", r"contains no picture of the split 'test'. Get dataset_"),
    ("flickr8k-retrieval", SPLIT, {"filename": ""}, r"image 1: the filename is empty \(1 of"),
    ("flickr8k-retrieval", SPLIT, {"sentences": []}, r"image 1: there are no sentences \(1"),
    ("flickr8k-retrieval", SPLIT, {"sentences": ["a"]}, "image 1: the caption is empty"),
    ("flickr8k-retrieval", SPLIT, {"filename": "red_1.png"},
     r"image 2: the picture 'red_1.png' occurs twice"),
    ("flickr8k-retrieval", SPLIT, {"filename": "x.png"}, r"x.png: there is no such pic"),
    ("sts", GOLD, "1\n2\n", r"gs.MSRpar.txt: has 2 lines, and .* has 6.*Get SentEval"),
    ("sts", GOLD, "1\n2\nnan\n1\n1\n1\n", r"MSRpar.txt:3: 'nan' is not a gold score"),
    ("sts", BENCH, "a\tb\n", r"sts-test.csv:1: has 2 columns"),
    ("sts", BENCH, b"a\tb\tc\td\t1\tx\ty\nb\xff\n", r"sts-test.csv:2: is not UTF-8"),
    ("sts", BENCH, None, r"sts-test.csv: there is no such file. Get SentEval"),
    ("variations", WORDS, {"image_id": None}, r"jsonl:1: has no 'image_id'"),
    ("variations", WORDS, {"caption": None}, r"jsonl:1: has no 'caption'"),
    ("variations", WORDS, {"caption": " "}, r"the caption is empty \(1 of 3 rows"),
    ("variations", WORDS, {"variations": None}, r"has no 'variations'.* A row is"),
    ("variations", WORDS, {"variations": PLAIN}, "has no 'typo' among"),
    ("variations", WORDS, {"variations": {**PLAIN, "typo": "x"}}, "no 'contrast' among"),
    ("variations", WORDS, {"image_id": "x.png"}, r":1: the pool has no picture 'x.png' \(1"),
    ("image-folder", "by_class/red", None, "has 1 classes and 5 pictures"),
    ("image-folder", "by_class/black/a.txt", "x", "1 of 3 class folders have no picture, such as"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "file", "how", "message"), REFUSED)
def test_what_is_wrong_with_the_data_is_reported(
    data: Path, name: str, file: str, how: Any, message: str
) -> None:
    change(data / file, how)
    with pytest.raises(UserError, match=message):
        load(name, data)


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("sugar-crepe", "there is no such picture"),
        ("aro-vg-relation", "there is no such picture"),
        ("flickr8k-retrieval", "there is no such picture"),
        ("variations", "the pool has no picture"),
    ],
)
def test_a_few_missing_pictures_are_left_out_with_a_note(data: Path, name: str, note: str) -> None:
    for path in data.rglob("red_0.png"):
        path.unlink()
    scores = load(name, data, max_broken=0.5).score(ColourEncoder(), None)
    assert note is None or (note in scores.notes[0] and " left out: " in scores.notes[0])
