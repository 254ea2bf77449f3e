"""`generate`: its options, the function, and what the command prints."""

from dataclasses import KW_ONLY, asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from annotated_types import Ge, Gt, Le

from paraclip.commands.packages import require_packages
from paraclip.data.captions import ColumnOptions, Columns
from paraclip.errors import UserError, printable
from paraclip.options import Checked, Count, Names, PathName, Share, takes
from paraclip.paraphrase.backends import UNKNOWN_LICENCE, LLMOptions, backend_kind, llm_options
from paraclip.paraphrase.config import (
    CaptionSource,
    Filters,
    Limits,
    Outputs,
    Part,
    read_part,
    read_words,
)
from paraclip.paraphrase.prompts import read_kinds, read_prompts
from paraclip.provenance import FOLDED, publishable, shown_path

if TYPE_CHECKING:  # `paraclip generate --help` needs no pyarrow
    from paraclip.paraphrase.filters.judge import Judge
    from paraclip.paraphrase.generation import Generation

_SHOWN = 5  # captions


@dataclass(frozen=True)
class GenerateOptions(Checked):
    """What is paraphrased, by whom, and which answers are kept."""

    source: Annotated[tyro.conf.Positional[PathName], tyro.conf.arg(metavar="CAPTIONS")]
    """Folder of pictures and texts; CSV, JSONL, Parquet or COCO file; WebDataset shards."""

    out: PathName
    """Folder of the triples, the log of all answers and the counts."""

    _: KW_ONLY

    columns: ColumnOptions = Columns()  # noqa: RUF009 frozen
    """Names of the columns."""

    max_broken: Share = 0.01
    """Largest share (0 to 1) of broken rows to skip; more is an error."""

    first: Count | None = None
    """Paraphrase only the first N captions, as a trial; a later run may do the rest."""

    backend: str = "openai"
    """openai: a server with OpenAI's interface, such as Ollama; or that of an installed package."""

    model: str | None = None
    """The server's name of the model, or PARACLIP_MODEL."""

    base_url: tyro.conf.UseAppendAction[Names] = ()
    """URL of the server, or OPENAI_BASE_URL, such as http://localhost:11434/v1 (Ollama); repeat it
    for several equal servers."""

    words: str | None = None
    """Paraphrase only captions of so many words, such as 2-15."""

    prompts: PathName | None = None
    """TOML file of your prompts: step_1, with {caption}, and step_2, with {paraphrase_1}."""

    kinds: str = ""
    """Also ask for these wordings: short, verbose, colloquial, technical, typo, other_person,
    contrast; with commas."""

    candidates: Annotated[int, Ge(1), Le(128)] | None = None
    """Answers per question, of which the best is kept. Default: the backend's own,
    1 for a server."""

    temperature: Annotated[float, Ge(0), Le(2)] | None = None
    """Sampling temperature. Default: the backend's, 1 for a server."""

    top_p: Annotated[float, Gt(0), Le(1)] | None = None
    """Probability mass that is drawn from. Default: 1 with --temperature, else the backend's, 0.1
    for a server."""

    max_tokens: Annotated[int, Ge(1), Le(100_000)] | None = None
    """Maximum number of tokens of an answer. Default: the backend's, 64 for a server."""

    filters: Annotated[Filters, tyro.conf.arg(metavar="NAME")] = "default"
    """Which answers are refused. plain: refusals, copies, repetitions and the like, whatever they
    mean; none: empty ones only."""

    concurrency: Annotated[int, Ge(1), Le(100_000)] | None = None
    """Maximum number of concurrent questions; overload lowers it. Default: 16."""

    per_minute: (
        tuple[Annotated[float, Ge(0.01), Le(10**9)], Annotated[float, Ge(1), Le(10**12)]] | None
    ) = None
    """Maximum numbers of requests and of tokens per minute."""

    prices: tuple[Annotated[float, Ge(0)], Annotated[float, Ge(0)]] | None = None
    """Dollars per million tokens of prompts and of answers, if genai-prices has none."""

    max_cost: Annotated[float, Ge(0)] | None = None
    """Stop when the cost reaches this many dollars, earlier runs included."""

    to_file: PathName | None = None
    """New folder for the open questions as batch files; no question is sent."""

    from_file: PathName | None = None
    """Folder of an earlier --to-file, with the answers in it."""

    licence: str | None = None
    """Licence or terms of the answers, for the provenance of triples and models."""

    fresh: bool = False
    """Start from scratch; earlier answers are deleted once the server answers."""

    part: str | None = None
    """Run only this part of all captions, such as 3/100; the last part joins all."""

    ray_workers: Annotated[int, Ge(1), Le(10_000)] | None = None
    """Number of processes on a Ray cluster that run all parts. Default: ask without Ray."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if tyro.MISSING not in (self.source, self.out):  # else the command line completes a file
            self._check_together()

    def _check_together(self) -> None:
        dry_run = isinstance(self, GenerateConfig) and self.dry_run
        by_files, files = self.to_file or self.from_file, "--to-file and --from-file"
        remote, ray = self.backend == "openai", self.ray_workers
        in_parts = "--ray-workers" if ray else "--part" if self.part else ""
        for wrong, option, what, hint in (
            (FOLDED.fullmatch(str(self.out)) and (not in_parts or dry_run), "--out",
             "is a URL", "Name a folder; runs in parts write to object stores."),
            (by_files and not remote, files, "is for servers only",
             "Give --backend openai and --model."),
            (ray and not remote, "--ray-workers", "is for servers only",
             "Give --backend openai and --model."),
            (by_files and dry_run, "--dry-run", "asks a server, and files need none",
             "Leave one of them out."),
            (dry_run and self.fresh, "--fresh", "deletes the answers of earlier runs",
             "Leave it out with --dry-run."),
            (self.from_file and self.fresh, "--fresh", "deletes the answers of earlier rounds",
             "Leave it out with --from-file."),
            (ray and self.part, "--part", "does not go with --ray-workers",
             "Leave it out: Ray runs all parts."),
            (by_files and in_parts, in_parts, f"does not go with {files}",
             f"Leave out {in_parts}."),
            (self.max_cost is not None and in_parts, "--max-cost", f"does not go with {in_parts}",
             "Bound the run with --first; --dry-run estimates its cost."),
        ):  # fmt: skip
            if wrong:
                raise UserError(option, what, hint)
        if self.part:
            read_part(self.part)
        if self.words:
            read_words(self.words)

    @property
    def one_part(self) -> Part | None:
        """The part to run; None for all captions."""
        return read_part(self.part) if self.part else None

    @property
    def captions(self) -> CaptionSource:
        """Which captions are read, and how."""
        return CaptionSource(str(self.source), self.columns, self.max_broken, self.first)

    @property
    def llm(self) -> LLMOptions:
        """How the LLM is asked, with the backend's defaults filled in."""
        return llm_options(
            self.backend,
            model=self.model,
            base_url=tuple(map(str, self.base_url)),
            candidates=self.candidates,
            temperature=self.temperature,
            top_p=1.0 if self.top_p is None and self.temperature is not None else self.top_p,
            max_tokens=self.max_tokens,
            prompts=read_prompts(self.prompts) if self.prompts else None,
            words=read_words(self.words) if self.words else None,
            concurrency=self.concurrency or 16 * (self.ray_workers or 1),
            per_minute=self.per_minute,
            prices=self.prices,
            max_cost=self.max_cost,
            kinds=read_kinds(self.kinds),
        )

    @property
    def outputs(self) -> Outputs:
        """Where to write, with all options for the provenance."""
        licence = UNKNOWN_LICENCE if self.model else backend_kind(self.backend).licence
        settings = asdict(self) | {
            "base_url": ", ".join(map(str, self.base_url)) or None,
            "licence": self.licence or licence,
            "llm": asdict(self.llm) | {"base_url": None},
        }
        return Outputs(Path(self.out), publishable(settings), self.fresh)


@dataclass(frozen=True, kw_only=True)
class GenerateConfig(GenerateOptions):
    """Paraphrase captions in two steps with a large language model; writes triples.

    After an interruption the same command resumes.
    """

    dry_run: bool = False
    """Show what is read; ask about 32 captions and estimate cost and time for all."""


@takes(GenerateOptions)
def generate(options: GenerateOptions) -> Path:
    """Paraphrase captions in two steps with a large language model; a stopped run resumes.

    Args:
        options: those below, such as `model="gpt-4o-mini"` or `columns=Columns(caption="text")`.

    Returns:
        The triples, a Parquet file.

    Raises:
        UserError: the captions cannot be read, the server fails, or no caption got an answer.

    Example:
        >>> generate("my_pictures", "runs/triples", model="gpt-4o-mini")  # doctest: +SKIP
    """
    generation = run_generation(options, _make_judge(options))
    generation.check()
    return Path(generation.triples)


def generate_command(config: GenerateConfig) -> None:
    """Generate triples and print the counts, or with --dry-run what is read and an estimate."""
    judge = _make_judge(config)
    if config.dry_run:
        _print_plan(config, judge)
        return
    from paraclip.paraphrase.cost import show_dollars
    from paraclip.paraphrase.outputs import FAILED

    generation = run_generation(config, judge)
    summary, problems = generation.summary, generation.problems
    spent, triples = summary.spent, shown_path(generation.triples)
    print(summary.table())
    print(printable(f"{summary.kept:,} triples in {triples}"))
    tokens = f"{spent['prompt_tokens']:,} + {spent['answer_tokens']:,} tokens"
    print(f"{tokens}, cost {show_dollars(spent['dollars'])}")
    if summary.stopped:
        without = "the same command without it goes through the rest"
        print(f"{summary.stopped} stopped the run; {without}.")
    if problems.count:
        print(problems.summary())
    for line in generation.notes:
        print(printable(line))
    if unanswered := summary.failed - summary.unjudged:
        print(f"{unanswered:,} captions got no answer: {generation.again} asks them again.")
    if summary.unjudged:
        print(f"{summary.unjudged:,} captions failed because of an error in judging their answers.")
        print(f"Please report it, with the reasons in {FAILED}.")
    generation.check()  # last, because the counts explain the error


def _make_judge(options: GenerateOptions) -> "Judge":
    """The filters; first, because without MiniLM's files it fails, before the server is asked."""
    require_packages("generate", options)
    from paraclip.paraphrase.filters.judge import Judge

    return Judge(Limits(filters=options.filters))


def run_generation(options: GenerateOptions, judge: "Judge") -> "Generation":
    """Paraphrase what the options name."""
    from paraclip.paraphrase.generation import generate_from_source

    return generate_from_source(
        options.captions, options.llm, judge, options.outputs,
        to_file=options.to_file, from_file=options.from_file, part=options.one_part,
        ray_workers=options.ray_workers,
    )  # fmt: skip


def _print_plan(config: GenerateConfig, judge: "Judge") -> None:
    from paraclip.paraphrase.run import count_captions, estimate

    with count_captions(config.captions, config.outputs.folder) as counts:
        for row in islice(counts.rows(), _SHOWN):
            print("\t".join(map(printable, (row.id, row.caption, row.image or "(no picture)"))))
        captions = counts.captions
        pictures = sum(row.image is not None for row in counts.rows())
        print(
            f"{captions:,} captions, {pictures:,} with a picture, {captions - pictures:,} without"
        )
        if counts.problems.count:
            print(counts.problems.summary())
        found = estimate(counts.rows(), captions, config.llm, judge, config.outputs)
    print("\n".join(map(printable, found.table().split("\n"))))
