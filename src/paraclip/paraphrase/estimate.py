"""`--dry-run`: an estimate of what a run needs, from a sample of its captions.

The sample is really sent to the generator, because neither the length of answers nor the speed of
the server is known otherwise. Its answers are logged, so the run does not repeat its questions.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from paraclip.data.captions import Caption
from paraclip.errors import UserError
from paraclip.paraphrase.backends import Backend, make_backend
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.cost import Meter, prices_of, show_dollars
from paraclip.paraphrase.filters.judge import Judge, judging
from paraclip.paraphrase.log import AnswerLog
from paraclip.paraphrase.outputs import LOG, refuse_foreign_outputs
from paraclip.paraphrase.steps import Failed, KeptTriple, Paraphraser, answer_settings

SAMPLE = 32  # captions


@dataclass(frozen=True)
class Estimate:
    """Estimate for all captions, assuming that the sample is representative.

    Args:
        captions: number of captions in the source.
        sampled: number of captions in the sample.
        kept: number of them that became a triple.
        prompt_tokens, answer_tokens: tokens for all captions.
        dollars: cost of all captions, or None if the price is unknown.
        seconds: time for all captions at the speed of the sample; None if the log had all answers
            of the sample.
        source: source of the prices.
    """

    captions: int
    sampled: int
    kept: int
    prompt_tokens: int
    answer_tokens: int
    dollars: float | None
    seconds: float | None
    source: str

    def table(self) -> str:
        """Lines for the terminal."""
        time = "unknown, because the log has all answers of the sample"
        if self.seconds is not None:
            hours, minutes = divmod(round(self.seconds / 60), 60)
            time = f"about {hours:,} h {minutes:02} min" if hours else f"about {minutes} min"
        cost = show_dollars(self.dollars) + (f" ({self.source})" if self.source else "")
        return "\n".join(
            [
                f"asked {self.sampled:,} of {self.captions:,} captions; kept {self.kept:,}",
                f"tokens of prompts: about {self.prompt_tokens:,}",
                f"tokens of answers: about {self.answer_tokens:,}",
                f"cost: {cost}",
                f"time: {time}",
            ]
        )


async def estimate(
    captions: Iterable[Caption],
    total: int,
    config: GenerateConfig,
    backend: Backend | None = None,
    judge: Judge | None = None,
) -> Estimate:
    """Ask about the first captions and extrapolate.

    Raises:
        UserError: no caption of the sample got an answer; also the errors of `generate`.
    """
    refuse_foreign_outputs(Path(config.out))
    backend = backend or make_backend(config.backend, config.llm)
    meter = meter_of(config, backend)
    log = AnswerLog(Path(config.out) / LOG, answer_settings(config.llm, backend), config.fresh)
    sample = list(islice(captions, SAMPLE))
    try:
        await backend.start()
        with judging(judge or Judge(config.filter_limits)) as queue:
            work = Paraphraser(config.llm, backend, log, queue, meter)
            outcomes = await asyncio.gather(*map(work.outcome, sample))
    finally:
        log.close()
        await backend.close()
    failed = [one for one in outcomes if isinstance(one, Failed)]
    if failed and len(failed) == len(outcomes):
        what = f"no caption of the sample got an answer ({failed[0].problem})"
        raise UserError("--dry-run", what, "Check the server and run the same command again.")
    factor = total / max(len(sample), 1)
    tokens = [round(used * factor) for used in meter.used]
    seconds = None
    if meter.answers:  # questions that the log answered count as long as the others
        share = 1 + meter.reused_answers / meter.answers
        seconds = meter.seconds * share / config.llm.concurrency * factor
    return Estimate(
        captions=total,
        sampled=len(sample),
        kept=sum(isinstance(one, KeptTriple) for one in outcomes),
        prompt_tokens=tokens[0],
        answer_tokens=tokens[1],
        dollars=meter.prices.cost(tokens) if meter.prices else None,
        seconds=seconds,
        source=meter.prices.source if meter.prices else "",
    )


def meter_of(config: GenerateConfig, backend: Backend) -> Meter:
    """A meter with the backend's prices; raises UserError for a cost limit without a price."""
    url, model = getattr(backend, "base_url", ""), getattr(backend, "model", "")
    prices = prices_of(model, url, config.prices) if url or config.prices else None
    return Meter(prices, config.max_cost, local=prices is None and not url)
