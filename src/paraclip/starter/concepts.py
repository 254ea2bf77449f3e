"""What can be in a picture together: concepts and frames, which no language changes.

`grammar/frames.toml` holds them; README.md beside this file describes its keys.
"""

import random
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from paraclip.starter import FOLDER

GRAMMAR = FOLDER / "grammar"

Drawn = dict[str, str]
"""The concept of each slot of a scene."""


class Grammar:
    """The concepts and frames of `frames.toml`."""

    def __init__(self) -> None:
        data = tomllib.loads((GRAMMAR / "frames.toml").read_text(encoding="utf-8"))
        self.frames: dict[str, dict[str, Any]] = data["frames"]
        self.held_out = frozenset(data["held_out"].split())
        self.facts: dict[str, dict[str, str]] = {}
        self._sets: dict[str, str] = dict(data["sets"])
        for group in data["groups"]:
            name, concepts = group["category"], group["concepts"]
            self._sets[name] = f"{self._sets.get(name, '')} {concepts}"
            self.facts |= dict.fromkeys(concepts.split(), group)
        self._alike: dict[str, set[str]] = {}
        for names in map(str.split, data["alike"]):
            for name in names:
                self._alike.setdefault(name, set()).update(names)
        self.expand = cache(self._expand)

    def _expand(self, names: str) -> tuple[str, ...]:
        """The concepts of some names of concepts and sets; `-name` takes away."""
        found: dict[str, None] = {}  # in order, once
        for name in names.split():
            bare = name.removeprefix("-")
            some = self.expand(self._sets[bare]) if bare in self._sets else (bare,)
            for concept in some:
                if name != bare:
                    found.pop(concept, None)
                else:
                    found[concept] = None
        return tuple(found)

    def allowed(self, frame: str, slot: str, drawn: Drawn) -> tuple[str, ...]:
        """What a slot may hold beside the others: what `from` names, as far as `among` does too."""
        spec = self.frames[frame]["slots"][slot]
        found = self._named(spec["from"], drawn) or ()
        for source in spec.get("among", "").split():
            if (wanted := self._named(source, drawn)) is not None:
                found = tuple(concept for concept in found if concept in wanted)
        return found

    def _named(self, source: str, drawn: Drawn) -> tuple[str, ...] | None:
        """The concepts of some sets, or of SLOT.FACT; None where nothing drawn has that fact."""
        slot, _, fact = source.partition(".")
        if not fact:
            return self.expand(source)
        facts = self.facts[drawn[slot]] if slot in drawn else {}
        return self.expand(facts[fact]) if fact in facts else None

    def draw(self, frame: str, rng: random.Random, held_out: bool) -> Drawn | None:
        """A scene of a frame; None where a slot that it needs finds no concept."""
        drawn: Drawn = {}
        for slot, spec in self.frames[frame]["slots"].items():
            if rng.random() >= spec.get("chance", 1):
                continue
            options = [
                concept
                for concept in self.allowed(frame, slot, drawn)
                if (held_out or concept not in self.held_out) and concept not in drawn.values()
            ]
            if options:
                lead = rng.random() < spec.get("lead", 0)
                drawn[slot] = options[0 if lead else int(rng.random() * len(options))]
            elif "chance" not in spec:
                return None
        return drawn

    def fits(self, frame: str, drawn: Drawn) -> bool:
        """Whether each concept may stand where it does, beside the others."""
        return all(drawn[slot] in self.allowed(frame, slot, drawn) for slot in drawn)

    def are_alike(self, one: str, other: str) -> bool:
        """Whether a picture may show both, so that neither is a contrast of the other."""
        return other == one or other in self._alike.get(one, ())

    def changes(
        self, frame: str, drawn: Drawn, rng: random.Random, held_out: bool
    ) -> Iterator[tuple[str, Drawn]]:
        """The kind of a change, and the scene so changed, which no picture of it shows."""
        for slot, concept in drawn.items():
            facts = self.facts[concept]
            if "contrast" not in facts:
                continue
            for other in shuffled(self.expand(facts.get("rivals", facts["category"])), rng):
                changed = drawn | {slot: other}
                if (
                    "contrast" in self.facts[other]
                    and other not in drawn.values()
                    and (held_out or other not in self.held_out)
                    and not self.are_alike(concept, other)
                    and self.fits(frame, changed)
                ):
                    yield facts["contrast"], changed
                    break
        one, two = self.frames[frame].get("swap", ("", ""))
        if one and self.fits(frame, swapped := drawn | {one: drawn[two], two: drawn[one]}):
            yield "role", swapped


@cache
def read_grammar() -> Grammar:
    """The grammar that all languages share."""
    return Grammar()


def shuffled(values: Sequence[Any], rng: random.Random, lead: float = 0) -> list[Any]:
    """The values in random order; with a lead, early ones tend to stay early."""
    keys = [rng.random() * (1 + lead * number) for number in range(len(values))]
    return [values[number] for number in sorted(range(len(values)), key=keys.__getitem__)]
