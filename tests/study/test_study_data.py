"""The texts of the study: their form, right pictures, and that no item is in two parts."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from extent import DATA
from study import sets as study_sets
from study import triples as study_triples
from study import wordings as study_wordings
from study.third.queries import (
    FOURTH,
    KINDS,
    POOLS,
    QUERIES,
    captions_of,
    find_words,
    judge_pictures,
    read_queries,
    read_rows,
)

ARTICLES = {"a", "an", "the"}
TEXTS = ("query", "wording", "contrast")
LENGTHS = {
    "one_word": (1, 1), "two_words": (2, 2), "three_or_four_words": (3, 4),
    "question": (3, 9), "plural": (1, 4), "phrase_without_article": (3, 6),
}  # fmt: skip
CAPTIONS = {
    "both": ["A Red-hot circle.", "Two circles, one of them red", "a page"],
    "supported": ["a red circle", "something red", "a page"],
    "once": ["a red circle", "a page", "a page"],
    "spread": ["a circle", "something red", "a page"],
    "part_of_a_word": ["a reddish semicircle", "a predicted circle", "a page"],
}


@pytest.mark.parametrize(
    ("concepts", "right", "doubtful"),
    [
        ([["red"], ["circle", "circles"]], ("both", "supported"), ("once",)),
        ([["circle", "circles"]], ("both",), ("once", "part_of_a_word", "spread", "supported")),
        ([["red circle"]], (), ("once", "supported")),
        ([["red", "hot"], ["circle", "circles"], ["two", "hot"]], ("both",), ()),
    ],
)
def test_a_right_picture_is_named_by_one_caption_and_supported_by_another(
    concepts: list[list[str]], right: tuple[str, ...], doubtful: tuple[str, ...]
) -> None:
    found = find_words(CAPTIONS, {word for group in concepts for word in group})
    assert judge_pictures(concepts, found) == (right, doubtful)


@pytest.mark.parametrize("path", [QUERIES, FOURTH])
def test_rows_have_the_form_of_their_kind(path: Path) -> None:
    rows = read_rows(path)
    assert len({row["id"] for row in rows}) == len(rows)
    texts = [row[name] for row in rows for name in ("query", "wording")]
    assert len(set(texts)) == len(texts)
    for row in rows:
        assert len({row[name] for name in TEXTS}) == 3, row["id"]
        least, most = LENGTHS[row["kind"]]
        for text in (row[name] for name in TEXTS):
            words = text.split()
            assert text == text.lower() and least <= len(words) <= most, text
            assert row["kind"] == "question" or not ARTICLES & set(words), text
        if row["less_common"]:
            assert row["less_common"] in row["wording"].split(), row["id"]
            assert row["less_common"] not in row["query"].split(), row["id"]
        assert row["concepts"] and all(row["concepts"]), row["id"]


def test_the_fourth_report_changes_nothing_but_groups() -> None:
    before = {row["id"]: row for row in read_rows()}
    after = read_rows(FOURTH)
    kept = {row["id"] for row in after}
    assert [row["id"] for row in after] == [name for name in before if name in kept]
    for row in after:
        assert {**row, "concepts": before[row["id"]]["concepts"]} == before[row["id"]]
        for group in row["concepts"]:
            assert len(set(group)) == len(group), row["id"]
            assert all(re.fullmatch("[a-z0-9]+( [a-z0-9]+)*", word) for word in group), group
    changed = sum(row != before[row["id"]] for row in after)
    described = FOURTH.with_name("README.md").read_text("utf-8")
    assert f"{changed} rows were repaired" in described
    assert f"{len(before) - len(after)} dropped" in described


@pytest.mark.parametrize("path", [QUERIES, FOURTH])
def test_kinds_are_about_equally_many_and_half_have_a_less_common_word(path: Path) -> None:
    rows = read_rows(path)
    kinds = Counter(row["kind"] for row in rows)
    assert set(kinds) == set(KINDS) and max(kinds.values()) < 1.4 * min(kinds.values())
    assert {row["pool"] for row in rows} == set(POOLS)
    assert 0.4 < sum(bool(row["less_common"]) for row in rows) / len(rows) < 0.6


@pytest.mark.slow
@pytest.mark.shared_data("coco")
@pytest.mark.parametrize(("path", "splits"), [(QUERIES, ["test"]), (FOURTH, ["test", "dev"])])
def test_queries_have_right_pictures_and_are_no_captions(path: Path, splits: list[str]) -> None:
    tested = {
        name for split in splits
        for name in (DATA / "flickr8k" / f"{split}_images.txt").read_text().split()
    }  # fmt: skip
    captions = {
        pool: {" ".join(words_of(text)) for texts in captions_of(DATA, pool).values()
               for text in texts}
        for pool in POOLS
    }  # fmt: skip
    for query in read_queries(DATA, path):
        assert 1 <= len(query.right) <= 60, query.id
        assert query.pool == "coco" or tested & set(query.right), query.id
        assert not set(query.right) & set(query.doubtful)
        for name in TEXTS:
            words = words_of(getattr(query, name))
            # Some captions are a word or two long, which anybody types.
            assert len(words) < 3 or " ".join(words) not in captions[query.pool], words


def words_of(text: str) -> list[str]:
    """The words of a text in their order, without articles and punctuation."""
    words = ("".join(c if c.isalnum() else " " for c in text.lower())).split()
    return [word for word in words if word not in ARTICLES]


# --- wordings and pairs ---


@pytest.mark.shared_data("cxc")
def test_no_item_is_in_development_and_report() -> None:
    pairs = study_sets.flickr_pairs(DATA)
    halves = [study_sets.half(pairs, first) for first in (True, False)]
    assert set(halves[0].ids).isdisjoint(halves[1].ids) and len(halves[0]) == len(halves[1]) == 250
    sugar = [
        study_sets.sugar_pairs(DATA, subsets)
        for subsets in (study_sets.DEVELOPMENT_SUBSETS, study_sets.REPORT_SUBSETS)
    ]
    assert [len(part) for part in sugar] == [1652, 1033]
    assert set(sugar[0].ids).isdisjoint(sugar[1].ids)
    assert len(study_sets.sts_development(DATA).pairs) == 1500
    for part in (*halves, *sugar):
        assert part.clusters is not None and len(part.clusters) == len(part)
    assert len(set(sugar[1].pictures)) < len(sugar[1]), "rows share pictures"


@pytest.mark.shared_data("cxc")
@pytest.mark.parametrize(("split", "rows"), [("dev", 934), ("test", 465)])
def test_every_translation_has_its_picture_in_the_pool(split: str, rows: int) -> None:
    made = study_sets.SETS[f"languages-{split}"](DATA)
    for one in made[: len(study_sets.LANGUAGES)]:
        assert len(one.pairs) == rows and len(one.pictures) == 1000 and (one.own >= 0).all()
    seen = {row["image"] for row in study_triples.translations(DATA, "train")}
    assert len(seen) == 5528 and seen.isdisjoint(made[0].pairs.ids)


@pytest.mark.parametrize("path", study_wordings.NEW_WORDINGS)
def test_rows_of_new_wordings_have_texts_of_their_own_as_the_document_says(path: Path) -> None:
    rows = list(study_wordings.new_rows(path).values())
    texts_of = (*study_wordings.NEW_WORDINGS[path], "contrast")
    assert len({row["image"] for row in rows}) == len(rows)
    for row in rows:
        assert list(row) == ["set", "image", "caption_index", *texts_of, "contrast_kind"]
        texts = [row[kind] for kind in texts_of]
        assert len({text.casefold() for text in texts}) == len(texts), row["image"]
        assert all(0 < len(text.split()) <= 30 for text in texts)
        assert 2 <= len(row["short"].split()) <= 4
    text = path.with_name("README.md").read_text("utf-8")
    described = text[text.index("`wordings.jsonl`") :]
    assert described.startswith(f"`wordings.jsonl`: {len(rows)} rows,")
    assert all(f"| `{kind}` |" in described for kind in texts_of)
    kinds = Counter(row["contrast_kind"] for row in rows)
    assert set(kinds) <= set(study_wordings.CONTRASTS)
    counted = re.search(r"Contrasts change ([^.]*)\.", described)
    assert counted and [int(n) for n in re.findall(r"\d+", counted[1])] == sorted(
        kinds.values(), reverse=True
    )


@pytest.mark.shared_data("cxc")
@pytest.mark.parametrize(
    ("path", "rows"), [(study_wordings.SECOND, (300, 337)), (study_wordings.THIRD, (150, 150))]
)
def test_new_wordings_have_no_caption_of_an_earlier_pair(path: Path, rows: tuple[int, int]) -> None:
    found = study_wordings.read_new_wordings(path, DATA)
    assert (len(found["flickr8k"]), len(found["coco"])) == rows
    earlier = {
        json.loads(line)["image_id"]
        for name in ("flickr8k_test", "variations", "flickr8k_train")
        for line in (DATA / "paraphrases" / f"{name}.jsonl").read_text("utf-8").splitlines()
    }
    used = set()
    if path == study_wordings.THIRD:
        second = study_wordings.read_new_wordings(study_wordings.SECOND, DATA)
        earlier |= {item.image for item in second["flickr8k"].items}
        used = {(item.image, item.caption) for item in second["coco"].items}
    assert not earlier & {item.image for item in found["flickr8k"].items}
    for item in (*found["flickr8k"].items, *found["coco"].items):
        assert (item.image, item.caption) not in used
        assert item.caption.casefold() not in {text.casefold() for _, text in item.rewordings}
