"""A run in parts without Ray: what the parts write and join, and that no question is repeated."""

import json
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_server import FakeServer, rotate
from generating import bag_judge, captions, captions_file, fake_config, generated_from_source

from paraclip.data.triples import read_triples
from paraclip.errors import UserError
from paraclip.paraphrase import parts
from paraclip.paraphrase.backends import LLMOptions, make_backend
from paraclip.paraphrase.config import Limits
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.generation import Generation
from paraclip.paraphrase.log import AnswerLog
from paraclip.paraphrase.steps import answer_settings

pytestmark = pytest.mark.usefixtures("quiet")
ROWS, PARTS = 30, 3


@pytest.fixture
def source(tmp_path: Path) -> str:
    return str(captions_file(tmp_path, ROWS))


def run(server: FakeServer, out: Path, source: str, part: str | None, **changed: Any) -> Generation:
    config = fake_config(server.url, out, part=part, **changed)
    return generated_from_source(replace(config, source=source))


def run_all(server: FakeServer, out: Path, source: str, **changed: Any) -> Generation:
    for number in range(1, PARTS):
        run(server, out, source, f"{number}/{PARTS}", **changed)
    return run(server, out, source, f"{PARTS}/{PARTS}", **changed)


def ids(folder: Path) -> list[str]:
    return list(read_triples(folder / "triples.parquet")["id"].to_pylist())


def test_the_parts_are_joined_to_what_one_run_writes(
    server: FakeServer, source: str, tmp_path: Path
) -> None:
    def behave(prompt: str, count: int) -> str | int:
        return 400 if "babax" in prompt else prompt if "babex" in prompt else rotate(prompt)

    server.behave = behave
    out, whole = tmp_path / "out", run(server, tmp_path / "whole", source, None, kinds="short")
    first = run(server, out, source, "1/3", kinds="short")
    assert first.triples == out / "part-1-of-3" / "triples.parquet" and first.notes
    assert 0 < first.summary.captions < ROWS and not (out / "triples.parquet").exists()
    run(server, out, source, "3/3", kinds="short")
    joined = run(server, out, source, "2/3", kinds="short")
    assert joined.triples == out / "triples.parquet" and not joined.notes
    assert joined.summary == whole.summary and joined.summary.failed == 1
    assert sorted(ids(out)) == sorted(ids(tmp_path / "whole"))
    for name in ("rejected.jsonl", "failed.jsonl"):
        texts = [(folder / name).read_text() for folder in (out, tmp_path / "whole")]
        lines = [sorted(text.splitlines()) for text in texts]
        assert lines[0] == lines[1] and lines[0]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["provenance"]["settings"]["part"] is None


def test_failures_alone_are_asked_again_and_finished_parts_not_judged(
    server: FakeServer, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.behave = lambda prompt, count: 400 if "babax" in prompt else rotate(prompt)
    assert run_all(server, tmp_path / "out", source).summary.failed == 1
    asked = server.asked.total()
    server.behave = lambda prompt, count: rotate(prompt)
    assert run_all(server, tmp_path / "out", source).summary.kept == ROWS
    assert server.asked.total() - asked == 2
    monkeypatch.setattr(Judge, "judge_each", None)
    assert run_all(server, tmp_path / "out", source).summary.kept == ROWS


def test_a_part_waits_for_the_worker_of_a_killed_run(
    server: FakeServer, source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    llm = fake_config(server.url, tmp_path).llm
    path = tmp_path / "out" / "part-1-of-1" / "answers.jsonl"
    other = AnswerLog(path, answer_settings(llm, make_backend(llm)))
    thread = threading.Thread(target=run, args=(server, tmp_path / "out", source, "1/1"))
    thread.start()
    while "waiting for another run" not in capsys.readouterr().err:
        assert thread.is_alive()
        time.sleep(0.005)
    assert not server.asked
    other.close()
    thread.join()
    assert len(ids(tmp_path / "out")) == ROWS


def test_a_caption_that_is_added_moves_no_other(
    server: FakeServer, source: str, tmp_path: Path
) -> None:
    run_all(server, tmp_path / "out", source)
    asked = server.asked.total()
    captions_file(tmp_path, ROWS + 5)
    first = run(server, tmp_path / "out", source, "1/3")
    assert first.notes and len(ids(tmp_path / "out")) == ROWS  # others are of the old source
    for part in ("2/3", "3/3"):
        joined = run(server, tmp_path / "out", source, part)
    assert joined.summary.kept == ROWS + 5 and server.asked.total() - asked == 10
    assert sorted(ids(tmp_path / "out")) == sorted(one.id for one in captions(ROWS + 5))


def test_other_filters_judge_all_parts_again_before_they_are_joined(
    server: FakeServer, source: str, tmp_path: Path
) -> None:
    run_all(server, tmp_path / "out", source)
    asked, strict = server.asked.total(), bag_judge()
    strict.limits = replace(Limits(), words=1)
    kept = []
    for number in range(1, PARTS + 1):
        config = fake_config(server.url, tmp_path / "out", part=f"{number}/{PARTS}")
        generated_from_source(replace(config, source=source), strict)
        kept.append(len(ids(tmp_path / "out")) if number < PARTS else 0)
    assert kept == [ROWS, ROWS, 0] and server.asked.total() == asked
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["kept"], summary["captions"]) == (0, ROWS)


def test_answers_of_a_run_without_parts_are_known(
    server: FakeServer, source: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(server, out, source, None, first=10)
    asked = server.asked.total()
    summary = run_all(server, out, source).summary
    assert server.asked.total() - asked == 2 * (ROWS - 10)
    assert summary.kept == ROWS and summary.reused_answers == 20
    with pytest.raises(UserError, match="part of a run in parts"):
        run(server, out, source, None)
    with pytest.raises(UserError, match=r"contains part-\d-of-3. Give --part i/3"):
        run(server, out, source, "1/4")


def test_a_part_may_be_empty_or_fresh(server: FakeServer, tmp_path: Path) -> None:
    source = str(captions_file(tmp_path, 1))
    for _ in range(2):
        found = [run(server, tmp_path / "out", source, f"{n}/2", fresh=True) for n in (1, 2)]
        for one in found:
            one.check()
    assert found[1].summary.kept == 1 and server.asked.total() == 4


def test_out_may_be_an_object_store(server: FakeServer, source: str, tmp_path: Path) -> None:
    out, url = tmp_path / "bucket", Path(f"file://{tmp_path}/bucket")
    server.behave = lambda prompt, count: 400 if "babax" in prompt else rotate(prompt)
    with Path(source).open("a") as file:
        file.write("c99,\n")
    assert run_all(server, url, source, max_broken=0.5).summary.failed == 1
    (out / "README.md").write_text("mine")
    (out / "notes.txt").write_text("mine")
    assert (out / "problems.txt").exists() and not Path("file:").exists()
    captions_file(tmp_path, ROWS)
    asked = server.asked.total()
    server.behave = lambda prompt, count: rotate(prompt)
    assert run_all(server, url, source).summary.kept == ROWS
    assert server.asked.total() - asked == 2 and sorted(ids(out)) == sorted(
        one.id for one in captions(ROWS)
    )
    files = {path.name: path.read_text() for path in out.glob("*.*") if path.suffix != ".parquet"}
    assert files["README.md"] == files["notes.txt"] == "mine" and "problems.txt" not in files
    with pytest.raises(UserError, match="--out: nowhere://bucket") as caught:
        run(server, Path("nowhere://KEY:password@bucket/run"), source, "1/2")
    assert "password" not in str(caught.value)


def test_workers_share_concurrency_and_rates_and_need_no_environment(
    server: FakeServer, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setattr(parts, "_import_ray", lambda: None)
    monkeypatch.setattr(parts, "_cluster", lambda workers: nullcontext())
    shares: list[LLMOptions] = []

    def spread(ray: None, make: Callable[[], Any], tasks: Iterable[Any], workers: int) -> Any:
        monkeypatch.delenv("OPENAI_BASE_URL")
        shares.append(make().llm)
        return map(make(), tasks)

    monkeypatch.setattr(parts, "_spread", spread)
    named = {"ray_workers": 2, "concurrency": 9, "per_minute": (6e8, 9e8)}
    config = fake_config(server.url, tmp_path / "out", **named)
    config = replace(config, source=source, base_url=())
    assert generated_from_source(config).summary.kept == ROWS
    [share] = shares
    assert (share.concurrency, share.per_minute, share.base_url) == (5, (3e8, 4.5e8), (server.url,))
