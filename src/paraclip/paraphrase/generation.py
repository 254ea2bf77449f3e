"""A run over a source: its captions asked of a server, in batch files or in parts."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from paraclip.data.captions import Problems
from paraclip.data.reading import find_files
from paraclip.errors import UserError
from paraclip.paraphrase import batch
from paraclip.paraphrase.backends import LLMOptions, make_backend
from paraclip.paraphrase.config import CaptionSource, Outputs, Part
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.log import AnswerLog
from paraclip.paraphrase.outputs import (
    FAILED,
    LOG,
    TRIPLES,
    Summary,
    refuse_foreign_outputs,
    refuse_inputs,
)
from paraclip.paraphrase.parts import generate_in_parts
from paraclip.paraphrase.run import check_generation, count_captions, generate, refuse_event_loop
from paraclip.paraphrase.steps import answer_settings
from paraclip.provenance import shown_path


@dataclass(frozen=True)
class Generation:
    """The result of `generate_from_source`."""

    triples: Path
    summary: Summary
    problems: Problems  # the broken rows of the source
    notes: tuple[str, ...] = ()  # what files of answers contained, and how to continue
    again: str = "the same command"  # that asks about failed captions

    def check(self) -> None:
        """Raise UserError if no caption got an answer, unless an option stopped the run."""
        # A part of a small source may have no captions.
        if 0 < self.summary.captions == self.summary.failed and not self.summary.stopped:
            hint = f"Read the reasons there; {self.again} asks again."
            where = shown_path(self.triples.with_name(FAILED))
            what = "every caption failed" if self.summary.unjudged else "no caption got an answer"
            raise UserError(where, what, hint)


def generate_from_source(
    source: CaptionSource,
    llm: LLMOptions,
    judge: Judge,
    outputs: Outputs,
    *,
    to_file: Path | str | None = None,
    from_file: Path | str | None = None,
    part: Part | None = None,
    ray_workers: int | None = None,
) -> Generation:
    """Read captions, paraphrase them and write every output file; the same call resumes.

    Args:
        to_file, from_file: folders of batch files, instead of a server.
        part: the part to run; whoever finishes the last one joins all.
        ray_workers: number of processes on a Ray cluster that run all parts.

    Raises UserError if the source cannot be read or is itself an output, and like `generate`.
    """
    refuse_event_loop()
    out, by_files = outputs.folder, bool(to_file or from_file)
    refuse_inputs(find_files(source.name), out)
    if part or ray_workers:
        return Generation(*generate_in_parts(source, llm, judge, outputs, part, ray_workers))
    for log in out.glob(f"part-*-of-*/{LOG}"):
        hint = "Continue with --part or --ray-workers, or name another output folder."
        raise UserError(log.parent, "is a part of a run in parts", hint)
    backend = batch.BatchBackend(llm) if by_files else make_backend(llm)
    check_generation(llm, outputs, backend)
    with count_captions(source, out) as counts:
        problems = counts.problems
        refuse_foreign_outputs(out, problems=problems.count > 0)
        run = partial(generate, counts.rows(), llm, judge, total=counts.captions, problems=problems)
        if by_files:
            summary, notes = _run_a_round(llm, outputs, to_file, from_file, run)
            again = "this command with --from-file and a new --to-file"
            return Generation(out / TRIPLES, summary, problems, notes, again)
        return Generation(out / TRIPLES, run(outputs, backend=backend), problems)


def _run_a_round(
    llm: LLMOptions, outputs: Outputs, to_file: Path | str | None, from_file: Path | str | None,
    run: Callable[..., Summary],
) -> tuple[Summary, tuple[str, ...]]:  # fmt: skip
    """Log the answers of `from_file`, run, and write the questions that are open to `to_file`."""
    settings = answer_settings(llm, batch.BatchBackend(llm))
    paths = batch.answer_files(Path(from_file), settings) if from_file else []
    writer = batch.new_writer(Path(to_file)) if to_file else None
    with closing(AnswerLog(outputs.folder / LOG, settings, outputs.fresh)) as log:
        log.begin()
        arrived = batch.log_answers(paths, log, llm.candidates)
    last = Path(from_file) if from_file else None
    backend = batch.BatchBackend(llm, arrived.failures, writer, last)
    try:
        summary = run(replace(outputs, fresh=False), backend=backend)
        if writer is not None:
            writer.finish(settings | {batch.LIMIT: backend.limit_name})
    finally:
        if writer is not None:
            writer.discard()
    notes = []
    if from_file:
        counted = f"{arrived.answers:,} answers and {len(arrived.failures):,} failures"
        notes.append(f"{counted} in {from_file}")
    if arrived.unknown:
        notes.append(f"{arrived.unknown:,} of its lines answer no question of ParaCLIP")
    if writer is not None and writer.written:
        notes += batch.next_steps(writer, backend.model)
    return summary, tuple(notes)
