"""Every benchmark of the table on small data: plain twins, and what is wrong with data."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import twins
from PIL import Image
from text_sets import change, write_data, write_json

from paraclip.commands.evaluate import EvaluateConfig, load_benchmark
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Benchmark, Scores
from paraclip.evaluation.pairs import KINDS
from paraclip.evaluation.report import data_hash
from tiny import ColourEncoder

RECALLS = [f"{way} R@{k}" for way in ("T2I", "I2T") for k in (1, 5, 10)]
OVERLAPS = [f"{name}@{k}" for k in twins.CUTOFFS for name in ("AO", "JS")]
# What each benchmark reads, its headlines, and the twin of its figures.
BENCHMARKS: dict[str, tuple[str, list[str], Callable[[Path, ColourEncoder], twins.Figures]]] = {
    "paraphrased-retrieval": (
        "12 pairs of sugar_crepe_pp (caption and caption2), over 20 pictures of flickr8k/images, "
        "not the 8,091 of Flickr8k", OVERLAPS, twins.paraphrased_retrieval,
    ),
    "image-text-retrieval": (
        "20 pictures and 40 captions of captions.csv (test_images.txt)", RECALLS,
        twins.image_text_retrieval,
    ),
    "sugar-crepe": (
        "17 rows over 3 pictures (add_att 2, add_obj 3, ", ["SugarCrepe"], twins.sugar_crepe,
    ),
    "sugar-crepe-pp": (
        "12 rows; ITT on 12 of them (replace_att 2, replace_obj 3, ", ["TOT", "ITT"],
        twins.sugar_crepe_pp,
    ),
    "sts": ("130 pairs, test sets of STS12, STS13, ", ["STS mean of 7"], twins.sts),
    "variations": (
        "3 captions of variations.jsonl in 21 rewordings, over 20 pictures of flickr8k/images",
        ["text discrimination", "picture discrimination", "AO@10", "R@10"], twins.variations,
    ),
    "aro-vg-relation": (
        "27 entries of visual_genome_relation.json, 3 pictures cut to boxes", ["VG-R macro"],
        partial(twins.aro, task="relation", label="VG-R"),
    ),
    "aro-vg-attribution": (
        "27 entries of visual_genome_attribution.json, 3 pictures cut ", ["VG-A macro"],
        partial(twins.aro, task="attribution", label="VG-A"),
    ),
    "coco-retrieval": (
        "20 pictures and 40 captions of COCO, Karpathy's test split", RECALLS,
        partial(twins.split_retrieval, name="coco", images="val2014"),
    ),
    "flickr8k-retrieval": (
        "20 pictures and 40 captions of Flickr8k, Karpathy's test split", RECALLS,
        partial(twins.split_retrieval, name="flickr8k", images="images"),
    ),
    "image-folder": (
        "11 pictures of 2 classes, by_class/ by folder; 7 templates", ["top-1"], twins.image_folder,
    ),
}  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


def load(name: str, data: Path, max_broken: float = 0.01) -> Benchmark:
    folder = str(data / "by_class")
    config = EvaluateConfig(
        data=str(data), images_by_class=folder, max_broken=max_broken, k=(10, 3, 10)
    )
    return load_benchmark(name, config)


def values(scores: Scores) -> dict[str, float]:
    return {metric.name: metric.value() for metric in scores.metrics}


@pytest.mark.parametrize("noise", [0.01, 1.5])
@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_figure_equals_its_plain_twin(data: Path, name: str, noise: float) -> None:
    (pool, headlines, twin), model = BENCHMARKS[name], ColourEncoder(noise)
    benchmark = load(name, data)
    assert benchmark.name == name and benchmark.pool.startswith(pool)
    scores = benchmark.score(model, None)
    assert [metric.name for metric in scores.metrics if metric.headline] == headlines
    assert values(scores) == pytest.approx(twin(data, model), abs=1e-6)
    assert all(
        (cluster := metric.clusters) is None or len(cluster) == len(metric.items)
        for metric in scores.metrics
    )


@pytest.mark.parametrize("name", sorted({*BENCHMARKS} - {"sts"}))
def test_another_picture_under_the_same_name_is_other_data(data: Path, name: str) -> None:
    model, cache, benchmark = ColourEncoder(0.2), data / "cache", load(name, data)
    before = values(benchmark.score(model, cache))
    assert data_of(load(name, data)) == data_of(benchmark)
    picture = next(path for path in benchmark.pictures if path.endswith("red_0.png"))
    Image.new("RGB", (40, 40), (0, 0, 255)).save(picture)
    other = load(name, data)
    assert data_of(other) != data_of(benchmark)
    if name.startswith(("sugar-crepe", "aro-vg")):
        assert values(other.score(model, cache)) != before
    if name == "image-folder":
        (data / "by_class/red/red_1.png").rename(data / "by_class/blue/red_1.png")
        assert load(name, data).data["hash"] != other.data["hash"]


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
    ("sugar-crepe", SUGAR, {"caption": ""}, r":1: the caption is empty \(1 of 17 rows"),
    ("sugar-crepe", SUGAR, {"filename": "x.png"}, r"x.png: there is no such picture \(1 of"),
    ("sugar-crepe", SUGAR, {"id": 1}, r":2: id '1' occurs twice"),
    ("sugar-crepe-pp", SUGAR_PP, {"negative_caption": None}, "no column 'negative_caption'"),
    ("sugar-crepe-pp", SUGAR_PP, {"caption2": " "}, r"caption2 is empty \(1 of 12 rows"),
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
    ("image-folder", "by_class/red", None, "has 1 classes and 6 pictures"),
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


@pytest.mark.parametrize(
    ("name", "notes"),
    [
        ("sugar-crepe", ["the folder is a part of the set: 1 of 3 pictures",
                         "7 of 17 rows have their picture here"]),
        ("sugar-crepe-pp", ["the folder is a part of the set: 1 of 3 pictures",
                            "ITT is of 5 of 12 rows, over 1 pictures"]),
    ],
)  # fmt: skip
def test_a_part_of_the_pictures_of_coco_gives_a_part_of_the_rows(
    data: Path, name: str, notes: list[str]
) -> None:
    write_json(data / "coco/captions.json", [{"file_name": "red_3.png"}])
    scores = load(name, data).score(ColourEncoder(0.01), None)
    assert scores.notes == notes
    if name == "sugar-crepe-pp":
        found = {metric.name: metric for metric in scores.metrics}
        assert not found["ITT"].headline and len(found["TOT"].items) == 12


def test_without_pictures_sugar_crepe_pp_goes_on_with_its_texts(data: Path) -> None:
    change(data / "coco", None)
    change(data / "sugar_crepe_pp/swap_obj.json", None)
    benchmark = load("sugar-crepe-pp", data)
    assert "10 rows, text only (replace_att 2, " in benchmark.pool
    assert "without swap_obj" in benchmark.pool
    scores = benchmark.score(ColourEncoder(), None)
    assert scores.notes[0].startswith("ITT is left out: ")
    assert {metric.name.partition(" ")[0] for metric in scores.metrics} == {"TOT"}
    for file in (data / "sugar_crepe_pp").iterdir():
        file.unlink()
    with pytest.raises(UserError, match=r"contains no SugarCrepe\+\+ file .*Get the JSON files"):
        load("sugar-crepe-pp", data)


def test_rows_of_one_picture_are_resampled_together(data: Path) -> None:
    scores = load("sugar-crepe-pp", data).score(ColourEncoder(), None)
    clusters = {metric.name: metric.clusters for metric in scores.metrics}
    names = [row["filename"] for file in sorted((data / "sugar_crepe_pp").iterdir())
             for row in twins.read(file)]  # fmt: skip
    assert len(set(zip(names, clusters["TOT"].tolist(), strict=True))) == len(set(names)) == 3
    assert clusters["TOT"].tolist() == clusters["TOT micro"].tolist() == clusters["ITT"].tolist()
    change(data / "sugar_crepe_pp/swap_obj.json", {"filename": None})
    nameless = load("sugar-crepe-pp", data, max_broken=0.5).score(ColourEncoder(), None)
    assert len(set(nameless.metrics[0].clusters.tolist())) == 4
