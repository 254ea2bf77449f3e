"""What models find for everyday scenes in two wordings each, in an index without captions.

The scenes are those that no run learns, each in the two of its wordings that have the fewest words
in common. The first model, base, says which of them the index holds: those for which it finds a
close picture (`cutoff_above` in `evaluation.metrics`), searching for both wordings together. That
it is right, it does not know.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np

from paraclip.data.words import is_content, is_negated, words
from paraclip.image_search.snapshot import Hit
from paraclip.starter import TEXTS
from paraclip.starter.scenes import scenes

DEPTH = 10
"""Results of a wording that are compared."""
_SCENES, _ASKED = 400, 200  # drawn, and of these asked
_TYPED = ("caption", "sentence", "short")  # kinds of wording
_STEM = 4  # first letters that forms of a word have in common
_ALIKE = 0.8  # share of common content words from which two wordings show nothing

Pair = tuple[str, str]
"""Two wordings of a scene."""


@dataclass(frozen=True, eq=False)
class HeldScene:
    """A scene that the index holds.

    Args:
        wordings: both.
        picture: id of what base finds first for both together.
        found: the first results of either wording, best first, by model, base first.
    """

    wordings: Pair
    picture: str
    found: Mapping[str, tuple[Sequence[Hit], Sequence[Hit]]]

    def shared(self, label: str) -> int:
        """How many pictures a model finds with both wordings."""
        one, two = self._ids(label)
        return len({*one} & {*two})

    def gained(self, label: str) -> int:
        """How many more of them than with base."""
        return self.shared(label) - self.shared(next(iter(self.found)))

    def is_alike(self, label: str) -> bool:
        """Whether both wordings find the same picture first."""
        one, two = self._ids(label)
        return one[0] == two[0]

    def is_found(self, label: str) -> bool:
        """Whether both wordings find base's picture."""
        return all(self.picture in ids for ids in self._ids(label))

    def _ids(self, label: str) -> list[list[str]]:
        return [[hit.id for hit in hits] for hits in self.found[label]]


@cache
def everyday_pairs() -> list[Pair]:
    """The scenes that are asked about, always the same."""
    pairs = []
    for row in scenes(_SCENES, held_out=True):
        texts = dict(zip((row[name] for name in TEXTS), row["kinds"], strict=True))
        texts |= {wording["text"]: wording["kind"] for wording in row["wordings"]}
        typed = [
            text for text, kind in texts.items() if kind in _TYPED and not is_negated(words(text))
        ]
        rated = [(_overlap(*pair), pair) for pair in combinations(typed, 2)]
        pairs += [pair for common, pair in sorted(rated)[:1] if common < _ALIKE]
    return random.Random(0).sample(pairs, min(_ASKED, len(pairs)))


def _overlap(one: str, other: str) -> float:
    """Share of content words that two texts have in common (Jaccard), whatever their endings."""
    first, second = (
        {word[:_STEM] for word in words(text) if is_content(word)} for text in (one, other)
    )
    return len(first & second) / len(first | second) if first | second else 1.0


def held_scenes(
    pairs: Sequence[Pair],
    together: Sequence[Sequence[Hit]],
    found: Mapping[str, Sequence[Sequence[Hit]]],
    cutoff: float,
) -> list[HeldScene]:
    """The scenes that an index holds.

    Args:
        pairs: what was asked.
        together: results of base for both wordings of each pair together.
        found: results of both wordings of each pair in turn, by model, base first.
        cutoff: the similarity that base's close results exceed.
    """
    by_pair = {label: list(zip(one[::2], one[1::2], strict=True)) for label, one in found.items()}
    return [
        HeldScene(pair, best[0].id, {label: one[place] for label, one in by_pair.items()})
        for place, (pair, best) in enumerate(zip(pairs, together, strict=True))
        if best and best[0].score > cutoff
    ]


def count_scenes(held: Sequence[HeldScene]) -> dict[str, dict[str, float]]:
    """What each model finds for the scenes, by figure; also for how many it loses."""
    counts = dict[str, dict[str, float]]()
    for label in held[0].found if held else ():
        base, gains = next(iter(held[0].found)), [one.gained(label) for one in held]
        counts[label] = {
            f"pictures that both wordings find, of {DEPTH}": float(
                np.mean([one.shared(label) for one in held])
            ),
            "scenes whose wordings find the same picture first": sum(
                one.is_alike(label) for one in held
            ),
            f"scenes whose wordings both find {base}'s picture": sum(
                one.is_found(label) for one in held
            ),
        }
        if label != base:
            counts[label] |= {
                f"scenes with more pictures in common than {base}": sum(one > 0 for one in gains),
                "scenes with fewer": sum(one < 0 for one in gains),
            }
    return counts


def counts_table(counts: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    """Header and rows of a table of `count_scenes`."""
    names = dict.fromkeys(name for one in counts.values() for name in one)
    shown = {
        label: {name: _shown(one.get(name)) for name in names} for label, one in counts.items()
    }
    return [["", *counts], *([name, *(one[name] for one in shown.values())] for name in names)]


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}" if isinstance(value, float) else str(value)


def at_equal_steps(held: Sequence[HeldScene], label: str, count: int) -> list[HeldScene]:
    """Scenes at equal steps from the greatest gain of a model to its greatest loss."""
    ranked = sorted(held, key=lambda one: -one.gained(label))
    places = np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round()
    return [ranked[int(place)] for place in places]


def draw_examples(held: Sequence[HeldScene], label: str, count: int) -> list[HeldScene]:
    """Random scenes: the last is one in which a model loses, if there is one, and the others some
    in which it gains, as long as there are such."""
    drawn = random.sample(held, len(held))
    lost = [one for one in drawn if one.gained(label) < 0][:1]
    best = sorted((one for one in drawn if one not in lost), key=lambda one: one.gained(label) <= 0)
    return [*best[: count - len(lost)], *lost]
