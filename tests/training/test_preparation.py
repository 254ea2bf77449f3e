"""Rows and pictures of a run: usable features, broken pictures, replayed captions."""

import os
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import draw, tiny_clip
from training_rows import make_config, make_features, make_triples

from paraclip.data.captions import Caption
from paraclip.data.problems import Problems
from paraclip.data.triples import TEXTS, with_schema
from paraclip.errors import UserError
from paraclip.starter import TRIPLES
from paraclip.training import prepare as preparing
from paraclip.training.prepare import (
    TrainingData,
    prepare,
    refuse_starter_twice,
    replayed_beside,
    rows_with_numbers,
    with_whole_pictures,
)

NAN, INF = float("nan"), float("inf")


def pictures(folder: Path) -> list[str | None]:
    """A picture, no picture, a broken one, the first one again, and one that is missing."""
    (folder / "broken.png").write_bytes(b"no picture")
    good = draw(folder / "good.png", "disc", "red")
    return [good, None, str(folder / "broken.png"), good, str(folder / "missing.png")]


def triples(images: list[str | None]) -> pa.Table:
    """A triple per image."""
    texts = [{name: f"{name} {row}" for name in TEXTS} for row in range(len(images))]
    return with_schema(
        [
            {"id": f"{n}", "image_id": f"{n}", "image": images[n], **texts[n]}
            for n in range(len(images))
        ]
    )


@given(st.lists(st.sampled_from(["numbers", "none"]), min_size=1, max_size=9), st.integers(1, 4))
def test_rows_of_nan_have_no_picture_whatever_the_size_of_a_part(
    rows: list[str], part: int
) -> None:
    features = torch.tensor([[1.0, 2.0] if row == "numbers" else [NAN, NAN] for row in rows])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparing, "ROWS_AT_ONCE", part)
        found = rows_with_numbers(features)
    assert found.tolist() == [row == "numbers" for row in rows]


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("row", [0, 2, 4])
def test_a_row_that_is_not_finite_is_named_in_any_part(
    value: float, row: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "ROWS_AT_ONCE", 2)
    features = torch.ones(5, 3)
    features[row, 1] = value
    with pytest.raises(UserError, match=rf"image features: row {row + 1}: a value is NaN or inf"):
        rows_with_numbers(features)


def test_features_without_columns_have_no_pictures() -> None:
    assert rows_with_numbers(torch.zeros(3, 0)).tolist() == [False] * 3
    rows = make_triples(5)
    data = TrainingData(None, rows, make_features(rows, missing=(0, 3)))  # type: ignore[arg-type]
    assert data.pictures == 3
    alone = TrainingData(None, triples(["a.png", None, "b.png"]), None)  # type: ignore[arg-type]
    assert alone.pictures == 2


def test_broken_pictures_are_left_out_and_their_rows_stay(tmp_path: Path) -> None:
    before, problems = triples(pictures(tmp_path)), Problems(0.7)
    after = with_whole_pictures(before, problems)
    good = str(tmp_path / "good.png")
    assert after["image"].to_pylist() == [good, None, None, good, None]
    assert after.drop_columns(["image"]).equals(before.drop_columns(["image"]))
    assert after.schema.equals(before.schema) and problems.count == 2
    assert [Path(where).name for where, _ in problems.listed] == ["broken.png", "missing.png"]


def test_few_pictures_wait_for_their_check_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = triples([f"{number}.png" for number in range(20_000)])
    monkeypatch.setattr(preparing, "fault_of", lambda name: None)
    tracemalloc.start()
    try:
        assert with_whole_pictures(rows, Problems())["image"].null_count == 0
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 500 * len(rows)


def test_too_many_broken_pictures_name_the_option_for_moved_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"broken\.png.*2 of 3 .*--images") as caught:
        with_whole_pictures(triples(pictures(tmp_path)), Problems(0.5))
    assert caught.value.where == str(tmp_path / "broken.png")


def test_the_starter_set_is_not_added_to_itself() -> None:
    for source in ("starter", TRIPLES, str(TRIPLES), os.path.relpath(TRIPLES)):
        with pytest.raises(UserError, match="--starter: adds the triples that are trained on"):
            refuse_starter_twice(source)
    refuse_starter_twice("other.jsonl")
    refuse_starter_twice(triples(["a.png"]))


def test_a_replay_that_adds_nothing_names_its_source(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("caption\nA kite.\n")
    rows, problems = triples(["a.png"]), Problems(0.0)
    for replay, where in ((str(tmp_path / "a.csv"), tmp_path / "a.csv"), ([], "replay")):
        with pytest.raises(UserError, match="has no captions of pictures") as caught:
            replayed_beside(rows, replay, make_config(), problems)
        assert caught.value.where == str(where)
    kept = replayed_beside(
        rows, [Caption("1", "A kite.", "1", "b.png", "")], make_config(), problems
    )
    assert kept["image"].to_pylist() == ["a.png", "b.png"]


def test_an_empty_image_name_is_no_picture(tmp_path: Path) -> None:
    images = ["", None, draw(tmp_path / "a.png", "disc", "red"), ""]
    options = make_config(image_learning_rate=1e-5)
    data = prepare(triples(images), tiny_clip(), options)
    assert data.rows["image"].to_pylist() == [None, None, images[2], None]
    assert data.pictures == 1 and data.rows.schema.equals(triples(images).schema)
