"""Everyday scenes: what people photograph, in several wordings, drawn from a grammar.

`concepts.py` says what can be in a picture together, `languages.py` words it. README.md beside this
file says how a language is added.
"""

import random
from collections.abc import Collection, Mapping, Sequence
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
        return (
            written[:1].upper() + written[1:] + (language.stop if self.kind == "sentence" else "")
        )

    def held_out(self) -> bool:
        return self.template.startswith(HELD_OUT_MARK) or any(
            word.held_out for word in self.words.values()
        )


def _words_of(
    language: Language, frame: str, drawn: Drawn, held_out: bool
) -> dict[str, Sequence[Word]]:
    """The words that may stand for each concept of a scene."""
    slots = read_grammar().frames[frame]["slots"]
    counted = {drawn[slot] for slot in counted_slots(slots, drawn)}
    return {
        concept: [
            word
            for word in language.words[concept]
            if (held_out or not word.held_out)
            and not (concept in counted and word.kind in language.uncounted)
        ]
        for concept in drawn.values()
    }


def _tell(
    language: Language, frame: str, drawn: Drawn, rng: random.Random, held_out: bool
) -> dict[str, _Telling]:
    """Wordings of a scene: each kind of the frame once, then again; other words each time."""
    choices = {
        concept: shuffled(words, rng, lead=1)
        for concept, words in _words_of(language, frame, drawn, held_out).items()
    }
    rounds = [
        (number + (kind == _RARE and rng.random() < 0.5), rng.random(), kind, template)
        for kind, templates in language.templates[frame].items()
        for number, template in enumerate(shuffled(templates, rng))
        if held_out or not template.startswith(HELD_OUT_MARK)
    ]
    if not all(choices.values()):
        return {}
    told: dict[str, _Telling] = {}
    known: set[str] = set()
    for number, (*_, kind, template) in enumerate(sorted(rounds) * 2):
        words = {concept: some[number % len(some)] for concept, some in choices.items()}
        telling = _Telling(kind, template, words, rng.random() < _FORMAL)
        text = telling.write(language, frame, drawn)
        bare = text.lower().strip(".?。？¿")
        if text and bare not in known:
            told[text] = telling
            known.add(bare)
        if len(told) == _MOST_WORDINGS:
            break
    first = next((text for text, one in told.items() if one.kind not in _LOOSE), "")
    return {first: told.pop(first), **told} if first else {}


def _contrasts(
    told: Mapping[str, _Telling], frame: str, drawn: Drawn, rng: random.Random, held_out: bool
) -> list[dict[str, str]]:
    """The caption with one part of its meaning changed: each kind of change once."""
    language, caption = read_language(ENGLISH), next(iter(told.values()))
    found: dict[str, str] = {}
    for kind, changed in read_grammar().changes(frame, drawn, rng, held_out):
        words = _words_of(language, frame, changed, held_out)
        words |= {concept: [word] for concept, word in caption.words.items()}
        telling = replace(caption, words={one: some[0] for one, some in words.items() if some})
        if telling.words.keys() >= {*changed.values()}:
            text = telling.write(language, frame, changed)
            if text and text not in told:
                found.setdefault(kind, text)
    return [{"kind": kind, "text": text} for kind, text in found.items()]


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
    grammar, rng = read_grammar(), random.Random(f"scenes {seed} {held_out}")
    spoken = {name: read_language(name) for name in dict.fromkeys((ENGLISH, *languages))}
    lots = [frame for frame, facts in grammar.frames.items() for _ in range(facts["weight"])]
    rows: list[dict[str, Any]] = []
    known: set[tuple[object, ...]] = set()
    tries = 0
    while len(rows) < count:
        if (tries := tries + 1) > _TRIES:
            what = f"there are only {len(rows)} different scenes"
            raise UserError("count", what, "Ask for fewer.")
        frame = lots[int(rng.random() * len(lots))]
        drawn = grammar.draw(frame, rng, held_out)
        if drawn is None or (key := (frame, *drawn.items())) in known:
            continue
        told = _tell(spoken[ENGLISH], frame, drawn, rng, held_out)
        new = not grammar.held_out.isdisjoint(drawn.values())
        if held_out and not new and not any(one.held_out() for one in told.values()):
            continue
        if len(told) < len(_FIRST):
            continue
        known.add(key)
        tries = 0
        texts = [{"text": text, "kind": one.kind} for text, one in told.items()]
        further = [
            {"text": text, "kind": one.kind, "lang": name}
            for name, language in spoken.items()
            if name != ENGLISH
            for text, one in _tell(language, frame, drawn, rng, held_out).items()
        ]
        rows.append(
            {
                "id": f"scene-{seed}-{'held-out-' * held_out}{len(rows) + 1}",
                "domain": frame,
                **{name: one["text"] for name, one in zip(_FIRST, texts, strict=False)},
                "kinds": [one["kind"] for one in texts[: len(_FIRST)]],
                "wordings": texts[len(_FIRST) :] + further,
                "contrasts": _contrasts(told, frame, drawn, rng, held_out),
            }
        )
    return rows
