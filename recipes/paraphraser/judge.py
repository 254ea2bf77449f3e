"""Measure the built-in generator: the yield of the filters, and the judgement of a reader.

    python recipes/paraphraser/judge.py answer --style short --captions own --out /tmp/judge
    (write 1 or 0 under step_1 and step_2 in the sheet: does the step keep the meaning?)
    python recipes/paraphraser/judge.py count --style short --captions own --out /tmp/judge
    python recipes/paraphraser/judge.py table

`answer` runs `paraclip generate` and writes figures to results/ and a sheet to read. A second run
applies the current filters to the answers in the log. `count` adds the reader's verdicts to the
figures. The sheet of the project's own captions is in judged/. The sheet of the held-out tenth,
whose captions are research data, is in `--out`; judged/ has only its row numbers and verdicts.
"""

import argparse
import csv
import json
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from examples import HERE, held_out, one_line, parse_with_data, read_rows
from scipy.stats import binomtest

from paraclip.data.captions import Caption
from paraclip.files import file_hash, write_text
from paraclip.paraphrase.backends.builtin import BuiltInBackend, adapter_file
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.run import generate

SHEET = ("id", "caption", "paraphrase_1", "paraphrase_2", "step_1", "step_2")
SPEED = ("wall_seconds", "processor_seconds_per_caption")
VERDICTS = ("id", "step_1", "step_2")


def captions_of(name: str, data: Path) -> list[Caption]:
    """The project's own hundred captions, or two thirds of the held-out tenth, or its other third.

    The filters were tuned on answers to `own` and `tuned-on`, never to `held-out`.
    """
    if name == "own":
        lines = (HERE / "own_captions.txt").read_text(encoding="utf-8").splitlines()
        return [_caption(str(number), line) for number, line in enumerate(lines, start=1)]
    tenth = [
        _caption(f"{source}:{row['index']}", one_line(row["caption"]))
        for source in ("flickr8k_train", "web")
        for row in read_rows([data / f"{source}.jsonl"])
        if held_out(row["image_id"])
    ]
    tuned_on = tenth[::3]
    return tuned_on if name == "tuned-on" else [one for one in tenth if one not in tuned_on]


def _caption(name: str, text: str) -> Caption:
    return Caption(id=name, caption=text, image_id=name, image=None, source=name)


def wilson(good: int, total: int) -> list[float]:
    """95 % interval of a share, in percent (Wilson 1927)."""
    if not total:
        return [0.0, 100.0]
    low, high = binomtest(good, total).proportion_ci(method="wilson")
    return [round(100 * low, 1), round(100 * high, 1)]


def share(good: int, total: int) -> dict[str, Any]:
    percent = round(100 * good / total, 1) if total else None
    return {"good": good, "of": total, "percent": percent, "interval": wilson(good, total)}


def answer(options: argparse.Namespace) -> dict[str, Any]:
    """Generate, and measure yield, speed and change of wording."""
    captions = captions_of(options.captions, options.data)
    config = GenerateConfig(options.captions, options.out)
    backend = BuiltInBackend(replace(config.llm, style=options.style))
    wall, work = time.monotonic(), time.process_time()
    summary = generate(captions, config, options.out, len(captions), backend)
    wall, work = time.monotonic() - wall, time.process_time() - work
    rows = pq.read_table(options.out / "triples.parquet").to_pylist()
    means = {
        name: round(sum(row[name] for row in rows) / len(rows), 3)
        for name in ("similarity_1", "similarity_2", "overlap_1", "overlap_2")
        if rows
    }
    speed = {"wall_seconds": round(wall, 1),
             "processor_seconds_per_caption": round(work / len(captions), 3)}  # fmt: skip
    return {
        "captions": len(captions),
        "yield": share(summary.kept, len(captions)),
        "rejected": dict(summary.rejected.most_common()),
        **({} if summary.reused_answers else speed),  # logged answers have no times
        "mean": means,
        "generator": summary.generator,
        "adapter": file_hash(adapter_file()) if options.style == "short" else None,
    }


def known_speed(results: Path) -> dict[str, Any]:
    """The speed of an earlier run, for a run that takes its answers from the log."""
    earlier = read_figures(results) if results.exists() else {}
    return {name: earlier[name] for name in SPEED if name in earlier}


def read_figures(path: Path) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return figures


def write_sheet(options: argparse.Namespace) -> None:
    """Write a sample of the triples for the reader; verdicts on unchanged texts are kept."""
    rows = pq.read_table(options.out / "triples.parquet").to_pylist()
    if len(rows) > options.sample:
        rows = random.Random(0).sample(rows, options.sample)
    known = verdicts_in(sheet_path(options))
    with sheet_path(options).open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, delimiter="\t", lineterminator="\n")
        writer.writerow(SHEET)
        for row in rows:
            texts = tuple(row[name] for name in SHEET[:4])
            writer.writerow([*texts, *known.get(texts, ("", ""))])


def verdicts_in(sheet: Path) -> dict[tuple[str, ...], tuple[str, str]]:
    """The verdicts of an earlier sheet, by id and texts."""
    if not sheet.exists():
        return {}
    with sheet.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    return {tuple(row[name] for name in SHEET[:4]): (row["step_1"], row["step_2"]) for row in rows}


def count(options: argparse.Namespace) -> dict[str, Any]:
    """Count the reader's verdicts; of the held-out tenth they are also written to judged/."""
    with sheet_path(options).open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    unread = [row["id"] for row in rows if {row["step_1"], row["step_2"]} - {"0", "1"}]
    if unread:
        raise SystemExit(f"{sheet_path(options)}: no verdict of 0 or 1 for {unread[:5]}")
    if options.captions != "own":
        lines = ["\t".join(VERDICTS), *("\t".join(row[name] for name in VERDICTS) for row in rows)]
        write_text(HERE / "judged" / sheet_path(options).name, "\n".join(lines) + "\n")
    steps = {"": ("step_1", "step_2"), "_step_1": ("step_1",), "_step_2": ("step_2",)}
    good = {
        name: sum(all(row[step] == "1" for step in needed) for row in rows)
        for name, needed in steps.items()
    }
    shares = {f"meaning_kept{name}": share(number, len(rows)) for name, number in good.items()}
    return {"judged": len(rows), **shares}


ROWS = (
    ("own-paper", "plain prompting, own captions"),
    ("own-few-shot", "few-shot prompting, own captions"),
    ("own-short", "adapter, own captions"),
    ("held-out-short", "adapter, held-out captions"),
)


def table(results: Path = HERE / "results") -> str:
    """All figures side by side, as Markdown."""
    lines = [
        "| | yield | meaning kept in both steps | captions/s of one core | words changed |",
        "|---|---|---|---|---|",
    ]
    for name, title in ROWS:
        figures = read_figures(results / f"{name}.json")
        seconds = figures.get("processor_seconds_per_caption")
        changed = [round(100 * (1 - figures["mean"][f"overlap_{step}"])) for step in (1, 2)]
        cells = (
            title,
            _cell(figures["yield"]),
            _cell(figures["meaning_kept"]) if "meaning_kept" in figures else "not read yet",
            f"{1 / seconds:.2f}" if seconds else "",
            f"{changed[0]} %, {changed[1]} %",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(figure: dict[str, Any]) -> str:
    low, high = figure["interval"]
    return f"{figure['percent']} % ({figure['good']} of {figure['of']}; {low} to {high})"


def sheet_path(options: argparse.Namespace) -> Path:
    name = f"{options.captions}-{options.style}.tsv"
    return (HERE / "judged" if options.captions == "own" else options.out) / name


def needs_data(options: argparse.Namespace) -> bool:
    """Whether captions are read from the research data."""
    return options.what != "table" and options.captions != "own"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("answer", "count", "table"))
    parser.add_argument("--style", choices=("short", "few-shot", "paper"), default="short")
    parser.add_argument("--captions", choices=("own", "held-out", "tuned-on"), default="own")
    parser.add_argument("--out", type=Path, default=Path("runs/judge"))
    parser.add_argument("--sample", type=int, default=1000, help="most triples to read")
    options = parse_with_data(parser, needs_data)
    if options.what == "table":
        print(table())
        return
    (HERE / "judged").mkdir(exist_ok=True)
    results = HERE / "results" / f"{options.captions}-{options.style}.json"
    if options.what == "answer":
        figures = known_speed(results) | answer(options)
        write_sheet(options)
    else:
        figures = read_figures(results) | count(options)
    text = json.dumps(figures, indent=1)
    write_text(results, text + "\n")
    print(text)


if __name__ == "__main__":
    main()
