"""`--batch-api` with a server that is slow, fails in part, refuses, expires, loses answers."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from fake_batches import FakeBatchServer
from fake_encoder import BagEncoder
from fake_server import rotate
from generating import captions_file, fake_config

from paraclip.errors import UserError
from paraclip.paraphrase.backends.client import http
from paraclip.paraphrase.batch.journal import Batch, Journal
from paraclip.paraphrase.batch.requests import RequestFile
from paraclip.paraphrase.batch.server import BatchServer
from paraclip.paraphrase.config import SMALL
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.outputs import Summary
from paraclip.paraphrase.run import generate_from_source

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
def server() -> Iterator[FakeBatchServer]:
    with FakeBatchServer() as fake:
        yield fake


def run(server: FakeBatchServer, folder: Path, count: int = 6, **changed: Any) -> Summary:
    """A run over captions of a file in the folder."""
    options = {"batch_api": True, "poll": 0.001, "prices": (10.0, 100.0)} | changed
    config = fake_config(server.url, folder / "out", **options)
    source = captions_file(folder, count)
    judge = Judge(SMALL, BagEncoder())  # type: ignore[arg-type]
    return generate_from_source(replace(config, source=str(source)), judge=judge).summary


def test_two_rounds_on_a_slow_server(server: FakeBatchServer, tmp_path: Path) -> None:
    server.looks = 5
    summary = run(server, tmp_path)
    assert (summary.kept, summary.failed, summary.waiting) == (6, 0, 0)
    assert len(server.batches) == 2 and server.calls["GET batches"] == 12
    assert summary.spent["prompt_tokens"] == 1200 and summary.spent["dollars"] == 0.024
    log = (tmp_path / "out" / "answers.jsonl").read_text().splitlines()
    assert len(log) == 13 and '"id": "c5"' in log[6] and '"step": 2' in log[12]
    assert {path.name for path in (tmp_path / "out" / "batches").iterdir()} == {
        ".lock", "journal.jsonl",
    }  # fmt: skip
    again = run(server, tmp_path)
    assert again.reused_answers == 12 and len(server.batches) == 2


def test_files_are_split_and_answers_match_by_id(server: FakeBatchServer, tmp_path: Path) -> None:
    assert run(server, tmp_path, 7, batch_requests=3).kept == 7
    sizes = [len(batch["lines"]) for batch in server.batches.values()]
    assert sizes == [3, 3, 1, 3, 3, 1] and set(server.answered.values()) == {1}


def test_answers_are_those_that_the_server_gives_one_by_one(
    server: FakeBatchServer, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    run(server, tmp_path / "one", candidates=2)
    run(server, tmp_path / "two", candidates=2, batch_api=False)
    logs = [(tmp_path / name / "out" / "answers.jsonl").read_text() for name in ("one", "two")]
    rows = [sorted(line.split(', "tokens"')[0].strip("}") for line in log.splitlines())
            for log in logs]  # fmt: skip
    assert rows[0] == rows[1]


def test_requests_that_failed_are_repeated_while_they_may_pass(
    server: FakeBatchServer, tmp_path: Path
) -> None:
    def behave(prompt: str, count: int) -> str | int | bytes:
        faults = {"babax": [400] * 9, "babex": [503], "babix": [b'{"choices": []}']}
        for word, replies in faults.items():
            if f"A baker carries {word}" in prompt[:30] and count <= len(replies):
                return replies[count - 1]
        return rotate(prompt)

    server.behave = behave
    summary = run(server, tmp_path, max_retries=2)
    assert (summary.kept, summary.failed) == (5, 1)
    assert "told to fail" in (tmp_path / "out" / "failed.jsonl").read_text()
    asked = {prompt: count for prompt, count in server.asked.items() if count > 1}
    assert sorted(asked.values()) == [2, 2] and len(server.batches) == 3


def test_a_failure_that_lasts_ends_after_its_retries(
    server: FakeBatchServer, tmp_path: Path
) -> None:
    server.behave = lambda prompt, count: 500
    summary = run(server, tmp_path, 2, max_retries=1)
    assert summary.failed == 2 and server.asked.total() == 4 and len(server.batches) == 2


def test_an_expired_batch_keeps_its_answers(server: FakeBatchServer, tmp_path: Path) -> None:
    server.ends = {1: "expired"}
    assert run(server, tmp_path).kept == 6
    assert [len(batch["lines"]) for batch in server.batches.values()] == [6, 6, 3]
    assert set(server.answered.values()) == {1}


def test_answers_that_never_come_end_the_run(server: FakeBatchServer, tmp_path: Path) -> None:
    server.ends, server.share = dict.fromkeys(range(1, 99), "expired"), 0.0
    summary = run(server, tmp_path, 2, max_retries=1)
    assert summary.failed == 2 and len(server.batches) == 2
    assert "batch_expired" in (tmp_path / "out" / "failed.jsonl").read_text()


def test_answers_to_other_questions_end_the_run(
    server: FakeBatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = server.answer

    def confused(line: dict[str, Any]) -> dict[str, Any]:
        return answer(line) | {"custom_id": "0123456789abcdef-1"}

    monkeypatch.setattr(server, "answer", confused)
    summary = run(server, tmp_path, 1, max_retries=1)
    assert summary.waiting == 1 and len(server.batches) == 2


def test_a_cancelled_batch_stops_the_run_and_the_next_one_asks_the_rest(
    server: FakeBatchServer, tmp_path: Path
) -> None:
    server.ends = {1: "cancelled"}
    with pytest.raises(UserError, match=r"batch batch_1 was cancelled\. The same command submits"):
        run(server, tmp_path)
    assert run(server, tmp_path).kept == 6
    assert set(server.answered.values()) == {1}


def test_a_refused_batch_is_one_line(server: FakeBatchServer, tmp_path: Path) -> None:
    server.errors = {1: {"code": "model_not_found", "message": "no \x1b[31m model"}}
    with pytest.raises(UserError, match="refuses the batch batch_1") as caught:
        run(server, tmp_path)
    assert "model_not_found: no \\x1b[31m model" in str(caught.value)
    assert run(server, tmp_path).kept == 6 and set(server.answered.values()) == {1}


def test_a_batch_waits_for_room(server: FakeBatchServer, tmp_path: Path) -> None:
    full = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}
    server.errors, server.looks = {2: full, 3: full}, 6
    assert run(server, tmp_path, batch_requests=3).kept == 6
    assert server.calls["POST files"] == 4 and set(server.answered.values()) == {1}


def test_no_room_at_all_is_one_line(server: FakeBatchServer, tmp_path: Path) -> None:
    full = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}
    server.errors = {1: full}
    with pytest.raises(UserError, match=r"no room for a batch .* fewer --batch-requests"):
        run(server, tmp_path)
    assert run(server, tmp_path, batch_requests=2).kept == 6
    assert [len(batch["lines"]) for batch in server.batches.values()][1:4] == [2, 2, 2]


def test_a_batch_whose_creation_got_no_answer_is_found(
    server: FakeBatchServer, tmp_path: Path
) -> None:
    server.lost = 1
    assert run(server, tmp_path, batch_requests=2).kept == 6
    assert len(server.batches) == 6 and server.calls["GET batches list"] >= 1
    assert set(server.answered.values()) == {1}


def test_a_lost_batch_is_found_on_a_later_page(server: FakeBatchServer, tmp_path: Path) -> None:
    run(server, tmp_path, 2)
    folder = tmp_path / "out" / "batches"
    journal = Journal(folder, server.url)
    journal.end_round([RequestFile("requests-0003.jsonl", 1, "/v1/chat/completions")])
    (batch,) = journal.open
    nonce = server.batches["batch_1"]["metadata"]["paraclip_file"]
    journal.note(batch, begun=True, nonce=nonce, file_id="file-1")
    for number in range(5):  # newer ones of others
        other = {"id": f"other{number}", "status": "completed", "metadata": None}
        server.batches[f"other{number}"] = other
    assert run(server, tmp_path, 2).kept == 2
    assert server.calls["GET batches list"] == 4 and server.calls["POST batches"] == 2


def test_a_newer_name_of_the_token_limit_is_learnt(server: FakeBatchServer, tmp_path: Path) -> None:
    answer = server.answer

    def strict(line: dict[str, Any]) -> dict[str, Any]:
        if "max_completion_tokens" in line["body"]:
            return answer(line)
        body = {"error": {"message": "Use 'max_completion_tokens' instead of 'max_tokens'."}}
        return line | {"error": None, "response": {"status_code": 400, "body": body}}

    server.answer = strict  # type: ignore[method-assign]
    assert run(server, tmp_path, 2).kept == 2 and len(server.batches) == 3


def test_the_cost_limit_counts_what_is_waiting(server: FakeBatchServer, tmp_path: Path) -> None:
    server.usage = {"prompt_tokens": 100, "completion_tokens": 0}
    limited = {"prices": (1000.0, 0.0), "max_cost": 1.2}  # a dollar pays ten answers
    summary = run(server, tmp_path, 40, **limited)
    assert summary.stopped == "--max-cost" and 0.9 <= summary.spent["dollars"] <= 1.3
    assert not any(batch["status"] != "completed" for batch in server.batches.values())
    assert run(server, tmp_path, 40).kept == 40 and server.asked.total() == 80


def test_a_wrong_key_and_a_server_without_batches_are_one_line(
    server: FakeBatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.key = "another"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-key")
    with pytest.raises(UserError, match="refuses the key") as caught:
        run(server, tmp_path)
    assert "sk-secret" not in str(caught.value)
    server.key, server.create = None, lambda body: {"detail": "Not Found"}  # type: ignore[assignment]
    with pytest.raises(UserError, match="has no id, so it is not a server with OpenAI's batches"):
        run(server, tmp_path)


def test_open_batches_belong_to_one_server(server: FakeBatchServer, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "batches"
    journal = Journal(folder, "http://elsewhere/v1")
    journal.end_round([RequestFile("requests-0001.jsonl", 1, "/v1/chat/completions")])
    with pytest.raises(UserError, match="open batches on 'http://elsewhere/v1'"):
        run(server, tmp_path)


def test_a_journal_cut_in_its_last_line_is_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "http://a/v1")
    journal.end_round([RequestFile("requests-0001.jsonl", 1, "/v1/chat/completions")])
    journal.note(journal.open[0], file_id="file-1")
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole + b'{"name": "requests-0001.jsonl", "chan')
    (batch,) = Journal(tmp_path, "http://a/v1").open
    assert batch.file_id == "file-1" and journal.path.read_bytes() == whole


@pytest.mark.parametrize(
    "line",
    ["[]", "{}", '{"name": "x", "changes": {}}', "nonsense", '{"written": 3, "logged": []}',
     '{"name": "requests-0001.jsonl", "changes": {"results": ["../../passwd"]}}',
     '{"name": "requests-0001.jsonl", "changes": {"status": 3}}'],
)  # fmt: skip
def test_a_damaged_journal_is_one_line(tmp_path: Path, line: str) -> None:
    journal = Journal(tmp_path, "http://a/v1")
    journal.end_round([RequestFile("requests-0001.jsonl", 1, "/v1/chat/completions")])
    with journal.path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match="damaged journal of batches"):
        Journal(tmp_path, "http://a/v1")


@pytest.mark.parametrize("content", ["mine\n", '{"batches": 2}\n', "x", '{"a": 1}\n{"b"'])
def test_a_foreign_journal_is_refused_and_stays(tmp_path: Path, content: str) -> None:
    (tmp_path / "journal.jsonl").write_text(content)
    with pytest.raises(UserError, match="is not a journal of batches"):
        Journal(tmp_path, "http://a/v1")
    assert (tmp_path / "journal.jsonl").read_text() == content
    (tmp_path / "journal.jsonl").write_text('{"batch')  # killed while writing the first line
    assert not Journal(tmp_path, "http://a/v1").batches
    with pytest.raises(UserError, match="cannot be read"):
        (tmp_path / "folder" / "journal.jsonl").mkdir(parents=True)
        Journal(tmp_path / "folder", "http://a/v1")


@pytest.mark.parametrize("page", [{}, {"data": 3}, {"data": [3, {"metadata": 3}]}])
def test_a_list_without_batches_finds_none(
    server: FakeBatchServer, tmp_path: Path, page: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def listed(self: BatchServer, after: str | None) -> Any:
        return page

    monkeypatch.setattr(BatchServer, "_page", listed)
    backend = BatchServer(fake_config(server.url, tmp_path))
    assert asyncio.run(backend.find("nonce")) is None


def test_an_unknown_status_is_one_line(server: FakeBatchServer, tmp_path: Path) -> None:
    server.ends = {1: "sleeping"}
    with pytest.raises(UserError, match="batch_1 has the unknown status 'sleeping'"):
        run(server, tmp_path, 2)


def test_a_result_file_is_bounded(
    server: FakeBatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paraclip.paraphrase.batch.server.MOST_DOWNLOAD", 0)
    monkeypatch.setattr("paraclip.paraphrase.batch.server.MOST_OF_REQUEST", 100)
    with pytest.raises(UserError, match="file file-2 is larger than 0 MiB"):
        run(server, tmp_path, 2)
    assert not list((tmp_path / "out" / "batches").glob("results*"))
    monkeypatch.undo()
    monkeypatch.setenv("PARACLIP_QUIET", "1")
    assert run(server, tmp_path, 2).kept == 2 and set(server.answered.values()) == {1}


def test_a_missing_file_of_requests_is_written_again(
    server: FakeBatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def upload(self: BatchServer, path: Path) -> str:
        path.unlink()
        raise UserError(path, "was not sent", "Try again.")

    with monkeypatch.context() as patch, pytest.raises(UserError, match="was not sent"):
        patch.setattr(BatchServer, "upload", upload)
        run(server, tmp_path, 2)
    with pytest.raises(UserError, match=r"requests-0001\.jsonl: is missing"):
        run(server, tmp_path, 2)
    assert run(server, tmp_path, 2).kept == 2 and set(server.answered.values()) == {1}


def test_a_run_that_stops_between_rounds_still_owns_its_files(
    server: FakeBatchServer, tmp_path: Path
) -> None:
    def rows(count: int) -> Summary:
        source = captions_file(tmp_path, count)
        source.write_text(source.read_text() + "broken,\n")
        options = {"batch_api": True, "poll": 0.001, "max_broken": 0.5, "jsonl": True}
        config = fake_config(server.url, tmp_path / "out", **options)
        judge = Judge(SMALL, BagEncoder())  # type: ignore[arg-type]
        return generate_from_source(replace(config, source=str(source)), judge=judge).summary

    assert rows(2).broken == 1
    server.errors = {3: {"code": "x", "message": "refused"}}
    with pytest.raises(UserError, match="refuses the batch"):
        rows(4)
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["broken"] == 1
    assert rows(4).kept == 4 and (tmp_path / "out" / "problems.txt").exists()


def test_from_scratch_forgets_batches(server: FakeBatchServer, tmp_path: Path) -> None:
    run(server, tmp_path, 2)
    assert run(server, tmp_path, 2, fresh=True).kept == 2
    assert set(server.answered.values()) == {2}
    assert run(server, tmp_path, 2, fresh=True, temperature=0.5).kept == 2


def test_a_fresh_run_with_a_wrong_key_forgets_nothing(
    server: FakeBatchServer, tmp_path: Path
) -> None:
    server.ends = {1: "cancelled"}
    with pytest.raises(UserError, match="was cancelled"):
        run(server, tmp_path)
    server.key = "another"
    journal = tmp_path / "out" / "batches" / "journal.jsonl"
    before = journal.read_bytes()
    with pytest.raises(UserError, match="refuses the key"):
        run(server, tmp_path, fresh=True)
    assert journal.read_bytes() == before


def test_a_key_without_rights_for_batches_is_one_line(tmp_path: Path) -> None:
    server = BatchServer(fake_config("http://127.0.0.1:9/v1", tmp_path))
    response = http.Response(403, request=http.Request("POST", "http://127.0.0.1:9/v1/files"))
    error = openai.PermissionDeniedError("no", response=response, body=None)
    assert "refuses the key" in str(server._refusal(error))
    asyncio.run(server.close())


def test_options_that_do_not_go_with_batches(server: FakeBatchServer, tmp_path: Path) -> None:
    for changed, message in (
        ({"backend": "builtin"}, "--batch-api: is for servers only"),
        ({"max_rows": 3}, "--max-rows: does not go with batches"),
        ({"to_file": tmp_path / "x"}, "does not go with files"),
    ):
        options = {"backend": "openai"} | changed
        config = replace(fake_config(server.url, tmp_path / "out", batch_api=True), **options)
        with pytest.raises(UserError, match=message):
            generate_from_source(replace(config, source=str(captions_file(tmp_path, 1))))


def test_a_batch_is_json() -> None:
    assert json.dumps(vars(Batch("requests-0001.jsonl", 1, "/v1/chat/completions")))
