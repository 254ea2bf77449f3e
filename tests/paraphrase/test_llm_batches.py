"""`--to-file` and `--from-file`: rounds through files, and hostile or damaged answer files."""

import json
import random
import re
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from fake_server import response, rotate
from generating import captions_file, fake_config, generated_from_source
from hypothesis import given
from hypothesis import strategies as st

from paraclip.cli import main as paraclip
from paraclip.errors import UserError
from paraclip.output_folder import RECORD
from paraclip.paraphrase import batch
from paraclip.paraphrase.backends import BACKENDS, Answer, LLMOptions
from paraclip.paraphrase.batch import Arrived, answer_files, log_answers, new_writer
from paraclip.paraphrase.generation import Generation
from paraclip.paraphrase.log import AnswerLog

pytestmark = pytest.mark.usefixtures("quiet")
KEY = "0123456789abcdef"


def run_of_files(folder: Path, count: int = 6, **changed: Any) -> Generation:
    """A run in the folder; its options `to_file` and `from_file` are names in it."""
    options = {name: str(folder / value) if name.endswith("file") else value
               for name, value in changed.items()}  # fmt: skip
    source = captions_file(folder, count)
    config = replace(fake_config("http://none", folder / "out", **options), source=str(source))
    return generated_from_source(config)


def answered(
    line: dict[str, Any], reword: Callable[[str], str] = rotate, **usage: int
) -> dict[str, Any]:
    """A line as `vllm run-batch` writes it."""
    body = json.loads(response([reword(line["body"]["messages"][-1]["content"])], False))
    response_ = {"status_code": 200, "request_id": "r", "body": body | {"usage": usage}}
    return {"id": "v", "custom_id": line["custom_id"], "response": response_, "error": None}


def refused(line: dict[str, Any], status: int, message: str) -> dict[str, Any]:
    """A line as OpenAI writes it."""
    body = {"error": {"message": message, "code": status}}
    return answered(line) | {"response": {"status_code": status, "body": body}}


def vllm(folder: Path, answer: Callable[[dict[str, Any]], dict[str, Any]] = answered) -> int:
    """Answer all requests of a folder, in another order; returns their number."""
    count = 0
    for path in folder.glob("requests-*.jsonl"):
        lines = [answer(json.loads(line)) for line in path.read_text().splitlines()]
        random.Random(0).shuffle(lines)
        content = "".join(json.dumps(line) + "\n" for line in lines)
        path.with_name(path.name.replace("requests", "answers")).write_text(content)
        count += len(lines)
    return count


def test_two_rounds_without_a_server(tmp_path: Path) -> None:
    first = run_of_files(tmp_path, to_file="one")
    assert first.summary.waiting == 6 and "6 open questions" in first.notes[0]
    first.check()
    assert [path.name for path in sorted((tmp_path / "one").iterdir())] == [
        RECORD, "manifest.json", "requests-0001.jsonl",
    ]  # fmt: skip
    line = json.loads((tmp_path / "one" / "requests-0001.jsonl").read_text().splitlines()[0])
    assert line["method"] == "POST" and line["url"] == "/v1/chat/completions"
    assert line["body"]["model"] == "fake" and re.fullmatch(r"[0-9a-f]{16}-1", line["custom_id"])
    assert vllm(tmp_path / "one") == 6
    second = run_of_files(tmp_path, from_file="one", to_file="two")
    assert second.summary.waiting == 6 and vllm(tmp_path / "two") == 6
    third = run_of_files(tmp_path, from_file="two", to_file="three")
    assert third.summary.kept == 6 and len(third.notes) == 1
    assert not (tmp_path / "three").exists()
    assert run_of_files(tmp_path, from_file="two").summary.reused_answers == 12


def test_failures_are_repeated_in_the_next_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = replace(BACKENDS["openai"], options=LLMOptions(max_retries=1))
    monkeypatch.setitem(BACKENDS, "openai", once)

    def answer(line: dict[str, Any]) -> dict[str, Any]:
        text = line["body"]["messages"][-1]["content"]
        if "babax" in text and line["custom_id"].endswith("-1"):
            error = {"error": {"message": "engine died"}, "code": 500}
            part = {"status_code": 500, "request_id": "r"}
            return answered(line) | {"response": part, "error": error}
        return refused(line, 400, "too long") if "babex" in text else answered(line)

    run_of_files(tmp_path, 4, to_file="one")
    vllm(tmp_path / "one", answer)
    second = run_of_files(tmp_path, 4, from_file="one", to_file="two")
    assert second.summary.failed == 1 and second.summary.waiting == 3
    assert second.notes[0].startswith("2 answers and 2 failures")
    assert "too long" in (tmp_path / "out" / "failed.jsonl").read_text()
    vllm(tmp_path / "two", answer)
    alone = run_of_files(tmp_path, 4, from_file="two")
    assert (alone.summary.kept, alone.summary.failed) == (2, 2)
    assert "no file holds an answer" in (tmp_path / "out" / "failed.jsonl").read_text()


def test_the_newer_name_of_the_token_limit_is_kept_in_later_rounds(tmp_path: Path) -> None:
    def answer(line: dict[str, Any]) -> dict[str, Any]:
        what = "Use 'max_completion_tokens' instead of 'max_tokens'."
        return refused(line, 400, what) if "max_tokens" in line["body"] else answered(line)

    run_of_files(tmp_path, 2, to_file="one")
    for last, following, waiting in (("one", "two", 2), ("two", "three", 2), ("three", "four", 0)):
        vllm(tmp_path / last, answer)
        found = run_of_files(tmp_path, 2, from_file=last, to_file=following)
        assert found.summary.waiting == waiting
    assert found.summary.kept == 2


def test_questions_that_no_file_takes_are_no_fault_of_a_server(tmp_path: Path) -> None:
    run_of_files(tmp_path, 2, to_file="one")
    vllm(tmp_path / "one")
    with pytest.raises(UserError, match="with --from-file and a new --to-file") as caught:
        run_of_files(tmp_path, 2, from_file="one").check()
    assert "server" not in caught.value.hint
    with pytest.raises(UserError, match="--fresh: deletes the answers of earlier rounds"):
        run_of_files(tmp_path, 2, from_file="one", to_file="two", fresh=True)


def test_the_commands_name_the_next_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARACLIP_MODEL", "fake")
    words = ["generate", str(captions_file(tmp_path, 3)), "--out", str(tmp_path / "out"),
             "--backend", "openai"]  # fmt: skip
    assert paraclip([*words, "--to-file", str(tmp_path / "round 1")]) == 0
    assert f"-i '{tmp_path}/round 1/requests" in capsys.readouterr().out
    assert paraclip([*words, "--to-file", str(tmp_path / "one")]) == 0
    output = capsys.readouterr().out
    assert "waiting for answers" in output and "3 open questions" in output
    assert "vllm run-batch -i" in output and "--model fake" in output and "--from-file" in output
    vllm(tmp_path / "one", partial(answered, reword=str))
    (tmp_path / "one" / "more.jsonl").write_text('{"custom_id": "someone else"}\nnonsense\n')
    assert paraclip([*words, "--from-file", str(tmp_path / "one")]) == 0
    output = capsys.readouterr()
    assert "3 answers and 0 failures" in output.out and "2 of its lines" in output.out
    assert "rejected, step 1: copy" in output.out


def test_answers_of_a_killed_round_count_once_towards_the_cost_limit(tmp_path: Path) -> None:
    run_of_files(tmp_path, 3, to_file="one")
    vllm(tmp_path / "one", partial(answered, prompt_tokens=10_000, completion_tokens=0))
    options = {"from_file": "one", "to_file": "two", "prices": (1.0, 1.0), "max_cost": 0.045}
    first = run_of_files(tmp_path, 3, **options)
    (tmp_path / "two" / MANIFEST).unlink()  # as if it were killed after the log was written
    (tmp_path / "two" / "requests-0001.jsonl").unlink()
    again = run_of_files(tmp_path, 3, **options)
    for one in (first, again):
        assert (one.summary.waiting, one.summary.stopped) == (3, "")


def test_folders_that_are_refused(tmp_path: Path) -> None:
    run_of_files(tmp_path, 2, to_file="one")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("x")
    refusals: list[tuple[dict[str, Any], str]] = [
        ({"to_file": "one"}, "holds the questions of an earlier round"),
        ({"from_file": "one"}, "holds no answers"),
        ({"to_file": "other"}, "other: holds other files"),
        ({"from_file": "other"}, "there is no such file"),
        ({"to_file": "captions.csv"}, "is not a folder"),
        ({"to_file": "a" * 300}, "has a name that is too long"),
        ({"to_file": "three", "dry_run": True}, "--dry-run"),
    ]
    for changed, what in refusals:
        with pytest.raises(UserError, match=what):
            run_of_files(tmp_path, 2, **changed)
    vllm(tmp_path / "one")
    with pytest.raises(UserError, match=r"generator was 'fake temp.* and is"):
        run_of_files(tmp_path, 2, from_file="one", temperature=0.5)
    assert (tmp_path / "other" / "mine.txt").exists()


def test_answers_in_any_order_go_to_the_log_and_the_first_of_equal_ones_counts(
    tmp_path: Path,
) -> None:
    path, body = tmp_path / "a.jsonl", json.loads(response(["one", "two", "three"], False))
    usage = {"prompt_tokens": 5, "completion_tokens": 6}
    lines = [
        {"custom_id": f"{KEY}-2", "response": {"status_code": 200, "body": given}}
        for given in (body | {"usage": usage}, json.loads(response(["late"], False)))
    ]
    others = ["", KEY, f"{KEY}-", f"{KEY}-1\n", f"{KEY[1:]}-1", 3, None, [KEY]]
    lines += [{"custom_id": other} for other in others]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for known in (0, 1):  # a round that was killed is read again
        log = AnswerLog(tmp_path / "log.jsonl", {})
        arrived = log_answers([path], log, most=2)
        assert (arrived.answers, arrived.unknown, len(log)) == (1, len(others), known)
        log.close()
    log = AnswerLog(tmp_path / "log.jsonl", {})
    found = log.find(KEY)
    assert found == [Answer("one"), Answer("two")] and found[0].tokens == (5, 6)
    assert log.tokens == [5, 6]
    with pytest.raises(UserError, match="there is no such file"):
        log_answers([tmp_path / "none"], log, 1)
    log.close()


MALFORMED = "malformed answer: the response has no choices, or one without a text"


@pytest.mark.parametrize(
    ("entry", "reason", "passes"),
    [
        ({}, "status None", True),
        ({"response": 3, "error": "gone"}, "gone", True),
        ({"response": {"status_code": "200", "body": {}}}, "status 200", True),
        ({"response": {"status_code": 404}}, "status 404", False),
        ({"error": {"code": "batch_expired", "message": "x\x1b"}}, "batch_expired: x\\x1b", True),
        ({"response": {"status_code": 200, "body": {"choices": [{"text": ["A dog."]}]}}},
         MALFORMED, True),
        ({"response": {"status_code": 200, "body": [1]}}, MALFORMED, True),
    ],
)  # fmt: skip
def test_lines_without_answers(
    tmp_path: Path, entry: dict[str, Any], reason: str, passes: bool
) -> None:
    [failure] = arrived(tmp_path, [entry]).failures.values()
    assert (failure.attempt, failure.reason, failure.passes) == (1, reason, passes)


def arrived(folder: Path, entries: Sequence[dict[str, Any]]) -> Arrived:
    """What the log gets from lines about as many questions, each at the first attempt."""
    named = [entry | {"custom_id": f"{place:016x}-1"} for place, entry in enumerate(entries)]
    (folder / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in named))
    with closing(AnswerLog(folder / "log.jsonl", {}, fresh=True)) as log:
        return log_answers([folder / "a.jsonl"], log, most=1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["error", "message", "body", "choices", "status_code",
                                       "response", "code", "text", "content"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.lists(st.dictionaries(st.sampled_from(["response", "error"]), JSON), max_size=9))
def test_any_line_is_an_answer_or_a_failure(entries: list[dict[str, Any]]) -> None:
    with TemporaryDirectory() as folder:
        found = arrived(Path(folder), entries)
    assert found.answers + len(found.failures) == len(entries) and not found.unknown
    assert all(failure.reason.isprintable() for failure in found.failures.values())


MANIFEST, CHAT = "manifest.json", "/v1/chat/completions"
SETTINGS = {"generator": "fake", "candidates": 2, "prompts": ["é"]}


def written(folder: Path, count: int = 3) -> list[int]:
    """The numbers of requests in the files of a complete round."""
    writer = new_writer(folder)
    for attempt in range(1, count + 1):
        writer.add(f"{KEY}-{attempt}", CHAT, {"prompt": "é"})
    writer.finish(SETTINGS)
    return list(writer.written.values())


@pytest.mark.parametrize(("bound", "most"), [("MOST_REQUESTS", 2), ("MOST_BYTES", 300)])
def test_a_round_is_listed_by_its_manifest_and_answered_under_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    monkeypatch.setattr(batch, bound, most)
    assert written(tmp_path / "one") == [2, 1]
    names = {"requests-0001.jsonl", "requests-0002.jsonl"}
    assert set(json.loads((tmp_path / "one" / MANIFEST).read_text())["files"]) == names
    for name in ("b.jsonl", "a.jsonl", "notes.txt"):
        (tmp_path / "one" / name).touch()
    found = answer_files(tmp_path / "one", {"candidates": 2, "prompts": ("é",)})
    assert [path.name for path in found] == ["a.jsonl", "b.jsonl"]
    for changed in ({"candidates": 3}, {"max_tokens": 5}):
        name = next(iter(changed))
        was = SETTINGS.get(name)
        with pytest.raises(UserError, match=f"other settings: {name} was {was} and is") as caught:
            answer_files(tmp_path / "one", changed)
        assert caught.value.where == f"{tmp_path}/one/{MANIFEST}"
    assert not written(tmp_path / "empty", 0) and not (tmp_path / "empty").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (MANIFEST, {"files": ["requests-0001.jsonl"], "settings": {"generator": "mine"}}),
        (MANIFEST, None),
        (".requests-0001.jsonl.part", {"custom_id": 1}),
        (".requests-0001.jsonl.part", None),
        (".requests-0001.jsonl.part", "link"),
    ],
)
def test_files_and_folders_of_others_are_kept(tmp_path: Path, name: str, content: Any) -> None:
    path = tmp_path / "batch" / name
    (path if content is None else path.parent).mkdir(parents=True)
    if content == "link":
        (tmp_path / "mine.jsonl").write_text('{"custom_id": "')
        path.symlink_to(tmp_path / "mine.jsonl")
    elif content is not None:
        path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"holds other files|{name}: "):
        new_writer(path.parent)
    assert path.is_dir() if content is None else path.is_symlink() or path.is_file()


@pytest.mark.parametrize("listed", ["x", None, [1], ["requests-0001.jsonl", {}]])
def test_a_damaged_manifest_deletes_nothing(tmp_path: Path, listed: Any) -> None:
    written(tmp_path)
    (tmp_path / MANIFEST).write_text(json.dumps({"files": listed, "settings": 3}))
    with pytest.raises(UserError, match=r"manifest\.json: lists no files\. Give --to-file a new"):
        new_writer(tmp_path)
    with pytest.raises(UserError, match="candidates was None and is 2"):
        answer_files(tmp_path, {"candidates": 2})
    assert len(list(tmp_path.iterdir())) == 3


def test_only_unfinished_files_of_a_killed_round_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "MOST_REQUESTS", 2)
    outside, folder = tmp_path / "outside.jsonl", tmp_path / "one"
    outside.touch()
    written(folder)
    manifest = (folder / MANIFEST).read_bytes()
    listed = [*json.loads(manifest)["files"], "../outside.jsonl", "/etc/passwd"]
    (folder / MANIFEST).write_text(json.dumps({"files": listed}))
    with pytest.raises(UserError, match="holds the questions of an earlier round"):
        new_writer(folder)
    (folder / MANIFEST).write_bytes(manifest)
    (folder / listed[1]).rename(folder / f".{listed[1]}.part")
    (folder / "mine.jsonl").touch()
    with pytest.raises(UserError, match="holds other files"):
        new_writer(folder)
    (folder / "mine.jsonl").unlink()
    assert written(folder, 1) == [1]
    assert {path.name for path in folder.iterdir()} == {RECORD, MANIFEST, listed[0]}
    assert outside.exists()
