"""Everyday scenes: what people photograph, in several wordings, drawn from a grammar.

`concepts.py` says what can be in a picture together, `languages.py` words it. README.md beside this
file says how a language is added.
"""

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from paraclip.errors import UserError
from paraclip.starter.concepts import Drawn, read_grammar, shuffled
from paraclip.starter.languages import (
    HELD_OUT_MARK,
    Language,
    Text,
    Word,
    counted_slots,
    read_language,
)

ENGLISH = "en"
_FIRST = ("caption", "paraphrase_1", "paraphrase_2")
_LOOSE = ("question", "keywords")  # kinds that no caption has
_RARE = "question"  # every second scene has one
_MOST_WORDINGS = 6  # of a scene in a language
_FORMAL = 0.4  # share of texts that begin with a capital letter and end with their stop
_TRIES = 2000  # to find a scene that is new


@dataclass(frozen=True)
class _Telling:
    """A wording of a scene, with what it was made of: the same can be said of a changed one."""

    kind: str
    template: str
    words: Mapping[str, Word]  # by concept
    formal: bool

    def write(self, language: Language, frame: str, drawn: Drawn) -> str:
        """The text; empty if it would leave out a part of the scene, or names one it lacks."""
        words = {slot: self.words[concept] for slot, concept in drawn.items()}
        text = Text(language, read_grammar().frames[frame]["slots"], words)
        try:
            written = text.write(self.template.removeprefix(HELD_OUT_MARK))
        except KeyError:
            return ""
        if text.said != drawn.keys():
            return ""
        for step in (self.kind, "every"):
            for pattern, replacement in language.finish.get(step, ()):
                written = pattern.sub(replacement, written)
        if not self.formal:
            return written.rstrip("?？ ").removeprefix("¿")
        stop = language.stop if self.kind == "sentence" else ""
        first = 1 + written.startswith("¿")
        return written[:first].upper() + written[first:] + stop

    def held_out(self) -> bool:
        words = self.words.values()
        return self.template.startswith(HELD_OUT_MARK) or any(word.held_out for word in words)


@dataclass(frozen=True)
class _Scene:
    """A frame whose slots hold concepts, and whether its texts may use what is held out."""

    frame: str
    drawn: Drawn
    held_out: bool

    def words(self, language: Language) -> dict[str, Sequence[Word]]:
        """The words that may stand for each concept."""
        slots = read_grammar().frames[self.frame]["slots"]
        counted = {self.drawn[slot] for slot in counted_slots(slots, self.drawn)}
        return {
            concept: [
                word
                for word in language.words[concept]
                if (self.held_out or not word.held_out)
                and not (concept in counted and word.kind in language.uncounted)
            ]
            for concept in self.drawn.values()
        }

    def tell(self, language: Language, rng: random.Random) -> dict[str, _Telling]:
        """Wordings: each kind of the frame once, then again; other words each time."""
        some = {
            concept: shuffled(words, rng, lead=1) for concept, words in self.words(language).items()
        }
        if not all(some.values()):
            return {}
        rounds = sorted(
            (number + (kind == _RARE and rng.random() < 0.5), rng.random(), kind, template)
            for kind, templates in language.templates[self.frame].items()
            for number, template in enumerate(shuffled(templates, rng))
            if self.held_out or not template.startswith(HELD_OUT_MARK)
        )
        told: dict[str, _Telling] = {}
        known: set[str] = set()
        for number, (*_, kind, template) in enumerate(rounds * 2):
            words = {concept: one[number % len(one)] for concept, one in some.items()}
            telling = _Telling(kind, template, words, rng.random() < _FORMAL)
            text = telling.write(language, self.frame, self.drawn)
            bare = text.lower().strip(".?。？¿ ")
            if text and bare not in known:
                told[text] = telling
                known.add(bare)
            if len(told) == _MOST_WORDINGS:
                break
        first = next((text for text, one in told.items() if one.kind not in _LOOSE), "")
        return {first: told.pop(first), **told} if first else {}

    def contrasts(
        self, told: Mapping[str, _Telling], language: Language, rng: random.Random
    ) -> list[dict[str, str]]:
        """The caption with one part of its meaning changed: each kind of change once."""
        caption = next(iter(told.values()))
        found: dict[str, str] = {}
        for kind, changed in read_grammar().changes(self.frame, self.drawn, rng, self.held_out):
            words = replace(self, drawn=changed).words(language)
            words |= {concept: [word] for concept, word in caption.words.items()}
            telling = replace(caption, words={one: some[0] for one, some in words.items() if some})
            if telling.words.keys() >= {*changed.values()}:
                text = telling.write(language, self.frame, changed)
                if text and text not in told:
                    found.setdefault(kind, text)
        return [{"kind": kind, "text": text} for kind, text in found.items()]

    def is_new(self, told: Mapping[str, _Telling]) -> bool:
        """Whether it uses something that is held out."""
        return not read_grammar().held_out.isdisjoint(self.drawn.values()) or any(
            one.held_out() for one in told.values()
        )


def _draw(rng: random.Random, held_out: bool) -> Iterator[_Scene]:
    """Scenes without end, some of them alike."""
    grammar = read_grammar()
    lots = [frame for frame, facts in grammar.frames.items() for _ in range(facts["weight"])]
    while True:
        frame = lots[int(rng.random() * len(lots))]
        if (drawn := grammar.draw(frame, rng, held_out)) is not None:
            yield _Scene(frame, drawn, held_out)


def scenes(
    count: int, *, seed: int = 0, languages: Collection[str] = (ENGLISH,), held_out: bool = False
) -> list[dict[str, Any]]:
    """Everyday scenes, no two of one meaning, as rows of triples.

    Args:
        count: how many. A smaller number gives the first of a larger one.
        seed: another seed gives other scenes.
        languages: those of the further wordings; English is always among them.
        held_out: draw scenes that use at least one word, concept or template that no scene without
            this option uses.

    Returns:
        For each scene its `id`, `domain` (the frame), `caption`, `paraphrase_1` and `paraphrase_2`,
        the `kinds` of these three, further `wordings` (a `text` with its `kind` and, if not
        English, its `lang`), and `contrasts`: a `text` whose meaning certainly differs from
        the caption's, with the `kind` of the difference.

    Raises:
        UserError: a language has no words, or there are not so many scenes.
    """
    english, *others = [(one, read_language(one)) for one in dict.fromkeys((ENGLISH, *languages))]
    rng = random.Random(f"scenes {seed} {held_out}")
    rows: list[dict[str, Any]] = []
    known: set[tuple[object, ...]] = set()
    missed = 0
    for scene in _draw(rng, held_out):
        if len(rows) == count:
            break
        if (missed := missed + 1) > _TRIES:
            what = f"there are only {len(rows)} different scenes"
            raise UserError("count", what, "Ask for fewer.")
        if (key := (scene.frame, *scene.drawn.items())) in known:
            continue
        told = scene.tell(english[1], rng)
        if len(told) < len(_FIRST) or (held_out and not scene.is_new(told)):
            continue
        known.add(key)
        missed = 0
        row = {"id": f"scene-{seed}-{'held-out-' * held_out}{len(rows) + 1}", "domain": scene.frame}
        texts = [{"text": text, "kind": one.kind} for text, one in told.items()]
        row |= {name: one["text"] for name, one in zip(_FIRST, texts, strict=False)}
        further = [
            {"text": text, "kind": one.kind, "lang": name}
            for name, language in others
            # Numbers of its own: the other texts are those of a call without this language.
            for text, one in scene.tell(language, random.Random(f"{row['id']} {name}")).items()
        ]
        rows.append(
            {
                **row,
                "kinds": [one["kind"] for one in texts[: len(_FIRST)]],
                "wordings": texts[len(_FIRST) :] + further,
                "contrasts": scene.contrasts(told, english[1], rng),
            }
        )
    return rows
