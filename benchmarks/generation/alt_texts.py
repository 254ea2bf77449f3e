"""What the filters of `paraclip generate` do with rewordings of web alternative texts.

    PARACLIP_DATA=folder python -m benchmarks.generation.alt_texts --weak runs/weak.jsonl

`recipes.filters.web_pairs` writes the file of the weak model's answers. A pair counts as good or
bad where both readings of `judged/web.tsv` say so. The threshold of the checker was chosen on half
of the captions (`--choose`); the table is about the other half.
"""

import argparse
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.generation.filters import ALL, measured, totals
from benchmarks.machine import RESULTS, keep, parse_with_data
from paraclip.paraphrase.config import Limits
from paraclip.paraphrase.filters.checks import Question, most_fault
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.filters.minilm import CHECKER, Checker
from paraclip.tables import markdown
from recipes.filters.labelled import CHOSEN_ON, labelled_pairs
from recipes.filters.web_pairs import JUDGED, TEXTS, Reworded, read_readings, read_web, reworded

HALVES = ("chosen", "reported")
FAULTS, TITLE_FAULTS = (0.5, 0.6, 0.7), (0.6, 0.7, 0.8, 0.9, 0.95)
LOOSE = Limits(similarity=-1.0, growth=1e9, fault=1.0)


@dataclass(frozen=True)
class Scored:
    """A pair with its readings, and what the filters measure."""

    pair: Reworded
    first: bool
    second: bool
    refused: bool  # by a check that has no threshold here
    growth: float  # what `Limits.growth` has to be, at least
    similarity: float
    fault: float

    @property
    def half(self) -> str:
        """`chosen` or `reported`, by the caption."""
        return HALVES[zlib.crc32(self.pair.caption_id.encode()) % 2]

    def passes(self, limits: Limits) -> bool:
        """Whether the filters let it through."""
        return not self.refused and (
            self.growth <= limits.growth
            and self.similarity >= limits.similarity
            and self.fault <= most_fault(self.pair.question.source, limits)
        )


def scored(pairs: Sequence[Reworded], checker: Checker) -> list[Scored]:
    """The pairs that were read."""
    readings = read_readings(JUDGED)
    pairs = [one for one in pairs if one.key in readings]
    judge = Judge(LOOSE)
    verdicts = judge.judge([one.question for one in pairs])
    faults = checker.faults([(one.question.source, one.question.answer) for one in pairs])
    return [
        Scored(pair, *readings[pair.key], verdict.reason is not None, growth_of(pair.question),
               verdict.similarity, fault)
        for pair, verdict, fault in zip(pairs, verdicts, faults, strict=True)
    ]  # fmt: skip


def growth_of(question: Question) -> float:
    """The least `Limits.growth` that lets an answer pass."""
    before, after = len(question.source.split()), len(question.answer.split())
    return 0.0 if after <= before + 4 else after / max(before, 1)


def shares(rows: Iterable[Scored], limits: Limits) -> dict[str, float]:
    """Percentage of good pairs that are kept, and of bad ones that are refused."""
    agreed = [one for one in rows if one.first == one.second]
    passed: dict[bool, list[bool]] = {True: [], False: []}
    for one in agreed:
        passed[one.first].append(one.passes(limits))
    good, bad = passed[True], passed[False]
    return {
        "good": len(good), "kept": 100 * sum(good) / max(len(good), 1),
        "bad": len(bad), "refused": 100 - 100 * sum(bad) / max(len(bad), 1),
    }  # fmt: skip


def kept_triples(data: Path) -> dict[str, dict[str, Any]]:
    """Of the strong model's alternative texts, what each choice of `--filters` keeps, and why not
    the others: percentages of all."""
    rows, found = read_web(data), {}
    for filters in ("default", "plain", "none"):
        judge, reasons = Judge(Limits(filters)), {}
        for step in (1, 2):
            left = [row for row in rows if row["image_id"] not in reasons]
            questions = [
                Question(
                    row[TEXTS[step - 1]], row[TEXTS[step]], row["caption"] if step == 2 else ""
                )
                for row in left
            ]
            for row, verdict in zip(left, judge.judge(questions), strict=True):
                if verdict.reason:
                    reasons[row["image_id"]] = f"step {step}: {verdict.reason}"
        counted: dict[str, int] = {}
        for reason in reasons.values():
            counted[reason] = counted.get(reason, 0) + 1
        found[filters] = {
            "kept": len(rows) - len(reasons), "of": len(rows),
            "reasons": dict(sorted(counted.items(), key=lambda pair: -pair[1])),
        }  # fmt: skip
    return found


def candidates(rows: Sequence[Scored], checker: Checker) -> list[dict[str, float]]:
    """What each threshold of the checker does with these pairs, and with photographs' captions."""
    own = measured(labelled_pairs(CHOSEN_ON, 300), checker)
    found = []
    for fault, title_fault in product(FAULTS, TITLE_FAULTS):
        limits = replace(Limits(), fault=fault, title_fault=title_fault)
        chosen = {"fault": fault, "title_fault": title_fault}
        found.append(chosen | totals(own, ALL, limits) | shares(rows, limits))
    return found


def as_choice(record: Mapping[str, Any]) -> str:
    """A row for each threshold."""
    names = ("recall", "precision", "kept", "refused")
    heads = [
        "fault",
        "of a title",
        "recall",
        "precision",
        "good alt-texts kept",
        "bad ones refused",
    ]
    rows = [
        [f"{one['fault']:g}", f"{one['title_fault']:g}", *(f"{one[name]:.1f}" for name in names)]
        for one in record["candidates"]
    ]
    return markdown(heads, rows)


def as_tables(record: Mapping[str, Any]) -> str:
    """Kept and refused shares, then what each choice of `--filters` keeps."""
    heads = ["pairs", "good", "kept, %", "bad", "refused, %"]
    rows = [
        [name, str(one["good"]), f"{one['kept']:.1f}" if one["good"] else "-", str(one["bad"]),
         f"{one['refused']:.1f}" if one["bad"] else "-"]
        for name, one in record["kinds"].items()
    ]  # fmt: skip
    triples = [
        [f"`--filters {name}`", f"{one['kept']} of {one['of']}",
         ", ".join(f"{reason} {100 * count / one['of']:.1f} %"
                   for reason, count in one["reasons"].items()) or "-"]
        for name, one in record["triples"].items()
    ]  # fmt: skip
    return "\n\n".join(
        [markdown(heads, rows), markdown(["", "triples kept", "share refused, by reason"], triples)]
    )


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--weak", type=Path, required=True, help="answers of recipes...web_pairs")
    parser.add_argument("--choose", action="store_true", help="all thresholds, on the other half")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--weights", type=Path, default=CHECKER, help="the checker to measure")
    chosen = parse_with_data(parser)
    weak = [json.loads(line) for line in chosen.weak.read_text(encoding="utf-8").splitlines()]
    pairs = reworded("strong", read_web(Path(chosen.data))) + reworded("weak", weak)
    checker = Checker(chosen.weights)
    found = scored(pairs, checker)
    rows = [one for one in found if one.half == HALVES[not chosen.choose]]
    if chosen.choose:
        keep("filters_choice", chosen.out, as_choice, candidates=candidates(rows, checker))
        return
    kinds = {
        f"step {step}, {generator} model": shares(
            [one for one in rows if (one.pair.step, one.pair.generator) == (step, generator)],
            Limits(),
        )
        for step in (1, 2)
        for generator in ("strong", "weak")
    }
    for step in (1, 2):
        kinds[f"step {step}"] = shares([one for one in rows if one.pair.step == step], Limits())
    kinds["both steps"] = shares(rows, Limits())
    missing = len(read_readings(JUDGED)) - len(found)
    keep("alt_texts", chosen.out, as_tables, kinds=kinds, limits=vars(Limits()), missing=missing,
         disagreements=sum(one.first != one.second for one in found), read=len(found),
         triples=kept_triples(Path(chosen.data)))  # fmt: skip


if __name__ == "__main__":
    main()
