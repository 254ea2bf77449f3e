"""The whole workflow, a script on the public API: each stage has its own folder, and resumes.

captions and pictures -> control, teacher, tuned, merged -> report, sheet, browser

The base is `mini` as included in ParaCLIP, or the user's CLIP. On the stamps, the models learn from
the stamps' own triples and the starter set; on the user's pictures, from their captions, the
starter set and, if a language model is named, its triples. `teacher` learns the captioned pictures
with L1 alone. It finds more of them than base does, and `tuned` learns what both find: on pictures
that were held out of the stamps' own, it found as many as teacher and its wordings agreed more.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

import paraclip
from paraclip.data.captions import Caption
from paraclip.data.lines import is_remote
from paraclip.data.problems import Problems
from paraclip.data.triples import TEXTS, read_provenance, read_triples
from paraclip.errors import UserError, printable, without_password
from paraclip.evaluation.report import Report
from paraclip.evaluation.run import check_report_folder
from paraclip.files import cache_folder, text_hash
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import picture_features
from paraclip.output_folder import OutputFolder
from paraclip.paraphrase.backends import make_backend
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.run import check_generation
from paraclip.provenance import without_secrets
from paraclip.quickstart.config import BUILT_IN, QuickstartConfig
from paraclip.quickstart.results import CUTOFFS, K, plot
from paraclip.quickstart.stamps import PACKAGE, read_stamps, stamps_folder
from paraclip.starter import FIRST_EDITION, QUERIES, STARTER
from paraclip.training.checkpoint import AnotherRun, RunFolder
from paraclip.training.config import TrainOptions
from paraclip.training.prepare import check_base
from paraclip.training.train import check_training

_FEWEST = 30  # pictures: a third of them are the ten that a search returns
HELD_OUT = 100  # of the user's pictures; of the stamps, those that their captions name
ASKED = 150  # most captions that are paraphrased, the slowest stage
ASKED_HELD_OUT = 60  # most held-out captions that are paraphrased, for the easier test
STARTER_ROWS = FIRST_EDITION  # of the starter set
_ROWS = "rows.jsonl"
_DATA = (
    *(_ROWS, f"{_ROWS}.provenance.json", "asked.jsonl", "wordings.jsonl"),
    *("held_out.jsonl", "pairs.jsonl", "pool.txt"),
)
"""Files that one stage writes and the next one reads."""
_REPORTS = ("report", "report_easier")
_EASIER = "rewordings of the language model"
_L1_ALONE = (1.0, 0.0, 0.0)  # weights of L1, L2 and L3
_LOSSES: dict[str, dict[str, Any]] = {
    "control": {"control": True},  # learns from the original captions only
    "teacher": {"weights": _L1_ALONE, "ranking": 0.0, "sentence_teacher": 0.0},
    "tuned": {"recipe": "taught", "weights": _L1_ALONE},
}
"""Options of the models in the order of their training."""
_LEARNING_RATE = 2e-4  # of the built-in model; of others, the default of `paraclip train`

_Rows = list[dict[str, Any]]


class _Task(NamedTuple):
    """What a source is made into."""

    triples: _Rows
    alone: _Rows  # captions without paraphrases, from which only L1 learns
    tests: dict[str, dict[str, Any]]  # options of `paraclip.evaluate` by the folder of the report


def run_quickstart(config: QuickstartConfig) -> Report:
    """Run all stages, and print what each does; the returned report joins all that were written.

    Raises:
        UserError: the source is invalid, or a stage failed.
    """
    folder = config.folder
    for name in _REPORTS:
        check_report_folder(folder / name)
    captions, problems = None, Problems(config.max_broken)
    if config.source is not None:
        _announce(f"Reading captions and pictures of {without_secrets(config.source)}")
        captions = list(paraclip.read_captions(config.source, problems=problems))
    # The processor for the built-in model, so that figures are the same everywhere.
    base = paraclip.load_model(config.base, "cpu" if config.base == BUILT_IN else "auto")
    _check(config, base)
    if captions is None:
        task = _of_stamps(config)
    else:
        captions = _readable_captions(config, base, captions, problems)
        task = _of_own(config, *split_pictures(captions, HELD_OUT, config.seed))
    _announce(f"Training the text encoder: {', '.join(_LOSSES)}")
    rows = _write_training(config, task)
    trained = {name: _train(config, base, rows, name) for name in _LOSSES}
    del trained["teacher"]  # not compared: it is part of the recipe of tuned
    merged = paraclip.load_model(str(checkpoint_of(config, "merged")), str(base.device))
    models = {"base": base, **trained, "merged": merged}
    _announce(f"Scoring {', '.join(models)}")
    report, *easier = (
        paraclip.evaluate(
            models, data=folder, out=folder / name, max_broken=config.max_broken, **options
        )
        for name, options in task.tests.items()
    )
    further = [replace(one, name=_EASIER) for other in easier for one in other.sections]
    whole = replace(report, sections=[report.sections[0], *further, *report.sections[1:]])
    if find_spec("matplotlib") is not None and (drawn := plot(whole)) is not None:
        output = OutputFolder(folder / "report", "report")
        output.write(folder / "report" / "scores.png", drawn)  # the table's figures
    return whole


def checkpoint_of(config: QuickstartConfig, label: str) -> Path:
    """The checkpoint of a trained model, or of tuned merged with base."""
    if label == "merged":
        return RunFolder(config.folder / "tuned").merged
    return RunFolder(config.folder / label).last


def _announce(stage: str) -> None:
    """Print which stage starts."""
    print(f"\n== {printable(stage)}", flush=True)


def _check(config: QuickstartConfig, base: DualEncoder) -> None:
    """Raise UserError, before the first long stage, for what a later one would lack."""
    check_base(base)
    data = OutputFolder(config.folder / "data", "quickstart")
    data.refuse_foreign(*(data.path / name for name in _DATA))
    if config.llm != "none":
        asked = GenerateConfig("captions", str(config.folder / "triples"), backend=config.llm)
        Judge(asked.filter_limits)  # raises without MiniLM's wheel
        check_generation(asked.llm, asked.outputs, make_backend(asked.llm))
    for name in _LOSSES:
        options = TrainOptions(**_training(config, name))
        with suppress(AnotherRun):  # starts from scratch
            check_training(options, config.folder / name, config.fresh, base)


def _training(config: QuickstartConfig, name: str) -> dict[str, Any]:
    """Options of the training of a model."""
    rate = _LEARNING_RATE if config.base == BUILT_IN else None
    return {
        "epochs": config.epochs, "learning_rate": rate, "seed": config.seed,
        "batch_size": 128, "dropout": 0.0, "image_loss_on": TEXTS, **_LOSSES[name],
    }  # fmt: skip


def _of_stamps(config: QuickstartConfig) -> _Task:
    """What the captioned stamps are made into."""
    _announce("Fetching and reading the captioned stamps")
    stamps = read_stamps(stamps_folder())
    if line := stamps.skipped():
        print(line)
    pool, learn = (
        [row["image_id"] for row in stamps.wordings],
        stamps.captions[: len(stamps.triples)],
    )
    print(f"{len(learn)} pictures to learn from, {len(pool)} held out")
    wordings = _write_rows(config, "wordings.jsonl", stamps.wordings)
    test = {"benchmarks": "variations", "wordings": wordings, "k": CUTOFFS}
    return _Task(stamps.triples, [], {"report": {**test, "pool": _write_pool(config, pool)}})


def _of_own(config: QuickstartConfig, learn: list[Caption], held_out: list[Caption]) -> _Task:
    """What the user's own captions, all with a picture, are made into.

    Consistency needs no correct answer, so it is measured on query pairs that no model was trained
    on, over all pictures. The generator's own pairs, if there are some, are the easier test.
    """
    asked = [
        *_sampled(learn, ASKED, config.seed),
        *_sampled(held_out, ASKED_HELD_OUT, config.seed),
    ]
    triples = {row["id"]: row for row in _generate(config, asked)} if config.llm != "none" else {}
    pool = _write_pool(config, (str(row.image) for row in (*learn, *held_out)))
    captions = _write_rows(config, "held_out.jsonl", map(asdict, held_out))
    tests: dict[str, dict[str, Any]] = {
        "report": {
            "benchmarks": "paraphrased-retrieval,image-text-retrieval", "pairs": QUERIES,
            "columns": ("query", "rewording"), "pool": pool, "captions": captions,
        }
    }  # fmt: skip
    pairs = [triples.pop(row.id) | {"image_id": row.image} for row in held_out if row.id in triples]
    if pairs:
        tests["report_easier"] = {
            "benchmarks": "paraphrased-retrieval", "columns": ("caption", "paraphrase_2"),
            "pairs": _write_rows(config, "pairs.jsonl", pairs), "pool": pool,
        }  # fmt: skip
    alone = [
        {"image_id": row.image_id, "image": row.image, **dict.fromkeys(TEXTS, row.caption)}
        for row in learn
        if row.id not in triples
    ]
    return _Task([*triples.values()], alone, tests)


def _generate(config: QuickstartConfig, captions: list[Caption]) -> _Rows:
    """Triples by the language model; none if no answer passed the filters."""
    _announce(f"Paraphrasing {len(captions)} captions in two steps")
    asked = _write_rows(config, "asked.jsonl", map(asdict, captions))
    out = config.folder / "triples"
    triples = paraclip.generate(asked, out, backend=config.llm, fresh=config.fresh)
    rows: _Rows = pq.read_table(triples).to_pylist()
    print(f"{len(rows)} of {len(captions)} captions have a triple")
    return rows


def _train(config: QuickstartConfig, base: DualEncoder, rows: Path, name: str) -> DualEncoder:
    """One model, trained from base."""
    options, out = _training(config, name), config.folder / name
    if name == "tuned":
        options["teacher"] = ["base", str(checkpoint_of(config, "teacher"))]
    try:
        return paraclip.train(base, rows, out, fresh=config.fresh, **options)
    except AnotherRun:
        print(f"The captions, pictures or options have changed: {name} starts from scratch")
        return paraclip.train(base, rows, out, fresh=True, **options)


def _write_training(config: QuickstartConfig, task: _Task) -> Path:
    """Write the rows to learn from, with the starter set and the origin of all texts."""
    record: dict[str, Any] = {
        "base": config.base,
        "data": without_secrets(config.source or PACKAGE),
    }
    if config.llm != "none":
        record["triples"] = read_provenance(config.folder / "triples" / "triples.parquet")
    record["starter"] = read_provenance(STARTER)
    starter = read_triples(STARTER).slice(0, STARTER_ROWS).to_pylist()
    rows = [*task.triples, *starter, *task.alone]
    _write(config, f"{_ROWS}.provenance.json", json.dumps(record, indent=1) + "\n")
    # Numbers: a caption and a row of the starter set may have one id.
    return _write_rows(config, _ROWS, ({**row, "id": f"{n}"} for n, row in enumerate(rows)))


def _write_pool(config: QuickstartConfig, pictures: Iterable[str]) -> Path:
    return _write(config, "pool.txt", "".join(f"{name}\n" for name in sorted(set(pictures))))


def _write_rows(config: QuickstartConfig, name: str, rows: Iterable[Mapping[str, Any]]) -> Path:
    return _write(config, name, "".join(f"{json.dumps(row)}\n" for row in rows))


def _write(config: QuickstartConfig, name: str, content: str) -> Path:
    """Write a file that the next stage reads."""
    folder = OutputFolder(config.folder / "data", "quickstart")
    folder.write(folder.path / name, content)
    return folder.path / name


def _sampled(rows: list[Caption], count: int, seed: int) -> list[Caption]:
    """At most `count` captions in their order, chosen by a hash of id and seed."""
    by_hash = sorted(rows, key=lambda row: text_hash(f"{seed} {row.id}"))
    chosen = {row.id for row in by_hash[:count]}
    return [row for row in rows if row.id in chosen]


def _readable_captions(
    config: QuickstartConfig, base: DualEncoder, captions: list[Caption], problems: Problems
) -> list[Caption]:
    """The captions whose picture can be read, by a name that holds in every file; reports the
    others, and broken rows, in a file."""
    total = len(captions) + problems.count
    shown = [
        replace(row, image=without_password(name) if is_remote(name) else os.path.abspath(name))
        for row in captions
        if (name := row.image)
    ]
    names = [*dict.fromkeys(row.image for row in shown if row.image)]
    # All are needed later.
    _, broken = picture_features(base, names, cache_folder() / "image_features")
    for row in shown:
        if row.image in broken:
            problems.add(row.image, broken[row.image].what)
    problems.check(total)
    if problems.count:
        path = config.folder / "broken.txt"
        problems.write(path)
        print(f"{problems.count} broken rows or pictures are skipped; {printable(path)} lists them")
    if without := len(captions) - len(shown):
        print(f"{without} captions have no picture and are left out")
    return [row for row in shown if row.image not in broken]


def split_pictures(
    captions: Sequence[Caption], held_out: int, seed: int
) -> tuple[list[Caption], list[Caption]]:
    """Split by picture; pictures that share a caption stay together, so it is in one part only.

    The order of choice depends only on a hash of the text and the seed, so adding a picture moves
    few others.

    Args:
        captions: captions of pictures.
        held_out: number of pictures to hold out, at most a third of all.
        seed: seed of the split.

    Returns:
        The captions to learn from, and those of the held-out pictures.

    Raises:
        UserError: too few pictures to split, or to search among those that are held out.
    """
    groups = _text_groups(captions)
    if len(groups) < _FEWEST:
        what = f"only {len(groups)} pictures have a caption"
        raise UserError("quickstart", what, f"Give at least {_FEWEST}; a few hundred is better.")
    sizes = Counter(groups.values())
    left, chosen = min(held_out, len(groups) // 3), set()
    for group in sorted(sizes, key=lambda name: text_hash(f"{seed} {name}")):
        if sizes[group] <= left:
            chosen.add(group)
            left -= sizes[group]
    if (count := sum(sizes[group] for group in chosen)) < K:
        what = f"only {count} pictures could be held out: the others share their captions"
        raise UserError("quickstart", what, f"Give at least {K} pictures captions of their own.")
    parts: tuple[list[Caption], list[Caption]] = [], []
    for row in captions:
        parts[groups[row.image_id] in chosen].append(row)
    print(f"{len(parts[0])} captions to learn from, {len(parts[1])} held out")
    return parts


def _text_groups(captions: Sequence[Caption]) -> dict[str, str]:
    """The group of each picture; pictures that share a caption share a group."""
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for row in captions:
        text = " ".join(row.caption.casefold().split())  # training treats these as equal
        parent[find(f"image {row.image_id}")] = find(f"text {text}")
    return {row.image_id: find(f"image {row.image_id}") for row in captions}
