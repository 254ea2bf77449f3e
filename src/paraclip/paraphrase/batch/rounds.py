"""A run in rounds: write the open questions, wait for their answers, add them to the log.

Step 2 depends on the answers of step 1, so there are at least two rounds. Questions that failed or
expired, or whose answers were rejected (`--asks`), need further rounds.
"""

import asyncio
from collections.abc import Awaitable, Callable

from paraclip.errors import UserError
from paraclip.files import locked
from paraclip.paraphrase.backends import Backend
from paraclip.paraphrase.batch.backend import BatchBackend
from paraclip.paraphrase.batch.journal import Batch, Journal
from paraclip.paraphrase.batch.requests import RequestWriter
from paraclip.paraphrase.batch.results import Results
from paraclip.paraphrase.batch.server import NO_ROOM, BatchServer, Seen
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.outputs import Summary
from paraclip.progress import bar

BATCHES = "batches"  # folder in the output folder
WORTH = 50  # near --max-cost, a round is sent if it has more than 1/50 of all questions

Pass = Callable[[Backend, bool], Awaitable[Summary]]
"""Takes all captions through both steps with a backend; the flag deletes earlier answers."""


async def generate_in_batches(config: GenerateConfig, one_pass: Pass) -> Summary:
    """Ask through a server's batch API until no question is open.

    Args:
        config: options of the run.
        one_pass: the ordinary run over all captions.

    Raises:
        UserError: the server is down or refuses, or a batch was cancelled or refused as a whole;
            also errors of `one_pass`. Running the same command again resumes.
    """
    server = BatchServer(config)
    backend = BatchBackend(config, server.base_url)
    try:
        with locked(config.out / BATCHES):
            journal = Journal(config.out / BATCHES, server.shown_url)
            await server.start()
            if config.fresh:
                journal.end_round([])
            fresh, stale = config.fresh, 0
            while True:
                waited = await collect(journal, server, config.poll)
                results = Results(journal.results, server.without_secrets)
                summary, questions = await one_round(
                    journal, backend, results, one_pass, config, fresh
                )
                used = results.answered - results.unused
                stale = stale + 1 if waited and not used else 0
                if not questions or stale > config.max_retries:
                    return summary
                fresh = False
    finally:
        await server.close()


async def one_round(
    journal: Journal,
    backend: BatchBackend,
    results: Results,
    one_pass: Pass,
    config: GenerateConfig,
    fresh: bool,
) -> tuple[Summary, int]:
    """Add results to the log; write the outputs and the open questions.

    Returns:
        The summary, and the number of questions to submit.
    """
    writer = RequestWriter(journal.folder, config.batch_requests, journal.last + 1)
    backend.begin(results, writer)
    try:
        summary = await one_pass(backend, fresh)
        small = writer.count * WORTH <= summary.reused_answers
        if summary.stopped and small:
            writer.discard()
            journal.end_round([])
            return summary, 0
        questions = writer.count
        journal.end_round(writer.finish())
    finally:
        writer.discard()
    return summary, questions


async def collect(journal: Journal, server: BatchServer, poll: float) -> bool:
    """Submit pending batches, and wait until every batch has ended and is downloaded.

    Returns:
        Whether there were any batches.
    """
    waiting = journal.open
    if not waiting:
        return False
    total = sum(batch.requests for batch in waiting)
    with bar(f"{len(waiting)} batches" if len(waiting) > 1 else "1 batch", total, "request") as now:
        while waiting:
            states = [await advance(batch, journal, server) for batch in waiting]
            over = sum(batch.requests for batch in journal.batches.values() if batch.status)
            now.n = min(total, over + sum(one.answered + one.failed for one in states if one))
            now.set_postfix_str(progress_of(journal, states))
            check_room(journal, waiting, states)
            if waiting := journal.open:
                await asyncio.sleep(poll)
    return True


async def advance(batch: Batch, journal: Journal, server: BatchServer) -> Seen | None:
    """Advance one batch by a step; returns its state if it is still in progress on the server.

    Every step is recorded in the journal before the next one.
    """
    if not batch.batch_id:
        await submit(batch, journal, server)
    seen = await server.look(batch.batch_id)
    if not seen.ended:
        return seen
    if seen.status == "failed":
        refuse(batch, journal, seen, server)
        return seen
    names = []
    for number, file_id in enumerate(seen.files):
        names.append(batch.name.replace("requests-", "results-").replace(".", f"-{number}."))
        await server.download(file_id, journal.folder / names[-1], batch.requests)
    journal.note(batch, status=seen.status, results=names)
    if seen.status == "cancelled":
        hint = "The same command submits its open questions again."
        raise UserError(server.shown_url, f"the batch {batch.batch_id} was cancelled", hint)
    return None


async def submit(batch: Batch, journal: Journal, server: BatchServer) -> None:
    """Upload and submit a file, unless a killed run did so without recording it."""
    if batch.begun and (batch_id := await server.find(batch.nonce)):
        journal.note(batch, batch_id=batch_id)
        return
    if not batch.file_id:
        path = journal.folder / batch.name
        try:
            journal.note(batch, file_id=await server.upload(path))
        except FileNotFoundError as error:
            journal.note(batch, status="failed")
            hint = "The same command writes its questions again."
            raise UserError(path, "is missing", hint) from error
    journal.note(batch, begun=True)
    batch_id = await server.submit(batch.file_id, batch.endpoint, batch.nonce)
    journal.note(batch, batch_id=batch_id)


def refuse(batch: Batch, journal: Journal, seen: Seen, server: BatchServer) -> None:
    """Handle a batch that the server refused: it waits for room, or ends the run.

    Raises:
        UserError: the reason is not the number of tokens in other batches.
    """
    if NO_ROOM in seen.problem:
        fresh = Batch(batch.name, batch.requests, batch.endpoint)
        journal.note(batch, begun=False, batch_id="", nonce=fresh.nonce)
        return
    journal.note(batch, status=seen.status)
    problem = seen.problem or "no reason given"
    hint = "Check --model and the account; the same command submits its questions again."
    raise UserError(server.shown_url, f"refuses the batch {seen.batch_id} ({problem})", hint)


def check_room(journal: Journal, before: list[Batch], states: list[Seen | None]) -> None:
    """Raise UserError if no batch is in progress and the server has no room for one."""
    full = [state for state in states if state and state.status == "failed"]
    if not full or len(full) < len(before):
        return
    for batch in before:  # the next run writes their questions again
        journal.note(batch, status="failed")
    hint = "Wait for the account's other batches, or give fewer --batch-requests."
    what = f"the account has no room for a batch ({full[0].problem})"
    raise UserError("--batch-api", what, hint)


def progress_of(journal: Journal, states: list[Seen | None]) -> str:
    """The number of batches that have ended and of requests that failed, as text."""
    batches = journal.batches.values()
    ended = sum(bool(batch.status) for batch in batches)
    failed = sum(state.failed for state in states if state)
    text = f"{ended} of {len(batches)} batches ended"
    return f"{text}, {failed:,} requests failed" if failed else text
