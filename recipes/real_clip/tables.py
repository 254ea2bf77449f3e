"""The table of the figures that `measure` wrote, for cards and documents.

    python -m recipes.real_clip.tables runs/real_clip/*/results.json

writes benchmarks/results/real_clip.json and .md from the results of one or more bases;
`python -m benchmarks.tables` then shows them in the documents.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.machine import RESULTS, keep
from paraclip.errors import UserError
from paraclip.evaluation.report import figure
from paraclip.files import read_bounded
from paraclip.tables import markdown

ROWS = {
    "AO@10, rewordings by an LLM": ("main", "paraphrased-retrieval", "AO@10"),
    "AO@10 of texts with another meaning": ("main", "paraphrased-retrieval", "AO@10 negative"),
    "R@10 of the rewording": ("main", "paraphrased-retrieval", "R@10 rewording"),
    "both wordings find the picture": ("main", "paraphrased-retrieval", "R@10 both ways"),
    "AO@10, two people's captions": ("people", "paraphrased-retrieval", "AO@10"),
    "both captions find the picture": ("people", "paraphrased-retrieval", "R@10 both ways"),
    "SugarCrepe++ TOT": ("kept", "sugar-crepe-pp", "TOT"),
    "SugarCrepe++ ITT": ("kept", "sugar-crepe-pp", "ITT"),
    "COCO, text to image R@1": ("coco", "coco-retrieval", "T2I R@1"),
    "COCO, text to image R@10": ("coco", "coco-retrieval", "T2I R@10"),
    "COCO, image to text R@1": ("coco", "coco-retrieval", "I2T R@1"),
    "STS-B": ("kept", "sts", "STS-B"),
    "SICK-R": ("kept", "sts", "SICK-R"),
    "CIFAR-10": ("kept", "cifar10", "top-1"),
    "CIFAR-100": ("kept", "cifar100", "top-1"),
    "Imagenette": ("kept", "image-folder", "top-1"),
    "VG-Relation": ("kept", "aro-vg-relation", "VG-R macro"),
    "VG-Attribution": ("kept", "aro-vg-attribution", "VG-A macro"),
}
"""Report, benchmark and metric by the name of the row."""
LABELS = ("base", "command", "alone", "LABCLIP", "QB-Norm", "NNN", "drift-adapter", "teacher")
LANGUAGES = "languages"
"""The report of XTD-10 and Crossmodal-3600, a benchmark for each set and language."""
SETS = {"xtd10": "XTD-10", "xm3600": "XM3600"}
SHOWN, AVERAGED = ("T2I R@1", "T2I R@10"), ("T2I R@1", "T2I R@5", "T2I R@10")
NOT_YET = """\
Measured on no pretrained CLIP yet: none can be downloaded where ParaCLIP is developed. The
workflow *real CLIP* measures one on a hosted machine, in a fork, at the press of a button."""


def table_of(results: Mapping[str, Any]) -> str:
    """The figures of one base, with differences from it; those without data are left out."""
    rows = []
    for name, (report, benchmark, metric) in ROWS.items():
        for found in _lines(results["reports"][report], benchmark, metric):
            rows.append([name, *(_cell(found, label) for label in LABELS)])
    notes = (
        "In percent. In brackets: difference from the base; * its 95 % interval excludes 0.",
        *(_recommended(row, choice) for row, choice in results["choices"].items()),
        f"Teacher: {results['teacher']}, with an index of its own, so what a new index would give.",
        "Drift-adapter: its text encoder, mapped into the index of the base.",
        "LABCLIP: a published map of the base's text vectors; it learned from COCO's captions.",
        "QB-Norm and NNN train nothing: they lower pictures that many scenes find.",
    )
    whole = markdown([results["base"], *LABELS], rows)
    return "\n\n".join([whole, " ".join(notes), *_languages(results)])


def _languages(results: Mapping[str, Any]) -> tuple[str, str]:
    """The figures of base and *command* in each language, and what they mean."""
    found: dict[str, dict[str, Any]] = {}
    for section in results["reports"][LANGUAGES]["benchmarks"]:
        name, _, language = section["name"].partition("-")
        found.setdefault(language, {})[name] = {one["name"]: one for one in section["metrics"]}
    names = [name for name in SETS if any(name in own for own in found.values())]
    head = [f"{SETS[name]} {metric}" for name in names for metric in ("R@1", "R@10", "recall")]
    rows = [
        [language, *(cell for name in names for cell in _figures(own[name]))]
        for language, own in found.items()
    ]
    notes = [
        "Text to picture, base → *command*, with the difference; * its interval excludes 0.",
        "Recall, by which immich compares models, is the mean of R@1, R@5 and R@10.",
    ]
    if (known := results["immich"]) is not None:
        notes.append(f"For the base in English on XM3600, immich published a recall of {known}.")
    return markdown(["language", *head], rows), " ".join(notes)


def _figures(metrics: Mapping[str, Any]) -> list[str]:
    """R@1, R@10 and recall of base and *command*."""
    both = [label for label in LABELS[:2] if label in metrics[SHOWN[0]]["values"]]
    cells = [" → ".join(_cell(metrics[name], label) for label in both) for name in SHOWN]
    means = [mean(metrics[name]["values"][label]["value"] for name in AVERAGED) for label in both]
    return [*cells, " → ".join(map(figure, means))]


def _recommended(row: str, choice: Mapping[str, Any]) -> str:
    """What a run recommends to use."""
    if choice["use"] == "base":
        return f"The run of *{row}* says to keep base, so *{row}* has no figures."
    mixed = f" ({choice['share']:.0%} of tuned)" if choice["use"] == "merged" else ""
    return f"*{row}*: {choice['use']}{mixed}, learning rate {choice['learning_rate']}."


def _cell(found: Mapping[str, Any], label: str) -> str:
    """The figure of one model, with its difference from the base; a dash where it has none."""
    if label not in found["values"]:
        return "-"
    text = figure(found["values"][label]["value"])
    if (change := found["differences"].get(f"{label} - base")) is not None:
        excludes = change["low"] > 0 or change["high"] < 0
        text += f" ({figure(change['value'], True)}{'*' * excludes})"
    return text


def _lines(report: Mapping[str, Any], benchmark: str, metric: str) -> Iterator[Any]:
    """The figure of that name in a benchmark, if its data was there."""
    for section in report["benchmarks"]:
        if section["name"] == benchmark:
            yield from (one for one in section["metrics"] if one["name"] == metric)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the tables of all results."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("results", type=Path, nargs="*", help="results.json of each base")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder")
    chosen = parser.parse_args(arguments)
    try:
        all_results = [json.loads(read_bounded(path)) for path in chosen.results]
    except (OSError, ValueError) as error:
        raise UserError("tables", f"cannot read the results ({error})", "Measure first.") from error
    times = [one["reports"]["main"]["provenance"]["time"] for one in all_results]
    facts = {"time": max(times)} if times else {}  # of the figures, not of this table
    keep("real_clip", chosen.out, all_tables, results=all_results, **facts)


def all_tables(record: Mapping[str, Any]) -> str:
    """A table for each base, if there is one."""
    return "\n\n".join(map(table_of, record["results"])) or NOT_YET


if __name__ == "__main__":
    main()
