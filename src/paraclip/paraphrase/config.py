"""Options of `paraclip generate`; the string below a field is its help."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Ge, Gt, Le

from paraclip.data.config import ColumnOptions, Columns
from paraclip.options import Checked, Count, Share


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


BUILTIN_LICENCE = (
    "SmolLM2-135M-Instruct Apache-2.0; ParaCLIP's adapter with the terms in its model card "
    "(it learnt from a vendor's model and from Flickr8k captions)"
)
UNKNOWN_LICENCE = "not stated: see the terms of the generator's vendor"
BUILTIN_SLOTS = 32  # sequences that the built-in model decodes at the same time

STRONG = Limits()
CHECKED = Limits(similarity=0.2, support=-1.0, exchange=-1.0, kept=0.0, fault=0.6)
"""The checker instead of the limits on vectors; chosen by
`benchmarks/generation/filters.py --choose`."""
SMALL = Limits(
    similarity=0.7, support=0.76, kept=1.0, growth=1.6, words=40, changed_kind=True, doubtful=True
)


@dataclass(frozen=True)
class GenerateConfig(Checked):
    """Paraphrase captions in two steps with a large language model; writes triples.

    After an interruption the same command resumes.
    """

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CAPTIONS")]
    """Captions: folder of pictures, each with a .txt of the same name; CSV, TSV, JSONL or Parquet
    file; COCO captions JSON; WebDataset shards."""

    out: Path
    """Folder for triples.parquet, rejected.jsonl, failed.jsonl, summary.json and the log of all
    answers, answers.jsonl."""

    columns: ColumnOptions = Columns()  # noqa: RUF009 frozen
    """Names of the columns."""

    first: Count | None = None
    """Paraphrase only the first N captions, as a trial. A later run with more captions, or without
    this option, asks only about the rest. Default: all."""

    backend: str = "builtin"
    """builtin: SmolLM2-135M with ParaCLIP's paraphrasing adapter, on this machine. openai: any
    OpenAI-compatible server (OpenAI, vLLM, llama.cpp, Ollama)."""

    model: str | None = None
    """Name of the server's model. Default: the variable PARACLIP_MODEL."""

    base_url: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """URL of the server, for example http://localhost:8000/v1. Repeat it for several servers of the
    same model: each question goes to the least busy one. Default: the variable OPENAI_BASE_URL,
    else OpenAI's server. The key is read from OPENAI_API_KEY; local servers need none."""

    adapter: Path | None = None
    """LoRA adapter for the built-in model, a GGUF file trained on the prompts of --style short (see
    recipes/paraphraser). Default: ParaCLIP's."""

    style: Literal["auto", "paper", "few-shot", "short"] = "auto"
    """Style of the prompts. paper: only instructions, for strong models. few-shot: the same with
    examples. short: the prompts of the built-in adapter. auto: short for builtin, else paper."""

    candidates: Annotated[
        Annotated[int, Ge(1), Le(128)] | None, tyro.conf.arg(aliases=["--samples"])
    ] = None
    """Number of answers sampled per question; the best one that passes the filters is kept.
    Default: 6 for builtin, else 1."""

    asks: Annotated[int, Ge(1), Le(100)] | None = None
    """Maximum number of times that a question is asked until an answer passes the filters. Default:
    2 for builtin, else 1."""

    temperature: Annotated[float, Ge(0), Le(2)] | None = None
    """Sampling temperature. Default: 0.7 for builtin, else 1.0 (as in the paper)."""

    top_p: Annotated[float, Gt(0), Le(1)] | None = None
    """Probability mass of nucleus sampling, 0 to 1. Default: 0.9 for
    builtin, else 0.1 (as in the paper)."""

    max_tokens: Annotated[int, Ge(1), Le(4096)] = 64
    """Maximum number of tokens of an answer. Answers that reach this limit are rejected."""

    concurrency: Annotated[int, Ge(1), Le(100_000)] | None = None
    """Maximum number of concurrent questions. Rate limits, status 503 and time-outs halve the
    current number; answers increase it again. Default: 16."""

    requests_per_minute: Annotated[float, Ge(0.01), Le(10**9)] | None = None
    """Maximum number of requests per minute, evenly spaced. Default: no limit."""

    tokens_per_minute: Annotated[float, Ge(1), Le(10**12)] | None = None
    """Maximum number of tokens per minute, prompts and answers together. Default: no limit."""

    prices: tuple[Annotated[float, Ge(0)], Annotated[float, Ge(0)]] | None = None
    """Prices in dollars per million tokens of prompts and of answers. Default: those of
    genai-prices for the vendor's URL and model; unknown for other servers."""

    max_cost: Annotated[float, Ge(0)] | None = None
    """Stop when the cost reaches this many dollars, including earlier runs with the same log.
    Questions in flight are still paid."""

    max_rows: Count | None = None
    """Stop after this number of triples."""

    batch_requests: Annotated[int, Ge(1), Le(50_000)] = 50_000
    """Maximum number of requests in a file of --to-file."""

    to_file: Path | None = None
    """New folder for the open questions as files in OpenAI's batch format, for `vllm run-batch` and
    similar runners. No question is sent to a server."""

    from_file: Path | None = None
    """Folder of an earlier --to-file, with the runner's answers in it (any .jsonl in addition to
    the requests). With --to-file, the questions that are then open are written to a new folder."""

    dry_run: bool = False
    """Ask about only 32 captions, and estimate tokens, cost and time for all. The answers are
    logged, so the run itself does not repeat these questions."""

    timeout: Annotated[float, Ge(0.001), Le(86_400)] = 60.0
    """Maximum time in seconds from a request to the last byte of its answer."""

    max_retries: Annotated[int, Ge(0), Le(100)] = 5
    """Maximum number of retries after a time-out, a rate limit or a server error, with exponential
    backoff. A Retry-After header of the server is always respected."""

    limits: Literal["auto", "strong", "checked", "small"] = "auto"
    """Strictness of the filters. strong: accept the generator's synonyms. checked: instead of
    comparing words by vectors, use a small model that reads both texts together. small: check every
    new word. auto: small for builtin, else strong."""

    min_similarity: Share | None = None
    """Minimum MiniLM cosine between an answer and its source (0 to 1); overrides --limits."""

    min_support: Share | None = None
    """Minimum support of a new content word (0 to 1); overrides --limits."""

    max_fault: Share | None = None
    """Maximum probability of a fault (0 to 1) according to the checker, a small model that reads
    source and answer together; 1 switches it off. Overrides --limits."""

    parse_roles: bool = False
    """Also compare who does what to whom with spaCy's dependency parser (the extra `tags`), which
    rejects most swapped roles."""

    drop_near_duplicates: bool = False
    """Reject triples that are nearly equal to an earlier one (MinHash of word trigrams; needs 0.6
    KiB of memory per triple)."""

    max_broken: Share = 0.01
    """Largest share (0 to 1) of broken rows to skip; more is an error."""

    jsonl: bool = False
    """Also write triples.jsonl in the paper's layout."""

    licence: str | None = None
    """Licence or terms of the generator's answers; recorded in the triples and in the cards of
    models trained on them. Default: the built-in model's; none for a server."""

    fresh: bool = False
    """Start from scratch. The answers in the output folder are deleted once the server answers."""

    engine: Literal["asyncio", "ray"] = "asyncio"
    """asyncio: one process asks. ray: several processes ask, on one machine or on the Ray cluster
    that RAY_ADDRESS names; --out may be the URL of an object store. Needs --backend openai."""

    workers: Annotated[int, Ge(1), Le(10_000)] = 2
    """Number of asking processes with --engine ray. --concurrency and the rates are divided evenly
    among them; the default of --concurrency is 16 for each process."""

    block_rows: Annotated[int, Ge(1), Le(4096)] = 512
    """Number of captions that a process of --engine ray takes at a time and commits together. 256
    to 1,024 suit most servers."""

    def __post_init__(self) -> None:
        one: object = self.base_url  # in Python, one server may be given as a string
        if one is None or isinstance(one, str):
            object.__setattr__(self, "base_url", () if one is None else (one,))
        super().__post_init__()

    @property
    def builtin(self) -> bool:
        """Whether the backend is the built-in model."""
        return self.backend == "builtin"

    @property
    def by_files(self) -> bool:
        """Whether questions and answers are exchanged as files."""
        return self.to_file is not None or self.from_file is not None

    @property
    def terms(self) -> str:
        """Licence or terms of the answers, for the provenance."""
        shipped = self.builtin and self.adapter is None
        return self.licence or (BUILTIN_LICENCE if shipped else UNKNOWN_LICENCE)

    @property
    def prompt_style(self) -> str:
        """The style with `auto` resolved."""
        automatic = "short" if self.builtin else "paper"
        return automatic if self.style == "auto" else self.style

    @property
    def sampling(self) -> tuple[float, float]:
        """Temperature and top_p with the backend's defaults filled in."""
        temperature, top_p = (0.7, 0.9) if self.builtin else (1.0, 0.1)
        return (
            temperature if self.temperature is None else self.temperature,
            top_p if self.top_p is None else self.top_p,
        )

    @property
    def most_in_flight(self) -> int:
        """Maximum number of questions in progress."""
        return self.concurrency or 16 * (self.workers if self.engine == "ray" else 1)

    @property
    def drawn(self) -> int:
        """Number of answers sampled per question."""
        return self.candidates or (6 if self.builtin else 1)

    @property
    def most_asks(self) -> int:
        """Maximum number of times that a question is asked."""
        return self.asks or (2 if self.builtin else 1)

    @property
    def filter_limits(self) -> Limits:
        """The limits, overridden by `min_similarity` and `min_support`."""
        small = self.limits == "small" or (self.limits == "auto" and self.builtin)
        limits = SMALL if small else CHECKED if self.limits == "checked" else STRONG
        return replace(
            limits,
            similarity=limits.similarity if self.min_similarity is None else self.min_similarity,
            support=limits.support if self.min_support is None else self.min_support,
            fault=limits.fault if self.max_fault is None else self.max_fault,
            parser=self.parse_roles,
        )
