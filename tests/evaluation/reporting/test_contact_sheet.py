"""The pairs that the contact sheet shows when wordings and correct pictures are known."""

from pathlib import Path

import numpy as np
from colour_encoder import draw_pictures
from PIL import Image

from paraclip.evaluation.contact_sheet import benefit, choose, contact_sheet


def rankings(*rows: list[int]) -> np.ndarray:
    return np.array(rows)


def test_pairs_that_share_a_content_word_are_not_shown_if_there_are_enough_others() -> None:
    first, other = rankings(*[[0, 1]] * 8), rankings(*[[2, 3]] * 8)
    base, tuned = (first, other), (first, rankings([0, 1], *[[2, 3]] * 7))
    pairs = [("red hat", "a red cap"), *((f"word{n}", f"other{n}") for n in range(7))]
    shown = [number for number, _ in choose(base, tuned, pairs)]
    assert set(shown) == {1, 2, 3, 4, 7}
    few = [tuple(side[:4] for side in both) for both in (base, tuned)]
    assert choose(*few, pairs[:4])[0] == (0, "greatest gain")


def test_where_the_correct_picture_is_known_finding_it_counts() -> None:
    first, second = rankings([0, 1], [0, 1]), rankings([0, 1], [1, 0])
    assert benefit((first, second), ()).tolist() == [1.0, 0.5]
    assert benefit((first, second), (1, 1)).tolist() == [1.5, 1.25]
    assert benefit((first, second), (7, 0)).tolist() == [1.0, 1.25]


def test_the_correct_picture_has_a_green_frame_and_a_tick(tmp_path: Path) -> None:
    paths = [str(path) for path in draw_pictures(tmp_path / "pictures", 1)]
    base, tuned = (
        (rankings([0, 1]), rankings([2, 3])),
        (rankings([0, 1]), rankings([1, 0])),
    )
    contact_sheet([("a red", "red")], base, tuned, paths, tmp_path / "known", answers=[1])
    green = (np.asarray(Image.open(tmp_path / "known").convert("RGB")) == (0, 0x79, 0x5A)).all(2)
    assert green.sum() > 3 * 4 * 400 and not np.array_equal(green[:, :640], green[:, -640:])
