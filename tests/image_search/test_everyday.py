"""Everyday scenes in two wordings: which an index holds, and what is shown of them."""

import subprocess
import sys

import pytest

from paraclip.image_search.everyday import (
    HeldScene,
    at_equal_steps,
    count_scenes,
    counts_table,
    draw_examples,
    everyday_pairs,
    held_scenes,
)
from paraclip.image_search.snapshot import Hit


def hits(names: str, score: float = 0.5) -> list[Hit]:
    """A result for each letter."""
    return [Hit(name, name, "", score) for name in names]


def scene(number: int, gain: int) -> HeldScene:
    """One whose wordings have five pictures in common with base."""
    tuned = hits("abcdefghij"), hits("abcdefghij"[: 5 + gain] + "KLMNOPQRSTU"[: 5 - gain])
    return HeldScene(
        (f"scene {number}", f"{number}"), "a",
        {"base": (hits("abcde"), hits("abcde")), "tuned": tuned},
    )  # fmt: skip


def test_the_wordings_of_a_scene_are_always_the_same_and_say_it_in_other_words() -> None:
    pairs = everyday_pairs()
    assert len(pairs) == 200 and pairs is everyday_pairs()
    assert all({*one.split()} != {*other.split()} for one, other in pairs)


WITHOUT_GENERATE = """
import sys
for name in ("paraclip.paraphrase", "simplemma", "snowballstemmer", "openai"):
    sys.modules[name] = None
from paraclip.evaluation.unlabelled import scene_queries
from paraclip.image_search.everyday import everyday_pairs
assert everyday_pairs() and scene_queries().texts
"""


def test_scenes_are_chosen_without_the_packages_of_generate() -> None:
    code = [sys.executable, "-c", WITHOUT_GENERATE]
    done = subprocess.run(code, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_index_holds_the_scenes_for_which_base_finds_a_close_picture() -> None:
    pairs = [("a car", "an automobile"), ("a cat", "a moggy"), ("a bus", "a coach")]
    together = [hits("a", 0.4), hits("b", 0.2), hits("c", 0.3)]
    found = {
        "base": [*map(hits, ("ab", "ba", "bc", "bc", "cd", "cd"))],
        "tuned": [*map(hits, ("ab", "cd", "bc", "bc", "ce", "ec"))],
    }
    first, second = held_scenes(pairs, together, found, 0.25)
    assert (first.wordings, second.wordings) == (pairs[0], pairs[2])
    assert [first.shared(label) for label in found] == [2, 0] and first.gained("tuned") == -2
    counts = count_scenes([first, second])
    base, tuned = (list(one.values()) for one in counts.values())
    assert base == [2.0, 1, 2]
    assert tuned == [1.0, 0, 1, 0, 1]
    head, *rows = counts_table(counts)
    assert head == ["", "base", "tuned"]
    assert [row[1:] for row in rows] == [["2.0", "1.0"], ["1", "0"], ["2", "1"], ["", "0"],
                                         ["", "1"]]  # fmt: skip
    assert held_scenes(pairs, [[]] * 3, {"base": [[]] * 6}, -1.0) == []
    assert count_scenes([]) == {} and counts_table({}) == [[""]]


@pytest.mark.parametrize(
    ("count", "gains"), [(3, [5, 0, -4]), (4, [5, 1, -1, -4]), (20, [5, 3, 1, 0, 0, -1, -2, -4])]
)
def test_steps_go_from_the_greatest_gain_to_the_greatest_loss(count: int, gains: list[int]) -> None:
    held = [scene(number, gain) for number, gain in enumerate([0, 5, -4, 1, 0, 3, -2, -1])]
    shown = [one.gained("tuned") for one in at_equal_steps(held, "tuned", count)]
    assert shown == gains
    assert at_equal_steps([], "tuned", count) == []


def test_examples_gain_and_one_loses() -> None:
    def signs(gains: list[int], label: str = "tuned") -> list[int]:
        held = [scene(number, gain) for number, gain in enumerate(gains)]
        drawn = draw_examples(held, label, 4)
        assert len({one.wordings for one in drawn}) == len(drawn)
        return [one.gained(label) for one in drawn]

    assert signs([0, 2, -1, 2, -1, 2, 0, 2]) == [2, 2, 2, -1]
    assert signs([0, 2, 0, 0]) == [2, 0, 0, 0]
    assert signs([-1, -1]) == [-1, -1]
    assert signs([2] * 9, "base") == [0] * 4, "a model alone gains nothing"
