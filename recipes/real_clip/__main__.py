"""Tunes a pretrained CLIP, measures it, and makes files of it that other systems load.

    python -m recipes.real_clip bases pictures tune measure publish --base ViT-B-32:openai

Hours on four cores, without a GPU. Each stage is a command of its own, and
resumes: run the same command again. `--settings` names a file to use instead of `settings.toml`.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paraclip
from paraclip.errors import UserError, nearest
from paraclip.evaluation.report import Report
from paraclip.evaluation.run import RESAMPLES
from paraclip.evaluation.run import evaluate as score
from paraclip.files import cache_folder, locked, read_bounded, write_text
from paraclip.models.encoder import DualEncoder
from paraclip.models.sources import LAST, MERGED
from paraclip.models.tensors import hash_tensors
from paraclip.output_folder import RECORD
from recipes.downloads import digest
from recipes.real_clip.data import get_data
from recipes.real_clip.languages import language_sets
from recipes.real_clip.settings import SETTINGS, Settings, read_settings
from recipes.real_clip.tables import LANGUAGES, table_of
from study.evaluate import add_benchmarks
from study.rivals import drift_adapter, labclip, lower_hubs

COMMAND, ALONE = "command", "alone"
"""Runs: the command of the project's README, and the same with base as the only teacher."""
MODEL = "model.safetensors"
"""The published model; absent if the run says to keep base."""
FORMATS = ("weights", "hf", "onnx")  # of every base; further ones are the base's `systems`


@dataclass(frozen=True)
class Run:
    """One base, its settings and its place."""

    base: str  # open_clip's NAME:TAG
    settings: Settings
    work: Path

    @property
    def folder(self) -> Path:
        """Folder of what depends on the base."""
        return self.work / self.base.replace(":", "__")

    def options(self, row: str) -> dict[str, Any]:
        """The options of training."""
        teachers = {"teacher": ["base", self.settings.teacher]} if row == COMMAND else {}
        return {"bank": self.work / "bank", **teachers, **self.settings.training}

    def choice(self, row: str) -> dict[str, Any]:
        """What a run found out by itself."""
        summary = read_json(self.folder / row / "summary.json")
        if "choice" not in summary:
            raise UserError(self.folder / row, "recommends no model", "Train it with R.")
        return {**summary["choice"], "learning_rate": summary["identity"]["learning_rate"]}

    def recommended(self, row: str) -> str:
        """The model that a run says to use: a file, or the base's name."""
        place = self.folder / row
        models = {"base": self.base, "merged": place / MERGED, "tuned": place / LAST}
        return str(models[self.choice(row)["use"]])


def get_bases(run: Run) -> None:
    """Download base and teacher, and keep their hashes, by which a later change is noticed."""
    kept = run.folder / "bases.json"
    known = read_json(kept) if kept.exists() else {}
    for name in (run.base, run.settings.teacher):
        weights = hash_tensors(paraclip.load_model(name).state_dict())
        if known.setdefault(name, weights) != weights:
            what = "has changed since the first run of this folder"
            raise UserError(name, what, "Name another folder with --work.")
    write_json(kept, known)


def get_pictures(run: Run) -> None:
    """Download pictures and texts."""
    get_data(run.settings, run.work)


def tune(run: Run) -> None:
    """Train both rows; each run finds its learning rate, and which model to use."""
    for row in (COMMAND, ALONE):
        out = run.folder / row
        if not (out / "summary.json").exists():
            print(f"{row}: training", flush=True)
            paraclip.train(run.base, run.settings.triples, out=out, **run.options(row))
        print(f"{row}: {run.choice(row)['reason']}", flush=True)


def measure(run: Run) -> None:
    """Score base, what the runs recommend, and rivals on everything that is there.

    Raises:
        UserError: the base's figures differ from the published ones: something is wrong here.
    """
    add_benchmarks()
    choices = {row: run.choice(row) for row in (COMMAND, ALONE)}
    kept = [row for row, choice in choices.items() if choice["use"] != "base"]
    base = paraclip.load_model(run.base)
    models = {"base": base, **{row: paraclip.load_model(run.recommended(row)) for row in kept}}
    own, others = rivals_of(run, base)
    data, pool = run.work / "data", run.work / "data" / "coco" / "val2017"
    sets: dict[str, dict[str, Any]] = {
        "coco": {"benchmarks": "coco-retrieval", "data": run.work / "karpathy"},
        "main": {"benchmarks": "paraphrased-retrieval"},
        "people": {"benchmarks": "paraphrased-retrieval", "pairs": run.work / "people.jsonl"},
        "kept": {"benchmarks": "all", "images_by_class": data / "imagenette"},
    }
    for name, options in sets.items():
        report = paraclip.evaluate(
            {**models, **own, **(others if name != "kept" else {})},
            out=run.folder / "reports" / name,
            **{"data": data, "pool": pool, **run.settings.evaluation, **options},
        )  # fmt: skip
        print(f"{name}\n{report.table()}", flush=True)
        if name == "coco":  # the first: what follows takes hours
            check_published(run, report)
    taught = {label: model for label, model in models.items() if label in ("base", COMMAND)}
    score(
        taught, language_sets(run.work, run.settings.languages),
        run.folder / "reports" / LANGUAGES, cache=cache_folder() / "image_features",
        resamples=run.settings.evaluation.get("resamples", RESAMPLES),
    )  # fmt: skip
    files = {name: run.folder / "reports" / name / "report.json" for name in (*sets, LANGUAGES)}
    reports = {name: read_json(path) for name, path in files.items()}
    results = {
        "base": run.base, "teacher": run.settings.teacher, "choices": choices, "reports": reports,
        "immich": run.settings.bases[run.base].immich,
    }  # fmt: skip
    write_json(run.folder / "results.json", results)


def rivals_of(run: Run, base: DualEncoder) -> tuple[dict[str, DualEncoder], dict[str, DualEncoder]]:
    """Models that this recipe does not train.

    Returns:
        That which is cheap on every set, and the others: a second image encoder would take hours
        for the pictures of some, and lowered hubs change only which pictures a text finds.
    """
    teacher = paraclip.load_model(run.settings.teacher)
    bank = sorted(str(path) for path in (run.work / "bank").glob("[!.]*"))  # parts of a killed one
    own: dict[str, DualEncoder] = {}
    if published := run.settings.bases[run.base].labclip:
        own["LABCLIP"] = labclip(base, run.work / published)
    lowered = {how: lower_hubs(base, how, bank) for how in ("QB-Norm", "NNN")}
    drift = drift_adapter(base, teacher, bank)
    return own, {**lowered, "drift-adapter": drift, "teacher": teacher}


def check_published(run: Run, found: Report) -> None:
    """Refuse figures of the base that are not the published ones."""
    for name, published in run.settings.bases[run.base].published.items():
        value = line(found, name).values["base"].value
        if abs(value - published) > run.settings.deviation:
            what = f"the base's {name} is {value:.2f}, and {published:.2f} is published"
            raise UserError(run.base, what, "Compare pictures, captions and preprocessing.")


def publish(run: Run) -> None:
    """Write what *command* recommends for other systems, each file with card, table and hashes.

    If it recommends base, there are the figures alone.
    """
    table = table_of(read_json(run.folder / "results.json"))
    out = run.folder / "published"
    systems = (*FORMATS, *run.settings.bases[run.base].systems)
    model = run.recommended(COMMAND)
    for system in systems if model != run.base else ():
        place = out / (MODEL if system == "weights" else system)
        card = place.with_suffix(".md") if place.suffix else place / "README.md"
        if not card.exists():
            option = {"to" if system in FORMATS else "target": system}
            print(f"writing {place.name}", flush=True)
            paraclip.export(model, place, base=run.base, **option)
        text = card.read_text(encoding="utf-8")
        if table not in text:
            head, terms, rest = text.partition("\n## Terms\n")
            write_text(card, f"{head}\n## Measured\n\n{table}\n{terms}{rest}")
    found = f"{run.choice(COMMAND)['reason']}\n\n{table}\n"
    write_text(out / "README.md", f"# {run.base}, tuned on everyday scenes\n\n{found}")
    shutil.copy(run.folder / "results.json", out / "results.json")
    apart = {"SHA256SUMS", RECORD}
    files = sorted(path for path in out.rglob("*") if path.is_file() and path.name not in apart)
    sums = [f"{digest(path, 'sha256')}  {path.relative_to(out)}\n" for path in files]
    write_text(out / "SHA256SUMS", "".join(sums))


def line(report: Report, name: str) -> Any:
    """A figure of a report, which must have it."""
    found = report.line(name)
    if found is None:
        hint = "The pairs must name pictures of the pool; run `pictures` again."
        raise UserError("measure", f"the report has no {name}", hint)
    return found


def read_json(path: Path) -> Any:
    """A file that an earlier stage wrote."""
    if not path.exists():
        raise UserError(path, "is missing", "Run the earlier stages first.")
    return json.loads(read_bounded(path))


def write_json(path: Path, content: Any) -> None:
    """Write a file that a later stage reads."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


STAGES: Mapping[str, Callable[[Run], None]] = {
    "bases": get_bases, "pictures": get_pictures, "tune": tune, "measure": measure,
    "publish": publish,
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the stages in order."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("stages", nargs="+", choices=STAGES, help="in order")
    parser.add_argument("--base", default="ViT-B-32:openai", help="open_clip's NAME:TAG")
    parser.add_argument("--work", type=Path, default=Path("runs/real_clip"), help="folder")
    parser.add_argument("--settings", type=Path, default=SETTINGS)
    chosen = parser.parse_args(arguments)
    settings = read_settings(chosen.settings)
    if chosen.base not in settings.bases:
        raise UserError(chosen.base, "is not in the settings", nearest(chosen.base, settings.bases))
    work = chosen.work.resolve()  # the bank's path is part of what a run is resumed by
    with locked(work):
        for name in chosen.stages:
            print(f"== {name}", flush=True)
            STAGES[name](Run(chosen.base, settings, work))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"real_clip: {error}", file=sys.stderr)
        sys.exit(2)
