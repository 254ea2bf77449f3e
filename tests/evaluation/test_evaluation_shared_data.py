"""Every row of the research data can be read, and each task has its published number of them."""

from pathlib import Path

import pytest

from extent import DATA
from paraclip.data.captions import Caption, Columns, Problems
from paraclip.data.images import open_image
from paraclip.data.reading import read_captions
from paraclip.data.triples import attach_images, read_triples
from paraclip.evaluation.benchmark import Arithmetic
from paraclip.evaluation.benchmarks.image_text_retrieval import gallery
from paraclip.evaluation.benchmarks.sts import SemanticSimilarity, read_tasks
from paraclip.evaluation.benchmarks.sugar_crepe import read_subsets
from paraclip.evaluation.benchmarks.variations import Variations
from paraclip.evaluation.benchmarks.zero_shot import load_imagenet
from paraclip.evaluation.pairs import KINDS, read_pairs, read_wordings
from paraclip.evaluation.pictures import read_names, read_pool
from paraclip.models.loading import load_model
from paraclip.models.wheels import TEXT_PACKAGE

pytestmark = pytest.mark.shared_data("sts", "flickr8k")


def read(source: Path, images: str | None = "image") -> list[Caption]:
    return list(read_captions(str(source), Columns(image=images), Problems(0.0)))


def test_sts_tasks_have_the_pairs_that_are_known() -> None:
    counts = {task.name: len(task.pairs) for task in read_tasks(DATA / "sts")}
    assert counts == {
        "STS12": 3108, "STS13": 1500, "STS14": 3750, "STS15": 3000, "STS16": 1186,
        "STS-B": 1379, "SICK-R": 4927,
    }  # fmt: skip


def test_sugar_crepe_pp_subsets_have_their_rows() -> None:
    known = {
        "replace_att": 788, "replace_obj": 1652, "replace_rel": 1406, "swap_att": 666,
        "swap_obj": 245,
    }  # fmt: skip
    found = {s.name: len(s.rows) for s in read_subsets(DATA / "sugar_crepe_pp")}
    assert {"replace_att", "replace_obj", "swap_obj"} <= set(found)
    assert found == {name: known[name] for name in found}


def test_paraphrases_are_read_as_pairs() -> None:
    assert len(read_pairs(DATA / "paraphrases" / "flickr8k_test.jsonl")) == 500
    train = read_pairs(DATA / "paraphrases" / "flickr8k_train.jsonl", second="paraphrase_2")
    assert len(train) == 3600


def test_variations_have_all_kinds_and_their_pictures() -> None:
    wordings = read_wordings(DATA / "paraphrases" / "variations.jsonl")
    assert len(wordings) == 37 and wordings.kinds == KINDS and wordings.skipped == 0
    benchmark = Variations("variations", wordings, read_pool(DATA / "flickr8k" / "images"))
    assert len(benchmark.kept) == 37 and len(benchmark.reworded) == 37 * len(KINDS)


def test_flickr8k_has_a_thousand_test_pictures_with_five_captions_each() -> None:
    folder = DATA / "flickr8k"
    names = read_names(folder / "test_images.txt")
    found = gallery(read_captions(str(folder / "captions.csv")), "test", names)
    assert (len(found.references), len(found.captions)) == (1000, 5000)
    assert len(read_pool(folder / "images")) == 8091


def test_the_sample_of_imagenet_holds_every_class_once() -> None:
    benchmark = load_imagenet(DATA, Arithmetic())
    assert benchmark.shown.labels == tuple(range(1000))
    first = Path(benchmark.shown.references[0]).name
    assert first.startswith("n01440764") and benchmark.shown.classes[0] == "tench"
    # The files are named as the classes are, here and there in other words.
    files = [Path(name).stem.split("_", 1)[1] for name in benchmark.shown.references]
    names = [name.replace(" ", "_") for name in benchmark.shown.classes]
    same = [file.lower() == name.lower() for file, name in zip(files, names, strict=True)]
    assert sum(same) > 700


@pytest.mark.slow
@pytest.mark.weights(TEXT_PACKAGE)
def test_minilm_gets_its_published_figure_on_sts_b() -> None:
    # 82.03 by mteb and sentence-transformers: reading, protocol and vectors are theirs.
    scores = SemanticSimilarity(read_tasks(DATA / "sts", ["STS-B"])).score(
        load_model("minilm", "cpu"), None
    )
    found = {metric.name: 100 * metric.value() for metric in scores.metrics}
    assert found["STS-B"] == pytest.approx(82.03, abs=0.02)


def test_flickr8k_has_five_captions_a_picture() -> None:
    rows = read(DATA / "flickr8k" / "captions.csv")
    assert len(rows) == 40_455 == 5 * len({row.image_id for row in rows})
    assert len({row.id for row in rows}) == len(rows)
    assert open_image(str(rows[0].image), 224).size == (224, 224)


def test_other_sets_are_read_without_conversion() -> None:
    rows = read(DATA / "coco" / "captions.json")
    assert len({row.image for row in rows}) == 337 == len({row.image_id for row in rows})
    assert len(rows) == 1_686
    source = DATA / "coco" / "karpathy_test_captions.json"
    assert len({row.image_id for row in read(source, None)}) == 5_000
    for name, count in (("laion", 9_936), ("cc3m_val", 15_827)):
        rows = read(DATA / "web_captions" / f"{name}.tsv")
        assert len(rows) == count and {row.image for row in rows} == {None}


def test_the_papers_layout_finds_its_pictures() -> None:
    table = read_triples(DATA / "paraphrases" / "flickr8k_train.jsonl")
    assert table.num_rows == 3_600
    assert attach_images(table, DATA / "flickr8k" / "images")["image"].null_count == 0
