"""Precision and recall of the filters of `paraclip generate` on labelled pairs.

    PARACLIP_DATA=folder python -m benchmarks.generation.filters    # 5 minutes on 2 free cores

Good pairs are rewordings of ParaCLIP's starter set; bad ones have one fault, made by rule
(`recipes/filters/labelled.py`), or are contrasts. The checker was trained on half of the rows, its
threshold was chosen on a quarter, and the table is about the last quarter. `--data` or
PARACLIP_DATA names the folder with SugarCrepe++ and the strong paraphrases, which were not used for
any choice.
"""

import argparse
import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS, keep, parse_with_data, say
from paraclip.paraphrase.config import Limits
from paraclip.paraphrase.filters.checks import Question, most_fault
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.filters.minilm import CHECKER, Checker, SentenceEncoder
from paraclip.tables import markdown
from recipes.filters.labelled import REPORTED, Labelled, labelled_pairs, read

STEPS = {"flickr8k_train": "photo captions", "web": "alt-texts"}
CREPE = {"replace_obj": "object", "replace_att": "attribute", "swap_obj": "objects swapped"}
ALL, UNCHECKED = "all filters", "without the checker"


@dataclass(frozen=True)
class Measured:
    """Verdicts on the pairs of one kind.

    Args:
        good: whether they should pass.
        passed: whether each pair passes the filters before the checker.
        reasons: the number of pairs rejected by each of these filters.
        faults: the checker's probability of a fault for each pair.
        sources: their sources.
    """

    good: bool
    passed: list[bool]
    reasons: Counter[str]
    faults: list[float]
    sources: list[str]

    def shares(self, limits: Limits = Limits()) -> dict[str, float]:  # noqa: B008 frozen
        """Percentage of the pairs that pass, with the checker's thresholds and without it."""
        most = {ALL: limits, UNCHECKED: Limits(fault=1.0, title_fault=1.0)}
        pairs = list(zip(self.passed, self.faults, self.sources, strict=True))
        return {
            name: 100
            * sum(ok and fault <= most_fault(source, one) for ok, fault, source in pairs)
            / len(pairs)
            for name, one in most.items()
        }


def outside_pairs(data: Path, most: int) -> dict[str, Labelled]:
    """Pairs from other sources: strong paraphrases, SugarCrepe++, contrasts of the variations."""
    texts, draw = data / "paraphrases", random.Random(0)
    found: dict[str, Labelled] = {}
    for name, label in STEPS.items():
        rows = read(texts / f"{name}.jsonl")
        rows = draw.sample(rows, min(most, len(rows)))
        first = [Question(r["caption"], r["paraphrase_1"]) for r in rows]
        second = [Question(r["paraphrase_1"], r["paraphrase_2"], r["caption"]) for r in rows]
        found |= {f"{label}, step 1": Labelled(True, first)}
        found |= {f"{label}, step 2": Labelled(True, second)}
    tests = read(texts / "flickr8k_test.jsonl")[:most]
    pairs = [Question(r["caption"], r["paraphrase"]) for r in tests]
    found["test captions"] = Labelled(True, pairs)
    varied = read(texts / "variations.jsonl")
    pairs = [Question(r["caption"], r["variations"]["contrast"]) for r in varied]
    found["contrasts of the variations"] = Labelled(False, pairs)
    return found | crepe_pairs(data / "sugar_crepe_pp", most)


def crepe_pairs(folder: Path, most: int) -> dict[str, Labelled]:
    """SugarCrepe++: the second captions should pass, the negative captions should not."""
    good: list[Question] = []
    bad: dict[str, Labelled] = {}
    for name, label in CREPE.items():
        listed = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        rows = list(listed.values()) if isinstance(listed, dict) else listed
        rows = random.Random(0).sample(rows, min(most, len(rows)))
        good += [Question(row["caption"], row["caption2"]) for row in rows[: most // 3]]
        pairs = [Question(row["caption"], row["negative_caption"]) for row in rows]
        bad[f"SugarCrepe++, {label}"] = Labelled(False, pairs)
    return {"SugarCrepe++, second captions": Labelled(True, good)} | bad


def measured(kinds: Mapping[str, Labelled], checker: Checker) -> dict[str, Measured]:
    """Measure every kind of pair, with a checker."""
    judge, found = Judge(replace(Limits(), fault=1.0), SentenceEncoder()), {}
    for name, kind in kinds.items():
        verdicts = judge.judge(kind.pairs)
        pairs = [
            (one.source, verdict.text) for one, verdict in zip(kind.pairs, verdicts, strict=True)
        ]
        found[name] = Measured(
            kind.good,
            [one.reason is None for one in verdicts],
            Counter(one.reason for one in verdicts if one.reason),
            checker.faults(pairs),
            [source for source, _ in pairs],
        )
        say(f"{name}: {len(pairs)} pairs")
    return found


def totals(
    found: Mapping[str, Measured],
    column: str,
    limits: Limits = Limits(),  # noqa: B008 frozen
) -> dict[str, float]:
    """Recall and precision in percent; all kinds, and good and bad pairs, have equal weights."""
    shares = {good: [one.shares(limits)[column] for one in found.values() if one.good == good]
              for good in (True, False)}  # fmt: skip
    recall, false = (sum(shares[good]) / len(shares[good]) for good in (True, False))
    precision = 100 * recall / max(recall + false, 1e-9)
    return {"recall": recall, "precision": precision}


def as_tables(record: Mapping[str, Any]) -> str:
    """Recall and precision of every column; then the kinds, one per row."""
    summed = record["totals"]
    heads = ["pairs", "number", *summed, "reasons before the checker"]
    total = [
        [name, *(f"{one[name]:.1f}" for one in summed.values())] for name in ("recall", "precision")
    ]
    own: list[list[str]] = []
    others: list[list[str]] = []
    for name, one in sorted(record["kinds"].items(), key=lambda pair: not pair[1]["good"]):
        label = name if one["good"] else f"{name} (must fail)"
        shares = [f"{one[head]:.1f}" for head in summed]
        reasons = ", ".join(f"{reason} {count}" for reason, count in one["reasons"].items())
        (own if one["own"] else others).append([label, str(one["pairs"]), *shares, reasons])
    parts = (markdown(["", *summed], total), markdown(heads, own), "Other sources:")
    return "\n\n".join([*parts, markdown(heads, others)])


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--most", type=int, default=300, help="pairs of each kind")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--weights", type=Path, default=CHECKER, help="the checker to measure")
    chosen = parse_with_data(parser)
    checker = Checker(chosen.weights)
    name = "filters" if chosen.weights == CHECKER else f"filters_{chosen.weights.stem}"
    own = measured(labelled_pairs(REPORTED, chosen.most), checker)
    others = measured(outside_pairs(Path(chosen.data), chosen.most), checker)
    figures = {
        name: {"good": one.good, "own": name in own, "pairs": len(one.faults),
               "reasons": dict(one.reasons.most_common(3)), **one.shares()}
        for name, one in {**own, **others}.items()
    }  # fmt: skip
    summed = {column: totals(own, column) for column in (ALL, UNCHECKED)}
    keep(name, chosen.out, as_tables, totals=summed, kinds=figures, limits=vars(Limits()))


if __name__ == "__main__":
    main()
