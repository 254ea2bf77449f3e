"""The words of a language, and the texts that they make.

`grammar/LANGUAGE.toml` holds them; README.md beside this file describes its keys.
"""

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from paraclip.errors import UserError
from paraclip.starter.concepts import GRAMMAR

HELD_OUT_MARK = "*"
"""Begins a word or a template that `held_out=False` never draws."""
_PLACEHOLDER = re.compile(r"\{(?:(\+)?(\w*):)?(\w+)\}")  # {form}, {slot:form} or {+class:form}
_OPTIONAL = re.compile(r"\[([^\]]+)\]")


@dataclass(frozen=True)
class Word:
    """A word or phrase for a concept: its class (gender, for example) and its irregular forms."""

    base: str
    kind: str
    forms: Mapping[str, str]
    held_out: bool


@dataclass(frozen=True)
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
            wanted = {slot for _, slot, _ in _PLACEHOLDER.findall(match[1])}
            return match[1] if wanted <= self._words.keys() else ""

        template = _OPTIONAL.sub(keep, template)
        self._named = {slot for _, slot, _ in _PLACEHOLDER.findall(template)}
        return self._fill(template, "")

    def _fill(self, pattern: str, own: str) -> str:
        def fill(match: re.Match[str]) -> str:
            modifiers, slot, form = match.groups()
            if modifiers is None:
                return self._form(slot or own, form)
            return " ".join(self._form(one, form) for one in self._modifiers(own, slot))

        return _PLACEHOLDER.sub(fill, pattern)

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
        return self._fill(_inflect(self._language, form, word), slot)

    def _key(self, slot: str) -> str:
        """The class of a slot's word, with `p` at its end if it is plural."""
        kind = self._words[slot].kind
        return f"{kind}p" if slot in self._counted and not kind.endswith("p") else kind


def counted_slots(slots: Mapping[str, Any], drawn: Collection[str]) -> set[str]:
    """The slots of a scene that another one makes plural."""
    return {slots[slot]["modifies"] for slot in drawn if slots[slot].get("plural")}


def _inflect(language: Language, form: str, word: Word) -> str:
    """A regular form: by the first rule whose pattern is found; base where none is."""
    if not word.kind.endswith("p"):
        for pattern, replacement in language.rules.get(form, ()):
            if pattern.search(word.base):
                return pattern.sub(replacement, word.base, count=1)
    return word.base
