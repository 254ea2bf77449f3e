"""The two-step run against a fake server: every caption is kept, rejected or failed."""

import asyncio
import errno
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_server import Reply, rotate
from generating import Runs, bag_judge, captions, captions_file, generated_from_source, name_of

from paraclip.commands.generate import GenerateConfig
from paraclip.data.captions import Caption, Columns
from paraclip.data.reading import read_captions
from paraclip.data.triples import read_provenance
from paraclip.errors import UserError
from paraclip.paraphrase.backends import (
    BACKENDS,
    Answer,
    AnswerError,
    LLMOptions,
    Refused,
)
from paraclip.paraphrase.backends.openai_server import OpenAIBackend
from paraclip.paraphrase.config import Outputs
from paraclip.paraphrase.cost import Meter
from paraclip.paraphrase.filters.checks import FILTERS
from paraclip.paraphrase.outputs import Summary, writing
from paraclip.paraphrase.prompts import Prompt
from paraclip.paraphrase.run import estimate, generate_async
from paraclip.paraphrase.steps import KeptTriple, Rejected
from paraclip.starter import TEXTS

KEY = "sk-secret-key"


def copies(run: Runs) -> None:
    """Let the server copy everything, so that no weights are needed."""
    run.server.behave = lambda prompt, count: prompt


def test_triples_are_in_input_order_with_settings_and_counts(run: Runs) -> None:
    run.server.delay = 0.01
    summary = run(20, licence="MIT", concurrency=3)
    assert 2 <= run.server.most_at_once <= 3
    assert summary.kept == summary.captions == 20
    table = run.triples()
    assert [row["id"] for row in table] == [f"c{number}" for number in range(20)]
    for row, caption in zip(table, captions(20), strict=True):
        assert row["caption"] == caption.caption and row["image_id"] == caption.image_id
        assert row["paraphrase_1"] == rotate(caption.caption)
        assert row["paraphrase_2"] == rotate(row["paraphrase_1"])
        assert 0.5 < row["similarity_1"] <= 1.001 and row["overlap_2"] == 1.0
        assert row["generator"].startswith("fake temperature=1.0 top_p=0.1")
    noted = read_provenance(run.out / "triples.parquet")
    assert noted["licence"] == "MIT" and noted["settings"]["model"] == "fake"
    assert noted["settings"]["filter_limits"] == asdict(bag_judge().limits)
    assert noted["settings"]["filters"] == "default"
    counts = json.loads((run.out / "summary.json").read_text())
    assert counts["captions"] == counts["kept"] == 20 and counts["rejected"] == {}
    assert counts["same_words"] == 20  # the server only changes the order of words
    assert re.search(r"caption's words only +20 +100\.0%", summary.table())
    _, metadata, text = (run.out / "README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(metadata)
    assert card["size_categories"] == "n<1K"
    assert card["configs"][0]["data_files"] == "triples.parquet"
    for shown in ("fake temperature=1.0", "MIT", "| kept | 20 | 100.0% |", "A baker carries"):
        assert shown in text.replace("\\", ""), shown


@pytest.mark.parametrize(
    ("kept", "size"),
    [(0, "n<1K"), (1000, "1K<n<10K"), (5 * 10**6, "1M<n<10M"), (10**9, "1B<n<10B")],
)
def test_a_card_names_its_size_and_cannot_be_broken_by_its_rows(
    tmp_path: Path, kept: int, size: str
) -> None:
    summary = Summary(captions=kept, kept=kept, generator="x | [y](http://z)")
    row = dict.fromkeys(("id", "image_id", *TEXTS), "a|b\n# head <img> \x1b[0m")
    outputs = Outputs(tmp_path, {"filter_limits": {}, "licence": "Apache-2.0; see (a)"})
    with writing(outputs, summary, Meter()) as writers:
        writers.write(KeptTriple(row))
    card = (tmp_path / "README.md").read_text()
    assert "<img" not in card and "\x1b" not in card and "\n# head" not in card
    assert "Apache-2.0; see (a)" in card and "a\\|b" in card and "\\[y\\](http" in card
    assert f"size_categories: {size}" in card


def test_settings_are_json_and_contain_no_key_of_an_address() -> None:
    out, server = "s3://KEY:password@bucket/run?region=x", {"backend": "openai"}
    settings = GenerateConfig("a.csv", out, ray_workers=1, **server).outputs.settings
    assert settings["out"] == "s3://bucket/run?..."
    pictures = Columns(images="https://user:password@host/pictures")
    settings = GenerateConfig("a.csv", "o", columns=pictures).outputs.settings
    assert settings["columns"]["images"] == "https://host/pictures"
    settings = GenerateConfig("a.csv", "o", to_file="round", **server).outputs.settings
    assert json.loads(json.dumps(settings))["to_file"] == "round"


def test_every_row_is_kept_rejected_or_failed(run: Runs) -> None:
    def behave(prompt: str, count: int) -> Reply:
        tricks: dict[int, Reply] = {
            1: "I'm sorry, I cannot help.", 2: prompt, 3: "", 4: 500, 5: [None], 6: b"[]",
            7: "Here is a paraphrase: " + rotate(prompt), 8: "None",
            9: rotate(prompt) if prompt.startswith("A baker") else "Two elephants",
        }  # fmt: skip
        return next((t for n, t in tricks.items() if name_of(n) in prompt), rotate(prompt))

    run.server.behave = behave
    summary = run(10)
    assert (summary.captions, summary.kept, summary.failed) == (10, 2, 2)
    first = {"step 1: refusal": 1, "step 1: copy": 1, "step 1: empty": 3}
    assert summary.rejected == first | {"step 2: drift": 1}
    rejected = {row["id"]: row for row in run.lines("rejected.jsonl")}
    assert rejected["c2"]["reason"] == "copy" and rejected["c2"]["step"] == 1
    assert rejected["c9"]["paraphrase_1"] == rotate(rejected["c9"]["caption"])
    assert rejected["c1"]["candidates"][0]["text"].startswith("I'm sorry")
    assert {row["id"] for row in run.lines("failed.jsonl")} == {"c4", "c6"}
    asked = "\n".join(run.server.asked)
    assert "None" not in asked  # an empty answer is never fed to step 2


class Panic(BaseException):
    """As a panic of a Rust package: no `Exception`."""


def faulty(monkeypatch: pytest.MonkeyPatch, kind: type[BaseException] = ValueError) -> None:
    """A filter that raises an exception for the caption `c3`."""

    def check(one: Any) -> bool:
        if name_of(3) in one.answer:
            raise kind("\ud800 of https://me:secret@host\n")
        return False

    monkeypatch.setattr("paraclip.paraphrase.filters.checks.FILTERS", {"faulty": check, **FILTERS})


@pytest.mark.parametrize("kind", [ValueError, Panic])
def test_an_exception_in_a_filter_fails_its_caption_alone_and_a_rerun_goes_on(
    run: Runs, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    with monkeypatch.context() as broken:
        faulty(broken, kind)
        for count in (20, 20, 25):
            summary = run(count)
            assert (summary.kept, summary.failed, summary.unjudged) == (count - 1, 1, 1)
            [row] = run.lines("failed.jsonl")
            assert (row["id"], row["step"]) == ("c3", 1) and kind.__name__ in row["problem"]
            assert r"\ud800 of https://host" in row["problem"]
            where = r"\(paraclip/paraphrase/filters/checks.py, line \d+\)$"
            assert re.search(where, row["problem"])
    run.asked()
    assert run(25).kept == 25
    assert run.asked() == 1, "its first answer is judged again, not asked again"


def test_an_exception_of_a_backend_fails_its_caption_alone(
    run: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = OpenAIBackend.answer

    def broken(self: OpenAIBackend, prompt: Prompt, candidates: int) -> Any:
        if name_of(3) in str(prompt):
            raise KeyError("choices")
        return whole(self, prompt, candidates)

    monkeypatch.setattr(OpenAIBackend, "answer", broken)
    summary = run(8, fresh=True)
    assert (summary.kept, summary.failed, summary.unjudged) == (7, 1, 0)
    [row] = run.lines("failed.jsonl")
    assert "KeyError: 'choices' (paraclip/paraphrase/steps.py" in row["problem"]


def test_the_command_says_how_many_captions_could_not_be_judged(
    run: Runs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    faulty(monkeypatch)
    copies(run)
    run.command()
    shown = capsys.readouterr().out
    assert re.search(r"of these not judged +1", shown) and "got no answer" not in shown
    assert "1 captions failed because of an error in judging" in shown and "failed.jsonl" in shown


def test_captions_are_read_no_further_than_the_window(run: Runs) -> None:
    read: list[str] = []
    run.server.behave = lambda prompt, count: 404

    def endless() -> Iterator[Caption]:
        for caption in captions(10_000):
            read.append(caption.id)
            yield caption

    with pytest.raises(UserError, match="no such model"):
        run(endless(), concurrency=2)
    assert len(read) <= 16
    assert not (run.out / "triples.parquet").exists()


@pytest.mark.parametrize(
    ("working", "fault", "what"),
    [
        (0, Refused("403"), r"^generator: [2-3]\d questions in a row got no answer"),
        (20, Refused("403"), r"^generator: 10\d\d quest"),
        (20, AnswerError("500"), r"^generator: [2-3]\d questions"),
    ],
)
def test_a_server_that_refuses_everything_ends_the_run_and_loses_nothing(
    run: Runs, monkeypatch: pytest.MonkeyPatch, working: int, fault: AnswerError, what: str
) -> None:
    left, given = ["fine"] * working, list[str]()

    async def refuse(self: OpenAIBackend, prompt: Prompt, candidates: int) -> list[Answer]:
        if left:
            given.append(left.pop())
            return [Answer(given[-1])]
        raise fault

    with monkeypatch.context() as refusing:
        refusing.setattr(OpenAIBackend, "answer", refuse)
        with pytest.raises(UserError, match=what):
            run(1100)
    assert run(30).reused_answers == working


@pytest.mark.parametrize(
    ("status", "failing", "counts"),
    [
        # Refused, such as by a filter of the vendor; a resumed run has only these left to ask.
        (403, range(10, 40), (45, 45, 50)),
        (500, range(0, 60, 2), (60, 60)),  # not in a row, also in the resumed run
    ],
)
def test_failed_questions_do_not_stop_a_run_that_works_and_are_repeated(
    run: Runs, status: int, failing: Sequence[int], counts: Sequence[int]
) -> None:
    names, usual = {name_of(number) for number in failing}, run.server.behave
    run.server.behave = lambda prompt, count: (
        status if names & set(prompt.rstrip(".").split()) else rotate(prompt)
    )
    for count in counts:
        assert run(count).failed == len(failing)
    run.server.behave = usual
    run.asked()
    assert run(counts[-1]).kept == counts[-1]
    assert run.asked() == 2 * len(failing)


def test_a_second_ask_gets_a_second_chance(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    run.server.behave = lambda prompt, count: rotate(prompt) if count == 2 else prompt
    assert run(3).kept == 0
    run.server.asked.clear()
    twice = replace(BACKENDS["openai"], options=LLMOptions(asks=2))
    monkeypatch.setitem(BACKENDS, "openai", twice)
    assert run(3, fresh=True).kept == 3
    assert set(run.server.asked.values()) == {2}


def test_the_key_is_in_no_file(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    run.server.key = KEY
    run.server.behave = lambda prompt, count: 400 if name_of(1) in prompt else rotate(prompt)
    run()
    written = [path for path in run.out.iterdir() if path.is_file()]
    assert len(written) == 7
    assert all(KEY.encode() not in path.read_bytes() for path in written)


def test_the_command_reads_counts_and_prints(run: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    source = captions_file(run.out.parent, 4)
    with source.open("a") as file:
        file.write("9,\n")
    copies(run)
    run.command(source, max_broken=0.5)
    printed = capsys.readouterr().out
    assert "rejected, step 1: copy" in printed and "broken input rows" in printed
    summary = json.loads((run.out / "summary.json").read_text())
    assert summary["broken"] == 1 and summary["rejected"] == {"step 1: copy": 4}
    assert (run.out / "problems.txt").exists()
    (run.out / ".triples.parquet.1.part").write_text("of a run that was killed")
    run.command(4)
    left = {path.name for path in run.out.iterdir()}
    assert not left & {"problems.txt", ".triples.parquet.1.part"}


def test_a_full_disk_names_the_file_that_did_not_fit(tmp_path: Path) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    rejected = Rejected(next(iter(captions(1))), 1, "copy", [])
    with (
        pytest.raises(UserError, match=r"rejected\.jsonl: the disk is full"),
        writing(Outputs(tmp_path, {"licence": "MIT"}), Summary(), Meter()) as writers,
    ):
        writers._lines["rejected.jsonl"] = Full()
        writers.write(rejected)


def test_only_the_first_captions_and_later_the_rest(run: Runs) -> None:
    copies(run)
    for first, asked in ((2, 2), (None, 5), (3, 5)):
        run.command(first=first)
        assert sorted(run.server.asked.values()) == [1] * asked
    assert len(run.lines("rejected.jsonl")) == 3


def test_the_command_fails_without_any_answer(run: Runs) -> None:
    run.server.behave = lambda prompt, count: 400
    with pytest.raises(UserError, match=r"failed\.jsonl: no caption got an answer"):
        run.command(2)
    assert len(run.lines("failed.jsonl")) == 2


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_source_is_read_once_and_outside_the_event_loop(
    run: Runs, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    reads: list[str] = []

    def read(source: str, *more: Any) -> Iterator[Caption]:
        for caption in read_captions(source, *more):
            with pytest.raises(RuntimeError, match="no running event loop"):
                asyncio.get_running_loop()
            reads.append(caption.id)
            yield caption

    monkeypatch.setattr("paraclip.paraphrase.run.read_captions", read)
    copies(run)
    run.command(50, dry_run=dry_run, first=40)
    assert reads == [f"c{number}" for number in range(40)]
    assert run.asked() == (32 if dry_run else 40)
    assert sorted(path.name for path in run.out.parent.iterdir()) == ["captions.csv", "out"]
    assert not list(run.out.glob("tmp*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
def test_a_disk_that_is_full_of_captions_is_one_line(
    run: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = open("/dev/full", "wb")  # noqa: SIM115 closed by the run
    monkeypatch.setattr("paraclip.paraphrase.run.TemporaryFile", lambda *_, **__: full)
    with pytest.raises(UserError, match="the disk is full"):
        run.command()
    assert full.closed and not run.out.exists()


def test_a_dry_run_shows_what_is_read_and_an_estimate(
    run: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    source = run.out.parent / "captions.csv"
    source.write_text("caption,image\nA \x1b[31mdog.,none.png\nA cat.,\n,\n")
    copies(run)
    run.command(source, dry_run=True, max_broken=0.7)
    printed = capsys.readouterr().out
    assert "2 left out" in printed and "A cat.\t(no picture)" in printed
    assert "1 captions, 0 with a picture, 1 without" in printed
    assert "asked 1 of 1 captions" in printed and "\x1b" not in printed
    assert [path.name for path in run.out.iterdir()] == ["answers.jsonl"]
    with pytest.raises(UserError, match="2 of 3 rows are broken"):
        run.command(source, dry_run=True, max_broken=0.1)


# --- files of others ---


@pytest.mark.parametrize("name", ["rejected.jsonl", "failed.jsonl"])
@pytest.mark.parametrize("pattern", [False, True])
def test_an_input_is_never_an_output(run: Runs, name: str, pattern: bool) -> None:
    run.out.mkdir()
    path = run.out / name
    path.write_text('{"caption": "A dog."}\n')
    source = run.out / f"{name[:4]}*.jsonl" if pattern else path
    with pytest.raises(UserError, match=f"{name}: .*would be overwritten"):
        run.command(source)
    assert path.read_text() == '{"caption": "A dog."}\n' and [path] == list(run.out.iterdir())


@pytest.mark.parametrize("of_a_run", [False, True])
@pytest.mark.parametrize(
    "name", ["triples.parquet", "rejected.jsonl", "failed.jsonl", "summary.json", "problems.txt"]
)
def test_a_foreign_file_is_not_replaced(run: Runs, name: str, of_a_run: bool) -> None:
    copies(run)
    run.out.mkdir()
    if of_a_run:
        run.command(2)
    run.asked()
    (run.out / name).write_text("mine")
    source = captions_file(run.out.parent, 2)
    with source.open("a") as file:
        file.write("9,\n")
    with pytest.raises(UserError, match=f"{name}: exists and was not written by ParaCLIP"):
        run.command(source, max_broken=0.9)
    assert (run.out / name).read_text() == "mine" and not run.asked()


def test_a_card_that_a_user_wrote_or_edited_and_other_files_stay(run: Runs) -> None:
    copies(run)
    run.out.mkdir()
    others = [run.out / name for name in ("problems.txt", "triples.jsonl", ".mine.part")]
    for other in others:
        other.write_text("mine")
    run.command(2)
    card = (run.out / "README.md").read_text()
    assert "Counts" in card
    (run.out / "README.md").unlink()
    run.command(2)
    assert (run.out / "README.md").read_text() == card
    for mine in (card.replace("Counts", "My counts"), "mine"):
        (run.out / "README.md").write_text(mine)
        run.command(2)
        assert (run.out / "README.md").read_text() == mine
    assert all(other.read_text() == "mine" for other in others)


def test_in_a_running_loop_the_async_form_is_named_and_works(run: Runs) -> None:
    config = run.config()
    how = config.llm, bag_judge(), config.outputs

    async def notebook() -> int:
        with pytest.raises(UserError, match=r"Use `await generate_async"):
            run(3)
        with pytest.raises(UserError, match=r"Use `await asyncio\.to_thread"):
            generated_from_source(config)
        with pytest.raises(UserError, match=r"Use `await asyncio\.to_thread"):
            estimate(captions(3), 3, *how)
        return (await generate_async(captions(3), *how)).captions

    assert asyncio.run(notebook()) == 3
