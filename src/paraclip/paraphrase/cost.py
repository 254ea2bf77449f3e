"""Cost of a run: prices, tokens used, and the user's limit."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from paraclip.errors import UserError, optional_import
from paraclip.paraphrase.backends import Answer, Backend, LLMOptions, add_tokens

_MILLION = 1_000_000
_TYPICAL = 100  # tokens of a prompt or an answer; some vendors charge more for long prompts


@dataclass(frozen=True)
class Prices:
    """Prices in dollars per million tokens of prompts and of answers, and their source."""

    prompt: float
    answer: float
    source: str

    def cost(self, tokens: Sequence[float]) -> float:
        """Cost in dollars of numbers of prompt and answer tokens."""
        return (tokens[0] * self.prompt + tokens[1] * self.answer) / _MILLION


def _prices_of(model: str, url: str, given: tuple[float, float] | None) -> Prices | None:
    """The prices that the user gives, or those of a model on a server, or None if they are unknown.

    Only vendors whose address genai-prices knows have a price, so a local server that uses a
    vendor's model name has none.
    """
    if given is not None:
        return Prices(*given, "--prices")
    genai_prices = optional_import("genai_prices", "llm")
    try:
        usage = genai_prices.Usage(input_tokens=_TYPICAL, output_tokens=_TYPICAL)
        price = genai_prices.calc_price(usage, model, provider_api_url=url)
    except LookupError:
        return None
    scale, source = _MILLION // _TYPICAL, f"genai-prices {genai_prices.__version__}"
    return Prices(float(price.input_price * scale), float(price.output_price * scale), source)


@dataclass
class Meter:
    """Counts the tokens of a run (of prompts and answers), and of earlier runs with the same log;
    raises UserError for a limit without a known price."""

    prices: Prices | None = None  # None if unknown
    most: float | None = None  # cost in dollars at which no further question is asked
    tokens: list[int] = field(default_factory=lambda: [0, 0])  # as reported by the server
    used: list[int] = field(default_factory=lambda: [0, 0])  # by this run, also from the log
    answers: int = 0  # questions answered in this run
    reused_answers: int = 0  # questions whose answers were in the log
    seconds: float = 0.0  # total time of the questions answered in this run, some concurrent
    reserved: list[int] = field(default_factory=lambda: [0, 0])  # at most, of waiting questions
    local: bool = False  # the model runs on this machine, at no cost

    def __post_init__(self) -> None:
        if self.most is not None and self.prices is None:
            hint = "Give the prices of prompts and answers with --prices."
            raise UserError("--max-cost", "the price of this model is unknown", hint)

    def add(self, answers: Sequence[Answer]) -> None:
        """Count the answers to one question; raises UserError if there is a limit, and no answer
        has come with the number of its tokens."""
        self.answers += 1
        self.tokens = add_tokens(self.tokens, *(one.tokens for one in answers))
        self.used = add_tokens(self.used, *(one.tokens for one in answers))
        if self.most is not None and not any(self.tokens):
            hint = "Leave it out and limit the run with --first."
            raise UserError("--max-cost", "the server does not report numbers of tokens", hint)

    def reuse(self, answers: Sequence[Answer]) -> None:
        """Count answers that the log contains, not in `tokens`: a run starts from the log's."""
        self.reused_answers += 1
        self.used = add_tokens(self.used, *(one.tokens for one in answers))

    def reserve(self, tokens: Sequence[int]) -> None:
        """Count the maximum tokens of a question that waits for its answer."""
        self.reserved = add_tokens(self.reserved, tokens)

    @property
    def cost(self) -> float | None:
        """Cost so far in dollars, or None if the price is unknown."""
        return None if self.prices is None else self.prices.cost(self.tokens)

    @property
    def spent(self) -> bool:
        """Whether the limit is reached."""
        if self.most is None or self.prices is None:
            return False
        return self.prices.cost(add_tokens(self.tokens, self.reserved)) >= self.most

    def as_dict(self) -> dict[str, object]:
        """The counts as a dict, for summary.json."""
        return {
            "prompt_tokens": self.tokens[0],
            "answer_tokens": self.tokens[1],
            "dollars": None if self.cost is None else round(self.cost, 6),
            "prices": self.prices and vars(self.prices),
        }


def meter_of(backend: Backend, llm: LLMOptions) -> Meter:
    """A meter with the given prices, else those of the backend's server and model."""
    url, model = getattr(backend, "base_url", ""), getattr(backend, "model", "")
    known = _prices_of(model, url, llm.prices) if url or llm.prices else None
    return Meter(known, llm.max_cost, local=known is None and not url)


def show_dollars(cost: float | None) -> str:
    """A cost as text, or "unknown"."""
    if cost is None:
        return "unknown"
    return f"${cost:,.2f}" if cost >= 1 else f"${cost:.4f}"
