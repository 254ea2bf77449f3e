"""What filters of paraphrases leave, and what they find of faults that were made by rule.

    PARACLIP_DATA=folder python -m study.filtered    # minutes

Rules are the limits of `paraclip generate`; `plain`: the checks without a model, then the checker;
and `plain, near`: the same with the least similarity of sentences of `checked`, which is `checked`
without lists of concepts. A row stays if both its paraphrases pass. Writes
`results/study_filtered.json` and `.md`.
"""

import argparse
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import keep, parse_with_data, say
from paraclip.paraphrase.config import CHECKED, LIMITS
from paraclip.paraphrase.filters.checks import Question, plain_reason
from paraclip.paraphrase.filters.judge import Judge, clean
from paraclip.paraphrase.filters.minilm import Checker, SentenceEncoder
from paraclip.tables import markdown

Row = dict[str, Any]
SEED = 0
STEPS = ("paraphrase_1", "paraphrase_2")
PLAIN, NEAR = "plain", "plain, near"
RULES = (*LIMITS, PLAIN, NEAR)
TOGETHER = 200
"""Questions that are judged together, so that each rule finds the vectors of the one before."""
MORE = "rows with a fault that are refused, less those of the same rows as they come, points"
SHOWN = 5
"""Reasons of a source in the table."""
_known: dict[Question, Mapping[str, str | None]] = {}


def questions_of(row: Row) -> list[Question]:
    """The answers of both steps, as `paraclip generate` judges them."""
    first, second = (row[step] for step in STEPS)
    return [Question(row["caption"], first), Question(first, second, row["caption"])]


@cache
def _models() -> tuple[SentenceEncoder, Checker]:
    return SentenceEncoder(), Checker()


def reasons_of(questions: Sequence[Question]) -> list[Mapping[str, str | None]]:
    """The first reason of each rule against each question, None if it passes."""
    new = list(dict.fromkeys(one for one in questions if one not in _known))
    for start in range(0, len(new), TOGETHER):
        some = new[start : start + TOGETHER]
        _known.update(zip(some, _judged(some), strict=True))
    return [_known[one] for one in questions]


def _judged(questions: Sequence[Question]) -> list[Mapping[str, str | None]]:
    encoder, checker = _models()
    answers = [clean(one.answer) for one in questions]
    pairs = zip(questions, answers, strict=True)
    found = {PLAIN: [plain_reason(one, answer, CHECKED) for one, answer in pairs]}
    for name, limits in LIMITS.items():
        verdicts = Judge(replace(limits, fault=1.0), encoder).judge(questions)
        found[name] = [one.reason for one in verdicts]
    found[NEAR] = [
        reason or ("drift" if verdict.similarity < CHECKED.similarity else None)
        for reason, verdict in zip(found[PLAIN], verdicts, strict=True)
    ]
    sources = [one.source for one in questions]
    faults = checker.faults(list(zip(sources, answers, strict=True)))
    for name, reasons in found.items():
        most = LIMITS.get(name, CHECKED).fault
        found[name] = [
            reason or ("meaning" if fault > most else None)
            for reason, fault in zip(reasons, faults, strict=True)
        ]
    return [dict(zip(found, one, strict=True)) for one in zip(*found.values(), strict=True)]


def first_reasons(rows: Sequence[Row], rule: str) -> list[str | None]:
    """The first reason against each row, None if it stays."""
    verdicts = iter(reasons_of([one for row in rows for one in questions_of(row)]))
    return [first[rule] or second[rule] for first, second in zip(verdicts, verdicts, strict=True)]


def left_by(rule: str, rows: Sequence[Row]) -> list[Row]:
    """The rows that a rule leaves."""
    return [row for row, why in zip(rows, first_reasons(rows, rule), strict=True) if why is None]


def with_faults(rows: Sequence[Row], share: float) -> tuple[list[Row], dict[int, str]]:
    """The rows, a share of them with one fact of one paraphrase changed by rule; and the kind of
    fault by the index of the row. A row in which no rule finds anything to change stays as it is.
    """
    from recipes.filters.edits import vocabulary_of
    from recipes.filters.labelled import EDITS, adding, edited, lost_fact, negated, wrong_number
    from recipes.tagger import Tagger

    texts = list(dict.fromkeys(row[step] for row in rows for step in STEPS))
    tagged = dict(zip(texts, Tagger().tag(texts), strict=True))
    vocabulary = vocabulary_of(list(tagged.values()))
    makers = {
        "wrong number": wrong_number,
        "negation": lambda row, *_: negated(row[STEPS[0]]),
        "lost fact": lost_fact,
        "added fact": adding(list(tagged.values())),
        **{name: edited(kind, vocabulary) for name, kind in EDITS.items()},
    }
    changed, kinds = list(rows), {}
    for number in random.Random(SEED).sample(range(len(rows)), round(share * len(rows))):
        row, draw = rows[number], random.Random(number)
        step = draw.choice(STEPS)
        answer = {**row, STEPS[0]: row[step]}  # the makers change the first paraphrase
        for kind in draw.sample(list(makers), len(makers)):
            text = makers[kind](answer, tagged[row[step]], draw)
            if text is not None:
                changed[number], kinds[number] = {**row, step: text}, kind
                break
    return changed, kinds


def as_tables(record: Mapping[str, Any]) -> str:
    """Rows that each rule leaves of each source; then the faults that it finds."""
    left = [
        [source, rule, str(one["rows"]), f"{100 * one['left'] / one['rows']:.1f}",
         ", ".join(f"{reason} {count}" for reason, count in one["reasons"].items())]
        for source, rules in record["left"].items() for rule, one in rules.items()
    ]  # fmt: skip
    found = [
        [kind, str(one["rows"]), *(f"{one[rule]:.1f}" for rule in RULES)]
        for kind, one in record["found"].items()
    ]
    more = [
        [rule, f"{one['more']:.1f}", "-" if rule == NEAR else f"{one['difference']:+.1f} "
         f"[{one['low']:+.1f}, {one['high']:+.1f}]"]
        for rule, one in record["more"].items()
    ]  # fmt: skip
    tables = (
        markdown(["rows", "rule", "number", "left, %", "first reasons"], left),
        markdown(["rows", "number", *(f"refused by {rule}, %" for rule in RULES)], found),
        markdown(["rule", MORE, f"difference from {NEAR}"], more),
    )
    return "\n\n".join(tables)


def main() -> None:
    """Judge the sources, print, and write."""
    from study import triples
    from study.tables import RESULTS

    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of tables and JSON")
    options = parse_with_data(parser)
    data = Path(options.data)
    left = {}
    for name in triples.JUDGED:
        rows = triples.SOURCES[name](data)
        left[name] = {rule: _counted(rows, rule) for rule in RULES}
        say(f"{name}: {left[name]}")
    given = triples.SOURCES["reworded"](data)
    rows, kinds = with_faults(given, triples.FAULTY)
    found = {"as they come": _refused(given)}
    for kind in dict.fromkeys(sorted(kinds.values())):
        found[kind] = _refused([rows[n] for n, one in kinds.items() if one == kind])
    numbers = list(kinds)
    more = _found_more([given[n] for n in numbers], [rows[n] for n in numbers])
    keep("study_filtered", options.results, as_tables, left=left, found=found, more=more)


def _found_more(before: Sequence[Row], after: Sequence[Row]) -> dict[str, dict[str, float]]:
    """How many more rows each rule refuses with a fault, in points, and the difference from NEAR
    with a 95 % interval (normal, paired by row)."""
    refused = {
        rule: [
            np.array([why is not None for why in first_reasons(rows, rule)], float)
            for rows in (before, after)
        ]
        for rule in RULES
    }
    more = {rule: 100 * (faulty - given) for rule, (given, faulty) in refused.items()}
    found = {}
    for rule, points in more.items():
        apart = points - more[NEAR]
        middle, error = float(apart.mean()), float(apart.std() / len(apart) ** 0.5)
        ends = {"low": middle - 1.96 * error, "high": middle + 1.96 * error}
        found[rule] = {"more": float(points.mean()), "difference": middle, **ends}
    return found


def _counted(rows: Sequence[Row], rule: str) -> dict[str, Any]:
    """How many rows a rule leaves, and the reasons against most of the others."""
    reasons = Counter(first_reasons(rows, rule))
    left = reasons.pop(None)
    return {"rows": len(rows), "left": left, "reasons": dict(reasons.most_common(SHOWN))}


def _refused(rows: Sequence[Row]) -> dict[str, float]:
    """The number of rows, and the share that each rule refuses, in percent."""
    kept = {rule: len(left_by(rule, rows)) for rule in RULES}
    return {"rows": len(rows), **{k: 100 - 100 * n / len(rows) for k, n in kept.items()}}


if __name__ == "__main__":
    main()
