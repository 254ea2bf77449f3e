"""Rates, agreement, and the filters' precision and recall, from the marks of reviewers."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from statistics import NormalDist
from typing import Any

from paraclip.audit.sheet import KEPT, Pair
from paraclip.data.untrusted_json import BadJson, parse_json_object
from paraclip.errors import UserError
from paraclip.files import read_bounded

MEANINGS, STYLES = ("same", "changed", "wrong"), ("plain", "stilted")
EXPORT_HINT = "Name a file that the page exported."


@dataclass(frozen=True)
class Mark:
    """A reviewer's mark for a pair: one of `MEANINGS` and one of `STYLES`."""

    meaning: str
    style: str


Marks = Mapping[str, Mark]
"""Marks of one reviewer by the pair's id."""


@dataclass(frozen=True)
class Rate:
    """A share of marks with its 95 % Wilson interval (Wilson 1927), in percent."""

    count: int
    of: int
    percent: float
    low: float
    high: float


@dataclass
class AuditReport:
    """Results of the marks.

    Args:
        rates: rates by group of pairs ("kept, step 1", a reason) and mark, over all reviewers.
        kappas: Cohen's kappa of meaning by pair of reviewers ("ana, ben"); None if undefined.
        precision: share of kept pairs that mean the same.
        recall: estimated share of the pairs with the same meaning that the filters keep, in
            percent; rejected pairs count by the size of their stratum. None without such pairs.
        judge: agreement of the language model with each reviewer, in the form of `kappas`.
    """

    rates: dict[str, dict[str, Rate]]
    kappas: dict[str, float | None]
    precision: Rate
    recall: float | None
    judge: dict[str, float | None] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The report as a JSON-serialisable dict."""
        return asdict(self)

    def table(self) -> str:
        """The report in Markdown."""
        lines = [
            "| pairs | marks | same | changed | wrong | plain |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        for name, rates in self.rates.items():
            cells = [shown_rate(rates[mark]) for mark in (*MEANINGS, "plain")]
            lines.append(f"| {name} | {rates['same'].of} | {' | '.join(cells)} |")
        lines += ["", f"precision of the filters: {shown_rate(self.precision)} of what they keep"]
        if self.recall is not None:
            lines.append(f"recall of the filters: {self.recall:.1f} % of what means the same")
        for kind, kappas in (("reviewers", self.kappas), ("the judge", self.judge)):
            for pair, kappa in kappas.items():
                value = "undefined" if kappa is None else f"{kappa:.2f}"
                lines.append(f"agreement of {kind} ({pair}), Cohen's kappa: {value}")
        return "\n".join(lines)


def shown_rate(rate: Rate) -> str:
    """A rate with its interval."""
    if not rate.of:
        return "–"
    return f"{rate.percent:.1f} ({rate.low:.1f}–{rate.high:.1f}) %"


def read_marks(
    path: Path, sheet: Mapping[str, Pair], name: str | None = None
) -> tuple[str, dict[str, Mark]]:
    """The reviewer's name and marks of an exported file; the last mark of a pair counts.

    Args:
        path: the file.
        sheet: pairs by id.
        name: name of the sheet on its page; None: not compared. Another sheet of the same run has
            equal ids, perhaps of other texts.

    Raises:
        UserError: the file has another format, or its pairs are not on the sheet.
    """
    marks: dict[str, Mark] = {}
    reviewer = path.stem
    try:
        lines = read_bounded(path).splitlines()
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", EXPORT_HINT) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue  # an export without marks is one empty line
        where = f"{path}:{number}"
        try:
            row = parse_json_object(line)
            mark, pair = Mark(row["meaning"], row["style"]), str(row["id"])
            reviewer = str(row.get("reviewer") or reviewer)
            other = name is not None and row.get("sheet", name) != name
        except (BadJson, KeyError) as error:
            raise UserError(where, "is not a mark", EXPORT_HINT) from error
        if mark.meaning not in MEANINGS or mark.style not in STYLES:
            raise UserError(where, "has an unknown mark", EXPORT_HINT)
        if other or pair not in sheet:
            hint = "Name the sheet that the page was made with."
            what = "belongs to another sheet" if other else f"pair {pair!r} is not on the sheet"
            raise UserError(where, what, hint)
        marks[pair] = mark
    if not marks:
        raise UserError(path, "has no marks", "Mark pairs on the page, and export them.")
    return reviewer, marks


def report_of(
    sheet: Mapping[str, Pair], reviewers: Mapping[str, Marks], judge: Marks | None = None
) -> AuditReport:
    """The report of one or more reviewers.

    Args:
        sheet: pairs by id.
        reviewers: marks by reviewer; at least one.
        judge: marks of a language model; not part of any rate.
    """
    kept = [
        (pair, mark.meaning == "same")
        for marks in reviewers.values()
        for pair, mark in marks.items()
        if sheet[pair].verdict == KEPT
    ]
    good = sum(same for _, same in kept)
    kappas = {
        f"{one}, {other}": kappa(reviewers[one], reviewers[other])
        for one, other in combinations(reviewers, 2)
    }
    judged = {} if judge is None else {name: kappa(m, judge) for name, m in reviewers.items()}
    return AuditReport(
        rates_of(sheet, reviewers), kappas, rate(good, len(kept), len(dict(kept))),
        recall_of(sheet, reviewers), judged,
    )  # fmt: skip


def rates_of(
    sheet: Mapping[str, Pair], reviewers: Mapping[str, Marks]
) -> dict[str, dict[str, Rate]]:
    """Rates of every mark, for kept pairs by step and for rejected pairs by reason."""
    groups: dict[str, list[tuple[str, Mark]]] = defaultdict(list)
    for marks in reviewers.values():
        for name, mark in marks.items():
            pair = sheet[name]
            group = f"kept, step {pair.step}" if pair.verdict == KEPT else pair.stratum
            groups[group].append((name, mark))
    return {name: rates_of_group(marked) for name, marked in sorted(groups.items())}


def rates_of_group(marked: Sequence[tuple[str, Mark]]) -> dict[str, Rate]:
    """Rates of every mark among the marks of some pairs, each given with the pair's id."""
    pairs = len(dict(marked))
    return {
        value: rate(
            sum(value in (mark.meaning, mark.style) for _, mark in marked), len(marked), pairs
        )
        for value in (*MEANINGS, *STYLES)
    }


def recall_of(sheet: Mapping[str, Pair], reviewers: Mapping[str, Marks]) -> float | None:
    """Estimated share of the run's pairs with the same meaning that were kept, in percent.

    The rate of each stratum among the marked pairs is weighted by the stratum's size.
    """
    marked: Counter[str] = Counter()
    good: Counter[str] = Counter()
    size: dict[str, float] = defaultdict(float)
    for pair in sheet.values():
        size[pair.stratum] += pair.weight
    for marks in reviewers.values():
        for name, mark in marks.items():
            marked[sheet[name].stratum] += 1
            good[sheet[name].stratum] += mark.meaning == "same"
    estimate = {name: size[name] * good[name] / count for name, count in marked.items()}
    total = sum(estimate.values())
    kept = sum(value for name, value in estimate.items() if name.startswith(KEPT))
    return 100 * kept / total if total else None


def rate(count: int, of: int, pairs: int | None = None) -> Rate:
    """A share of marks with its Wilson interval.

    Args:
        count: number of marks with the value.
        of: number of marks.
        pairs: number of pairs that were marked, which determines the interval; None: as many as
            marks. Several marks of one pair are not independent.
    """
    if not of:
        return Rate(0, 0, 0.0, 0.0, 100.0)
    share, size = count / of, of if pairs is None else pairs
    weight = NormalDist().inv_cdf(0.975) ** 2 / size
    centre = (share + weight / 2) / (1 + weight)
    half = math.sqrt(weight * (share * (1 - share) + weight / 4)) / (1 + weight)
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Rate(count, of, 100 * share, 100 * low, 100 * high)


def kappa(one: Marks, other: Marks) -> float | None:
    """Cohen's kappa (1960) of two reviewers' meanings over the pairs that both marked.

    Returns:
        None if undefined: no common pair, or both reviewers used only one and the same mark.
    """
    common = [name for name in one if name in other]
    if not common:
        return None
    agreed = sum(one[name].meaning == other[name].meaning for name in common) / len(common)
    counts: Sequence[Counter[str]] = [
        Counter(marks[name].meaning for name in common) for marks in (one, other)
    ]
    chance = sum(counts[0][mark] * counts[1][mark] for mark in MEANINGS) / len(common) ** 2
    return None if chance == 1 else (agreed - chance) / (1 - chance)
