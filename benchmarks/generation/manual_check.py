"""The manual check: quality of the paraphrases of the built-in and of a strong language model.

    PARACLIP_DATA=folder python -m benchmarks.generation.manual_check sheet --out runs/check
    python -m benchmarks.generation.manual_check report --out runs/check \\
        --marks first.jsonl second.jsonl --readers 'two language models of one kind'

`sheet` draws captions of Flickr8k's development split at random, has the built-in model reword
them, and mixes its triples with as many of the strong model's, a hundred pairs each, half of them
from each step. It writes `sheet.jsonl` and `audit.html`, like `paraclip audit`, and the same
pairs without their writer to `to_read.jsonl`. `report` turns the marks of two or more readers into
rates of pairs with Wilson intervals and Cohen's kappa, and counts the changed words. A mark is a
line of JSON with `id`, `meaning` (same, changed or wrong), `style` (plain or stilted) and
`reviewer`.
"""

import argparse
import csv
import io
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path

import numpy as np

from benchmarks.machine import RESULTS, keep, markdown, say
from paraclip.audit import (
    MEANINGS,
    PAGE,
    SHEET,
    Mark,
    Pair,
    read_marks,
    read_sheet,
    render_page,
    show_rate,
)
from paraclip.data.reading import read_captions
from paraclip.data.triples import read_triples
from paraclip.evaluation.pictures import read_names
from paraclip.files import text_hash, write_text
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.language.words import overlap
from paraclip.paraphrase.run import generate_from_source

Marks = Mapping[str, Mark]
"""Marks of one reader by the pair's id."""
BUILT_IN, STRONG = "built-in", "strong"
TO_READ = "to_read.jsonl"
STEPS = ((1, "caption", "paraphrase_1"), (2, "paraphrase_1", "paraphrase_2"))
SEED = 8
ASKED_FOR_EACH = 2
"""Captions given to the built-in model per required triple, since its filters reject many."""


def main() -> None:
    """Write the sheet, or the report."""
    options = parser().parse_args()
    if options.step == "sheet":
        write_sheet(Path(options.data), options.out, options.pairs)
    else:
        report(options.out, options.marks, options.readers, options.results)


def parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(dest="step", required=True)
    sheet = steps.add_parser("sheet", help="draw the pairs")
    sheet.add_argument("--data", required=True, type=Path, help="research data")
    sheet.add_argument("--pairs", type=int, default=100, help="pairs of each model")
    marked = steps.add_parser("report", help="rates from the marks")
    marked.add_argument("--marks", nargs="+", required=True, type=Path, help="a file a reader")
    marked.add_argument("--readers", required=True, help="who they were, for the table")
    marked.add_argument("--results", type=Path, default=RESULTS, help="folder of table and JSON")
    for step in (sheet, marked):
        step.add_argument("--out", required=True, type=Path, help="folder of the sheet")
    return parser


def write_sheet(data: Path, out: Path, size: int) -> None:
    """Draw `size` pairs of each model and write the sheet, the page and the pairs to read."""
    drawn = random.Random(SEED)
    pairs = [
        *drawn_pairs(BUILT_IN, built_in_triples(data, out / BUILT_IN, size), size, drawn),
        *drawn_pairs(STRONG, strong_triples(data), size, drawn),
    ]
    drawn.shuffle(pairs)
    numbered = [Pair(**{**asdict(pair), "id": str(number)}) for number, pair in enumerate(pairs)]
    lines = "".join(json.dumps(asdict(pair), ensure_ascii=False) + "\n" for pair in numbered)
    write_text(out / SHEET, lines)
    write_text(out / PAGE, render_page(numbered, text_hash(lines)))
    shown = [{"id": one.id, "source": one.source, "answer": one.answer} for one in numbered]
    write_text(out / TO_READ, "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in shown))
    say(f"{len(numbered)} pairs: {out / PAGE} or {out / TO_READ}")


def built_in_triples(data: Path, out: Path, size: int) -> list[dict[str, str]]:
    """Triples that the built-in model writes from captions of the development split."""
    wanted = set(read_names(data / "flickr8k" / "dev_images.txt"))
    every = read_captions(str(data / "flickr8k" / "captions.csv"))
    captions = [row for row in every if Path(row.image or "").name in wanted]
    chosen = random.Random(SEED).sample(captions, min(len(captions), ASKED_FOR_EACH * size))
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerows([["id", "caption"], *([row.id, row.caption] for row in chosen)])
    write_text(out / "captions.csv", text.getvalue())
    generate_from_source(GenerateConfig(source=str(out / "captions.csv"), out=out / "run"))
    rows: list[dict[str, str]] = read_triples(out / "run" / "triples.parquet").to_pylist()
    return rows


def strong_triples(data: Path) -> list[dict[str, str]]:
    """The triples of the strong model."""
    rows: list[dict[str, str]] = read_triples(
        data / "paraphrases" / "flickr8k_train.jsonl"
    ).to_pylist()
    return rows


def drawn_pairs(
    writer: str, rows: Sequence[Mapping[str, str]], size: int, drawn: random.Random
) -> Iterator[Pair]:
    """`size` pairs from as many rows, half of them from each step."""
    for place, row in enumerate(drawn.sample(list(rows), min(size, len(rows)))):
        step, source, answer = STEPS[place % 2]
        yield Pair(row["id"], step, row[source], row[answer], writer, f"{writer}, step {step}")


def report(out: Path, files: Sequence[Path], readers: str, results: Path = RESULTS) -> None:
    """Print and write the rates of each model and step, and the readers' agreement."""
    sheet = read_sheet(out / SHEET)
    marks = {}
    for path in files:
        read = read_marks(path, sheet)
        marks[read[0].reviewer or path.stem] = {mark.id: mark for mark in read}
    groups = groups_of(sheet)
    rows = [row_of(name, ids, sheet, marks) for name, ids in groups.items()]
    agreed = {
        f"{one} and {other}": cohen_kappa(marks[one], marks[other])
        for one, other in combinations(marks, 2)
    }
    columns = ["", "pairs", *MEANINGS, "plain", "words changed"]
    notes = [f"Cohen's kappa of meaning, {pair}: {shown_kappa(k)}." for pair, k in agreed.items()]
    text = "\n\n".join([markdown(columns, rows), " ".join([f"Readers: {readers}.", *notes])])
    keep("manual_check", results, text, rows=rows, kappas=agreed, readers=readers)


def groups_of(sheet: Mapping[str, Pair]) -> dict[str, list[str]]:
    """Ids of the pairs of each model, and of each of its steps."""
    groups: dict[str, list[str]] = defaultdict(list)
    for pair in sorted(sheet.values(), key=lambda one: (one.verdict, one.step)):
        groups[pair.verdict].append(pair.id)
        groups[pair.stratum].append(pair.id)
    return groups


def row_of(
    name: str, ids: Sequence[str], sheet: Mapping[str, Pair], marks: Mapping[str, Marks]
) -> list[str]:
    """A row of the table: rates over the marks of all readers.

    The intervals are based on the number of pairs, since two marks of one pair are not independent.
    """
    read = [one[pair] for one in marks.values() for pair in ids if pair in one]
    pairs = len({mark.id for mark in read})
    shares = [
        show_rate(sum(value in (mark.meaning, mark.style) for mark in read), len(read), pairs)
        for value in (*MEANINGS, "plain")
    ]
    changed = np.mean([1 - overlap(sheet[one].source, sheet[one].answer) for one in ids])
    return [name, str(len(ids)), *shares, f"{100 * changed:.0f} %"]


def cohen_kappa(one: Marks, other: Marks) -> float | None:
    """Cohen's kappa (1960) of two readers' meanings over the pairs that both marked.

    Returns:
        None if undefined: no common pair, or both readers used only one and the same mark.
    """
    common = one.keys() & other.keys()
    if not common:
        return None
    agreed = sum(one[name].meaning == other[name].meaning for name in common) / len(common)
    first, second = (Counter(marks[name].meaning for name in common) for marks in (one, other))
    chance = sum(first[mark] * second[mark] for mark in MEANINGS) / len(common) ** 2
    return None if chance == 1 else (agreed - chance) / (1 - chance)


def shown_kappa(value: float | None) -> str:
    """Kappa with two digits."""
    return "undefined" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
