"""Tokens, prices, the cost limit, the estimate and the progress display."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fake_server import FakeServer, response, rotate
from generating import (
    Runs,
    bag_judge,
    captions,
    captions_file,
    fake_config,
    generated_from_source,
)

from paraclip.errors import UserError
from paraclip.paraphrase.backends import Answer, LLMOptions
from paraclip.paraphrase.backends.openai_server import OpenAIBackend
from paraclip.paraphrase.cost import Meter, Prices, meter_of, show_dollars
from paraclip.paraphrase.outputs import Summary
from paraclip.paraphrase.run import Estimate, estimate


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """Every answer uses 100 prompt tokens and 10 answer tokens."""
    with FakeServer() as fake:
        usage = {"prompt_tokens": 100, "completion_tokens": 10}

        def behave(prompt: str, count: int) -> bytes:
            return json.dumps(
                json.loads(response([rotate(prompt)], False)) | {"usage": usage}
            ).encode()

        fake.behave = behave
        yield fake


def test_tokens_and_dollars_are_summed_over_runs(run: Runs) -> None:
    assert run(2).spent["prompt_tokens"] == 400
    summary = run(5, prices=(10.0, 100.0))
    assert summary.spent["prompt_tokens"] == 1000 and summary.spent["answer_tokens"] == 100
    assert summary.spent["dollars"] == pytest.approx(0.02)
    noted = json.loads((run.out / "summary.json").read_text())
    assert noted["spent"]["prices"]["source"] == "--prices"


def test_the_cost_limit_stops_the_run_and_the_next_one_resumes(run: Runs) -> None:
    limited = {"prices": (1000.0, 0.0), "max_cost": 1.0}  # a dollar pays ten answers
    summary = run(40, **limited)
    assert summary.stopped == "--max-cost" and 1.0 <= summary.spent["dollars"] <= 1.4
    assert summary.captions < 40 and summary.failed
    assert "--max-cost is reached" in (run.out / "failed.jsonl").read_text()
    before = run.server.asked.total()
    assert run(40, **limited).spent["dollars"] == summary.spent["dollars"]
    assert run.server.asked.total() == before
    whole = run(40)
    assert whole.kept == 40 and not whole.stopped and run.server.asked.total() == 80


def test_a_run_whose_limit_is_reached_already_keeps_its_triples(run: Runs) -> None:
    kept = run(4).kept
    limited = {"prices": (1000.0, 0.0), "max_cost": 0.1}
    summary = run(9, **limited)
    assert summary.kept == summary.captions == kept == 4 and summary.stopped == "--max-cost"
    assert len(run.triples()) == 4
    assert run.server.asked.total() == 8


def test_a_limit_needs_a_server_that_reports_tokens(run: Runs) -> None:
    limited = {"prices": (1.0, 1.0), "max_cost": 5.0}
    run.server.behave = lambda prompt, count: rotate(prompt)
    with pytest.raises(UserError, match="--max-cost: the server does not report"):
        run(40, **limited)
    asked = run.asked()
    assert asked <= 16, "those in flight"
    assert run(4).kept == 4
    assert run.asked() < 8, "answers that were paid for are in the log"


def test_a_limit_that_allows_no_question_is_no_fault_of_the_server(
    run: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    run.command(3, prices=(1.0, 1.0), max_cost=0.0)
    assert not run.asked() and "cost $0.0000" in capsys.readouterr().out


def test_given_prices_apply_without_an_address(quiet: None, tmp_path: Path) -> None:
    files = {"to_file": str(tmp_path / "questions"), "prices": (1.0, 1.0), "max_cost": 5.0}
    config = fake_config("http://127.0.0.1:9/v1", tmp_path / "out", **files)
    source = captions_file(tmp_path, 3)
    assert generated_from_source(replace(config, source=str(source))).summary.waiting == 3


def prices(model: str, url: str, given: tuple[float, float] | None = None) -> Prices | None:
    llm = LLMOptions(model=model, base_url=(url,), prices=given)
    return meter_of(OpenAIBackend(llm, key="none"), llm).prices


def test_prices() -> None:
    known = prices("gpt-4o-mini", "https://api.openai.com/v1")
    assert known is not None and 0 < known.prompt < known.answer and "genai-prices" in known.source
    assert prices("gpt-4o-mini", "http://localhost:8000/v1") is None
    assert prices("no such model", "https://api.openai.com/v1") is None
    dear = prices("claude-sonnet-4-5", "https://api.anthropic.com/v1")
    assert dear and (dear.prompt, dear.answer) == (3.0, 15.0)  # twice that from 200,000 tokens
    given = prices("any", "http://localhost", (1.0, 2.0))
    assert given == Prices(1.0, 2.0, "--prices") and given.cost((10**6, 5 * 10**5)) == 2.0


def test_a_limit_needs_a_price_and_counts_what_waits() -> None:
    meter = Meter(Prices(1.0, 1.0, "x"), most=2.0)
    meter.reserve((10**6, 10**6))
    assert meter.spent and meter.cost == 0.0
    unknown = Meter()
    unknown.add([Answer("x", tokens=(5, 6))])
    assert not unknown.spent and show_dollars(unknown.cost) == "unknown"
    with pytest.raises(UserError, match="price of this model is unknown"):
        Meter(None, 5.0)


def test_the_estimate_asks_a_sample_that_the_run_reuses(run: Runs) -> None:
    config = run.config(prices=(1.0, 1.0))

    def estimated() -> Estimate:
        return estimate(captions(320), 320, config.llm, bag_judge(), config.outputs)

    run(16)
    partly = estimated()
    assert (partly.sampled, partly.kept, partly.prompt_tokens) == (32, 32, 320 * 200)
    assert partly.dollars == pytest.approx(320 * 220e-6) and partly.seconds
    assert "$0.0704 (--prices)" in partly.table() and run.server.asked.total() == 64
    again = estimated()  # the log has all answers
    assert again.prompt_tokens == partly.prompt_tokens and again.dollars == partly.dollars
    assert again.seconds is None and "time: unknown" in again.table()
    assert run(40).kept == 40 and run.server.asked.total() == 80


def test_an_estimate_without_an_answer_is_an_error(run: Runs) -> None:
    run.server.behave = lambda prompt, count: 400
    config = run.config()
    with pytest.raises(UserError, match=r"no caption of the sample got an answer \(BadRequest"):
        estimate(captions(9), 900, config.llm, bag_judge(), config.outputs)


def test_the_progress_shows_counts_and_costs(
    run: Runs, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("PARACLIP_QUIET", "0")
    run(3)
    assert "3 kept, 0 rejected, 660 tokens, cost unknown" in capsys.readouterr().err
    earlier = [7_000_000, 1_000_000]  # of captions that are still to come, or were edited
    meter = Meter(Prices(1.0, 2.0, "x"), tokens=list(earlier))
    meter.reuse([Answer("x", tokens=(1_000_000, 200_000))])
    meter.add([Answer("x", tokens=(1_000_000, 300_000))])
    summary = Summary(captions=50, kept=40, failed=1)
    summary.rejected["step 1: copy"] = 9
    shown = summary.line(meter, 100)
    assert "40 kept, 9 rejected, 1 failed" in shown and "cost $10.60 of about $6.00" in shown
    assert "cost" not in summary.line(Meter(local=True), None)
