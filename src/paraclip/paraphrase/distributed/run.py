"""A whole distributed run: captions to Parquet, Ray Data over them, then the usual files."""

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from paraclip.cluster import cluster
from paraclip.data.problems import Problems
from paraclip.data.reading import find_files
from paraclip.errors import UserError
from paraclip.paraphrase.backends import Backend, make_backend
from paraclip.paraphrase.backends.openai_server import address_of
from paraclip.paraphrase.backends.several import share_of
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.distributed.asker import Task
from paraclip.paraphrase.distributed.collect import (
    committed_keys,
    failed_keys,
    outcomes_in_order,
    tokens_of_blocks,
    write_captions,
)
from paraclip.paraphrase.distributed.logs import absorb_blocks, earlier_answers, logs_of, start_over
from paraclip.paraphrase.distributed.pipeline import ask
from paraclip.paraphrase.distributed.places import (
    CHECKPOINT,
    OUTCOMES,
    SETTINGS,
    Place,
    place_of,
    shown_path,
)
from paraclip.paraphrase.distributed.watch import committed_shown
from paraclip.paraphrase.diversity import diversity_of
from paraclip.paraphrase.estimate import meter_of
from paraclip.paraphrase.filters.checks import NearDuplicates
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.money import Meter
from paraclip.paraphrase.outputs import (
    PROBLEMS,
    SUMMARY,
    Summary,
    optional_files,
    refuse_foreign_outputs,
    refuse_inputs,
    summary_of,
    valid_summary,
)
from paraclip.paraphrase.panel import Panel
from paraclip.paraphrase.run import (
    source_captions,
    write_outcomes,
    write_paper_layout,
    write_summary,
)
from paraclip.paraphrase.settings import answer_settings, settings_of
from paraclip.paraphrase.steps import Outcome
from paraclip.provenance import provenance


def generate_with_ray(
    config: GenerateConfig, judge: Judge | None = None
) -> tuple[Place, Summary, Problems]:
    """Read the captions that the config names, ask on a Ray cluster, and write every output file.

    The same command resumes. Captions that Ray committed are not repeated and, on disk, neither are
    questions that were answered: the logs of blocks become part of answers.jsonl.

    Args:
        config: config with `--engine ray`.
        judge: overrides the config's filter limits.

    Returns:
        The output folder, the outcome counts, and the broken rows of the source.

    Raises:
        UserError: an option cannot be combined with Ray, the cluster is too small, no question can
            succeed, or an error of `generate_from_source`.
    """
    check_ray_options(config)
    place = place_of(config.out)
    if place.local:
        refuse_inputs(find_files(config.source), place.local)
        refuse_foreign_outputs(place.local)
    backend = make_backend(config)
    try:
        return (place, *generate_in(place, config, backend, judge))
    finally:
        asyncio.run(backend.close())


def generate_in(
    place: Place, config: GenerateConfig, backend: Backend, judge: Judge | None
) -> tuple[Summary, Problems]:
    """Ask about the captions that are not committed yet, and write every output file."""
    problems, meter = Problems(config.max_broken), meter_of(config, backend)
    with earlier_answers(place, config, backend) as log:
        if config.fresh:  # it deletes answers, which a wrong address must not
            asyncio.run(check_server(backend))
        keys = prepared(config, place, problems, answer_settings(config, backend))
        if place.local:
            refuse_foreign_outputs(place.local, problems.count > 0, config.jsonl)
        if config.fresh:
            start_over(place, log)
        done = int(np.isin(keys, committed_keys(place)).sum())
        if done < len(keys):
            task = Task(place, task_config(config), api_key(), *logs_of(place, log), judge)
            with cluster(config.workers) as ray, committed_shown(place, len(keys), done):
                ask(ray, config, place, task)
        if log is not None:
            absorb_blocks(place, log, answer_settings(config, backend))
        meter.tokens = list(log.tokens) if log is not None else tokens_of_blocks(place)
        summary = Summary(
            generator=backend.generator, reused_answers=len(log) if log is not None else 0,
            broken=problems.count,
        )  # fmt: skip
        write_outputs(config, place, outcomes_in_order(place, keys), summary, meter, problems)
    return summary, problems


async def check_server(backend: Backend) -> None:
    """Raise UserError if no server of the backend can be used."""
    try:
        await backend.start()
    finally:
        await backend.close()


def check_ray_options(config: GenerateConfig) -> None:
    """Refuse options that need one process to see all answers."""
    if config.backend != "openai":
        hint = "Give --backend openai and --base-url of one or more servers."
        raise UserError("--engine ray", f"does not go with --backend {config.backend}", hint)
    if config.by_files:
        hint = "Leave out --engine ray: batches are not asked one by one."
        raise UserError("--engine ray", "does not go with files", hint)
    for name in ("max_cost", "max_rows"):
        if getattr(config, name) is not None:
            hint = "Bound the run with --first; --dry-run estimates its cost."
            raise UserError(f"--{name.replace('_', '-')}", "does not go with --engine ray", hint)


def prepared(
    config: GenerateConfig, place: Place, problems: Problems, settings: dict[str, Any]
) -> np.ndarray:
    """Write the captions and return their keys; outcomes under other filters are made again.

    Raises:
        UserError: the source is broken, or a run without a log of answers has other settings.
    """
    limits = asdict(config.filter_limits)
    current = {
        "answers": settings,
        "filters": limits,
        "asks": config.most_asks,
    }
    known = place.read_json(SETTINGS)
    if known not in (None, current) and place.local is None and not config.fresh:
        hint = "Name another output folder, or start from scratch with --fresh."
        raise UserError(shown_path(config.out), "was written with other settings", hint)
    restart = known != current or config.fresh
    failed = set() if restart else failed_keys(place)
    keys = write_captions(source_captions(config, problems), place, failed)
    problems.check(len(keys) + problems.count)
    if restart:  # not before the source has been read: in an object store, these are the answers
        for part in (OUTCOMES, CHECKPOINT):
            place.clear(part)
        place.write_json(SETTINGS, current)
    return keys


def task_config(config: GenerateConfig) -> GenerateConfig:
    """The config of one asker, complete without the environment of this machine."""
    return replace(
        share_of(config, config.workers),
        base_url=config.base_url or (address_of(config),),
        model=config.model or os.environ.get("PARACLIP_MODEL"),
        engine="asyncio",
        workers=1,
    )


def api_key() -> str:
    """The API key of the servers. It is passed as argument to actors, not in Ray's `runtime_env`,
    which appears in its logs and dashboard."""
    return os.environ.get("OPENAI_API_KEY", "").strip()


def write_outputs(
    config: GenerateConfig,
    place: Place,
    outcomes: Iterator[Outcome],
    summary: Summary,
    meter: Meter,
    problems: Problems,
) -> None:
    """Write the files of every run; for an object store, they are written on disk and copied."""
    if place.local:
        write_files(config, place.local, outcomes, summary, meter, problems)
        return
    earlier = optional_files(valid_summary(place.read(SUMMARY)))
    with tempfile.TemporaryDirectory() as folder:
        write_files(config, Path(folder), outcomes, summary, meter, problems)
        place.take(Path(folder), earlier)


def write_files(
    config: GenerateConfig,
    out: Path,
    outcomes: Iterator[Outcome],
    summary: Summary,
    meter: Meter,
    problems: Problems,
) -> None:
    """Triples, rejected and failed captions, counts, card and broken rows."""

    async def each() -> AsyncGenerator[Outcome, None]:
        for outcome in outcomes:
            yield outcome

    async def write() -> None:
        duplicates = NearDuplicates() if config.drop_near_duplicates else None
        with Panel(summary, meter, None) as panel:
            await write_outcomes(each(), out, record, panel, duplicates)

    record = provenance(
        generator=summary.generator, licence=config.terms, settings=settings_of(config)
    )
    asyncio.run(write())
    summary.check()
    summary.diversity = diversity_of(summary.sample.rows)
    summary.spent = meter.as_dict()
    earlier = optional_files(summary_of(out))
    write_summary(out, summary, config)
    for name in earlier:
        (out / name).unlink(missing_ok=True)
    if problems.count:
        problems.write(out / PROBLEMS)
    if config.jsonl:
        write_paper_layout(out)
