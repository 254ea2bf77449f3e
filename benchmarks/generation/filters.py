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
from paraclip.paraphrase.config import CHECKED, STRONG
from paraclip.paraphrase.filters.checks import Question
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.filters.minilm import CHECKER, Checker, SentenceEncoder
from paraclip.tables import markdown
from recipes.filters.labelled import REPORTED, Labelled, labelled_pairs, read

STEPS = {"flickr8k_train": "photo captions", "web": "alt-texts"}
CREPE = {"replace_obj": "object", "replace_att": "attribute", "swap_obj": "objects swapped"}
RULES = {"strong": STRONG, "checked": CHECKED}


@dataclass(frozen=True)
class Measured:
    """Verdicts on the pairs of one kind.

    Args:
        good: whether they should pass.
        passed: for each set of limits, whether each pair passes the rules.
        reasons: for each set of limits, the number of pairs rejected by each reason.
        faults: the checker's probability of a fault for each pair.
    """

    good: bool
    passed: Mapping[str, list[bool]]
    reasons: Mapping[str, Counter[str]]
    faults: list[float]

    def share(self, rules: str, fault: float = 1.0) -> float:
        """Percentage of the pairs that pass."""
        rows = zip(self.passed[rules], self.faults, strict=True)
        kept = [ok and found <= fault for ok, found in rows]
        return 100 * sum(kept) / len(kept)


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
    """Measure every kind of pair under every set of limits, with a checker."""
    encoder, found = SentenceEncoder(), {}
    for name, kind in kinds.items():
        passed, reasons, texts = {}, {}, []
        for label, limits in RULES.items():
            verdicts = Judge(replace(limits, fault=1.0), encoder).judge(kind.pairs)
            passed[label] = [one.reason is None for one in verdicts]
            reasons[label] = Counter(one.reason for one in verdicts if one.reason)
            texts = [one.text for one in verdicts]
        pairs = [(one.source, text) for one, text in zip(kind.pairs, texts, strict=True)]
        found[name] = Measured(kind.good, passed, reasons, checker.faults(pairs))
        say(f"{name}: {len(pairs)} pairs")
    return found


def totals(found: Mapping[str, Measured], **limits: Any) -> dict[str, float]:
    """Recall and precision in percent; all kinds, and good and bad pairs, have equal weights."""
    shares = {good: [one.share(**limits) for one in found.values() if one.good == good]
              for good in (True, False)}  # fmt: skip
    recall, false = (sum(shares[good]) / len(shares[good]) for good in (True, False))
    precision = 100 * recall / max(recall + false, 1e-9)
    return {"recall": recall, "precision": precision}


def columns() -> dict[str, dict[str, Any]]:
    """The limits of each column, by its header."""
    return {
        "`strong`": {"rules": "strong"},
        "`checked`": {"rules": "checked", "fault": CHECKED.fault},
    }


def as_tables(record: Mapping[str, Any]) -> str:
    """Recall and precision of every column; then the kinds, one per row."""
    summed = {name: record["totals"][name] for name in columns()}
    heads = ["pairs", "number", *summed, "rules' reasons"]
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
               "reasons": dict(one.reasons["strong"].most_common(3)),
               **{head: one.share(**limits) for head, limits in columns().items()}}
        for name, one in {**own, **others}.items()
    }  # fmt: skip
    summed = {head: totals(own, **limits) for head, limits in columns().items()}
    limits = {name: vars(one) for name, one in RULES.items()}
    keep(name, chosen.out, as_tables, totals=summed, kinds=figures, limits=limits)


if __name__ == "__main__":
    main()
