"""Compare adapters and ways to sample: yield, changed words, and a blind reading.

    python recipes/paraphraser/compare.py answer shipped --out runs/compare
    python recipes/paraphraser/compare.py answer other --adapter FILE --out runs/compare
    python recipes/paraphraser/compare.py sheet --out runs/compare
    python recipes/paraphraser/compare.py report --marks first.tsv second.tsv --out runs/compare

`answer` paraphrases 150 captions of the held-out tenth. `sheet` mixes up to 100 triples of each
variant, without its name, into `sheet.tsv`. A reader writes a file with `number`, `step_1` and
`step_2`, tab-separated: 1 if the step keeps the meaning, else 0. `report` writes
`benchmarks/results/paraphraser_variants.md` and `.json`.
"""

import argparse
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from examples import parse_with_data, read_tsv
from judge import captions_of, share
from scipy.stats import mannwhitneyu

from paraclip.files import write_text
from paraclip.paraphrase.backends.builtin import BuiltInBackend
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.filters.minilm import Checker
from paraclip.paraphrase.run import generate
from paraclip.provenance import provenance

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
NAME = "paraphraser_variants"
CAPTIONS, CAPTIONS_SEED = 150, 7
MOST_READ, SHEET_SEED = 100, 5
TEXTS = ("caption", "paraphrase_1", "paraphrase_2")
LEGEND = "Words changed: in step 1 and step 2. Meaning: a figure for each reader."
Verdicts = Mapping[str, tuple[bool, bool]]
"""Whether each step keeps the meaning, by the number on the sheet."""


def answer(options: argparse.Namespace) -> None:
    """Paraphrase the captions with an adapter."""
    captions = random.Random(CAPTIONS_SEED).sample(
        captions_of("held-out", options.data), options.most
    )
    out = options.out / options.name
    config = GenerateConfig(options.name, out, candidates=options.candidates)
    llm = replace(config.llm, temperature=options.temperature, top_p=options.top_p)
    backend = BuiltInBackend(llm, options.adapter)
    print(f"{generate(captions, config, out, len(captions), backend).kept} triples")


def variants(out: Path) -> dict[str, list[dict[str, Any]]]:
    """The triples of each variant."""
    folders = sorted(path.parent for path in out.glob("*/triples.parquet"))
    return {path.name: pq.read_table(path / "triples.parquet").to_pylist() for path in folders}


def write_sheet(out: Path) -> None:
    """Mix the variants' triples into a sheet, and write the variant of each number to key.tsv."""
    draw = random.Random(SHEET_SEED)
    rows = [
        (name, *(row[text] for text in TEXTS))
        for name, triples in variants(out).items()
        for row in draw.sample(triples, min(MOST_READ, len(triples)))
    ]
    draw.shuffle(rows)
    write_tsv(out / "sheet.tsv", ("number", *TEXTS), ((n, *row[1:]) for n, row in numbered(rows)))
    write_tsv(out / "key.tsv", ("number", "variant"), ((n, row[0]) for n, row in numbered(rows)))


def numbered(rows: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """Rows with their numbers on the sheet."""
    return enumerate(rows, start=1)


def write_tsv(path: Path, heads: Sequence[str], rows: Iterator[tuple[Any, ...]]) -> None:
    """Write a tab-separated file."""
    write_text(path, "".join("\t".join(map(str, row)) + "\n" for row in (heads, *rows)))


def read_marks(path: Path, numbers: Sequence[str]) -> Verdicts:
    """The verdicts of a reader.

    Raises:
        SystemExit: a number has no verdict, or one that is neither 0 nor 1.
    """
    rows = {row["number"]: (row["step_1"], row["step_2"]) for row in read_tsv(path)}
    unread = [number for number in numbers if set(rows.get(number, ("",))) - {"0", "1"}]
    if unread:
        raise SystemExit(f"{path}: no verdict of 0 or 1 for {unread[:5]}")
    return {number: (one == "1", two == "1") for number, (one, two) in rows.items()}


def cohen_kappa(one: Verdicts, other: Verdicts) -> float | None:
    """Cohen's kappa (1960) of two readers on whether both steps keep the meaning; None if both
    gave one and the same verdict everywhere."""
    pairs = [(all(one[name]), all(other[name])) for name in one if name in other]
    agreed = sum(first == second for first, second in pairs) / len(pairs)
    first, second = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
    chance = first * second + (1 - first) * (1 - second)
    return None if chance == 1 else (agreed - chance) / (1 - chance)


def figures(out: Path, readers: Sequence[Verdicts]) -> dict[str, dict[str, Any]]:
    """Yield, changed words and, for each reader, kept meaning of every variant."""
    key = {row["number"]: row["variant"] for row in read_tsv(out / "key.tsv")}
    found = {}
    for name, rows in variants(out).items():
        summary = json.loads((out / name / "summary.json").read_text(encoding="utf-8"))
        numbers = [number for number, variant in key.items() if variant == name]
        changed = [1 - sum(row[f"overlap_{n}"] for row in rows) / len(rows) for n in (1, 2)]
        found[name] = {
            "yield": share(summary["kept"], summary["captions"]),
            "changed": [round(100 * one, 1) for one in changed],
            "kept": [share(sum(all(m[n]) for n in numbers), len(numbers)) for m in readers],
            "generator": rows[0]["generator"],
        }
    return found


def checker_auc(out: Path, readers: Sequence[Verdicts]) -> float:
    """How well the shipped checker tells steps that all readers accept from the others, 0 to 1."""
    pairs, kept = [], []
    for row in read_tsv(out / "sheet.tsv"):
        for step, texts in enumerate(pairwise(TEXTS)):
            pairs.append((row[texts[0]], row[texts[1]]))
            kept.append(all(marks[row["number"]][step] for marks in readers))
    faults, good = np.array(Checker().faults(pairs)), np.array(kept)
    ranked = mannwhitneyu(faults[~good], faults[good]).statistic
    return float(ranked / ((~good).sum() * good.sum()))


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """A variant a row."""
    lines = ["| | yield | words changed | meaning kept in both steps |", "|---|---:|---:|---:|"]
    for name, one in found.items():
        kept = ", ".join(f"{reader['percent']} %" for reader in one["kept"])
        changed = ", ".join(f"{percent:.0f} %" for percent in one["changed"])
        of = one["kept"][0]["of"]
        lines.append(f"| {name} | {one['yield']['percent']} % | {changed} | {kept} (of {of}) |")
    return "\n".join(lines)


def report(options: argparse.Namespace) -> None:
    """Write the table and the JSON."""
    numbers = [row["number"] for row in read_tsv(options.out / "key.tsv")]
    readers = [read_marks(path, numbers) for path in options.marks]
    found = figures(options.out, readers)
    agreed = [cohen_kappa(*pair) for pair in combinations(readers, 2)]
    separated = checker_auc(options.out, readers)
    notes = [f"Cohen's kappa of two readers: {one:.2f}." for one in agreed if one is not None]
    notes.append(
        f"AUC of the checker (`--max-fault`) over the steps that were read: {separated:.2f}."
    )
    text = f"{table(found)}\n\n{' '.join([LEGEND, *notes])}"
    made = provenance(variants=found, kappa=agreed, checker_auc=separated) | {
        "command": "python recipes/paraphraser/compare.py report"
    }
    write_text(options.results / f"{NAME}.md", text + "\n")
    write_text(options.results / f"{NAME}.json", json.dumps(made, indent=1) + "\n")
    print(text)


def main() -> None:
    """One of the three steps."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("answer", "sheet", "report"))
    parser.add_argument("name", nargs="?", default="shipped", help="of the variant")
    parser.add_argument("--out", type=Path, default=Path("runs/compare"))
    parser.add_argument("--adapter", type=Path, help="GGUF file; default: the shipped one")
    parser.add_argument("--candidates", type=int, default=6)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--top-p", type=float, default=0.9)
    parser.add_argument("--most", type=int, default=CAPTIONS, help="captions")
    parser.add_argument("--marks", type=Path, nargs="+", help="a file a reader")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of table and JSON")
    options = parse_with_data(parser, lambda given: given.what == "answer")
    if options.what == "answer":
        answer(options)
    elif options.what == "sheet":
        write_sheet(options.out)
    else:
        report(options)


if __name__ == "__main__":
    main()
