"""Pairs in the style of web alternative texts, for the checker: our own, and rewritten captions.

`alt_texts.tsv` was written for this project (Apache-2.0): an alternative text, both paraphrases,
and a text that is wrong about it. Captions of the starter set become alternative texts by rule:
they lose articles, take capitals, and get a brand, a code or a shop that a good rewording drops.
"""

import csv
import random
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from paraclip.data.words import is_content
from paraclip.paraphrase.filters.minilm import Pair
from paraclip.starter import TRIPLES
from recipes.filters.labelled import TRAINED_ON, Row, part_of, read

ALT_TEXTS = Path(__file__).with_name("alt_texts.tsv")
REPEATED = 3  # times that each of our own alternative texts is read in an epoch
REWORDING = ("colloquial", "technical", "verbose")
"""Kinds of wordings that state all that their captions do."""
ARTICLES = re.compile(r"\b(?:a|an|the|is|are)\s+", re.IGNORECASE)
BRANDS = ("Alder & Finch", "Norvik", "Bluecrest", "HomeHaus", "Tilly's", "PrimeGear", "Kestrel Co.")
BEFORE = ("{brand} ", "{brand} - ", "Vintage Photo: ", "Stock Photo: ", "{code} - ", "New! ")
AFTER = (
    " | {brand}", " by {brand}", " - {brand}", " {code}", " ({number})", " #{number}",
    " Royalty Free Stock Photo", " stock photo", " - Stock Image", " {code}.jpg", " (New)",
)  # fmt: skip


def styled_pairs(draw: random.Random, most: int = 2500) -> Iterator[tuple[Pair, float]]:
    """Source and answer; 1 for a fault, 0 for none. `most` is for each kind made by rule."""
    rows = [row for row in read(TRIPLES) if part_of(row) in TRAINED_ON]
    draw.shuffle(rows)
    for row, other in pairwise(rows[: most + 1]):
        yield (as_alt_text(row["caption"], draw), row["paraphrase_1"]), 0.0
        wrong = draw.choice((row["contrast"]["text"], tangled(row, other, draw)))
        yield (as_alt_text(row["caption"], draw), wrong), 1.0
    draw.shuffle(rows)
    for row in rows[:most]:
        yield (row["caption"], row["contrast"]["text"]), 1.0
        yield (row["paraphrase_1"], row["paraphrase_2"]), 0.0
        for wording in row["wordings"]:
            if wording.get("kind") in REWORDING:
                yield (row["caption"], wording["text"]), 0.0
    with ALT_TEXTS.open(encoding="utf-8", newline="") as lines:
        own = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    yield from REPEATED * [*own_pairs(own)]


def own_pairs(rows: Sequence[Row]) -> Iterator[tuple[Pair, float]]:
    """Pairs of our own alternative texts; another row's texts are wrong as well."""
    for row, other in zip(rows, [*rows[1:], rows[0]], strict=True):
        caption, first, second, wrong = row.values()
        for good in ((caption, first), (caption, second), (first, second)):
            yield good, 0.0
        for source in (caption, first):
            yield (source, wrong), 1.0
        yield (caption, other["paraphrase_1"]), 1.0


def tangled(row: Row, other: Row, draw: random.Random) -> str:
    """The first paraphrase as a weak model spoils it: it goes on as another row's, exchanges words,
    or misspells a name."""
    tokens, others = row["paraphrase_1"].split(), other["paraphrase_1"].split()
    places = [at for at, word in enumerate(tokens) if is_content(word.lower().strip(".,"))]
    way = draw.randrange(3)
    if way == 0 or len(places) < 3:
        return " ".join([*tokens[: max(2, len(tokens) // 2)], *others[len(others) // 2 :]])
    if way == 1:
        moved = draw.sample(places, 3)
        for at, word in zip(moved, [tokens[at] for at in [*moved[1:], moved[0]]], strict=True):
            tokens[at] = word
        return " ".join(tokens)
    at = max(places, key=lambda place: len(tokens[place]))
    letters = list(tokens[at])
    start = draw.randrange(max(1, len(letters) - 3))
    letters[start : start + 3] = draw.sample("aeioukmnrst", 4)
    tokens[at] = "".join(letters)
    return " ".join(tokens)


def as_alt_text(caption: str, draw: random.Random) -> str:
    """The caption as a shop or a picture library would title it."""
    text = ARTICLES.sub("", caption).rstrip(".") if draw.random() < 0.8 else caption
    text = draw.choice((str, str.title, str.lower, str.title))(text)
    code = f"{draw.choice('ABKMPTX')}{draw.choice('DGLRVZ')}{draw.randrange(100, 9999)}"
    filled = {"brand": draw.choice(BRANDS), "code": code, "number": draw.randrange(1, 99)}
    added = draw.random()
    before = draw.choice(BEFORE) if added < 0.4 else ""
    after = draw.choice(AFTER) if added > 0.2 else ""
    return before.format(**filled) + text + after.format(**filled)
