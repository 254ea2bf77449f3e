"""Zero-shot classification: figures worked by hand, data layouts, and refused inputs."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip.commands.evaluate import EvaluateConfig, choose_benchmarks
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Arithmetic
from paraclip.evaluation.benchmarks import zero_shot
from paraclip.evaluation.benchmarks.zero_shot import Labelled, ZeroShot, load_folder, load_imagenet
from paraclip.evaluation.pairs import read_pairs
from paraclip.models.features import encode_texts
from tiny import COLOURS, ColourEncoder, draw_pictures

HOW = Arithmetic()


@pytest.fixture
def by_class(tmp_path: Path) -> Path:
    """Folders red, green, blue and white with 5, 4, 3 and 2 pictures."""
    drawn = draw_pictures(tmp_path / "drawn")
    folder = tmp_path / "by_class"
    for number, name in enumerate(COLOURS):
        (folder / name).mkdir(parents=True)
        for path in [path for path in drawn if path.stem.startswith(name)][number:]:
            shutil.move(path, folder / name / path.name)
    return folder


def made(names: Sequence[str], templates: tuple[str, ...] = ("a {}",)) -> ZeroShot:
    """A benchmark with these classes; its pictures are never opened."""
    shown = Labelled("made", ("https://a.example/b",), (0,), tuple(names), templates, "x")
    return ZeroShot("made", shown)


@given(st.integers(0, 2**32 - 1), st.integers(6, 9), st.integers(1, 30))
def test_figures_equal_their_slow_twins(seed: int, classes: int, pictures: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.normal(size=(pictures, classes))
    labels = random.integers(0, classes, pictures)
    nearest, benchmark = np.argsort(-scores, axis=1)[:, :5], made(list(map(str, range(classes))))
    found = {metric.name: metric.value() for metric in benchmark.found(nearest, labels)}
    right = {}
    for line, label in zip(scores, labels, strict=True):
        right.setdefault(label, []).append(sum(line > line[label]) == 0)
    places = [sum(line > line[label]) for line, label in zip(scores, labels, strict=True)]
    assert found["top-1"] == pytest.approx(np.mean([place < 1 for place in places]))
    assert found["top-5"] == pytest.approx(np.mean([place < 5 for place in places]))
    if len(right) < pictures:
        slow = np.mean([np.mean(answers) for answers in right.values()])
        assert found["mean per class"] == pytest.approx(slow)


def test_a_class_vector_is_the_normalised_mean_over_the_templates() -> None:
    model, templates = ColourEncoder(2.0), ("a photo of {}", "the {} thing here", "{}")
    vectors = made(("red", "blue"), templates).class_vectors(model)
    for row, name in enumerate(("red", "blue")):
        texts = [template.replace("{}", name) for template in templates]
        mean = encode_texts(model, texts).numpy().sum(axis=0)
        assert vectors[row] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)


def test_the_working_folder_has_its_name_in_the_report(
    by_class: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(by_class)
    assert "by_class/ by folder" in load_folder(None, HOW, ".").pool
    for path in list(by_class.rglob("*.png")):
        path.with_suffix(".txt").write_text("red\n")
    captions = EvaluateConfig(benchmarks="image-text-retrieval", captions=".")
    ((benchmark,), _) = choose_benchmarks(captions)
    assert benchmark.pool.endswith(" captions of by_class")
    (by_class / "pairs.csv").write_text("caption,paraphrase\na,b\n")
    assert read_pairs(".").name == "by_class (caption and paraphrase)"


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("nowhere", r"no such folder. .*--images-by-class"),
        ("red", "has 0 classes and 0 pictures"),
        (".", "several folders of the class 'hot dog'"),
    ],
)
def test_what_is_wrong_with_a_folder_is_reported(by_class: Path, folder: str, message: str) -> None:
    (by_class / "white").rename(by_class / "hot dog")
    (by_class / "blue").rename(by_class / "hot_dog")
    with pytest.raises(UserError, match=message):
        load_folder(None, HOW, str(by_class / folder))


def test_imagenet_names_and_templates_are_as_published() -> None:
    names, templates = zero_shot._imagenet_words()
    assert (len(names), len(templates), len(zero_shot._imagenet_ids())) == (1000, 80, 1000)
    assert list(zero_shot._imagenet_ids()) == sorted(set(zero_shot._imagenet_ids()))
    assert all(template.count("{}") == 1 for template in templates)


def write_sample(folder: Path, flat: bool) -> None:
    """An empty file for each class; only its name is read."""
    folder.mkdir(parents=True)
    for wnid in zero_shot._imagenet_ids():
        path = folder / (f"{wnid}_some_thing.jpg" if flat else f"{wnid}/{wnid}_1.JPEG")
        path.parent.mkdir(exist_ok=True)
        path.touch()


def test_the_order_of_wordnet_ids_is_that_of_the_classes(tmp_path: Path) -> None:
    write_sample(tmp_path / "imagenet_sample", flat=True)
    sample = load_imagenet(tmp_path, HOW)
    assert sample.name == "imagenet" and sample.shown.labels == tuple(range(1000))
    assert "1,000 pictures of 1,000 classes, a sample of ImageNet-1k" in sample.pool
    assert "not its validation set" in sample.pool
    write_sample(tmp_path / "imagenet" / "val", flat=False)
    whole = load_imagenet(tmp_path, HOW)
    assert whole.shown.labels == tuple(range(1000)) and "imagenet/val" in whole.pool
    assert "sample" not in whole.pool


def test_imagenet_half_downloaded_is_refused(tmp_path: Path) -> None:
    write_sample(tmp_path / "imagenet", flat=False)
    for wnid in zero_shot._imagenet_ids()[400:]:
        shutil.rmtree(tmp_path / "imagenet" / wnid)
    first = zero_shot._imagenet_ids()[400]
    with pytest.raises(
        UserError, match=f"no picture of 600 of 1,000 classes, the first is {first}"
    ):
        load_imagenet(tmp_path, HOW)
    (tmp_path / "imagenet" / "n0").mkdir()
    (tmp_path / "imagenet" / "n0" / "a.jpg").touch()
    with pytest.raises(UserError, match=r"a.jpg: 'n0' is not a class of ImageNet-1k"):
        load_imagenet(tmp_path, HOW)
