"""A loss, an LLM backend, a reader, a benchmark and a filter, each added by another package.

Each takes one function or class and one line in one table, as ARCHITECTURE.md says; or an entry
point, if the package is installed.
"""

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import paraclip
from paraclip.cli import main
from paraclip.data.captions import Columns, Problems
from paraclip.data.rows import READERS, Values
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Arithmetic, Scores
from paraclip.evaluation.benchmarks import BENCHMARKS, Entry
from paraclip.evaluation.statistics import Metric
from paraclip.models.checkpoint import save_model
from paraclip.models.encoder import DualEncoder
from paraclip.paraphrase.backends import BACKENDS, Answer, BackendKind, LLMOptions
from paraclip.paraphrase.filters.checks import FILTERS
from paraclip.paraphrase.prompts import Prompt
from paraclip.plugins import Table
from paraclip.systems import SYSTEMS
from paraclip.training.config import LOSSES
from paraclip.training.log import read_metrics
from tiny import LOSS_PACKAGE, install, tiny_clip


def write_triples(path: Path, count: int = 8) -> Path:
    rows = [
        {"index": i, "image_id": str(i), "caption": f"a dog {i}", "paraphrase_1": f"one dog {i}",
         "paraphrase_2": f"the hound {i}"}
        for i in range(count)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_loss(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(tmp_path, "closer", LOSS_PACKAGE, losses="closeness = closer:Closeness")
    monkeypatch.syspath_prepend(tmp_path)
    triples = write_triples(tmp_path / "triples.jsonl")
    save_model(tiny_clip(), tmp_path / "base.safetensors")
    words = f"train {triples} --base {tmp_path}/base.safetensors --out {tmp_path}/out --device cpu"
    weights = "--recipe paper --loss-weight L1=0 L2=0 L3=0 closeness=2 --epochs 1 --batch-size 4"
    assert main([*words.split(), *weights.split()]) == 0
    (first, second) = read_metrics(tmp_path / "out" / "metrics.jsonl")
    assert first["loss"] == 2 * first["closeness"] > 0 and "L1" not in second
    identity = json.loads((tmp_path / "out" / "run.json").read_text())["identity"]
    assert identity["loss_weights"]["closeness"] == 2


def test_a_backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Fixed:
        generator, style, identity = "fixed", "paper", {"version": "1"}

        def __init__(self, options: LLMOptions) -> None:
            self.answers = iter(("One hound is sprinting.", "A single running canine."))

        async def start(self) -> None: ...

        async def answer(self, prompt: Prompt, candidates: int) -> list[Answer]:
            return [Answer(next(self.answers))]

        async def close(self) -> None: ...

    outside = types.ModuleType("another_project")
    outside.Fixed = Fixed  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, outside.__name__, outside)
    monkeypatch.setitem(BACKENDS, "fixed", BackendKind("another_project:Fixed"))
    monkeypatch.setattr("paraclip.paraphrase.filters.checks.FILTERS", {})
    source = tmp_path / "captions.jsonl"
    source.write_text('{"caption": "A dog runs."}\n')
    triples = paraclip.generate(source, tmp_path / "out", backend="fixed")
    log = (tmp_path / "out" / "answers.jsonl").read_text()
    assert triples.is_file() and "One hound is sprinting." in log


def test_a_reader(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def read_notes(
        source: str, problems: Problems, columns: Columns | None
    ) -> Iterator[tuple[str, Values]]:
        for number, line in enumerate(Path(source).read_text().splitlines(), start=1):
            yield f"{source}:{number}", {"caption": line}

    monkeypatch.setitem(READERS, ".notes", read_notes)
    (tmp_path / "my.notes").write_text("A cat sleeps.\nTwo birds sing.\n")
    captions = list(paraclip.read_captions(str(tmp_path / "my.notes")))
    assert [row.caption for row in captions] == ["A cat sleeps.", "Two birds sing."]


def test_a_benchmark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Lengths:
        name, pool, data = "lengths", "3 texts", {"hash": "0"}
        pictures = ()

        def __init__(self, how: Arithmetic) -> None:
            self.how = how

        def score(self, model: DualEncoder, cache: Path | None) -> Scores:
            return Scores([Metric("mean length", np.array([0.1, 0.2, 0.3]))])

    monkeypatch.setitem(BENCHMARKS, "lengths", Entry(lambda data, how: Lengths(how)))
    options = {"benchmarks": "lengths", "data": str(tmp_path), "resamples": 20}
    report = paraclip.evaluate({"base": tiny_clip()}, out=str(tmp_path / "report"), **options)
    assert "mean length" in report.table() and "20.0" in report.table()


def test_a_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    from paraclip.paraphrase.config import Limits
    from paraclip.paraphrase.filters.checks import Question, plain_reason

    question = Question("A dog runs.", "A DOG IS RUNNING.", "A dog runs.")
    assert plain_reason(question, question.answer, Limits()) != "shouting"
    shouts = {"shouting": lambda candidate: candidate.answer.isupper()}
    monkeypatch.setattr("paraclip.paraphrase.filters.checks.FILTERS", shouts)
    assert plain_reason(question, question.answer, Limits()) == "shouting"


TABLES: dict[str, Table[Any]] = {
    "losses": LOSSES, "backends": BACKENDS, "readers": READERS, "benchmarks": BENCHMARKS,
    "filters": FILTERS, "systems": SYSTEMS,
}  # fmt: skip


def test_an_installed_package_adds_to_every_table_and_is_imported_when_it_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = "def read(source, *_):\n    yield source, {'caption': 'A cat sleeps.'}\n"
    install(tmp_path, "added_package", code, **dict.fromkeys(TABLES, ".added = added_package:read"))
    monkeypatch.syspath_prepend(tmp_path)
    for table in TABLES.values():
        assert list(table)[-1] == ".added" and len(table) == len([*table])
    assert "added_package" not in sys.modules
    (tmp_path / "my.added").touch()
    [row] = paraclip.read_captions(str(tmp_path / "my.added"))
    assert row.caption == "A cat sleeps."
    for table in TABLES.values():
        assert table[".added"] is sys.modules["added_package"].read


def test_a_package_whose_entry_is_of_no_use_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(
        tmp_path, "faulty_package", "1 / 0",
        losses="fine = faulty_package:read", filters="number = faulty_package:read",
    )  # fmt: skip
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"faulty_package.*ZeroDivisionError"):
        LOSSES["fine"]
    with pytest.raises(UserError, match=r"faulty_package.*number"):
        FILTERS["empty"]
    install(tmp_path, "second_package", "", benchmarks="same = second_package:one")
    install(tmp_path, "third_package", "", benchmarks="same = third_package:one")
    with pytest.raises(UserError, match=r"(second|third)_package.*same"):
        list(BENCHMARKS)
