"""A large run in parts: each is an ordinary run in a folder of its own, which resumes by itself.

The id of a caption chooses its part, so a caption that is added or edited moves no other one.
`--part` runs one part; with `--ray-workers`, the workers of a Ray cluster run all. A part is
finished when its summary.json is written. Whoever finishes the last part joins all of them.
"""

import asyncio
import json
import os
import re
import signal
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
from pyarrow import fs

from paraclip.data.captions import Caption, Problems
from paraclip.errors import UserError, optional_import
from paraclip.files import locked, text_hash
from paraclip.paraphrase.backends import Backend, LLMOptions, add_tokens, make_backend
from paraclip.paraphrase.config import CaptionSource, Outputs, Part
from paraclip.paraphrase.cost import Meter, meter_of
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.log import AnswerLog, EarlierAnswers, object_of
from paraclip.paraphrase.outputs import (
    LOG,
    SUMMARY,
    TRIPLES,
    Summary,
    refuse_foreign_outputs,
    writing,
)
from paraclip.paraphrase.run import SourceCounts, check_generation, count_captions, generate
from paraclip.paraphrase.steps import answer_settings
from paraclip.progress import bar
from paraclip.provenance import unfolded, without_secrets

_NAME = re.compile(r"part-\d+-of-(\d+)")
_MOST_CAPTIONS = 5_000  # of a part on Ray: a killed run into an object store repeats its last parts
LEAST_CAPTIONS = 256  # of one that exists to keep all workers busy until the end
_PARTS_OF_WORKER = 4
_LARGEST_SUMMARY = 2**20  # bytes
_OBJECT_STORE = 256 << 20  # bytes, for a cluster that is started here; parts are small
_SHARED = "Every machine must reach it: give a shared folder, or the URL of an object store."


@dataclass(frozen=True)
class _Place:
    """The output folder of a run, on disk or in an object store."""

    address: str  # absolute path, or URL
    files: fs.FileSystem  # that contains it
    path: str  # in that file system

    @property
    def local(self) -> Path | None:
        """The folder as a path; None for a URL."""
        return None if "://" in self.address else Path(self.address)

    @contextmanager
    def folder(self, name: str = "") -> Iterator[Path]:
        """One of its folders as a local one; an object store gets what the block changes there."""
        if self.local is not None:
            yield self.local / name
            return
        remote = fs.SubTreeFileSystem(f"{self.path}/{name}".rstrip("/"), self.files)
        here = fs.LocalFileSystem()
        chosen = fs.FileSelector("", allow_not_found=True)
        names = [one.path for one in remote.get_file_info(chosen) if one.is_file]
        with TemporaryDirectory() as temporary:
            for one in names:
                fs.copy_files(one, f"{temporary}/{one}", remote, here)
            before = {one: os.stat(f"{temporary}/{one}").st_mtime_ns for one in names}
            try:
                yield Path(temporary)
            finally:
                for path in Path(temporary).iterdir():
                    if before.pop(path.name, None) != path.stat().st_mtime_ns:
                        self.files.create_dir(remote.base_path, recursive=True)
                        fs.copy_files(str(path), path.name, here, remote)
                for one in before:  # the block deleted it
                    remote.delete_file(one)

    def parts(self) -> dict[str, int]:
        """The names of its folders of parts, with the numbers of parts that they state."""
        chosen = fs.FileSelector(self.path, allow_not_found=True)
        names = (one.base_name for one in self.files.get_file_info(chosen))
        return {found[0]: int(found[1]) for found in map(_NAME.fullmatch, names) if found}

    def summary(self, part: Part, run: str) -> "_Counts | None":
        """The summary.json of a part that the run with this hash has finished, or None."""
        try:
            with self.files.open_input_stream(f"{self.path}/{part.name}/{SUMMARY}") as stream:
                summary = object_of(bytes(stream.read(_LARGEST_SUMMARY)))
        except OSError:
            return None
        match summary:
            case {"provenance": {"settings": {"run": str() as of_run}}, "failed": int()}:
                return summary if of_run == run else None
        return None

    def forget(self) -> None:
        """Delete all answers; raises UserError if a run is writing to one of the logs."""
        for name in ("", *self.parts()):
            with self.folder(name) as folder:
                if (folder / LOG).exists():
                    with closing(AnswerLog(folder / LOG, {}, fresh=True)) as log:
                        log.begin()
                if name:
                    (folder / SUMMARY).unlink(missing_ok=True)


def _place_of(out: Path) -> _Place:
    """The place that --out names; raises UserError for an object store that pyarrow lacks."""
    address = unfolded(out)
    try:
        files, path = fs.FileSystem.from_uri(address)
    except (pa.ArrowException, OSError, ValueError) as error:
        what = without_secrets(f"{address} cannot be opened ({error})")
        raise UserError("--out", what, _SHARED) from error
    return _Place(address, files, path.rstrip("/"))


_Counts = Mapping[str, Any]
"""A summary.json."""
_Task = tuple[Part, Iterable[Caption], int]
"""A part, its captions and their number."""


@dataclass(frozen=True)
class _PartRunner:
    """Runs parts, in this process or in a worker of a cluster."""

    place: _Place
    llm: LLMOptions
    judge: Judge
    outputs: Outputs  # of the whole run
    run: str  # hash of everything that determines the outcomes
    answers: dict[str, Any]  # the settings that determine the answers
    known: Path | None  # log of a run without parts, or of --dry-run

    @cached_property
    def _earlier(self) -> EarlierAnswers | None:
        return EarlierAnswers(self.known, self.answers) if self.known else None

    def __call__(self, task: _Task) -> tuple[Part, _Counts]:
        """Run a part; returns it with its counts, and raises the errors of `generate`."""
        part, captions, total = task
        # A worker of a killed run may still write to the log, and its answers are found after that.
        open_log = partial(AnswerLog, earlier=self._earlier, wait=True)
        with self.place.folder(part.name) as folder:
            refuse_foreign_outputs(folder)
            (folder / SUMMARY).unlink(missing_ok=True)  # unfinished until the run ends
            of_part = {"part": f"{part.number}/{part.of}", "run": self.run}
            outputs = replace(self.outputs, folder=folder).with_settings(**of_part)
            summary = generate(
                captions, self.llm, self.judge, outputs, total=total, open_log=open_log
            )
        return part, summary.as_dict()

    def close(self) -> None:
        """Close the log of earlier answers."""
        if self._earlier is not None:
            self._earlier.close()


def _sum(
    counts: Iterable[_Counts | None], llm: LLMOptions, backend: Backend
) -> tuple[Summary, Meter]:
    """The counts of those parts that have some, and what all their answers cost."""
    summary, meter = Summary(generator=backend.generator), meter_of(backend, llm)
    for one in filter(None, counts):
        summary.add(one)
        tokens = (one["spent"]["prompt_tokens"], one["spent"]["answer_tokens"])
        meter.tokens = meter.used = add_tokens(meter.tokens, tokens)
    return summary, meter


def generate_in_parts(
    source: CaptionSource, llm: LLMOptions, judge: Judge, outputs: Outputs,
    part: Part | None, workers: int | None,
) -> tuple[Path, Summary, Problems, tuple[str, ...]]:  # fmt: skip
    """Run one part here or, without `part`, all on a Ray cluster; the same call resumes.

    Returns:
        The triples, the counts, the broken rows and a note: those of the whole run if all parts
        are finished, else those of the part.

    Raises:
        UserError: the folder contains parts of another number, the cluster is too small, no
            question can succeed, or an error of `generate_from_source`.
    """
    if workers:
        _import_ray()
    place = _place_of(outputs.folder)
    with ExitStack() as stack:
        here = place.local or Path(stack.enter_context(TemporaryDirectory()))
        backend = make_backend(llm)
        stack.callback(lambda: asyncio.run(backend.close()))
        check_generation(llm, replace(outputs, folder=here), backend)
        counts = stack.enter_context(count_captions(source, here))
        of = _number_of_parts(place, part, counts.captions, workers or 1)
        if workers:
            stack.enter_context(locked(place.local) if place.local else nullcontext())
            if outputs.fresh:  # it deletes answers, which a wrong address must not
                asyncio.run(_check(backend))
                place.forget()
                outputs = replace(outputs, fresh=False)
        answers = answer_settings(llm, backend)
        known, earlier = _known_answers(None if outputs.fresh else place.local, answers)
        asked = [llm.asks, llm.kinds, llm.words]
        facts = [answers, asdict(judge.limits), *asked, counts.hash.hexdigest()]
        run = text_hash(json.dumps(facts))
        runner = _PartRunner(place, llm, judge, outputs, run, answers, known)
        split = _split(counts, of)
        done = {one: place.summary(one, run) for one in split}
        todo = [one for one in ([part] if part else split) if outputs.fresh or _is_open(done[one])]
        tasks = ((one, counts.rows_at(split[one]), len(split[one])) for one in todo)
        if part:
            with closing(runner):
                for task in tasks:
                    runner(task)
            done = {one: place.summary(one, run) for one in split}  # others may have finished
        elif todo:
            done |= dict.fromkeys(todo)
            _run_on_ray(runner, backend, tasks, done, counts.captions, workers or 1)
        finished = [one for one in done.values() if one is not None]
        if part and len(finished) < of:
            summary, _ = _sum([done[part]], llm, backend)
            note = f"{len(finished):,} of {of:,} parts are finished; the last one joins all of them"
            return outputs.folder / part.name / TRIPLES, summary, counts.problems, (note,)
        if part and place.local:
            stack.enter_context(locked(place.local, wait=True))
        summary, meter = _sum([*earlier, *finished], llm, backend)
        outputs = outputs.with_settings(filter_limits=asdict(judge.limits))
        _join(place, split, outputs, summary, meter, counts.problems)
        return outputs.folder / TRIPLES, summary, counts.problems, ()


def _split(counts: SourceCounts, of: int) -> Mapping[Part, Sequence[int]]:
    """The offsets of the captions of each part in the file of all captions."""
    parts, offset = [array("Q") for _ in range(of)], 0
    counts.stored.seek(0)
    for line in counts.stored:
        parts[int(text_hash(counts.caption(line).id), 16) % of].append(offset)
        offset += len(line)
    return {Part(number, of): offsets for number, offsets in enumerate(parts, 1)}


def _number_of_parts(place: _Place, part: Part | None, captions: int, workers: int) -> int:
    """The number of parts of an earlier run, or a new one; raises UserError if they differ."""
    found = place.parts()
    of = part.of if part else next(iter(found.values()), 0)
    for name, other in found.items():
        if other != of:
            hint = f"Give --part i/{other}, or name another output folder."
            raise UserError(without_secrets(place.address), f"contains {name}", hint)
    busy = min(_PARTS_OF_WORKER * workers, captions // LEAST_CAPTIONS)
    return of or max(1, busy, -(-captions // _MOST_CAPTIONS))


def _known_answers(out: Path | None, answers: dict[str, Any]) -> tuple[Path | None, list[_Counts]]:
    """The log in `out` of a run without parts, or of --dry-run, and its counts, if it has some."""
    if out is None or not (out / LOG).exists():
        return None, []
    with closing(AnswerLog(out / LOG, answers, wait=True)) as log:
        spent = dict(zip(("prompt_tokens", "answer_tokens"), log.tokens, strict=True))
        counts = {"reused_answers": len(log), "spent": spent}
        return (log.path, [counts]) if len(log) else (None, [])


async def _check(backend: Backend) -> None:
    """Raise UserError if no server of the backend can be used."""
    try:
        await backend.start()
    finally:
        await backend.close()


def _run_on_ray(
    runner: _PartRunner, backend: Any, tasks: Iterable[_Task], done: dict[Part, _Counts | None],
    captions: int, workers: int,
) -> None:  # fmt: skip
    """Run parts of a source with so many captions, and add their counts to `done`."""
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    runner = replace(runner, llm=_share_of(runner.llm, workers, backend))
    make = partial(_in_worker, runner, key)
    sent = ((part, [*rows], size) for part, rows, size in tasks)
    before = _sum(done.values(), runner.llm, backend)[0].captions
    with _cluster(workers) as ray, bar("paraphrasing", captions, "caption", before) as shown:
        for part, counts in _spread(ray, make, sent, workers):
            done[part] = counts
            summary, meter = _sum(done.values(), runner.llm, backend)
            shown.set_postfix_str(summary.line(meter, captions), refresh=False)
            shown.update(counts["captions"])


def _in_worker(runner: _PartRunner, key: str) -> _PartRunner:
    """The runner in a worker, whose machine may have no key of the servers, or another."""
    os.environ["OPENAI_API_KEY"] = key
    return runner


def _share_of(options: LLMOptions, workers: int, backend: Any) -> LLMOptions:
    """The options of one worker, complete without the environment of this machine."""
    rates = options.per_minute
    return replace(
        options,
        model=backend.model,
        base_url=backend.options.base_url,
        concurrency=max(1, -(-options.concurrency // workers)),
        per_minute=rates and (rates[0] / workers, rates[1] / workers),
    )


def _is_open(counts: _Counts | None) -> bool:
    """Whether a part must run: it is not finished, or has captions without an answer."""
    return counts is None or counts["failed"] > 0


def _join(
    place: _Place, parts: Iterable[Part], outputs: Outputs,
    summary: Summary, meter: Meter, problems: Problems,
) -> None:  # fmt: skip
    """Write the files of the whole run from those of its parts, in their order."""
    with place.folder() as out:
        outputs = replace(outputs, folder=out).with_settings(part=None)
        with writing(outputs, summary, meter, problems) as writers:
            for part in parts:
                with place.folder(part.name) as folder:
                    writers.append(folder)


def _import_ray() -> Any:
    """The package `ray`; raises UserError without it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # on by default; before the import
    return optional_import("ray", "ray")


@contextmanager
def _cluster(workers: int) -> Iterator[Any]:
    """The package `ray`, connected to the cluster of RAY_ADDRESS, or to one started here."""
    ray = _import_ray()
    connected = ray.is_initialized()
    if not connected:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "warning"}
        if not os.environ.get("RAY_ADDRESS"):
            # "local": Ray would connect to a cluster of another program here. Logical CPUs: most
            # workers wait for servers most of the time.
            options |= {
                "address": "local", "num_cpus": max(os.cpu_count() or 1, workers),
                "object_store_memory": _OBJECT_STORE, "include_dashboard": False,
            }  # fmt: skip
        try:
            handler = signal.getsignal(signal.SIGTERM)
            ray.init(**options)
            if callable(handler) and signal.getsignal(signal.SIGTERM) is not handler:
                # Ray's own would end the process with another code, and say nothing.
                signal.signal(signal.SIGTERM, handler)
        except (ConnectionError, RuntimeError, ValueError) as error:
            hint = "Start it with `ray start --head`, or unset RAY_ADDRESS."
            raise UserError("RAY_ADDRESS", f"no cluster answers ({error})", hint) from error
    try:
        _check_cpus(ray.cluster_resources().get("CPU", 0.0), workers)
        yield ray
    finally:
        if not connected:
            ray.shutdown()


def _check_cpus(cpus: float, workers: int) -> None:
    """Refuse a cluster on which workers would wait for ever; Ray itself does not check."""
    if cpus < workers:
        what = f"{workers} workers need {workers} logical CPUs and the cluster has {cpus:g}"
        hint = "Add machines" if cpus < 1 else f"Give --ray-workers {int(cpus)}, or add machines"
        raise UserError("--ray-workers", what, f"{hint}; `ray start --num-cpus` may name more.")


class _Worker:
    """An actor that calls a function, which it makes itself."""

    def __init__(self, make: Callable[[], Callable[[Any], Any]]) -> None:
        self._call = make()

    def work(self, item: Any) -> Any:
        """The result of an item, or the UserError; Ray passes on only the text of exceptions."""
        try:
            return self._call(item)
        except UserError as error:
            return error


def _spread(
    ray: Any, make: Callable[[], Callable[[Any], Any]], items: Iterable[Any], workers: int
) -> Iterator[Any]:
    """The results of all items, as they are ready; `make` makes the function in each worker."""
    # Restarted and repeated without a limit: a long run may lose many machines.
    actor = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=-1)(_Worker)
    actors = [actor.remote(make) for _ in range(workers)]
    free, running, waiting = [*actors], dict[Any, Any](), iter(items)

    def start() -> None:
        for item in islice(waiting, len(free)):
            worker = free.pop()
            running[worker.work.remote(item)] = worker

    try:
        start()
        while running:
            [done], _ = ray.wait([*running], num_returns=1)
            free.append(running.pop(done))
            start()  # before the caller uses the result, for which no worker waits then
            result = ray.get(done)
            if isinstance(result, UserError):
                raise result
            yield result
    except ray.exceptions.RayError as error:
        last = str(error).strip().splitlines()[-1][:300]  # before it is the worker's traceback
        hint = "Everything that a run reads and writes must be reachable from every machine."
        raise UserError("--ray-workers", f"a worker failed ({last})", hint) from error
    finally:
        for one in actors:
            ray.kill(one)
