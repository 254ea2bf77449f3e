"""Options of `paraclip generate`; the string below a field is its help."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Ge, Le

from paraclip.data.config import ColumnOptions, Columns
from paraclip.options import Checked, Count, Share
from paraclip.paraphrase.backends import UNKNOWN_LICENCE, LLMOptions, backend_kind, llm_options


@dataclass(frozen=True)
class Limits:
    """Thresholds of the filters; `docs/generate.md` describes them."""

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
    doubtful: bool = False
    """Reject an answer with other relations ("in" for "under", "him" for "it"), another grammatical
    number ("couples" for "a couple") or a repeated word; for small generators."""
    fault: float = 1.0
    """Maximum probability of a fault according to the checker (`filters/minilm.py`), 0 to 1; 1
    switches it off."""
    parser: bool = False
    """Compare who does what to whom with spaCy's dependency parser."""


STRONG = Limits()
CHECKED = Limits(similarity=0.2, support=-1.0, exchange=-1.0, kept=0.0, fault=0.6)
"""The checker instead of the limits on vectors; chosen by
`benchmarks/generation/filters.py --choose`."""
SMALL = Limits(
    similarity=0.7, support=0.76, kept=1.0, growth=1.6, words=40, changed_kind=True, doubtful=True
)
LIMITS = {"strong": STRONG, "checked": CHECKED, "small": SMALL}


@dataclass(frozen=True)
class GenerateConfig(Checked):
    """Paraphrase captions in two steps with a large language model; writes triples.

    After an interruption the same command resumes.
    """

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CAPTIONS")]
    """Captions: folder of pictures, each with a .txt of the same name; CSV, TSV, JSONL or Parquet
    file; COCO captions JSON; WebDataset shards ("shards/{00000..00012}.tar")."""

    out: Path
    """Folder for triples.parquet, rejected.jsonl, failed.jsonl, summary.json and the log of all
    answers, answers.jsonl."""

    columns: ColumnOptions = Columns()  # noqa: RUF009 frozen
    """Names of the columns."""

    max_broken: Share = 0.01
    """Largest share (0 to 1) of broken rows to skip; more is an error."""

    first: Count | None = None
    """Paraphrase only the first N captions, as a trial. A later run with more captions, or without
    this option, asks only about the rest. Default: all."""

    dry_run: bool = False
    """Show what is read and which rows are broken, ask about 32 captions, and estimate tokens, cost
    and time for all. The answers are logged, so the run itself does not repeat these questions."""

    backend: str = "builtin"
    """builtin: SmolLM2-135M with ParaCLIP's paraphrasing adapter, on this machine. openai: any
    OpenAI-compatible server (OpenAI, vLLM, llama.cpp, Ollama)."""

    model: str | None = None
    """Name of the server's model; for builtin a .gguf file with another model. Default: the
    variable PARACLIP_MODEL; for builtin SmolLM2."""

    base_url: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """URL of the server, for example http://localhost:8000/v1. Repeat it for several servers of the
    same model: each question goes to the least busy one. Default: the variable OPENAI_BASE_URL,
    else OpenAI's server. The key is read from OPENAI_API_KEY; local servers need none."""

    candidates: Annotated[int, Ge(1), Le(128)] | None = None
    """Number of answers sampled per question; the best one that passes the filters is kept.
    Default: 6 for builtin, else 1."""

    temperature: Annotated[float, Ge(0), Le(2)] | None = None
    """Sampling temperature, without nucleus sampling. Default: 0.7 with top_p 0.9 for builtin, else
    1.0 with top_p 0.1 (as in the paper)."""

    concurrency: Annotated[int, Ge(1), Le(100_000)] | None = None
    """Maximum number of concurrent questions. Rate limits, status 503 and time-outs halve the
    current number; answers increase it again. Default: 16, for each worker."""

    per_minute: (
        tuple[Annotated[float, Ge(0.01), Le(10**9)], Annotated[float, Ge(1), Le(10**12)]] | None
    ) = None
    """Maximum numbers of requests and of tokens per minute, prompts and answers together. Default:
    no limit but the server's."""

    prices: tuple[Annotated[float, Ge(0)], Annotated[float, Ge(0)]] | None = None
    """Prices in dollars per million tokens of prompts and of answers. Default: those of
    genai-prices for the vendor's URL and model; unknown for other servers."""

    max_cost: Annotated[float, Ge(0)] | None = None
    """Stop when the cost reaches this many dollars, including earlier runs with the same log.
    Questions in flight are still paid."""

    to_file: Path | None = None
    """New folder for the open questions as files in OpenAI's batch format, for a batch API or `vllm
    run-batch`. No question is sent to a server."""

    from_file: Path | None = None
    """Folder of an earlier --to-file, with the answers in it (any .jsonl in addition to the
    requests). With --to-file, the questions that are then open are written to a new folder."""

    limits: Literal["auto", "strong", "checked", "small"] = "auto"
    """Strictness of the filters. strong: accept the generator's synonyms. checked: instead of
    comparing words by vectors, use a small model that reads both texts together. small: check every
    new word. auto: small for builtin, else strong."""

    parse_roles: bool = False
    """Also compare who does what to whom with spaCy's dependency parser (the extra `tags`), which
    rejects most swapped roles."""

    drop_near_duplicates: bool = False
    """Reject triples that are nearly equal to an earlier one (MinHash of word trigrams; needs 0.6
    KiB of memory per triple)."""

    licence: str | None = None
    """Licence or terms of the generator's answers; recorded in the triples and in the cards of
    models trained on them. Default: the built-in model's; none for a server."""

    fresh: bool = False
    """Start from scratch. The answers in the output folder are deleted once the server answers."""

    ray_workers: Annotated[int, Ge(1), Le(10_000)] | None = None
    """Number of asking processes on one machine or on the Ray cluster that RAY_ADDRESS names; --out
    may be the URL of an object store. Needs --backend openai. Default: ask without Ray."""

    def __post_init__(self) -> None:
        one: object = self.base_url  # in Python, one server may be given as a string
        if one is None or isinstance(one, str):
            object.__setattr__(self, "base_url", () if one is None else (one,))
        super().__post_init__()

    @property
    def by_files(self) -> bool:
        """Whether questions and answers are exchanged as files."""
        return self.to_file is not None or self.from_file is not None

    @property
    def terms(self) -> str:
        """Licence or terms of the answers, for the provenance."""
        kind = backend_kind(self.backend)
        return self.licence or (UNKNOWN_LICENCE if self.model else kind.licence)

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
        )

    @property
    def filter_limits(self) -> Limits:
        """The thresholds that `limits` and `parse_roles` name."""
        name = backend_kind(self.backend).limits if self.limits == "auto" else self.limits
        return replace(LIMITS[name], parser=self.parse_roles)
