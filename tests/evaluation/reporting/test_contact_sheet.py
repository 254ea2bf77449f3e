"""The contact sheet: the pairs that it shows, and its frames."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from paraclip.evaluation import plots
from paraclip.evaluation.benchmark import Shown
from paraclip.evaluation.plots import RankedPairs, contact_sheet
from tiny import draw_pictures

MODELS = ("base", "tuned")
BLUE, GREEN = (0, 0x72, 0xB2), (0, 0x79, 0x5A)
Rankings = tuple[list[list[int]], list[list[int]]]


def ranked(
    texts: list[tuple[str, str]], base: Rankings, tuned: Rankings, references: Sequence[str] = (),
    answers: Sequence[int] = (),
) -> RankedPairs:  # fmt: skip
    models = (
        Shown(texts, [""] * len(texts), (np.array(first), np.array(second)), references, answers)
        for first, second in (base, tuned)
    )
    return RankedPairs(*models)


def pixels(path: Path, colour: tuple[int, int, int]) -> np.ndarray:
    return (np.asarray(Image.open(path).convert("RGB")) == colour).all(2)


def test_the_sheet_shows_gains_the_middle_and_the_loss() -> None:
    same, other = [0, 1], [2, 3]
    # Pairs 2, 5 and 7 gain (5 half as much), pair 8 loses.
    tuned = [same if n in (2, 7) else [2, 0] if n == 5 else other for n in range(9)]
    texts = [(f"word{n}", "another") for n in range(9)]
    pairs = ranked(texts, ([same] * 9, [other] * 8 + [same]), ([same] * 9, tuned))
    numbers, kinds = zip(*plots._choose_examples(pairs), strict=True)
    assert numbers[:3] == (2, 7, 5) and numbers[-1] == 8
    assert kinds == (*["greatest gain"] * 3, *["median"] * 2, "greatest loss")


def test_pairs_of_which_nothing_is_close_are_left_out_unless_there_are_no_others() -> None:
    rankings = [[0, 1]] * 4, [[0, 1]] * 4
    pairs = ranked([(f"word{n}", "another") for n in range(4)], rankings, rankings)

    def shown(base: list[bool], tuned: list[bool]) -> set[int]:
        judged = replace(
            pairs, base=replace(pairs.base, close=base), tuned=replace(pairs.tuned, close=tuned)
        )
        return {n for n, _ in plots._choose_examples(judged)}

    assert shown([True, True, False, False], [True, False, True, False]) == {0}
    assert shown([False] * 4, [True] * 4) == {0, 1, 2, 3}


def test_of_pairs_with_one_first_wording_the_first_is_shown() -> None:
    texts = [("a", "b"), ("b", "a"), ("a", "b"), ("a", "c"), ("b", "a")]
    rankings = ([[0, 1]] * 5, [[0, 1]] * 5)
    assert {n for n, _ in plots._choose_examples(ranked(texts, rankings, rankings))} == {0, 1}


def test_where_the_correct_picture_is_known_finding_it_counts() -> None:
    first, second = [[0, 1], [0, 1]], [[0, 1], [1, 0]]
    texts = [("a", "b"), ("c", "d")]
    gone = ([[4, 5], [4, 5]], [[2, 3], [2, 3]])
    for answers, best in (((), 0), ((7, 0), 1)):  # both wordings find the second pair's picture
        pairs = ranked(texts, gone, (first, second), answers=answers)
        assert plots._choose_examples(pairs)[0] == (best, "greatest gain")


def test_what_is_shared_is_blue_and_the_correct_picture_green(tmp_path: Path) -> None:
    paths = [str(path) for path in draw_pictures(tmp_path / "pictures", 1)]
    apart, alike = ([[0, 1]], [[2, 3]]), ([[0, 1]], [[1, 0]])
    for name, tuned, answers in (("gain", alike, []), ("none", apart, []), ("known", alike, [1])):
        pairs = ranked([("a red", "red")], apart, tuned, paths, answers)
        (tmp_path / name).write_bytes(contact_sheet(pairs, MODELS))
    assert pixels(tmp_path / "none", BLUE).sum() == 0
    assert pixels(tmp_path / "gain", BLUE).sum() > 4 * 4 * 400
    green = pixels(tmp_path / "known", GREEN)
    assert green.sum() > 3 * 4 * 400 and not np.array_equal(green[:, :640], green[:, -640:])


def test_a_picture_that_is_gone_leaves_its_place_grey(tmp_path: Path) -> None:
    rankings = ([[0, 1]], [[0, 1]])
    pairs = ranked([("x", "y")], rankings, rankings, ["gone.png", "lost.png"])
    (tmp_path / "sheet.png").write_bytes(contact_sheet(pairs, MODELS))
    assert pixels(tmp_path / "sheet.png", (0xD8, 0xD8, 0xD8)).sum() > 100 * 100
