"""The texts of the study: their form, right pictures, and that no item is in two parts."""

import re
from collections import Counter
from pathlib import Path

import pytest

from extent import DATA
from paraclip.files import file_hash
from study import sets as study_sets
from study import triples as study_triples
from study import wordings as study_wordings
from study.third.queries import (
    FOURTH,
    QUERIES,
    find_words,
    judge_pictures,
    read_rows,
)

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


FROZEN = {
    QUERIES: "47980f12604346d1", FOURTH: "0be32423447e4e9c",
    study_wordings.SECOND: "f51d564a48f4c253", study_wordings.THIRD: "5d697e57953b1fd7",
}  # fmt: skip
"""Hashes of the texts that reports are of: their form, their kinds, and that none is a caption of
the data or of an earlier pair, were tested as long as they could still change."""


@pytest.mark.parametrize(("path", "known"), FROZEN.items())
def test_the_texts_of_a_report_stay_as_they_were_scored(path: Path, known: str) -> None:
    assert file_hash(path) == known


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
