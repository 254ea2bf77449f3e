"""Labelled pairs for the filters: good rewordings, and answers with one fault each.

The texts are ParaCLIP's own (stamps and starter set), so the pairs need no data from elsewhere. A
fault is made by rule in an answer that is otherwise good: mostly in the first paraphrase, which
rewords its caption, as a generator's answer with this fault would.
"""

import json
import random
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

from paraclip.data.words import is_content, words
from paraclip.paraphrase.english import content_roots
from paraclip.paraphrase.filters.checks import Question
from paraclip.starter import FIRST_EDITION, QUERIES, TRIPLES
from recipes.demo.stamps import STAMPS
from recipes.filters.edits import NEGATIVE_KINDS, Draw, sentence, vocabulary_of
from recipes.tagger import ADJECTIVES, NOUNS, Tagged, Tagger

Row = dict[str, Any]
Change = Callable[[Row, Tagged, random.Random], str | None]
"""A row, its tagged first paraphrase and random numbers to a faulty answer, or None."""
EDITS = {
    "replaced object": "replace_object",
    "replaced attribute": "replace_attribute",
    "replaced action": "replace_deed",
    "replaced place": "replace_place",
    "swapped roles": "swap_object",
    "swapped attributes": "swap_attribute",
}
TRAINED_ON, CHOSEN_ON, REPORTED = (0, 2), (1,), (3,)
NUMBERS = (
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
TWICE = 2
RARE = ("wrong number", "swapped attributes")  # made of the captions as well
CHATS = (
    "Here is a caption that means the same as the original text, reworded in other words",
    "I'm sorry, but I cannot rephrase this image without more context.",
    "{text} Let me know if you would like another version!",
    "{text} (Note: I changed the structure of the sentence and used synonyms.)",
    "As an AI language model, I can't see the picture, but it may show {lower}",
    "The user wants a paraphrase of: {lower}",
)
NEGATED = re.compile(r"\b(is|are|has|have|with|and|on|in)\b")


@dataclass(frozen=True)
class Labelled:
    """Pairs of one kind.

    Args:
        good: whether the filters should pass them.
        pairs: sources with answers.
    """

    good: bool
    pairs: list[Question]


def labelled_pairs(parts: Sequence[int], most: int | None = None) -> dict[str, Labelled]:
    """Pairs of every kind, by name.

    Args:
        parts: quarters of the rows: the checker is trained on `TRAINED_ON`, the threshold is chosen
            on `CHOSEN_ON`, and `REPORTED` is for the report.
        most: pairs of a kind; None: all.
    """
    triples, queries, stamps = (read(path) for path in (TRIPLES, QUERIES, STAMPS))
    triples = triples[:FIRST_EDITION]
    triples = [row for row in triples if part_of(row) in parts]
    queries = [row for row in queries if part_of(row) in parts]
    kinds = {
        "starter set, step 1": Labelled(True, first_steps(triples)),
        "starter set, step 2": Labelled(True, second_steps(triples)),
        "query and rewording": Labelled(
            True, [Question(row["query"], row["rewording"]) for row in queries]
        ),
        **{name: Labelled(False, pairs) for name, pairs in faulty(triples).items()},
    }
    if parts == REPORTED:
        kinds["contrasts of the stamps"] = Labelled(
            False,
            [Question(row["caption"], row["contrast"]) for row in stamps if row["split"] == "test"],
        )
    return {name: Labelled(kind.good, kind.pairs[:most]) for name, kind in kinds.items()}


def part_of(row: Row) -> int:
    """0 to 3, by the row's id."""
    return zlib.crc32(row["id"].encode()) % 4


def read(path: Path) -> list[Row]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def first_steps(rows: list[Row]) -> list[Question]:
    """Caption and first paraphrase."""
    return [Question(row["caption"], row["paraphrase_1"]) for row in rows]


def second_steps(rows: list[Row]) -> list[Question]:
    """First and second paraphrase."""
    return [Question(row["paraphrase_1"], row["paraphrase_2"], row["caption"]) for row in rows]


def faulty(rows: list[Row]) -> dict[str, list[Question]]:
    """Pairs with one fault each, by the kind of fault; a row has at most one of each kind."""
    tagged = list(Tagger().tag(row["paraphrase_1"] for row in rows))
    vocabulary = vocabulary_of(tagged)
    others, chats = cycle(rows[7:] + rows[:7]), cycle(CHATS)
    changes: dict[str, Change] = {
        "copy": lambda row, *_: copied(row["caption"]),
        "chat": lambda row, *_: chatted(next(chats), row["paraphrase_1"]),
        "another picture's text": lambda *_: next(others)["paraphrase_2"],
        "wrong number": wrong_number,
        "negation": lambda row, *_: negated(row["paraphrase_1"]),
        "lost fact": lost_fact,
        "added fact": adding(tagged),
        **{name: edited(kind, vocabulary) for name, kind in EDITS.items()},
    }
    found = {name: made(name, change, rows, tagged) for name, change in changes.items()}
    turned = [turned_around(row) for row in rows]
    captions = list(Tagger().tag(row["caption"] for row in rows))
    for name in RARE:
        for again in range(TWICE):
            found[name] += made(f"{name} {again}", changes[name], turned, captions)
            found[name] += made(f"{name} {again}", changes[name], rows, tagged)
        found[name] = list(dict.fromkeys(found[name]))
    return found


def turned_around(row: Row) -> Row:
    """The row with its first paraphrase as the caption, and the caption as its answer."""
    return row | {"caption": row["paraphrase_1"], "paraphrase_1": row["caption"]}


def made(name: str, change: Change, rows: list[Row], tagged: list[Tagged]) -> list[Question]:
    """The captions of the rows that can be changed, with the changed first paraphrase."""
    draws = (random.Random(f"{name} {row['paraphrase_1']}") for row in rows)
    changed = [change(*one) for one in zip(rows, tagged, draws, strict=True)]
    pairs = zip(rows, changed, strict=True)
    return [Question(row["caption"], text) for row, text in pairs if text is not None]


def edited(kind: str, vocabulary: Any) -> Change:
    """An edit of `edits.py`."""

    def change(row: Row, tagged: Tagged, draw: random.Random) -> str | None:
        known = frozenset(words(row["caption"] + " " + row["paraphrase_1"]))
        found = NEGATIVE_KINDS[kind](tagged, Draw(vocabulary, known, draw))
        return None if found is None else sentence(found)

    return change


def copied(text: str) -> str:
    """The text with other articles and case: no rewording."""
    changed = re.sub(r"\b(?:a|an)\b", "the", text, flags=re.IGNORECASE)
    return changed.upper() if changed == text else changed.rstrip(".") + "!"


def chatted(pattern: str, text: str) -> str:
    """Talk about the task, perhaps with the answer in it."""
    return pattern.format(text=text, lower=text[:1].lower() + text[1:])


def wrong_number(row: Row, tagged: Tagged, draw: random.Random) -> str | None:
    """A number that the caption does not state, in place of one that it does."""
    places = [at for at, (word, _) in enumerate(tagged) if is_number(word)]
    if not places:
        return None
    at = draw.choice(places)
    word, tokens = tagged[at][0], [token for token, _ in tagged]
    if word.isdigit():
        tokens[at] = str(int(word) + draw.randint(1, 5))
    else:
        stated = {token.lower() for token in tokens}
        tokens[at] = draw.choice([name for name in NUMBERS[:9] if name not in stated])
    return sentence(tokens)


def is_number(word: str) -> bool:
    """Whether a token is a small number in words, or digits."""
    return word.isdigit() or word.lower() in NUMBERS


def negated(text: str) -> str | None:
    """The first verb, preposition or conjunction that can be negated, negated."""
    words = {
        "is": "is not", "are": "are not", "has": "has no", "have": "have no", "with": "without",
        "and": "but no", "on": "not on", "in": "not in",
    }  # fmt: skip
    found = NEGATED.search(text)
    return text[: found.start()] + words[found[1]] + text[found.end() :] if found else None


def lost_fact(row: Row, tagged: Tagged, draw: random.Random) -> str | None:
    """Without an adjective before a noun, or without the last prepositional phrase."""
    told = set(content_roots(row["caption"]))
    cuts = [(at, at + 1) for at in adjectives(tagged) if told & set(content_roots(tagged[at][0]))]
    if phrase := last_phrase(tagged):
        cuts.append(phrase)
    if not cuts:
        return None
    start, end = draw.choice(cuts)
    tokens = [token for token, _ in tagged]
    if start and tokens[start - 1].lower() in ("a", "an") and end < len(tokens):
        vowel = tokens[end][0].lower() in "aeiou"
        tokens[start - 1] = tokens[start - 1][0] + ("n" if vowel else "")
    return sentence(tokens[:start] + tokens[end:])


def adjectives(tagged: Tagged) -> Iterator[int]:
    """Indices of adjectives that a noun follows."""
    for at, (word, tag) in enumerate(tagged[:-1]):
        if tag in ADJECTIVES and tagged[at + 1][1] in NOUNS and is_content(word.lower()):
            yield at


def last_phrase(tagged: Tagged) -> tuple[int, int] | None:
    """Start and end of the last prepositional phrase, if a noun stands before it."""
    end = len(tagged) - (not tagged[-1][0].isalnum())
    starts = [at for at, (_, tag) in enumerate(tagged[:end]) if tag == "IN"]
    if not starts or end - starts[-1] < 2 or starts[-1] < 2:
        return None
    content = [word for word, _ in tagged[starts[-1] : end] if is_content(word.lower())]
    return (starts[-1], end) if content else None


def adding(tagged: list[Tagged]) -> Change:
    """Adds an adjective or a prepositional phrase of another row."""
    described = [text[at][0].lower() for text in tagged for at in adjectives(text)]
    spans = [(text, phrase) for text in tagged if (phrase := last_phrase(text))]
    phrases = [[token for token, _ in text[start:end]] for text, (start, end) in spans]

    def change(row: Row, tokens: Tagged, draw: random.Random) -> str | None:
        known = set(content_roots(row["caption"] + " " + row["paraphrase_1"]))
        words = [token for token, _ in tokens]
        end = len(words) - (not words[-1].isalnum())
        nouns = [at for at, (_, tag) in enumerate(tokens) if tag in NOUNS]
        plain = [at for at in nouns if at and tokens[at - 1][1] == "DT"]
        new = [draw.choice(described)] if plain and draw.random() < 0.5 else draw.choice(phrases)
        if known & set(content_roots(" ".join(new))):
            return None
        at = draw.choice(plain) if len(new) == 1 else end
        if len(new) == 1 and words[at - 1].lower() in ("a", "an"):
            words[at - 1] = words[at - 1][0] + ("n" if new[0][0] in "aeiou" else "")
        return sentence(words[:at] + new + words[at:])

    return change
