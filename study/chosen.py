"""Whether a run, which sees no labels, chooses as well as labels would.

    PARACLIP_DATA=folder python -m study.chosen --students a b --teachers a b c

Each student is taught by itself and each teacher, over the pictures that no model was trained on.
The run that finds its own rate and share is compared with a grid of all rates and shares, on
development sets: right pictures (text-to-image R@10) and agreement (AO@10 of an LLM's and of
people's wordings). Runs have one epoch in place of four: a pair takes ten minutes, on b thirty.
Finished ones are kept, so that the command resumes. Beside it stands a choice that looks at
nothing, always the same rate and share. Writes `results/study_chosen.json` and `.md` of all pairs
that were ever finished.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import paraclip
from benchmarks.machine import keep, parse_with_data, say
from paraclip.cli import keep_freed_memory
from paraclip.evaluation.benchmark import Benchmark
from paraclip.files import cache_folder, text_hash, write_text
from paraclip.models.encoder import DualEncoder
from paraclip.tables import markdown
from paraclip.training.choice import RATES, SHARES
from paraclip.training.sources import BASE
from study import run
from study.banks import bank_file
from study.cells import weights_of
from study.sets import consistency, flickr_pairs, half, people_pairs, read_pool, retrieval
from study.tables import RESULTS

RIGHT = "T2I R@10"
AGREEMENT = ("AO@10 LLM", "AO@10 people")
EPOCHS = 1
NEAR_RIGHT, NEAR_AGREEMENT = 0.5, 1.0
"""Points by which a chosen model may find fewer right pictures, and agree less, than the best."""
ALWAYS: Mapping[str, float] = {"rate": 3e-4, "share": 0.75}
"""A choice that looks at nothing, read off the first nine pairs: others have to confirm it."""
Figures = Mapping[str, float]


@cache
def sets_of(data: Path) -> dict[str, tuple[Benchmark, str]]:
    """The development sets, with the name of the figure that counts."""
    pool = read_pool(data / "flickr8k" / "images")
    llm = consistency("pairs-flickr8k", half(flickr_pairs(data), first=True), pool)
    people = consistency("pairs-people", people_pairs(data, "dev"), pool)
    return {
        RIGHT: (retrieval(data, "dev"), RIGHT), AGREEMENT[0]: (llm, "AO@10"),
        AGREEMENT[1]: (people, "AO@10"),
    }  # fmt: skip


def score(model: DualEncoder, data: Path) -> dict[str, float]:
    """The figures of a model, in percent."""
    found = {}
    for name, (benchmark, figure) in sets_of(data).items():
        scores = benchmark.score(model, cache_folder() / "image_features")
        (value,) = (one.value() for one in scores.metrics if one.name == figure)
        found[name] = 100 * value
    return found


def compare_pair(student: str, teacher: str, place: run.Place) -> dict[str, Any]:
    """What the run of a student and a teacher chose, and the whole grid."""
    base_path = run.TEACHERS[student](place)
    folder = place.out / "chosen" / student / teacher
    if (record := folder / "record.json").exists():
        kept: dict[str, Any] = json.loads(record.read_text("utf-8"))
        return kept
    vectors = place.out / "banks" / text_hash(" ".join(weights_of(base_path)))
    teachers = [BASE] if teacher == student else [BASE, str(run.TEACHERS[teacher](place))]
    options: dict[str, Any] = {
        "bank": bank_file("unseen", base_path, place.data, vectors), "teacher": teachers,
        "recipe": "taught", "seed": 0, "epochs": EPOCHS,
    }  # fmt: skip
    base = paraclip.load_model(str(base_path))
    grid = [{"rate": 0.0, "share": 0.0, **score(base, place.data)}]
    paraclip.train(str(base_path), "scenes", out=folder / "chosen", **options)
    summary = json.loads((folder / "chosen" / "summary.json").read_text("utf-8"))
    found, choice = summary["identity"]["learning_rate"], summary["choice"]
    for rate in RATES:
        out = folder / ("chosen" if rate == found else f"{rate:g}")
        tuned = paraclip.train(str(base_path), "scenes", out=out, learning_rate=rate, **options)
        for share in (*SHARES, 1.0):
            figures = score(paraclip.merge(base, tuned, share), place.data)
            grid.append({"rate": rate, "share": share, **figures})
    share = {"base": 0.0, "tuned": 1.0, "merged": choice["share"]}[choice["use"]]
    made = {
        "student": student, "teacher": teacher, "grid": grid,
        "chosen": {"rate": found if share else 0.0, "share": share},
    }  # fmt: skip
    write_text(record, json.dumps(made, indent=1) + "\n")
    return made


def verdict(grid: Sequence[Figures], wanted: Figures) -> tuple[Figures, Figures, bool]:
    """The wanted model's figures, the best ones by labels, and whether they are near."""
    (mine,) = (
        one for one in grid if (one["rate"], one["share"]) == (wanted["rate"], wanted["share"])
    )
    best = max(grid, key=lambda one: (one[RIGHT], sum(one[name] for name in AGREEMENT)))
    near = mine[RIGHT] >= best[RIGHT] - NEAR_RIGHT and all(
        mine[name] >= best[name] - NEAR_AGREEMENT for name in AGREEMENT
    )
    return mine, best, near


def table_of(record: Mapping[str, Any]) -> str:
    """A line for each pair."""
    rows = []
    for pair in record["pairs"]:
        mine, best, near = verdict(pair["grid"], pair["chosen"])
        always = verdict(pair["grid"], ALWAYS)[2]
        cells = (
            f"{pair['grid'][0][name]:.1f} → {mine[name]:.1f} ({best[name]:.1f})"
            for name in (RIGHT, *AGREEMENT)
        )
        chosen, wanted = (named(one) for one in (mine, best))
        words = ("yes" if one else "**no**" for one in (near, always))
        rows.append([pair["student"], pair["teacher"], chosen, wanted, *cells, *words])
    heads = ["student", "teacher", "chosen", "best by labels", RIGHT, *AGREEMENT]
    heads += ["near", f"{named(ALWAYS)}, near"]
    note = (
        "Base → the chosen model (the model of the grid with the most right pictures), percent, "
        f"one seed, runs of one epoch. *Near*: at most {NEAR_RIGHT:g} points fewer right pictures, "
        f"and {NEAR_AGREEMENT:g} point less agreement, than that model."
    )
    return f"{markdown(heads, rows)}\n\n{note}"


def named(one: Mapping[str, float]) -> str:
    """A model of the grid in words."""
    return f"{one['share']:g} at {one['rate']:g}" if one["share"] else "base"


def main() -> None:
    """Compare the wanted pairs, and write a table of all finished ones."""
    keep_freed_memory()
    made = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    made.add_argument("--students", nargs="+", default=["a", "b"], choices=run.TEACHERS)
    made.add_argument("--teachers", nargs="+", default=["a", "b", "c"], choices=run.TEACHERS)
    made.add_argument("--out", type=Path, default=Path("runs/study"), help="folder of the runs")
    made.add_argument("--results", type=Path, default=RESULTS, help="folder of tables and JSON")
    options = parse_with_data(made)
    place = run.Place(Path(options.data), options.out)
    for student in options.students:
        for teacher in options.teachers:
            say(f"{student} taught by {teacher}")
            compare_pair(student, teacher, place)
    finished = sorted((place.out / "chosen").glob("*/*/record.json"))
    pairs = [json.loads(path.read_text("utf-8")) for path in finished]
    keep("study_chosen", options.results, table_of, pairs=pairs)


if __name__ == "__main__":
    main()
