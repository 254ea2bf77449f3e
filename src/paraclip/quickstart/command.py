"""The whole job in five stages. Each stage has its own folder and is reused when it is complete.

captions and pictures -> base (aligned mini) -> triples -> control, tuned, merged -> report, picture
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from paraclip.data.captions import Caption
from paraclip.data.problems import Problems
from paraclip.data.reading import read_captions
from paraclip.data.triples import read_provenance, read_triples
from paraclip.errors import UserError, printable
from paraclip.files import text_hash
from paraclip.merging.merge import merge
from paraclip.models.checkpoint import save_model
from paraclip.models.encoder import DualEncoder
from paraclip.models.loading import load_model
from paraclip.models.mini import Mini
from paraclip.paraphrase.run import generate
from paraclip.provenance import provenance
from paraclip.quickstart.config import QuickstartConfig
from paraclip.quickstart.results import K, score_held_out
from paraclip.quickstart.split import Split, split_pictures
from paraclip.quickstart.stamps import PACKAGE, stamps_folder
from paraclip.training.config import RunSettings
from paraclip.training.folder import AnotherRun
from paraclip.training.loop import align, train
from paraclip.training.prepare import TrainingData, prepare, prepare_captions

ALPHA = 0.5


def quickstart_command(config: QuickstartConfig) -> None:
    """Run all stages and print the table.

    Raises:
        UserError: an option or the source is invalid, or a stage failed.
    """
    problems = Problems(config.max_broken)
    job = Job(config, config.folder, split_source(config, problems), problems)
    base = job.align()
    triples = job.generate()
    control = job.train("control", triples)
    tuned = job.train("tuned", triples)
    models = {
        "base": base,
        "control": control,
        "tuned": tuned,
        "merged": merge(base, tuned, ALPHA),
    }
    mixed = {"base": "base", "tuned": "tuned", "alpha": ALPHA}
    save_model(models["merged"], job.out / "merged" / "best.safetensors", provenance(merged=mixed))
    announce(5, "Scoring base, control, tuned and merged on the held-out pictures")
    report = score_held_out(models, job.split.held_out, triples, job.out, config)
    print(f"\n{report.table()}\n\n{output_paths(job.out)}")


def announce(number: int, stage: str) -> None:
    """Print which stage begins."""
    print(f"\n[{number}/5] {printable(stage)}", flush=True)


def split_source(config: QuickstartConfig, problems: Problems) -> Split:
    """The captions of the source, split by picture; broken rows are listed in a file.

    Raises:
        UserError: too few pictures can be held out.
    """
    source = config.source or str(stamps_folder())
    announce(1, f"Reading captions and pictures of {source}")
    split = split_pictures(read_captions(source, problems=problems), config.held_out, config.seed)
    report_problems(problems, config)
    print(f"{len(split.learn)} captions to learn from, {len(split.held_out)} held out")
    if without := sum(row.image is None for row in split.learn):
        print(f"{without} of them have no picture and are used only by the losses between texts")
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
    """The most important results, for the last lines."""
    out = Path(printable(out))
    return (
        f"Report:        {out / 'report' / 'report.md'}\n"
        f"Picture:       {out / 'report' / 'contact_sheet.png'}\n"
        f"Tuned model:   {out / 'tuned' / 'last.safetensors'}\n"
        f"Triples:       {out / 'triples' / 'triples.parquet'}"
    )


@dataclass(frozen=True)
class Job:
    """The stages that write files, each into its own folder in `out`."""

    config: QuickstartConfig
    out: Path
    split: Split
    problems: Problems

    @property
    def features(self) -> Path:
        """Folder of the image features."""
        return self.out / "features"

    def align(self) -> DualEncoder:
        """The base: `mini`, fitted to the pictures to learn from."""
        announce(2, "Fitting mini to the pictures: this is the base")
        mini = load_model("mini", device="cpu")
        assert isinstance(mini, Mini)
        data = self.prepare_base(mini)

        def run(fresh: bool) -> Path:
            settings = RunSettings(choose="best", fresh=fresh)
            return align(data, self.config.align_options, self.out / "base", settings)

        return load_model(str(self.resumed_or_repeated("base", run)), device="cpu")

    def prepare_base(self, mini: DualEncoder) -> TrainingData:
        """Captions and image features to fit the base to; broken pictures are listed."""
        broken = Problems(self.config.max_broken)
        facts = {"base": "mini", "source": Path(self.config.source or PACKAGE).name}
        data = prepare_captions(
            self.split.learn, mini, cache=self.features, problems=broken, facts=facts
        )
        if broken.count:
            self.problems.take(broken)
            report_problems(self.problems, self.config)
        return data

    def resumed_or_repeated(self, name: str, run: Callable[[bool], Path]) -> Path:
        """The checkpoint of a stage, which starts from scratch if its inputs have changed."""
        try:
            return run(self.config.fresh)
        except AnotherRun:
            print(f"The captions, pictures or options have changed: {name} starts from scratch")
            return run(True)

    def generate(self) -> pa.Table:
        """Triples of both sides, by the built-in LLM; the held-out ones only serve the scores."""
        announce(3, "Paraphrasing the captions in two steps with the built-in LLM")
        folder = self.out / "triples"
        rows = [*sampled(self.split.learn, self.config), *self.split.held_out]
        summary = generate(rows, self.config.generate_config(folder), folder, total=len(rows))
        print(summary.table())
        return read_triples(folder / "triples.parquet")

    def train(self, name: str, triples: pa.Table) -> DualEncoder:
        """The control or the tuned model, from the same base and rows."""
        announce(4, f"Training the text encoder: {name}")
        base = load_model(str(self.out / "base" / "best.safetensors"), device="cpu")
        ids = pa.array([row.id for row in self.split.learn])
        rows = triples.filter(pc.is_in(triples["id"], value_set=ids))
        facts = {
            "base": "mini, aligned to the pictures of the learning side",
            "triples": read_provenance(self.out / "triples" / "triples.parquet"),
        }

        options = self.config.train_options(name == "control")
        broken = Problems(self.config.max_broken)  # `align` has reported them
        data = prepare(rows, base, options, cache=self.features, problems=broken, facts=facts)

        def run(fresh: bool) -> Path:
            return train(data, options, self.out / name, RunSettings(fresh=fresh))

        return load_model(str(self.resumed_or_repeated(name, run)), device="cpu")


def sampled(rows: list[Caption], config: QuickstartConfig) -> list[Caption]:
    """At most `config.paraphrase` captions in their order, chosen by a hash of id and seed."""
    by_hash = sorted(rows, key=lambda row: text_hash(f"{config.seed} {row.id}"))
    chosen = {row.id for row in by_hash[: config.paraphrase]}
    return [row for row in rows if row.id in chosen]
