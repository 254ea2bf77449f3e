"""Which pictures teach and which are kept for the scores."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from paraclip.data.captions import Caption
from paraclip.errors import UserError
from paraclip.files import text_hash

FEWEST = 30
"""Pictures in all: a third of them, the ten that a search returns, is held out at least."""


@dataclass(frozen=True)
class Split:
    """Captions to learn from and captions held out, by picture.

    Args:
        learn: captions for alignment, generation and training.
        held_out: captions of the pictures that only the evaluation sees.
    """

    learn: list[Caption]
    held_out: list[Caption]


def split_pictures(captions: Iterable[Caption], held_out: int, seed: int) -> Split:
    """Split by picture, with pictures of equal text on one side: no held-out text was learnt.

    The choice hangs on a hash of the text and the seed alone, so that a picture added later
    moves no other one across.

    Args:
        captions: with a picture each; captions without one go to the learning side.
        held_out: wanted number of held-out pictures; at most a third of all.
        seed: another seed gives another split.

    Raises:
        UserError: too few pictures to split.
    """
    captions = list(captions)
    groups = text_groups(captions)
    pictures = {row.image_id for row in captions if row.image}
    if len(pictures) < FEWEST:
        what = f"only {len(pictures)} pictures with a caption were found"
        raise UserError("quickstart", what, f"Bring at least {FEWEST}; a few hundred is better.")
    wanted = min(held_out, len(pictures) // 3)
    kept = chosen_groups({name: groups[name] for name in pictures}, wanted, seed)
    return Split(
        learn=[row for row in captions if groups[row.image_id] not in kept],
        held_out=[row for row in captions if row.image and groups[row.image_id] in kept],
    )


def text_groups(captions: Sequence[Caption]) -> dict[str, str]:
    """The group of each picture: pictures that share a caption text share the group."""
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for row in captions:
        parent[find(f"image {row.image_id}")] = find(f"text {row.caption.lower()}")
    return {row.image_id: find(f"image {row.image_id}") for row in captions}


def chosen_groups(groups: dict[str, str], wanted: int, seed: int) -> set[str]:
    """Whole groups in the order of their hash until `wanted` pictures are together."""
    sizes: dict[str, int] = {}
    for group in groups.values():
        sizes[group] = sizes.get(group, 0) + 1
    chosen: set[str] = set()
    together = 0
    for group in sorted(sizes, key=lambda name: text_hash(f"{seed} {name}")):
        if together + sizes[group] <= wanted:
            chosen.add(group)
            together += sizes[group]
    return chosen
