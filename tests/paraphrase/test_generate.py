"""The two-step run against a fake server: every caption is kept, rejected or failed."""

import asyncio
import errno
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from fake_encoder import BagEncoder
from fake_server import FakeServer, Reply, rotate
from generating import captions, captions_file, fake_config, generated, name_of

from paraclip.commands.generate import generate_command
from paraclip.data.captions import Caption
from paraclip.data.config import Columns
from paraclip.data.reading import read_captions
from paraclip.data.triples import read_provenance, read_triples
from paraclip.errors import UserError
from paraclip.paraphrase.backends import BACKENDS, Answer, LLMOptions, Refused
from paraclip.paraphrase.backends.openai_server import OpenAIBackend
from paraclip.paraphrase.config import GenerateConfig, Limits, Outputs
from paraclip.paraphrase.cost import Meter
from paraclip.paraphrase.filters.checks import FILTERS
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.outputs import Summary, writing
from paraclip.paraphrase.prompts import Prompt
from paraclip.paraphrase.steps import Rejected

KEY = "sk-secret-key"


pytestmark = pytest.mark.usefixtures("quiet")


def run(url: str, out: Path, count: int = 5, **changed: Any) -> Summary:
    return generated(captions(count), fake_config(url, out, **changed))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_triples_are_in_input_order_with_settings_and_counts(
    server: FakeServer, tmp_path: Path
) -> None:
    server.delay = 0.01
    summary = run(server.url, tmp_path, 20, licence="MIT", concurrency=3)
    assert 2 <= server.most_at_once <= 3
    assert summary.kept == summary.captions == 20
    table = read_triples(tmp_path / "triples.parquet").to_pylist()
    assert [row["id"] for row in table] == [f"c{number}" for number in range(20)]
    for row, caption in zip(table, captions(20), strict=True):
        assert row["caption"] == caption.caption and row["image_id"] == caption.image_id
        assert row["paraphrase_1"] == rotate(caption.caption)
        assert row["paraphrase_2"] == rotate(row["paraphrase_1"])
        assert 0.5 < row["similarity_1"] <= 1.001 and row["overlap_2"] == 1.0
        assert row["generator"].startswith("fake temperature=1.0 top_p=0.1")
    noted = read_provenance(tmp_path / "triples.parquet")
    assert noted["licence"] == "MIT" and noted["settings"]["model"] == "fake"
    assert noted["settings"]["filter_limits"]["kept"] > 0
    counts = json.loads((tmp_path / "summary.json").read_text())
    assert counts["captions"] == counts["kept"] == 20 and counts["rejected"] == {}
    assert counts["same_words"] == 20  # the server only changes the order of words
    assert re.search(r"caption's words only +20 +100\.0%", summary.table())


def test_settings_are_json_and_contain_no_key_of_an_address() -> None:
    out, server = "s3://KEY:password@bucket/run?region=x", {"backend": "openai"}
    settings = GenerateConfig("a.csv", out, ray_workers=1, **server).outputs.settings
    assert settings["out"] == "s3://bucket/run?..."
    pictures = Columns(images="https://user:password@host/pictures")
    settings = GenerateConfig("a.csv", "o", pictures).outputs.settings
    assert settings["columns"]["images"] == "https://host/pictures"
    settings = GenerateConfig("a.csv", "o", to_file="round", **server).outputs.settings
    assert json.loads(json.dumps(settings))["to_file"] == "round"


def test_every_row_is_kept_rejected_or_failed(server: FakeServer, tmp_path: Path) -> None:
    def behave(prompt: str, count: int) -> Reply:
        tricks: dict[int, Reply] = {
            1: "I'm sorry, I cannot help.", 2: prompt, 3: "", 4: 500, 5: [None], 6: b"[]",
            7: "Here is a paraphrase: " + rotate(prompt), 8: "None",
            9: rotate(prompt) if prompt.startswith("A baker") else "Two elephants",
        }  # fmt: skip
        return next((t for n, t in tricks.items() if name_of(n) in prompt), rotate(prompt))

    server.behave = behave
    summary = run(server.url, tmp_path, 10)
    assert (summary.captions, summary.kept, summary.failed) == (10, 2, 2)
    first = {"step 1: refusal": 1, "step 1: copy": 1, "step 1: empty": 3}
    assert summary.rejected == first | {"step 2: new content": 1}
    rejected = {row["id"]: row for row in lines(tmp_path / "rejected.jsonl")}
    assert rejected["c2"]["reason"] == "copy" and rejected["c2"]["step"] == 1
    assert rejected["c1"]["candidates"][0]["text"].startswith("I'm sorry")
    assert {row["id"] for row in lines(tmp_path / "failed.jsonl")} == {"c4", "c6"}
    asked = "\n".join(server.asked)
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
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    with monkeypatch.context() as broken:
        faulty(broken, kind)
        for count in (20, 20, 25):
            summary = run(server.url, tmp_path, count)
            assert (summary.kept, summary.failed, summary.unjudged) == (count - 1, 1, 1)
            [row] = lines(tmp_path / "failed.jsonl")
            assert (row["id"], row["step"]) == ("c3", 1) and kind.__name__ in row["problem"]
            assert r"\ud800 of https://host" in row["problem"]
            assert re.search(
                r"\(paraclip/paraphrase/filters/checks.py, line \d+\)$", row["problem"]
            )
    before = server.asked.total()
    assert run(server.url, tmp_path, 25).kept == 25
    assert server.asked.total() - before == 1, "its first answer is judged again, not asked again"


def test_an_exception_of_a_backend_fails_its_caption_alone(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = OpenAIBackend.answer

    def broken(self: OpenAIBackend, prompt: Prompt, candidates: int) -> Any:
        if name_of(3) in str(prompt):
            raise KeyError("choices")
        return whole(self, prompt, candidates)

    monkeypatch.setattr(OpenAIBackend, "answer", broken)
    summary = run(server.url, tmp_path, 8, fresh=True)
    assert (summary.kept, summary.failed, summary.unjudged) == (7, 1, 0)
    [row] = lines(tmp_path / "failed.jsonl")
    assert "KeyError: 'choices' (paraclip/paraphrase/steps.py" in row["problem"]


def test_the_command_says_how_many_captions_could_not_be_judged(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    faulty(monkeypatch)
    server.behave = lambda prompt, count: prompt
    options = fake_config(server.url, tmp_path / "out")
    source = captions_file(tmp_path, 5)
    generate_command(replace(options, source=str(source)))
    shown = capsys.readouterr().out
    assert re.search(r"of these not judged +1", shown) and "got no answer" not in shown
    assert "1 captions failed because of an error in judging" in shown and "failed.jsonl" in shown


def test_other_limits_judge_old_answers_without_asking(server: FakeServer, tmp_path: Path) -> None:
    run(server.url, tmp_path)
    before = server.asked.total()
    strict = Judge(Limits(similarity=1.01), BagEncoder())  # type: ignore[arg-type]
    summary = generated(captions(5), fake_config(server.url, tmp_path), strict)
    assert summary.rejected == {"step 1: drift": 5} and server.asked.total() == before


def test_an_edited_caption_is_sent_again_and_no_other(server: FakeServer, tmp_path: Path) -> None:
    run(server.url, tmp_path)
    before = server.asked.total()
    edited = [replace(one, caption=f"{one.caption} Now.") for one in captions(1)]
    rows = [*edited, *islice(captions(5), 1, None)]
    summary = generated(rows, fake_config(server.url, tmp_path))
    assert summary.kept == 5 and server.asked.total() - before == 2
    table = read_triples(tmp_path / "triples.parquet").to_pylist()
    assert [row["caption"] for row in table] == [row.caption for row in rows]
    assert table[0]["paraphrase_1"] == rotate(edited[0].caption)
    assert run(server.url, tmp_path).kept == 5  # the old answers are still there
    assert server.asked.total() - before == 2


def test_a_run_whose_questions_are_all_answered_needs_no_server(
    server: FakeServer, tmp_path: Path
) -> None:
    assert run(server.url, tmp_path).kept == 5
    assert run("http://127.0.0.1:9/v1", tmp_path).kept == 5


def test_settings_change_in_a_fresh_run_alone_which_keeps_answers_until_it_has_one(
    server: FakeServer, tmp_path: Path
) -> None:
    run(server.url, tmp_path)
    with pytest.raises(UserError, match=r"generator was 'fake temperature=1\.0.*--fresh"):
        run(server.url, tmp_path, temperature=0.3)
    with pytest.raises(UserError, match="no server answers"):
        run("http://127.0.0.1:9/v1", tmp_path, fresh=True)
    server.behave = lambda prompt, count: 404
    with pytest.raises(UserError, match="no such model"):
        run(server.url, tmp_path, model="flake", fresh=True)
    server.asked.clear()
    assert run(server.url, tmp_path).kept == 5 and not server.asked
    server.behave = lambda prompt, count: rotate(prompt)
    assert run(server.url, tmp_path, temperature=0.3, fresh=True).kept == 5


def test_captions_are_read_no_further_than_the_window(server: FakeServer, tmp_path: Path) -> None:
    read: list[str] = []
    server.behave = lambda prompt, count: 404

    def endless() -> Iterator[Caption]:
        for caption in captions(10_000):
            read.append(caption.id)
            yield caption

    with pytest.raises(UserError, match="no such model"):
        generated(endless(), fake_config(server.url, tmp_path, concurrency=2))
    assert len(read) <= 16
    assert not (tmp_path / "triples.parquet").exists()


def test_a_server_that_dies_ends_the_run_but_loses_nothing(
    server: FakeServer, tmp_path: Path
) -> None:
    server.behave = lambda prompt, count: rotate(prompt) if server.asked.total() < 20 else 500
    with pytest.raises(UserError, match="questions in a row got no answer"):
        run(server.url, tmp_path, 60)
    server.behave = lambda prompt, count: rotate(prompt)
    assert run(server.url, tmp_path, 60).kept == 60
    assert max(server.answered.values()) == 1


@pytest.mark.parametrize(
    ("working", "what"), [(0, r"^generator: [2-3]\d questions"), (20, r"^generator: 10\d\d quest")]
)
def test_a_server_that_refuses_everything_ends_the_run(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, working: int, what: str
) -> None:
    left = ["fine"] * working

    async def refuse(self: OpenAIBackend, prompt: Prompt, candidates: int) -> list[Answer]:
        if left:
            return [Answer(left.pop())]
        raise Refused("403")

    monkeypatch.setattr(OpenAIBackend, "answer", refuse)
    with pytest.raises(UserError, match=what):
        run(server.url, tmp_path, 1100)


@pytest.mark.parametrize(
    ("status", "failing", "counts"),
    [
        # Refused, such as by a filter of the vendor; a resumed run has only these left to ask.
        (403, range(10, 40), (45, 45, 50)),
        (500, range(0, 60, 2), (60, 60)),  # not in a row, also in the resumed run
    ],
)
def test_failed_questions_do_not_stop_a_run_that_works_and_are_repeated(
    server: FakeServer, tmp_path: Path, status: int, failing: Sequence[int], counts: Sequence[int]
) -> None:
    names = {name_of(number) for number in failing}
    server.behave = lambda prompt, count: (
        status if names & set(prompt.rstrip(".").split()) else rotate(prompt)
    )
    for count in counts:
        assert run(server.url, tmp_path, count).failed == len(failing)
    server.behave = lambda prompt, count: rotate(prompt)
    before = server.asked.total()
    assert run(server.url, tmp_path, counts[-1]).kept == counts[-1]
    assert server.asked.total() - before == 2 * len(failing)


def test_a_second_ask_gets_a_second_chance(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.behave = lambda prompt, count: rotate(prompt) if count == 2 else prompt
    assert run(server.url, tmp_path, 3).kept == 0
    server.asked.clear()
    twice = replace(BACKENDS["openai"], options=LLMOptions(asks=2))
    monkeypatch.setitem(BACKENDS, "openai", twice)
    assert run(server.url, tmp_path, 3, fresh=True).kept == 3
    assert set(server.asked.values()) == {2}


def test_the_key_is_in_no_file(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.key = KEY
    server.behave = lambda prompt, count: 400 if name_of(1) in prompt else rotate(prompt)
    run(server.url, tmp_path)
    written = [path for path in tmp_path.iterdir() if path.is_file()]
    assert len(written) == 7
    assert all(KEY.encode() not in path.read_bytes() for path in written)


def test_the_command_reads_counts_and_prints(
    server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = captions_file(tmp_path, 4), tmp_path / "out"
    with source.open("a") as file:
        file.write("9,\n")
    server.behave = lambda prompt, count: prompt  # copies everything: no weights are needed
    config = replace(fake_config(server.url, out, max_broken=0.5), source=str(source))
    generate_command(config)
    printed = capsys.readouterr().out
    assert "rejected, step 1: copy" in printed and "broken input rows" in printed
    summary = json.loads((out / "summary.json").read_text())
    assert summary["broken"] == 1 and summary["rejected"] == {"step 1: copy": 4}
    assert (out / "problems.txt").exists()
    captions_file(tmp_path, 4)
    (out / ".triples.parquet.1.part").write_text("of a run that was killed")
    generate_command(config)
    left = {path.name for path in out.iterdir()}
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


def test_only_the_first_captions_and_later_the_rest(server: FakeServer, tmp_path: Path) -> None:
    server.behave = lambda prompt, count: prompt  # copies everything: no weights are needed
    config = fake_config(server.url, tmp_path / "out")
    config = replace(config, source=str(captions_file(tmp_path, 5)))
    for first, asked in ((2, 2), (None, 5), (3, 5)):
        generate_command(replace(config, first=first))
        assert sorted(server.asked.values()) == [1] * asked
    assert len(lines(tmp_path / "out/rejected.jsonl")) == 3


def test_the_command_fails_without_any_answer(server: FakeServer, tmp_path: Path) -> None:
    server.behave = lambda prompt, count: 400
    config = fake_config(server.url, tmp_path / "out")
    with pytest.raises(UserError, match=r"failed\.jsonl: no caption got an answer"):
        generate_command(replace(config, source=str(captions_file(tmp_path, 2))))
    assert len(lines(tmp_path / "out/failed.jsonl")) == 2


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_source_is_read_once_and_outside_the_event_loop(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    reads: list[str] = []

    def read(source: str, *more: Any) -> Iterator[Caption]:
        for caption in read_captions(source, *more):
            with pytest.raises(RuntimeError, match="no running event loop"):
                asyncio.get_running_loop()
            reads.append(caption.id)
            yield caption

    monkeypatch.setattr("paraclip.paraphrase.run.read_captions", read)
    server.behave = lambda prompt, count: prompt
    source = captions_file(tmp_path, 50)
    options = replace(fake_config(server.url, tmp_path / "out", dry_run=dry_run), first=40)
    generate_command(replace(options, source=str(source)))
    assert reads == [f"c{number}" for number in range(40)]
    assert server.asked.total() == (32 if dry_run else 40)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["captions.csv", "out"]
    assert not list((tmp_path / "out").glob("tmp*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
def test_a_disk_that_is_full_of_captions_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = open("/dev/full", "wb")  # noqa: SIM115 closed by the run
    monkeypatch.setattr("paraclip.paraphrase.run.TemporaryFile", lambda *_, **__: full)
    options = fake_config("http://127.0.0.1:9/v1", tmp_path / "out")
    with pytest.raises(UserError, match="the disk is full"):
        generate_command(replace(options, source=str(captions_file(tmp_path, 5))))
    assert full.closed and not (tmp_path / "out").exists()


def test_a_dry_run_shows_what_is_read_and_an_estimate(
    server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "captions.csv", tmp_path / "out"
    source.write_text("caption,image\nA \x1b[31mdog.,none.png\nA cat.,\n,\n")
    server.behave = lambda prompt, count: prompt
    config = replace(fake_config(server.url, out, dry_run=True), source=str(source))
    generate_command(replace(config, max_broken=0.7))
    printed = capsys.readouterr().out
    assert "2 broken rows were skipped" in printed and "A cat.\t(no picture)" in printed
    assert "1 captions, 0 with a picture, 1 without" in printed
    assert "asked 1 of 1 captions" in printed and "\x1b" not in printed
    assert [path.name for path in out.iterdir()] == ["answers.jsonl"]
    with pytest.raises(UserError, match="2 of 3 rows are broken"):
        generate_command(replace(config, max_broken=0.1))
