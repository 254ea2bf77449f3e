"""The whole workflow. Each stage has its own folder and is reused when it is complete.

captions and pictures -> triples -> control, live, tuned, merged -> report, contact sheet, browser

The base is `mini` as included in ParaCLIP. On the stamps, `live` learns from the triples that the
built-in LLM writes during the run, and `tuned` from strong ones: the stamps' own and the starter
set. On the user's own pictures, `tuned` learns from the LLM's triples and the starter set.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from paraclip.data.captions import Caption
from paraclip.data.further_rows import with_starter
from paraclip.data.problems import Problems
from paraclip.data.reading import read_captions
from paraclip.data.triples import SCHEMA, read_provenance, read_triples
from paraclip.errors import UserError, printable
from paraclip.evaluation.benchmark import Benchmark
from paraclip.evaluation.scoring.vectors import Arithmetic
from paraclip.merging.merge import merge
from paraclip.models.checkpoint import save_model
from paraclip.models.encoder import DualEncoder
from paraclip.models.loading import load_model
from paraclip.paraphrase.run import generate
from paraclip.provenance import provenance
from paraclip.quickstart.captioned import CaptionedStamps, read_stamps
from paraclip.quickstart.config import QuickstartConfig
from paraclip.quickstart.page import Page, check_search_packages, stamps_file
from paraclip.quickstart.results import K, own_benchmarks, score, stamp_benchmarks, table
from paraclip.quickstart.rows import equal_steps, sampled, with_captions
from paraclip.quickstart.split import Split, split_pictures
from paraclip.quickstart.stamps import stamps_folder
from paraclip.quickstart.verdict import verdict
from paraclip.starter import STARTER
from paraclip.training.config import RunSettings
from paraclip.training.folder import AnotherRun
from paraclip.training.loop import train
from paraclip.training.prepare import prepare

ALPHA = 0.5
BASE = "mini"
STAGES = 4
ASKED_HELD_OUT = 60
"""Maximum number of held-out captions that are paraphrased, for the easier test."""


def quickstart_command(config: QuickstartConfig) -> None:
    """Run all stages and print the table.

    Raises:
        UserError: the source is invalid, or a stage failed.
    """
    if config.serve:
        check_search_packages()
    job = Job(config, Problems(config.max_broken))
    models, benchmarks = of_stamps(job) if config.source is None else of_own(job, config.source)
    announce(4, f"Scoring {', '.join(models)}")
    report = score(models, benchmarks, config, job.features)
    print(f"\n{table(report)}\n\n{verdict(report)}\n\n{output_paths(config.folder)}")
    page = page_of(config)
    if config.serve:
        page.open()
    else:
        print(f"\nSearch page, base and tuned side by side:\n  {page.commands()}")


def page_of(config: QuickstartConfig) -> Page:
    """The search page on the user's pictures, or on all captioned stamps."""
    if config.source:
        return Page(config.source, BASE, config.folder)
    stamps = stamps_folder()
    return Page(stamps_file(read_stamps(stamps).captions(), stamps), BASE, config.folder)


Models = dict[str, DualEncoder]


def of_stamps(job: "Job") -> tuple[Models, list[Benchmark]]:
    """The models and benchmarks of the captioned stamps."""
    announce(1, "Fetching and reading the captioned stamps")
    stamps = read_stamps(stamps_folder())
    if line := stamps.skipped():
        print(line)
    print(f"{len(stamps.learn)} pictures to learn from, {len(stamps.pool)} held out")
    config = job.config
    live = job.generate(sampled(stamps.learn, config.paraphrase, config.seed))
    strong = with_starter(stamps.triples, config.starter)
    runs = {"control": (strong, config.epochs), "tuned": (strong, config.epochs)}
    if len(live):
        runs["live"] = live_run(live, stamps, config, len(strong))
    else:
        print("No triple of the built-in LLM passed the filters: there is no model `live`")
    return job.models(runs), stamp_benchmarks(stamps, job.how)


def live_run(
    live: pa.Table, stamps: CaptionedStamps, config: QuickstartConfig, others: int
) -> tuple[pa.Table, int]:
    """Rows of the live triples with all captions, and the epochs for as many steps."""
    rows = with_captions(live, stamps.learn, config.seed)
    return rows, equal_steps(len(rows), config.epochs, config.batch_size, others)


def of_own(job: "Job", source: str) -> tuple[Models, list[Benchmark]]:
    """The models and benchmarks of the user's own pictures."""
    announce(1, f"Reading captions and pictures of {source}")
    split, config = split_source(job.config, source, job.problems), job.config
    learn = [row for row in split.learn if row.image]
    to_paraphrase = [
        *sampled(learn, config.paraphrase, config.seed),
        *sampled(split.held_out, min(ASKED_HELD_OUT, config.paraphrase), config.seed),
    ]
    triples = job.generate(to_paraphrase)
    ids = pa.array([row.id for row in split.learn])
    own = triples.filter(pc.is_in(triples["id"], value_set=ids))
    rows = with_captions(with_starter(own, config.starter), learn, config.seed)
    runs = dict.fromkeys(("control", "tuned"), (rows, config.epochs))
    return job.models(runs), own_benchmarks(split, triples, job.how)


def announce(number: int, stage: str) -> None:
    """Print which stage starts."""
    print(f"\n[{number}/{STAGES}] {printable(stage)}", flush=True)


def split_source(config: QuickstartConfig, source: str, problems: Problems) -> Split:
    """The captions of the user's source, split by picture; broken rows are listed in a file.

    Raises:
        UserError: too few pictures can be held out.
    """
    split = split_pictures(read_captions(source, problems=problems), config.held_out, config.seed)
    report_problems(problems, config)
    print(f"{len(split.learn)} captions to learn from, {len(split.held_out)} held out")
    if without := sum(row.image is None for row in split.learn):
        print(f"{without} of them have no picture and are left out")
    if (pictures := len({row.image_id for row in split.held_out})) < K:
        what = f"only {pictures} pictures could be held out: the others share their captions"
        raise UserError(source, what, f"Give at least {K} pictures captions of their own.")
    return split


def report_problems(problems: Problems, config: QuickstartConfig) -> None:
    """Print the number of broken rows and pictures, if any, and list them in a file."""
    if problems.count:
        path = config.folder / "broken.txt"
        problems.write(path)
        print(f"{problems.count} broken rows or pictures are skipped; {printable(path)} lists them")


def output_paths(out: Path) -> str:
    """The most important output files, for the last lines."""
    out = Path(printable(out))
    return (
        f"Contact sheet: {out / 'report' / 'contact_sheet.png'}\n"
        f"Examples:      {out / 'report' / 'browser.html'}\n"
        f"Report:        {out / 'report' / 'report.md'}\n"
        f"Tuned model:   {out / 'tuned' / 'last.safetensors'}\n"
        f"Merged model:  {out / 'merged' / 'best.safetensors'}"
    )


@dataclass(frozen=True)
class Job:
    """The stages that write files, each into its own folder in the output folder.

    Args:
        config: all options.
        problems: broken rows and pictures of the source.
    """

    config: QuickstartConfig
    problems: Problems

    @property
    def how(self) -> Arithmetic:
        """How vectors are computed for the scores."""
        return Arithmetic(max_broken=self.config.max_broken)

    @property
    def features(self) -> Path:
        """Folder of the image features."""
        return self.config.folder / "features"

    def generate(self, captions: list[Caption]) -> pa.Table:
        """Triples by the built-in LLM; empty if no answer passed the filters."""
        announce(2, f"Paraphrasing {len(captions)} captions in two steps with the built-in LLM")
        folder = self.config.folder / "triples"
        options = self.config.generate_config(folder)
        summary = generate(captions, options, folder, total=len(captions))
        print(f"{summary.kept} of {summary.captions} captions have a triple")
        path = folder / "triples.parquet"
        return read_triples(path) if summary.kept else SCHEMA.empty_table()

    def models(self, runs: dict[str, tuple[pa.Table, int]]) -> Models:
        """Base, the trained models and merged, in the order of the table.

        Args:
            runs: rows and epochs, by label.
        """
        announce(3, f"Training the text encoder: {', '.join(runs)}")
        base = load_model(BASE, device="cpu")
        trained = {name: self.train(name, rows, epochs) for name, (rows, epochs) in runs.items()}
        merged = merge(base, trained["tuned"], ALPHA)
        mixed = {"base": BASE, "tuned": "tuned", "alpha": ALPHA}
        out = self.config.folder / "merged" / "best.safetensors"
        save_model(merged, out, provenance(merged=mixed))
        order = [name for name in ("control", "live", "tuned") if name in trained]
        return {"base": base, **{name: trained[name] for name in order}, "merged": merged}

    def train(self, name: str, rows: pa.Table, epochs: int) -> DualEncoder:
        """One model, trained from base."""
        options = self.config.train_options(name == "control", epochs)
        problems = Problems(self.config.max_broken)
        data = prepare(
            rows, load_model(BASE, device="cpu"), options, cache=self.features, problems=problems,
            facts=self.facts(name),
        )  # fmt: skip
        self.report_new(problems)

        def run(fresh: bool) -> Path:
            return train(data, options, self.config.folder / name, RunSettings(fresh=fresh))

        return load_model(str(self.resumed_or_repeated(name, run)), device="cpu")

    def report_new(self, found: Problems) -> None:
        """Report broken pictures, once, since every model reads the same ones."""
        new = [one for one in found.listed if one not in self.problems.listed]
        for where, what in new:
            self.problems.add(where, what)
        if new:
            report_problems(self.problems, self.config)

    def facts(self, name: str) -> dict[str, Any]:
        """The origin of a model's texts, for its card."""
        written = self.config.folder / "triples" / "triples.parquet"
        used: dict[str, Any] = {}
        if name == "tuned" and self.config.starter:
            used["starter"] = read_provenance(STARTER)
        if name == "live" or (name == "tuned" and self.config.source is not None):
            used["triples"] = read_provenance(written)
        return {"base": BASE, **used}

    def resumed_or_repeated(self, name: str, run: Callable[[bool], Path]) -> Path:
        """The checkpoint of a stage, which starts from scratch if its inputs have changed."""
        try:
            return run(self.config.fresh)
        except AnotherRun:
            print(f"The captions, pictures or options have changed: {name} starts from scratch")
            return run(True)
