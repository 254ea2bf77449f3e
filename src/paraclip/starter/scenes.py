"""Everyday scenes: what people photograph, in several wordings, drawn from a grammar.

`grammar/frames.toml` holds what can be in a picture together, which no language changes, and
`grammar/LANGUAGE.toml` the words. README.md beside this file describes their keys, and says how a
language is added.
"""

import random
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from paraclip.errors import UserError
from paraclip.files import file_hash, text_hash
from paraclip.starter import FOLDER, TEXTS

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
        self._common = cache(self._find_common)

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
        among = (self._named(source, drawn) for source in spec.get("among", "").split())
        return self._common(self._named(spec["from"], drawn) or "", *among)

    def _find_common(self, names: str, *among: str | None) -> tuple[str, ...]:
        """The concepts of some names that all others name as well, but for None."""
        others = [set(self.expand(one)) for one in among if one is not None]
        return tuple(one for one in self.expand(names) if all(one in other for other in others))

    def _named(self, source: str, drawn: Drawn) -> str | None:
        """The names of some sets, or of SLOT.FACT; None where nothing drawn has that fact."""
        slot, _, fact = source.partition(".")
        if not fact:
            return source
        return self.facts[drawn[slot]].get(fact) if slot in drawn else None

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


def grammar_hash() -> str:
    """The hash of all that determines scenes: the grammar, and how it is drawn from."""
    return text_hash(" ".join(map(file_hash, [*sorted(GRAMMAR.glob("*.toml")), Path(__file__)])))


def shuffled(values: Sequence[Any], rng: random.Random, lead: float = 0) -> list[Any]:
    """The values in random order; with a lead, early ones tend to stay early."""
    keys = [rng.random() * (1 + lead * number) for number in range(len(values))]
    return [values[number] for number in sorted(range(len(values)), key=keys.__getitem__)]


HELD_OUT_MARK = "*"
"""Begins a word or a template that `held_out=False` never draws."""
_PLACEHOLDER = re.compile(r"\{(?:(\+)?(\w*):)?(\w+)\}")  # {form}, {slot:form} or {+class:form}
_OPTIONAL = re.compile(r"\[([^\]]+)\]")


@cache
def _parse_pattern(pattern: str) -> tuple[list[tuple[str, ...]], str]:
    """What stands before each placeholder, with its plus, slot or class, and form; and the end."""
    parts = _PLACEHOLDER.split(pattern)
    return list(zip(parts[::4], parts[1::4], parts[2::4], parts[3::4], strict=False)), parts[-1]


@cache
def _slots_of(pattern: str) -> set[str]:
    """The slots that a template names."""
    return {slot for _, _, slot, _ in _parse_pattern(pattern)[0]}


@dataclass(frozen=True)
class Word:
    """A word or phrase for a concept: its class (gender, for example) and its irregular forms."""

    base: str
    kind: str
    forms: Mapping[str, str]
    held_out: bool


@dataclass(frozen=True, eq=False)  # so that what is inflected is kept
class Language:
    """The words, forms and templates of a language."""

    words: Mapping[str, Sequence[Word]]
    forms: Mapping[str, Mapping[str, str]]
    rules: Mapping[str, Sequence[tuple[re.Pattern[str], str]]]
    templates: Mapping[str, Mapping[str, Sequence[str]]]
    finish: Mapping[str, Sequence[tuple[re.Pattern[str], str]]]
    uncounted: Collection[str]
    stop: str


@cache
def read_language(name: str) -> Language:
    """The words of a language; raises UserError if there are none."""
    known = sorted(path.stem for path in GRAMMAR.glob("??.toml"))
    if name not in known:
        what = f"there are no scenes in the language {name!r}"
        raise UserError("languages", what, f"Choose among {', '.join(known)}.")
    data = tomllib.loads((GRAMMAR / f"{name}.toml").read_text(encoding="utf-8"))

    def compiled(table: Mapping[str, list[list[str]]]) -> dict[str, list[tuple[Any, str]]]:
        return {key: [(re.compile(one), by) for one, by in lines] for key, lines in table.items()}

    return Language(
        {key: [_parse_word(one) for one in text.split("|")] for key, text in data["words"].items()},
        {
            key: one if isinstance(one, dict) else {"": one, "p": one}
            for key, one in data["forms"].items()
        },
        compiled(data["rules"]),
        data["templates"],
        compiled(data["finish"]),
        data["uncounted"],
        data["stop"],
    )


def _parse_word(text: str) -> Word:
    """A word of `base/class; form=text`, with a mark before it if it is held out."""
    first, *rest = (part.strip() for part in text.split(";"))
    base, _, kind = first.removeprefix(HELD_OUT_MARK).partition("/")
    forms = (part.partition("=") for part in rest)
    held_out = first.startswith(HELD_OUT_MARK)
    return Word(base, kind, {name: value for name, _, value in forms}, held_out)


class Text:
    """A wording in the making: fills placeholders, and notes the slots that it has named."""

    def __init__(self, language: Language, slots: Mapping[str, Any], words: dict[str, Word]):
        self._language, self._slots, self._words = language, slots, words
        self.said: set[str] = set()
        self._counted = counted_slots(slots, words)
        self._named: set[str] = set()

    def write(self, template: str) -> str:
        """The text of a template; KeyError if it asks for a slot that the scene lacks."""

        def keep(match: re.Match[str]) -> str:
            return match[1] if _slots_of(match[1]) <= self._words.keys() else ""

        template = _OPTIONAL.sub(keep, template)
        self._named = _slots_of(template)
        return self._fill(template, "")

    def _fill(self, pattern: str, own: str) -> str:
        pieces, end = _parse_pattern(pattern)
        written = ""
        for before, plus, slot, form in pieces:
            named = self._modifiers(own, slot) if plus else [slot or own]
            written += before + " ".join([self._form(one, form) for one in named])
        return written + end

    def _modifiers(self, slot: str, kind: str) -> list[str]:
        """The slots of a class that modify one and are not named by the template itself."""
        return [
            one
            for one, word in self._words.items()
            if self._slots[one].get("modifies") == slot
            and word.kind == kind
            and one not in self._named
        ]

    def _form(self, slot: str, form: str) -> str:
        word = self._words[slot]
        if form in word.forms:
            self.said.add(slot)
            return self._fill(word.forms[form], slot)
        if form in self._language.forms:
            spec = self._slots[slot]
            key = self._key(spec.get("of") or spec.get("modifies") or slot)
            table = self._language.forms[form]
            pattern = table.get(key, table["p" if key.endswith("p") else ""])
            return self._fill(pattern, slot)
        if form == "class":
            return word.kind
        self.said.add(slot)
        plural = word.kind.endswith("p")
        inflected = word.base if plural else _inflect(self._language, form, word.base)
        return self._fill(inflected, slot)

    def _key(self, slot: str) -> str:
        """The class of a slot's word, with `p` at its end if it is plural."""
        kind = self._words[slot].kind
        return f"{kind}p" if slot in self._counted and not kind.endswith("p") else kind


def counted_slots(slots: Mapping[str, Any], drawn: Collection[str]) -> set[str]:
    """The slots of a scene that another one makes plural."""
    return {slots[slot]["modifies"] for slot in drawn if slots[slot].get("plural")}


@cache
def _inflect(language: Language, form: str, base: str) -> str:
    """A regular form: by the first rule whose pattern is found; base where none is."""
    for pattern, replacement in language.rules.get(form, ()):
        if pattern.search(base):
            return pattern.sub(replacement, base, count=1)
    return base


ENGLISH = "en"
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
        if len(told) < len(TEXTS) or (held_out and not scene.is_new(told)):
            continue
        known.add(key)
        missed = 0
        row = {"id": f"scene-{seed}-{'held-out-' * held_out}{len(rows) + 1}", "domain": scene.frame}
        texts = [{"text": text, "kind": one.kind} for text, one in told.items()]
        row |= {name: one["text"] for name, one in zip(TEXTS, texts, strict=False)}
        further = [
            {"text": text, "kind": one.kind, "lang": name}
            for name, language in others
            # Numbers of its own: the other texts are those of a call without this language.
            for text, one in scene.tell(language, random.Random(f"{row['id']} {name}")).items()
        ]
        rows.append(
            {
                **row,
                "kinds": [one["kind"] for one in texts[: len(TEXTS)]],
                "wordings": texts[len(TEXTS) :] + further,
                "contrasts": scene.contrasts(told, english[1], rng),
            }
        )
    return rows
