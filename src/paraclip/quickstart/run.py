"""The whole workflow. Each stage has its own folder and is reused when it is complete.

captions and pictures -> triples -> control, tuned, merged -> report, contact sheet, browser

The base is `mini` as included in ParaCLIP, or the user's CLIP. On the stamps, `tuned` learns from
the stamps' own triples and the starter set; a few triples of the built-in LLM are only shown,
because a model of 135 million parameters loses too much of the meaning. On the user's own pictures,
`tuned` learns from that LLM's triples and the starter set.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from paraclip.data.captions import Caption
from paraclip.data.problems import Problems
from paraclip.data.reading import read_captions
from paraclip.data.triples import (
    SCHEMA,
    TEXTS,
    read_provenance,
    read_triples,
    with_captions,
    with_column,
    with_starter,
)
from paraclip.errors import UserError, printable
from paraclip.evaluation.benchmark import Arithmetic, Benchmark
from paraclip.evaluation.report import Report
from paraclip.evaluation.run import check_report_folder, evaluate
from paraclip.files import text_hash
from paraclip.merging import merge
from paraclip.models.checkpoint import check_checkpoint_path, save_model
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import identity, picture_features
from paraclip.models.loading import load_model
from paraclip.paraphrase.backends import make_backend
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.run import check_generation, generate
from paraclip.provenance import provenance, without_secrets
from paraclip.quickstart.config import BUILT_IN, QuickstartConfig
from paraclip.quickstart.results import K, own_benchmarks, stamp_benchmarks
from paraclip.quickstart.stamps import read_stamps, stamps_folder
from paraclip.starter import STARTER
from paraclip.training.checkpoint import AnotherRun
from paraclip.training.data import check_base, prepare
from paraclip.training.train import check_training, train

_ALPHA = 0.5
_FEWEST = 30  # pictures: a third of them are the ten that a search returns
_ASKED_OF_STAMPS = 24  # captions of the stamps that are paraphrased, for a look at the triples
_ASKED_HELD_OUT = 60  # most held-out captions that are paraphrased, for the easier test

_Models = dict[str, DualEncoder]


def run_quickstart(config: QuickstartConfig) -> Report:
    """Run all stages, and print what each does.

    Raises:
        UserError: the source is invalid, or a stage failed.
    """
    check_report_folder(config.folder / "report")
    job = _Job(config)
    models, benchmarks = _of_stamps(job) if config.source is None else _of_own(job, config.source)
    _announce(4, f"Scoring {', '.join(models)}")
    settings = {"seed": config.seed, "cache": job.features}
    return evaluate(models, benchmarks, config.folder / "report", settings)


def _of_stamps(job: "_Job") -> tuple[_Models, list[Benchmark]]:
    """The models and benchmarks of the captioned stamps."""
    job.check()
    _announce(1, "Fetching and reading the captioned stamps")
    stamps = read_stamps(stamps_folder())
    if line := stamps.skipped():
        print(line)
    print(f"{len(stamps.learn)} pictures to learn from, {len(stamps.pool)} held out")
    config = job.config
    shown = min(config.paraphrase, _ASKED_OF_STAMPS)
    live = job.generate(_sampled(stamps.learn, shown, config.seed))
    for row in live.slice(0, 3).to_pylist():
        print(printable(" -> ".join(row[name] for name in TEXTS)))
    rows = with_starter(stamps.triples, config.starter)
    benchmarks = stamp_benchmarks(stamps, Arithmetic(max_broken=config.max_broken))
    return job.models(rows), benchmarks


def _of_own(job: "_Job", source: str) -> tuple[_Models, list[Benchmark]]:
    """The models and benchmarks of the user's own pictures."""
    _announce(1, f"Reading captions and pictures of {without_secrets(source)}")
    config, problems = job.config, Problems(job.config.max_broken)
    captions = list(read_captions(source, problems=problems))
    job.check()
    split = _split_source(job, source, captions, problems)
    learn = [row for row in split.learn if row.image]
    to_paraphrase = [
        *_sampled(learn, config.paraphrase, config.seed),
        *_sampled(split.held_out, min(_ASKED_HELD_OUT, config.paraphrase), config.seed),
    ]
    triples = job.generate(to_paraphrase)
    ids = pa.array([row.id for row in split.learn])
    own = triples.filter(pc.is_in(triples["id"], value_set=ids))
    rows = _with_captions(with_starter(own, config.starter), learn)
    return job.models(rows), own_benchmarks(
        split.learn, split.held_out, triples, Arithmetic(max_broken=config.max_broken)
    )


def _announce(number: int, stage: str) -> None:
    """Print which stage starts."""
    print(f"\n[{number}/4] {printable(stage)}", flush=True)


def _split_source(
    job: "_Job", source: str, captions: list[Caption], problems: Problems
) -> "_Split":
    """The captions whose picture can be read, split by picture; raises UserError if too few can be
    held out."""
    readable = _readable_captions(job, captions, problems)
    split = _split_pictures(readable, job.config.held_out, job.config.seed)
    print(f"{len(split.learn)} captions to learn from, {len(split.held_out)} held out")
    if without := sum(row.image is None for row in split.learn):
        print(f"{without} of them have no picture and are left out")
    if (pictures := len({row.image_id for row in split.held_out})) < K:
        what = f"only {pictures} pictures could be held out: the others share their captions"
        raise UserError(source, what, f"Give at least {K} pictures captions of their own.")
    return split


def _readable_captions(job: "_Job", captions: list[Caption], problems: Problems) -> list[Caption]:
    """The captions whose picture can be read; reports the others, and broken rows, in a file."""
    total = len(captions) + problems.count
    keys = {row.image: identity(row.image) for row in captions if row.image}
    _, broken = picture_features(job.base, keys, job.features)  # all are needed later
    for row in captions:
        if row.image in broken:
            problems.add(row.image, broken[row.image].what)
    problems.check(total)
    if problems.count:
        path = job.config.folder / "broken.txt"
        problems.write(path)
        print(f"{problems.count} broken rows or pictures are skipped; {printable(path)} lists them")
    return [row for row in captions if row.image not in broken]


@dataclass(frozen=True)
class _Job:
    """The stages that write files, each into its own folder in the output folder."""

    config: QuickstartConfig

    @property
    def device(self) -> str:
        """The processor for the built-in model, so that figures are the same everywhere."""
        return "cpu" if self.config.model == BUILT_IN else "auto"

    @cached_property
    def base(self) -> DualEncoder:
        """The base; training changes copies of it."""
        return load_model(self.config.model, self.device)

    @property
    def features(self) -> Path:
        """Folder of the image features."""
        return self.config.folder / "features"

    def check(self) -> None:
        """Raise UserError, before the first long stage, for what a later one would lack."""
        check_base(self.base)
        options, fresh = self.config.generate_config(self.written.parent), self.config.fresh
        Judge(options.filter_limits)  # raises without MiniLM's wheel
        check_generation(options.llm, options.outputs, make_backend(options.llm))
        for name in ("control", "tuned"):
            training = self.config.train_options(name == "control")
            with suppress(AnotherRun):  # starts from scratch
                check_training(training, self.config.folder / name, fresh, self.base)
        check_checkpoint_path(self.merged)

    @property
    def merged(self) -> Path:
        """Checkpoint of the merged model."""
        return self.config.folder / "merged" / "last.safetensors"

    @property
    def written(self) -> Path:
        """The triples of the built-in LLM."""
        return self.config.folder / "triples" / "triples.parquet"

    def generate(self, captions: list[Caption]) -> pa.Table:
        """Triples by the built-in LLM; empty if no answer passed the filters."""
        _announce(2, f"Paraphrasing {len(captions)} captions in two steps with the built-in LLM")
        options = self.config.generate_config(self.written.parent)
        judge = Judge(options.filter_limits)
        summary = generate(captions, options.llm, judge, options.outputs, total=len(captions))
        print(f"{summary.kept} of {summary.captions} captions have a triple")
        triples = read_triples(self.written) if summary.kept else SCHEMA.empty_table()
        pictures = {row.id: row.image for row in captions}  # in the file, without passwords
        return with_column(triples, "image", [pictures[x] for x in triples["id"].to_pylist()])

    def models(self, rows: pa.Table) -> _Models:
        """Base, the trained models and merged, in the order of the table."""
        names = ("control", "tuned")
        _announce(3, f"Training the text encoder: {' and '.join(names)}")
        trained = {name: self.train(name, rows) for name in names}
        merged = merge(self.base, trained["tuned"], _ALPHA)
        mixed = {"base": self.config.model, "tuned": "tuned", "alpha": _ALPHA}
        save_model(merged, self.merged, provenance(merged=mixed))
        return {"base": self.base, **trained, "merged": merged}

    def train(self, name: str, rows: pa.Table) -> DualEncoder:
        """One model, trained from base."""
        options = self.config.train_options(name == "control")
        data = prepare(
            rows, deepcopy(self.base), cache=self.features,
            problems=Problems(self.config.max_broken), facts=self.facts(name),
        )  # fmt: skip
        out, fresh = self.config.folder / name, self.config.fresh
        try:
            checkpoint = train(data, options, out, fresh=fresh)
        except AnotherRun:
            print(f"The captions, pictures or options have changed: {name} starts from scratch")
            checkpoint = train(data, options, out, fresh=True)
        return load_model(str(checkpoint), self.device)

    def facts(self, name: str) -> dict[str, Any]:
        """The origin of a model's texts, for its card."""
        used: dict[str, Any] = {}
        if name == "tuned" and self.config.starter:
            used["starter"] = read_provenance(STARTER)
        if name == "tuned" and self.config.source is not None:
            used["triples"] = read_provenance(self.written)
        return {"base": self.config.model, **used}


def _with_captions(triples: pa.Table, captions: list[Caption]) -> pa.Table:
    """The triples, and every caption of a picture without a triple, from which only L1 learns."""
    known = set(triples["id"].to_pylist())
    return with_captions(triples, [row for row in captions if row.image and row.id not in known])


def _sampled(rows: list[Caption], count: int, seed: int) -> list[Caption]:
    """At most `count` captions in their order, chosen by a hash of id and seed."""
    by_hash = sorted(rows, key=lambda row: text_hash(f"{seed} {row.id}"))
    chosen = {row.id for row in by_hash[:count]}
    return [row for row in rows if row.id in chosen]


class _Split(NamedTuple):
    """Captions to train on, and captions of the pictures that are held out."""

    learn: list[Caption]
    held_out: list[Caption]


def _split_pictures(captions: Iterable[Caption], held_out: int, seed: int) -> _Split:
    """Split by picture; pictures that share a caption stay together, so it is in one part only.

    The order of choice depends only on a hash of the text and the seed, so adding a picture moves
    few others.

    Args:
        captions: captions; those without a picture are used for training.
        held_out: number of pictures to hold out, at most a third of all.
        seed: seed of the split.

    Raises:
        UserError: too few pictures to split.
    """
    captions = list(captions)
    groups = _text_groups(captions)
    pictures = {row.image_id for row in captions if row.image}
    if len(pictures) < _FEWEST:
        what = f"only {len(pictures)} pictures have a caption"
        raise UserError("quickstart", what, f"Give at least {_FEWEST}; a few hundred is better.")
    sizes = Counter(groups[name] for name in pictures)
    left, chosen = min(held_out, len(pictures) // 3), set()
    for group in sorted(sizes, key=lambda name: text_hash(f"{seed} {name}")):
        if sizes[group] <= left:
            chosen.add(group)
            left -= sizes[group]
    return _Split(
        learn=[row for row in captions if groups[row.image_id] not in chosen],
        held_out=[row for row in captions if row.image and groups[row.image_id] in chosen],
    )


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
