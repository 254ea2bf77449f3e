"""Options of `paraclip generate`; the string below a field is its help."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from annotated_types import Ge, Le

from paraclip.data.config import ColumnOptions, Columns
from paraclip.errors import UserError
from paraclip.options import Checked, Count, Share
from paraclip.paraphrase.backends import UNKNOWN_LICENCE, LLMOptions, backend_kind, llm_options
from paraclip.paraphrase.kinds import read_kinds
from paraclip.provenance import FOLDED, publishable


@dataclass(frozen=True)
class Limits:
    """Thresholds of the filters; `docs/guide/generate.md` describes them."""

    similarity: float = 0.35
    """Minimum MiniLM cosine between an answer and its source, -1 to 1."""
    support: float = 0.1
    """Minimum support of every new content word by the source's words: cosine of MiniLM's word
    vectors in context, -1 to 1."""
    exchange: float = 0.5
    """The same for a word that replaces another one while most other words are unchanged."""
    kept: float = 0.25
    """Minimum share of the source's content words that the answer must keep, 0 to 1."""
    growth: float = 2.2
    """Maximum number of words of an answer, as a multiple of the source's (plus 4 words)."""
    words: int = 60
    """Maximum number of words of an answer."""
    changed_kind: bool = False
    """Reject an answer that names another kind of thing than its source ("canine" for "pony"), by a
    list of common kinds, even if most other words have changed."""
    fault: float = 1.0
    """Maximum probability of a fault according to the checker (`filters/minilm.py`), 0 to 1; 1
    switches it off."""


STRONG = Limits()
CHECKED = Limits(similarity=0.2, support=-1.0, exchange=-1.0, kept=0.0, fault=0.6)
"""The checker instead of the limits on vectors; the choice is in `recipes/filters/README.md`."""
LIMITS = {"strong": STRONG, "checked": CHECKED}


@dataclass(frozen=True)
class CaptionSource:
    """Captions, and how they are read."""

    name: str  # folder, file or pattern, as for `read_captions`
    columns: Columns = Columns()  # noqa: RUF009 frozen
    max_broken: float = 0.01  # largest share of broken rows, 0 to 1
    first: int | None = None  # number of captions to read, at most


@dataclass(frozen=True)
class Outputs:
    """The folder of a run, and what is written there."""

    folder: Path
    settings: Mapping[str, Any]  # of the run, for the provenance; `licence` is that of the answers
    fresh: bool = False  # delete earlier answers


@dataclass(frozen=True)
class Part:
    """One of the parts of a large run: the captions whose ids choose it."""

    number: int  # from 1
    of: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"part-{self.number}-of-{self.of}"


def _read_part(text: str) -> Part:
    """The part that a text such as `3/100` names; raises UserError."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UserError("--part", f"{text!r} names no part", "Give 1/8 for the first of eight.")
    return Part(int(found[1]), int(found[2]))


@dataclass(frozen=True)
class GenerateConfig(Checked):
    """Paraphrase captions in two steps with a large language model; writes triples.

    After an interruption the same command resumes.
    """

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CAPTIONS")]
    """Folder of pictures and texts; CSV, JSONL, Parquet or COCO file; WebDataset shards."""

    out: str
    """Folder of the triples, the log of all answers and the counts."""

    columns: ColumnOptions = Columns()  # noqa: RUF009 frozen
    """Names of the columns."""

    max_broken: Share = 0.01
    """Largest share (0 to 1) of broken rows to skip; more is an error."""

    first: Count | None = None
    """Paraphrase only the first N captions, as a trial; a later run may do the rest."""

    dry_run: bool = False
    """Show what is read; ask about 32 captions and estimate cost and time for all."""

    backend: str = "openai"
    """openai: a server with OpenAI's interface, such as Ollama; or that of an installed package."""

    model: str | None = None
    """The server's name of the model, or PARACLIP_MODEL."""

    base_url: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """URL of the server, or OPENAI_BASE_URL, such as http://localhost:11434/v1 (Ollama); repeat it
    for several equal servers."""

    kinds: str = ""
    """Also ask for these wordings: short, verbose, colloquial, technical, typo, other_person,
    contrast; with commas."""

    candidates: Annotated[int, Ge(1), Le(128)] | None = None
    """Answers per question, of which the best is kept. Default: the backend's own,
    1 for a server."""

    temperature: Annotated[float, Ge(0), Le(2)] | None = None
    """Sampling temperature. Default: the backend's own, with its top_p."""

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

    to_file: str | None = None
    """New folder for the open questions as batch files; no question is sent."""

    from_file: str | None = None
    """Folder of an earlier --to-file, with the answers in it."""

    limits: Literal["strong", "checked"] = "strong"
    """Filters: strong compares vectors; checked asks a small model in place of that."""

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
        by_files, files = self.to_file or self.from_file, "--to-file and --from-file"
        remote, ray = self.backend == "openai", self.ray_workers
        in_parts = "--ray-workers" if ray else "--part" if self.part else ""
        for wrong, option, what, hint in (
            (FOLDED.fullmatch(self.out) and (not in_parts or self.dry_run), "--out",
             "is a URL", "Name a folder; runs in parts write to object stores."),
            (by_files and not remote, files, "is for servers only",
             "Give --backend openai and --model."),
            (ray and not remote, "--ray-workers", "is for servers only",
             "Give --backend openai and --model."),
            (by_files and self.dry_run, "--dry-run", "asks a server, and files need none",
             "Leave one of them out."),
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
            _read_part(self.part)

    @property
    def one_part(self) -> Part | None:
        """The part to run; None for all captions."""
        return _read_part(self.part) if self.part else None

    @property
    def captions(self) -> CaptionSource:
        """Which captions are read, and how."""
        return CaptionSource(self.source, self.columns, self.max_broken, self.first)

    @property
    def llm(self) -> LLMOptions:
        """How the LLM is asked, with the backend's defaults filled in."""
        return llm_options(
            self.backend,
            model=self.model,
            base_url=self.base_url,
            candidates=self.candidates,
            temperature=self.temperature,
            top_p=None if self.temperature is None else 1.0,
            concurrency=self.concurrency or 16 * (self.ray_workers or 1),
            per_minute=self.per_minute,
            prices=self.prices,
            max_cost=self.max_cost,
            kinds=read_kinds(self.kinds),
        )

    @property
    def filter_limits(self) -> Limits:
        """The thresholds that `limits` names."""
        return LIMITS[self.limits]

    @property
    def outputs(self) -> Outputs:
        """Where to write, with all options for the provenance."""
        licence = UNKNOWN_LICENCE if self.model else backend_kind(self.backend).licence
        settings = asdict(self) | {
            "base_url": ", ".join(self.base_url) or None,
            "licence": self.licence or licence,
            "llm": asdict(self.llm) | {"base_url": None},
            "filter_limits": asdict(self.filter_limits),
        }
        return Outputs(Path(self.out), publishable(settings), self.fresh)
