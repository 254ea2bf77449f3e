"""Paraphrased and image-text retrieval with drawn pictures and a model that knows colours."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from text_sets import write_json

from paraclip.commands.evaluate import EvaluateConfig, load_benchmark
from paraclip.data.captions import Caption
from paraclip.data.reading import read_captions
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Arithmetic
from paraclip.evaluation.benchmarks.image_text_retrieval import Gallery, ImageTextRetrieval, gallery
from paraclip.evaluation.benchmarks.paraphrased_retrieval import ParaphrasedRetrieval
from paraclip.evaluation.pairs import Pairs
from paraclip.evaluation.pictures import read_pool
from paraclip.models.features import encode_images
from tiny import ColourEncoder, draw_pictures

THREE_EACH = [str(row) for row in range(10) for _ in range(3)]


def pairs(*texts: tuple[str, str]) -> Pairs:
    first, second = zip(*texts, strict=True)
    return Pairs("made here", tuple(map(str, range(len(texts)))), first, second, "0")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    draw_pictures(tmp_path / "pictures")
    return tmp_path / "pictures"


def test_pairs_of_which_no_picture_is_close_are_told_from_others(pictures: Path) -> None:
    texts = pairs(("red", "blue"), ("red", "xyzzy"), ("xyzzy", "plugh"))
    shown = ParaphrasedRetrieval(texts, read_pool(pictures), k=3).score(ColourEncoder(), None).shown
    assert shown is not None and list(shown.close) == [True, False, False]


def test_agreement_is_told_from_correctness(pictures: Path) -> None:
    # Both wordings find red, whose picture is right once; once both agree on the wrong colour.
    texts = replace(
        pairs(("red", "red one"), ("blue", "blue one"), ("red", "blue"), ("red", "red")),
        pictures=("red_0.png", "red_0", "red_0.png", "elsewhere.png"),
        negatives=("blue", "green", "red", "red"),
    )
    pool = read_pool(pictures)
    scores = ParaphrasedRetrieval(texts, pool, (1, 5)).score(ColourEncoder(0.01), None)
    found = {metric.name: metric.items.tolist() for metric in scores.metrics}
    assert found["AO@5"][:2] == [1, 1] and found["R@5 both ways"] == [1, 0, 0]
    assert found["R@5 caption"] == [1, 0, 1] and found["R@5 rewording"] == [1, 0, 0]
    assert found["AO@5 negative"] == [0, 0, 1, 1] and found["AO@5 margin"] == [1, 1, -1, 0]
    rank = [Path(pool.references[n]).stem for n in scores.arrays["paraphrase_ranking"][0]]
    (first, *_) = found["MRR@20 rewording"]
    assert first == 1 / (1 + rank.index("red_0"))
    assert not [m for m in scores.metrics if m.headline and not m.name.startswith(("AO", "JS"))]


def test_pairs_of_one_picture_are_one_cluster_and_others_are_apart(pictures: Path) -> None:
    texts = pairs(*[("a red one", "a red thing")] * len(THREE_EACH))
    for some, expected in ((replace(texts, pictures=(*THREE_EACH,)), 10), (texts, 30)):
        scores = ParaphrasedRetrieval(some, read_pool(pictures)).score(ColourEncoder(), None)
        for clusters in (metric.clusters for metric in scores.metrics):
            assert len(THREE_EACH if clusters is None else np.unique(clusters)) == expected


def test_a_pool_half_downloaded_is_refused_before_any_model_runs(pictures: Path) -> None:
    names = sorted(path.name for path in pictures.iterdir())
    (pictures / "names.txt").write_text("\n".join([*names, "lost_1.png", "lost_2.png"]))
    pool, texts = read_pool(pictures / "names.txt"), pairs(("red", "red"))
    with pytest.raises(UserError, match=r"lost_1.png: there is no such picture \(2 of 22 rows"):
        ParaphrasedRetrieval(texts, pool, 3)
    assert ParaphrasedRetrieval(texts, pool, 3, Arithmetic(max_broken=0.1)).cutoffs == (3,)


def test_vectors_made_before_give_the_same_scores(pictures: Path, tmp_path: Path) -> None:
    model, texts = ColourEncoder(), pairs(("a red one", "one red"), ("blue", "a blue"))
    pool = read_pool(pictures)
    np.save(tmp_path / "pool.npy", encode_images(model, pool.references).numpy())
    cached = ParaphrasedRetrieval(texts, read_pool(tmp_path / "pool.npy"), 4)
    note = "it is not known which model made the vectors of pool.npy"
    assert cached.score(model, None).notes == [note]
    drawn = ParaphrasedRetrieval(texts, pool, 4)
    one, other = (b.score(model, None).arrays["paraphrase_ranking"] for b in (cached, drawn))
    assert one.tolist() == other.tolist()
    with pytest.raises(UserError, match="8 wide and this model's are 6"):
        cached.score(ColourEncoder(width=6), None)


def test_a_pool_smaller_than_k_is_refused(pictures: Path) -> None:
    for k, named in ((21, 21), ((3, 21), 21), (0, 0), ((), 0)):
        with pytest.raises(UserError, match=f"k = {named} does not fit a pool of 20 pictures"):
            ParaphrasedRetrieval(pairs(("a", "b")), read_pool(pictures), k)


def test_broken_pictures_are_left_out_by_name_and_positions_stay(pictures: Path) -> None:
    (pictures / "blue_0.png").write_bytes(b"no picture")
    pool, texts = read_pool(pictures), pairs(("red", "red"))
    with pytest.raises(UserError, match=r"blue_0.png: .*1 of 20 rows are broken"):
        ParaphrasedRetrieval(texts, pool, 3).score(ColourEncoder(), None)
    lenient = ParaphrasedRetrieval(texts, pool, 20 - 1, Arithmetic(max_broken=0.1))
    scores = lenient.score(ColourEncoder(), None)
    assert scores.notes[0].startswith("1 of 20 pictures left out: ")
    assert "blue_0.png: " in scores.notes[0]
    found = {Path(pool.references[place]).name for place in scores.arrays["caption_ranking"][0]}
    assert found == {path.name for path in pictures.iterdir()} - {"blue_0.png"}


def test_image_weights_that_are_not_finite_are_reported(pictures: Path) -> None:
    model = ColourEncoder()
    model.image_tower.weight.data[:] = torch.nan
    with pytest.raises(UserError, match=r"image vectors: .* not finite"):
        ParaphrasedRetrieval(pairs(("a", "b")), read_pool(pictures), 3).score(model, None)


def shown(pictures: Path) -> Gallery:
    """Two or three captions a picture, some misleading."""
    captions = []
    for number, path in enumerate(sorted(pictures.iterdir())):
        colour = path.stem.split("_")[0]
        others = [f"{colour} thing {number}", f"a {colour} {number % 3}", "some blue and red"]
        for text in others[: 2 + number % 2]:
            name = f"{number}-{len(captions)}"
            captions.append(Caption(name, text, path.name, str(path), f"made:{number}"))
    return gallery(captions, "made here")


def test_captions_of_a_broken_picture_go_with_it(pictures: Path) -> None:
    found = shown(pictures)
    (pictures / "blue_0.png").unlink()
    scores = ImageTextRetrieval(found, (1,), Arithmetic(max_broken=0.1)).score(
        ColourEncoder(), None
    )
    assert [len(metric.items) for metric in scores.metrics] == [48, 19]
    assert "blue_0.png: there is no such picture" in scores.notes[0]


def test_a_gallery_takes_only_the_named_pictures(pictures: Path) -> None:
    captions = [
        Caption("1", "x", "red_0.png", str(pictures / "red_0.png"), "m:1"),
        Caption("2", "y", "red_1.png", str(pictures / "red_1.png"), "m:2"),
        Caption("3", "z", "3", None, "m:3"),
    ]
    assert gallery(captions, "m").captions == ("x", "y")
    assert gallery(captions, "m", ["red_1.png"]).captions == ("y",)
    with pytest.raises(UserError, match=r"no caption for 1 of 2 pictures, such as other.png"):
        gallery(captions, "m", ["red_1.png", "other.png"])
    with pytest.raises(UserError, match="contains no caption with a picture"):
        gallery(captions[2:], "m")
    with pytest.raises(UserError, match="R@10 does not fit 2 pictures"):
        ImageTextRetrieval(gallery(captions, "m"))


def test_captions_that_are_left_out_are_noted(pictures: Path) -> None:
    lines = [f"{path.name},{path.stem}" for path in sorted(pictures.iterdir())]
    file = pictures / "captions.csv"
    file.write_text("\n".join(["image,caption", *lines, "lost.png,red", ",blue"]))
    options = EvaluateConfig(captions=str(file), max_broken=0.1)
    benchmark = load_benchmark("image-text-retrieval", options)
    assert benchmark.pool == "20 pictures and 20 captions of captions.csv"
    broken, blind = benchmark.score(ColourEncoder(), None).notes
    assert broken.startswith(
        f"1 of 22 captions left out: {file}:22: there is no picture 'lost.png'"
    )
    assert blind == "1 captions without a picture left out"


def test_two_pictures_of_one_id_are_not_taken_for_one(tmp_path: Path) -> None:
    for part, colour in (("one", "red"), ("two", "blue")):
        (tmp_path / part).mkdir()
        (tmp_path / part / "1.png").write_bytes(b"x")
        text = f"image_id,image,caption\n1,1.png,{colour}\n"
        (tmp_path / part / "captions.csv").write_text(text)
    captions = read_captions(str(tmp_path / "*" / "captions.csv"))
    with pytest.raises(UserError, match=r"two/captions.csv:2: the image id '1' names both .*one"):
        gallery(captions, "both")


def test_without_the_whole_coco_the_sample_is_named_as_what_it_is(tmp_path: Path) -> None:
    rows = [
        {"image_id": path.stem, "file_name": path.name, "captions": ["one", "two", "three"]}
        for path in draw_pictures(tmp_path / "coco" / "images")
    ]
    write_json(tmp_path / "coco" / "captions.json", rows)
    benchmark = load_benchmark("coco-retrieval", EvaluateConfig(data=str(tmp_path)))
    assert benchmark.pool.startswith("20 pictures and 60 captions of a sample of COCO")
    assert "not Karpathy's 5,000 test pictures" in benchmark.pool
