"""What the filters of `paraclip generate` pass: good paraphrases, and contrasts.

    PARACLIP_DATA=folder python benchmarks/filters.py    # about 3 minutes on 2 free cores

The good ones are both steps of a strong model and its paraphrases of the test captions; all should
pass. The `contrast` texts change one fact and must fail, as must SugarCrepe++'s negative captions.
`--data` or PARACLIP_DATA names the folder of the data.
"""

import argparse
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

from machine import RESULTS, parse_with_data
from paraclip.files import write_text
from paraclip.paraphrase.config import SMALL, STRONG
from paraclip.paraphrase.filters.checks import Question
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.filters.similarity import SentenceEncoder
from paraclip.provenance import provenance

STEPS = {"flickr8k_train": "photo captions", "web": "alt-texts"}
CREPE = {"replace_obj": "object", "replace_att": "attribute", "swap_obj": "objects swapped"}


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def questions(data: Path, most: int) -> dict[str, list[Question]]:
    """Sets of at most `most` answers with their sources, by name; those named `not:` must fail."""
    found: dict[str, list[Question]] = {}
    texts, draw = data / "paraphrases", random.Random(0)
    for name, label in STEPS.items():
        rows = rows_of(texts / f"{name}.jsonl")
        rows = draw.sample(rows, min(most, len(rows)))
        found[f"{label}, step 1"] = [Question(r["caption"], r["paraphrase_1"]) for r in rows]
        found[f"{label}, step 2"] = [
            Question(r["paraphrase_1"], r["paraphrase_2"], r["caption"]) for r in rows
        ]
    tests = rows_of(texts / "flickr8k_test.jsonl")[:most]
    found["test captions"] = [Question(r["caption"], r["paraphrase"]) for r in tests]
    varied = rows_of(texts / "variations.jsonl")
    contrasts = [Question(r["caption"], r["variations"]["contrast"]) for r in varied]
    found["not: contrasts"] = contrasts
    return found | crepe_questions(data / "sugar_crepe_pp", most)


def crepe_questions(folder: Path, most: int) -> dict[str, list[Question]]:
    """SugarCrepe++: the second captions must pass, the negative captions must not."""
    good: list[Question] = []
    bad: dict[str, list[Question]] = {}
    for name, label in CREPE.items():
        listed = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        rows = list(listed.values()) if isinstance(listed, dict) else listed
        rows = random.Random(0).sample(rows, min(most // 3, len(rows)))
        good += [Question(row["caption"], row["caption2"]) for row in rows]
        bad[f"not: SugarCrepe++, {label}"] = [
            Question(row["caption"], row["negative_caption"]) for row in rows
        ]
    return {"SugarCrepe++, second captions": good} | bad


def measure(sets: dict[str, list[Question]]) -> dict[str, dict[str, Any]]:
    """For each set the share that passes, and the reasons, under each of the two limits."""
    encoder = SentenceEncoder()
    found: dict[str, dict[str, Any]] = {}
    for name, asked in sets.items():
        found[name] = {"count": len(asked)}
        for label, limits in (("strong", STRONG), ("small", SMALL)):
            reasons = Counter(verdict.reason for verdict in Judge(limits, encoder).judge(asked))
            passed = reasons.pop(None, 0)
            found[name][label] = {
                "passed": round(100 * passed / len(asked), 1),
                "reasons": dict(reasons.most_common()),
            }
    return found


def table(found: dict[str, dict[str, Any]]) -> str:
    """A Markdown row for each set, with the most frequent reasons under the strong limits."""
    lines = [
        "| texts | number | pass `strong` | pass `small` | reasons (`strong`) |",
        "|---|---|---|---|---|",
    ]
    for bad in (False, True):
        for name, row in found.items():
            if name.startswith("not: ") == bad:
                listed = list(row["strong"]["reasons"].items())[:3]
                reasons = ", ".join(f"{reason} {count}" for reason, count in listed)
                shares = f"{row['strong']['passed']} % | {row['small']['passed']} %"
                label = f"{name.removeprefix('not: ')} (must fail)" if bad else name
                lines.append(f"| {label} | {row['count']} | {shares} | {reasons} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write results/filters.json and results/filters.md."""
    options = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    options.add_argument("--most", type=int, default=300, help="texts of each set")
    options.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    chosen = parse_with_data(options)
    found = measure(questions(Path(chosen.data), chosen.most))
    noted = provenance(most=chosen.most, strong=vars(STRONG), small=vars(SMALL))
    text = json.dumps({"sets": found, "provenance": noted}, indent=1)
    write_text(chosen.out / "filters.json", text + "\n")
    write_text(chosen.out / "filters.md", table(found))
    print(table(found))


if __name__ == "__main__":
    main()
