"""Cost of a run: prices of tokens, tokens used, and the user's limit."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from paraclip.errors import UserError
from paraclip.paraphrase.backends import Answer

MILLION = 1_000_000
TYPICAL = 100  # tokens of a prompt or an answer; some vendors charge more for long prompts


@dataclass(frozen=True)
class Prices:
    """Prices in dollars per million tokens.

    Args:
        prompt: price of prompt tokens.
        answer: price of answer tokens.
        source: source of the prices, with date or version.
    """

    prompt: float
    answer: float
    source: str

    def cost(self, tokens: Sequence[float]) -> float:
        """Cost in dollars of numbers of prompt and answer tokens."""
        return (tokens[0] * self.prompt + tokens[1] * self.answer) / MILLION


def prices_of(
    model: str, url: str, given: tuple[float, float] | None, batch: bool = False
) -> Prices | None:
    """The prices of a model, or None if they are unknown.

    Args:
        model: name of the model on the server.
        url: the server's address; only vendors whose address genai-prices knows have a price, so a
            local server that uses a vendor's model name has none.
        given: prices given by the user.
        batch: whether to use batch prices, if the table has them.
    """
    if given is not None:
        return Prices(*given, "--prices")
    import genai_prices

    try:
        usage = genai_prices.Usage(input_tokens=TYPICAL, output_tokens=TYPICAL)
        plain = genai_prices.calc_price(usage, model, provider_api_url=url)
        price = batch_price(usage, model, url) if batch else plain
    except LookupError:
        return None
    source = f"genai-prices {genai_prices.__version__}"
    if batch:
        known = price is not None and price.total_price != plain.total_price
        source += ", batches" if known else ", which knows no price of batches"
    price = price or plain
    scale = MILLION // TYPICAL
    return Prices(float(price.input_price * scale), float(price.output_price * scale), source)


def batch_price(usage: Any, model: str, url: str) -> Any:
    """The price in a batch, or None if genai-prices does not support batches yet."""
    import genai_prices

    if not hasattr(genai_prices.types, "PriceContext"):
        return None
    return genai_prices.calc_price(
        usage, model, provider_api_url=url, price_context={"processing": "batch"}
    )


@dataclass
class Meter:
    """Counts the tokens of a run, including earlier runs with the same log.

    Args:
        prices: prices, or None if unknown.
        most: cost in dollars at which no further question is asked, or None.
        tokens: numbers of prompt and answer tokens, as reported by the server.
        answers: number of questions answered in this run.
        used: numbers of tokens of all answers that this run has used, also of those in the log.
        reused_answers: number of questions whose answers were in the log.
        reserved: tokens of answers that have arrived but are not yet read, and the maximum tokens
            of waiting questions; they count towards the limit.
        local: whether the model runs on this machine, at no cost.

    Raises:
        UserError: there is a limit, but the price is unknown.
    """

    prices: Prices | None = None
    most: float | None = None
    tokens: list[int] = field(default_factory=lambda: [0, 0])
    answers: int = 0
    used: list[int] = field(default_factory=lambda: [0, 0])
    reused_answers: int = 0
    reserved: list[int] = field(default_factory=lambda: [0, 0])
    local: bool = False

    def __post_init__(self) -> None:
        if self.most is not None and self.prices is None:
            hint = "Give the prices of prompts and answers with --prices."
            raise UserError("--max-cost", "the price of this model is unknown", hint)

    def add(self, answers: Sequence[Answer]) -> None:
        """Count the answers to one question.

        Raises:
            UserError: there is a limit, and no answer has come with the number of its tokens.
        """
        self.answers += 1
        self.tokens = total_of(self.tokens, answers)
        self.used = total_of(self.used, answers)
        if self.most is not None and not any(self.tokens):
            hint = "Leave it out and limit the run with --first or --max-rows."
            raise UserError("--max-cost", "the server does not report numbers of tokens", hint)

    def reuse(self, answers: Sequence[Answer]) -> None:
        """Count answers that the log contains, not in `tokens`: a run starts from the log's."""
        self.reused_answers += 1
        self.used = total_of(self.used, answers)

    def reserve(self, tokens: Sequence[int]) -> None:
        """Count the maximum tokens of a question that waits for its answer."""
        self.reserved = [one + more for one, more in zip(self.reserved, tokens, strict=True)]

    def settle(self, answers: Sequence[Answer]) -> None:
        """Release the reserved tokens of answers that have arrived."""
        for answer in answers:
            self.reserve([-count for count in answer.tokens])

    @property
    def cost(self) -> float | None:
        """Cost so far in dollars, or None if the price is unknown."""
        return None if self.prices is None else self.prices.cost(self.tokens)

    @property
    def spent(self) -> bool:
        """Whether the limit is reached."""
        if self.most is None or self.prices is None:
            return False
        tokens = [used + more for used, more in zip(self.tokens, self.reserved, strict=True)]
        return self.prices.cost(tokens) >= self.most

    def as_dict(self) -> dict[str, object]:
        """The counts as a dict, for summary.json."""
        return {
            "prompt_tokens": self.tokens[0], "answer_tokens": self.tokens[1],
            "dollars": None if self.cost is None else round(self.cost, 6),
            "prices": self.prices and vars(self.prices),
        }  # fmt: skip


def total_of(tokens: Sequence[int], answers: Sequence[Answer]) -> list[int]:
    """Numbers of prompt and answer tokens, plus those of the answers."""
    return [sum(column) for column in zip(tokens, *(one.tokens for one in answers), strict=True)]


def dollars(cost: float | None) -> str:
    """A cost as text, or "unknown"."""
    if cost is None:
        return "unknown"
    return f"${cost:,.2f}" if cost >= 1 else f"${cost:.4f}"
