"""Queries as people type them: the rule of right pictures, and the form of the rows."""

import os
from collections import Counter
from pathlib import Path

import pytest

from study.third.queries import (
    KINDS,
    POOLS,
    captions_of,
    find_words,
    judge_pictures,
    read_queries,
    read_rows,
)

DATA = Path(os.environ.get("PARACLIP_DATA") or "PARACLIP_DATA-is-not-set")
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


def test_rows_have_the_form_of_their_kind() -> None:
    rows = read_rows()
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


def test_kinds_are_about_equally_many_and_half_have_a_less_common_word() -> None:
    rows = read_rows()
    kinds = Counter(row["kind"] for row in rows)
    assert set(kinds) == set(KINDS) and max(kinds.values()) < 1.4 * min(kinds.values())
    assert {row["pool"] for row in rows} == set(POOLS)
    assert 0.4 < sum(bool(row["less_common"]) for row in rows) / len(rows) < 0.6


@pytest.mark.slow
@pytest.mark.shared_data
@pytest.mark.skipif(not (DATA / "coco").is_dir(), reason=f"no data in {DATA}")
def test_queries_have_right_pictures_and_are_no_captions() -> None:
    tested = set((DATA / "flickr8k" / "test_images.txt").read_text().split())
    captions = {
        pool: {" ".join(words_of(text)) for texts in captions_of(DATA, pool).values()
               for text in texts}
        for pool in POOLS
    }  # fmt: skip
    for query in read_queries(DATA):
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
