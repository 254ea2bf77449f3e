"""The two-step run over many captions: bounded concurrency, answers in a log, rows in order."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from paraclip.data.captions import Caption
from paraclip.errors import UserError, nearest
from paraclip.files import text_hash, write_text
from paraclip.paraphrase.backends import Backend, OpenAIBackend
from paraclip.paraphrase.builtin import SLOTS, BuiltInBackend, builtin_identity
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.filters import Judge
from paraclip.paraphrase.judging import JudgingDesk
from paraclip.paraphrase.log import AnswerLog
from paraclip.paraphrase.outputs import Summary, open_outputs
from paraclip.paraphrase.ownership import refuse_foreign
from paraclip.paraphrase.prompts import make_prompt
from paraclip.paraphrase.steps import Outcome, Paraphraser
from paraclip.progress import bar
from paraclip.provenance import provenance, without_secrets

BACKENDS = ("builtin", "openai")
RANGES: dict[str, tuple[float, float]] = {
    "asks": (1, 100), "concurrency": (1, 1000), "max_tokens": (1, 4096), "max_retries": (0, 100),
    "timeout": (0.001, 86_400), "min_similarity": (0, 1), "min_support": (0, 1),
    "first": (1, 10**12),
}  # fmt: skip
AHEAD = 3  # captions begun per question under way, so that a slow one holds nobody up


def make_backend(config: GenerateConfig) -> Backend:
    """The backend that the config names.

    Raises:
        UserError: there is no such backend, or an option for it is missing.
    """
    check_backend(config.backend)
    return BuiltInBackend(config) if config.builtin else OpenAIBackend(config)


def check_backend(name: str) -> None:
    """Refuse a name that no backend has.

    Raises:
        UserError: it offers the nearest.
    """
    if name not in BACKENDS:
        raise UserError("--backend", f"there is no backend {name!r}", nearest(name, list(BACKENDS)))


def check_options(config: GenerateConfig) -> None:
    """Refuse numbers that no run can have.

    Raises:
        UserError: an option is out of its range.
    """
    ranges = {**RANGES, "candidates": (1, SLOTS if config.builtin else 128)}
    for name, (least, most) in ranges.items():
        value = getattr(config, name)
        if value is not None and not least <= value <= most:
            option = f"--{name.replace('_', '-')}"
            raise UserError(option, f"{value} is out of range", f"Give {least} to {most}.")
    temperature, top_p = config.sampling
    if not 0 <= temperature <= 2 or not 0 < top_p <= 1:
        hint = "Give a temperature of 0 to 2 and a top-p above 0 and up to 1."
        raise UserError("--temperature, --top-p", f"{temperature}, {top_p} is out of range", hint)


def generate(
    captions: Iterable[Caption],
    config: GenerateConfig,
    out: Path,
    total: int | None = None,
    backend: Backend | None = None,
    judge: Judge | None = None,
) -> Summary:
    """`generate_async` for callers without an event loop.

    Args:
        captions: see `generate_async`, as all others.
        config: who is asked.
        out: output folder.
        total: for the progress bar.
        backend: who answers.
        judge: who judges.

    Returns:
        What became of every caption.

    Raises:
        UserError: an event loop is running here, or `generate_async` raised it.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(generate_async(captions, config, out, total, backend, judge))
    hint = "Use `await generate_async(...)` with the same arguments."
    raise UserError("generate", "an event loop is running here, as in a notebook", hint)


async def generate_async(
    captions: Iterable[Caption],
    config: GenerateConfig,
    out: Path,
    total: int | None = None,
    backend: Backend | None = None,
    judge: Judge | None = None,
) -> Summary:
    """Paraphrase captions in two steps; writes triples and all that was not kept.

    Memory stays flat: a bounded window of captions is under way, results are written in input
    order, and of old answers the log holds 16 bytes each.

    Args:
        captions: read once, as far as the window reaches.
        config: who is asked, how, and how strict the filters are.
        out: folder of answers.jsonl (the log), triples.parquet, rejected.jsonl, failed.jsonl and
            summary.json.
        total: how many captions there are, for the progress bar.
        backend: who answers, instead of the one the config names.
        judge: who judges, instead of one with the config's limits.

    Returns:
        What became of every caption.

    Raises:
        UserError: the server is down or refuses, the log was made with other settings, a file in
            `out` belongs to something else, a wheel is missing, or the disk is full. The log keeps
            what was answered.
    """
    check_options(config)
    refuse_foreign(out)
    backend = backend or make_backend(config)
    judge = judge or Judge(config.filter_limits)
    log = AnswerLog(out / "answers.jsonl", answer_settings(config, backend), config.fresh)
    try:
        summary = await _run(captions, config, out, total, backend, judge, log)
    finally:
        log.close()
    summary.check()
    write_summary(out, summary, config)
    return summary


async def _run(
    captions: Iterable[Caption],
    config: GenerateConfig,
    out: Path,
    total: int | None,
    backend: Backend,
    judge: Judge,
    log: AnswerLog,
) -> Summary:
    summary = Summary(generator=backend.generator, reused=len(log))
    noted = provenance(
        generator=backend.generator, licence=config.terms, settings=settings_of(config)
    )
    try:
        await backend.start()
        window = AHEAD * (config.concurrency or 16)
        async with (
            JudgingDesk(judge) as desk,
            aclosing(
                in_order(captions, Paraphraser(config, backend, log, desk), window)
            ) as outcomes,
        ):
            with (
                open_outputs(out, noted) as writers,
                bar("paraphrasing", total, "caption") as moving,
            ):
                async for outcome in outcomes:
                    writers.write(outcome)
                    summary.count(outcome)
                    moving.update()
    finally:
        await backend.close()
    return summary


async def in_order(
    captions: Iterable[Caption], work: Paraphraser, window: int
) -> AsyncGenerator[Outcome, None]:
    """Outcomes in the order of the captions, with at most `window` captions under way."""
    under_way: deque[asyncio.Task[Outcome]] = deque()
    try:
        for caption in captions:
            under_way.append(asyncio.create_task(work.outcome(caption)))
            if len(under_way) >= window:
                yield await under_way.popleft()
        while under_way:
            yield await under_way.popleft()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


def answer_settings(config: GenerateConfig, backend: Backend) -> dict[str, Any]:
    """What decides the answers, and so must not change while a log grows.

    The filters' limits are not among it: with other limits the same answers are judged once more.
    """
    asked = [make_prompt(config.prompt_style, step, "{text}").as_text() for step in (1, 2)]
    identity = builtin_identity(config.prompt_style) if config.builtin else {}
    return {
        "generator": backend.generator,
        "style": config.prompt_style,
        "prompts": text_hash("".join(asked)),
        "candidates": config.drawn,
        "max_tokens": config.max_tokens,
        **identity,
    }


def settings_of(config: GenerateConfig) -> dict[str, Any]:
    """All options, JSON-able, for the provenance; the key is none of them."""
    plain = asdict(config) | {"source": without_secrets(str(config.source)), "out": str(config.out)}
    address = config.base_url and without_secrets(config.base_url)
    return plain | {"base_url": address, "filter_limits": asdict(config.filter_limits)}


def write_summary(out: Path, summary: Summary, config: GenerateConfig) -> None:
    """Write summary.json: the counts and how they came about."""
    noted = provenance(settings=settings_of(config))
    text = json.dumps(summary.as_dict() | {"provenance": noted}, ensure_ascii=False, indent=1)
    write_text(out / "summary.json", text + "\n")
