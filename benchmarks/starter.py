"""What the starter set holds: its numbers, and samples of every kind.

python -m benchmarks.starter                      # numbers and samples
python -m benchmarks.starter --html starter.html  # also all texts, as one page with a search
python -m benchmarks.tables                       # into docs/starter.md and the set's README
"""

import argparse
import html
import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from benchmarks.machine import RESULTS, keep
from paraclip.files import write_text
from paraclip.starter import HELD_OUT, TRIPLES
from paraclip.tables import markdown

Row = Mapping[str, Any]
"""A row of the set, as its file has it."""
MEANINGS = {
    "plain": "the same in plain language (`paraphrase_1`)",
    "far": "the same in other words and another structure (`paraphrase_2`)",
    "short": "two to six words as typed into a search box",
    "colloquial": "as somebody would say it casually",
    "verbose": "a long careful sentence",
    "technical": "as a cataloguer would word it",
    "typo": "with one to three typing errors",
    "other_person": "somebody else describing the same picture, with other details",
    "contrast": "nearly the words of the caption with another meaning, which must not match",
    "de": "German", "fr": "French", "es": "Spanish",
}  # fmt: skip
SECOND_READING = {  # texts that were read, and those that keep the meaning (a contrast: differ)
    "plain": (300, 300), "far": (300, 275), "short": (300, 299), "colloquial": (177, 171),
    "verbose": (92, 92), "technical": (84, 83), "typo": (82, 80), "other_person": (165, 127),
    "contrast": (300, 300), "de": (100, 91), "fr": (100, 89), "es": (100, 93),
}  # fmt: skip
SEED, SAMPLES = 0, 6
HEADLINE = 0.5  # share of a caption's longer words that begin with a capital
TITLED = re.compile(r"[^\W\d_]{4,}")
SEPARATED = re.compile(r"[|#_]| - |\.jpe?g")
PAGE = Path(__file__).with_suffix(".html")


def read(path: Path) -> list[Row]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def texts_of(row: Row) -> Iterator[tuple[str, str]]:
    """Kind, or language, and text of everything that belongs to a caption."""
    yield "plain", row["paraphrase_1"]
    yield "far", row["paraphrase_2"]
    for one in row["wordings"]:
        yield one.get("lang") or one["kind"], one["text"]
    yield "contrast", row["contrast"]["text"]


def is_alt_text(caption: str) -> bool:
    """Whether a caption is written like a web page's: capitals of a headline, or separators."""
    words = TITLED.findall(caption)
    titled = sum(word[0].isupper() for word in words)
    return bool(SEPARATED.search(caption)) or (bool(words) and titled > HEADLINE * len(words))


def rate_of(of: int, count: int) -> str:
    """What the second reader found, in percent, with its 95 % Wilson interval (Wilson 1927)."""
    interval = binomtest(count, of).proportion_ci(method="wilson")
    return f"{100 * count / of:.1f} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def numbers(rows: Sequence[Row]) -> dict[str, Any]:
    """The numbers of the tables of kinds, domains and changes."""
    counts = [len(dict(texts_of(row))) - 1 for row in rows]
    return {
        "rows": len(rows),
        "alt_texts": sum(is_alt_text(row["caption"]) for row in rows),
        "wordings": [min(counts), max(counts)],
        "kinds": Counter(kind for row in rows for kind, _ in texts_of(row)),
        "domains": Counter(row["domain"] for row in rows),
        "contrasts": Counter(row["contrast"]["kind"] for row in rows),
        "second_reading": SECOND_READING,
    }


def numbers_table(record: Mapping[str, Any]) -> str:
    """The table of kinds, and sentences about the others."""
    rows, kinds, read_again = record["rows"], record["kinds"], record["second_reading"]
    cells = [
        [f"`{kind}`", meaning, f"{kinds[kind]:,}", str(read_again[kind][0]),
         rate_of(*read_again[kind])]
        for kind, meaning in MEANINGS.items()
    ]  # fmt: skip
    heads = ["kind", "what it is", "texts", "read again", "judged right, %"]
    least, most = record["wordings"]
    parts = [
        f"{rows:,} rows with {sum(kinds.values()) + rows:,} texts, {least} to {most} wordings of"
        f" each caption and a contrast; {100 * record['alt_texts'] / rows:.1f} % of the captions"
        " are like alternative texts of web pages (headline capitals or separators).",
        markdown(heads, cells).replace("|---|---:|", "|---|---|", 1),
        f"Domains: {listed(record['domains'])}.",
        f"Contrasts change {listed(record['contrasts'])}.",
    ]
    return "\n\n".join(parts)


def listed(counts: Mapping[str, int]) -> str:
    """Names with their numbers, the most frequent first."""
    return ", ".join(f"{name} ({count:,})" for name, count in Counter(counts).most_common())


def samples(rows: Sequence[Row]) -> dict[str, list[list[str]]]:
    """By kind: rows, captions and texts of that kind, drawn at random; changes of contrasts."""
    drawn = {}
    for kind in MEANINGS:
        having = [row for row in rows if kind in dict(texts_of(row))]
        drawn[kind] = [
            [row["id"], row["caption"], dict(texts_of(row))[kind]]
            + [row["contrast"]["kind"]] * (kind == "contrast")
            for row in random.Random(SEED).sample(having, SAMPLES)
        ]
    return drawn


def samples_tables(record: Mapping[str, Any]) -> str:
    """A table for each kind."""
    parts = []
    for kind, drawn in record["samples"].items():
        heads = ["row", "caption", kind, "change"][: len(drawn[0])]
        table = markdown(heads, [[f"`{row[0]}`", *map(shown, row[1:])] for row in drawn])
        parts.append(f"### {kind}\n\n{MEANINGS[kind].capitalize()}.\n\n{table}")
    return "\n\n".join(parts).replace("---:", "---")


def shown(text: str) -> str:
    """A text in a cell of a table."""
    return re.sub(r"([\\`*_|\[\]#])", r"\\\1", html.escape(text, quote=False))


def write_page(rows: Sequence[Row], path: Path) -> None:
    """Write all texts as one page with a search, which needs no network."""
    data = json.dumps(rows, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    write_text(path, PAGE.read_text(encoding="utf-8").replace("{rows}", data))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write what was asked for."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--html", type=Path, help="file for all texts with a search")
    parser.add_argument("--first", type=int, help="only the first rows of each file, as a trial")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    chosen = parser.parse_args(arguments)
    rows = [row for path in (TRIPLES, HELD_OUT) for row in read(path)[: chosen.first]]
    keep("starter", chosen.out, numbers_table, **numbers(rows))
    keep("starter_samples", chosen.out, samples_tables, samples=samples(rows), seed=SEED)
    if chosen.html:
        write_page(rows, chosen.html)


if __name__ == "__main__":
    main()
