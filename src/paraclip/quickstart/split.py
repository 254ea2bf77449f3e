"""Splits pictures into training pictures and those held out for the scores."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from paraclip.data.captions import Caption
from paraclip.errors import UserError
from paraclip.files import text_hash

FEWEST = 30
"""Minimum number of pictures: a third of them are the ten that a search returns."""


@dataclass(frozen=True)
class Split:
    """Training captions and held-out captions, split by picture.

    Args:
        learn: captions for alignment, generation and training.
        held_out: captions of the pictures for evaluation.
    """

    learn: list[Caption]
    held_out: list[Caption]


def split_pictures(captions: Iterable[Caption], held_out: int, seed: int) -> Split:
    """Split by picture; pictures that share a caption stay together, so it is in one part only.

    The order of choice depends only on a hash of the text and the seed, so adding a picture moves
    few others.

    Args:
        captions: captions; those without a picture are used for training.
        held_out: number of pictures to hold out, at most a third of all.
        seed: seed of the split.

    Raises:
        UserError: too few pictures to split.
    """
    captions = list(captions)
    groups = _text_groups(captions)
    pictures = {row.image_id for row in captions if row.image}
    if len(pictures) < FEWEST:
        what = f"only {len(pictures)} pictures have a caption"
        raise UserError("quickstart", what, f"Give at least {FEWEST}; a few hundred is better.")
    sizes = Counter(groups[name] for name in pictures)
    left, chosen = min(held_out, len(pictures) // 3), set()
    for group in sorted(sizes, key=lambda name: text_hash(f"{seed} {name}")):
        if sizes[group] <= left:
            chosen.add(group)
            left -= sizes[group]
    return Split(
        learn=[row for row in captions if groups[row.image_id] not in chosen],
        held_out=[row for row in captions if row.image and groups[row.image_id] in chosen],
    )


def _text_groups(captions: Sequence[Caption]) -> dict[str, str]:
    """The group of each picture; pictures that share a caption share a group."""
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for row in captions:
        text = " ".join(row.caption.casefold().split())  # training treats these as equal
        parent[find(f"image {row.image_id}")] = find(f"text {text}")
    return {row.image_id: find(f"image {row.image_id}") for row in captions}
