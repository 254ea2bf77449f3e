"""A loss, an LLM backend, a reader, a benchmark and a filter, each added by another package.

Each takes one function or class and one line in one table, as ARCHITECTURE.md says; or an entry
point, if the package is installed.
"""

import json
import re
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


ADDED = """
from paraclip.evaluation.benchmarks import Entry
from paraclip.paraphrase.backends import BackendKind
from paraclip.systems import IMMICH as systems
from paraclip.training.losses import Loss as losses
backends, benchmarks = BackendKind(""), Entry(None)
def readers(source, *_):
    yield source, {"caption": "A cat sleeps."}
filters = readers
"""


def test_an_installed_package_adds_to_every_table_and_is_imported_when_it_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entries = {kind: f".added = added_package:{kind}" for kind in TABLES}
    install(tmp_path, "added_package", ADDED, **entries)
    monkeypatch.syspath_prepend(tmp_path)
    for table in TABLES.values():
        assert list(table)[-1] == ".added" and len(table) == len([*table])
    assert "added_package" not in sys.modules
    (tmp_path / "my.added").touch()
    [row] = paraclip.read_captions(str(tmp_path / "my.added"))
    assert row.caption == "A cat sleeps."
    for kind, table in TABLES.items():
        assert table[".added"] is getattr(sys.modules["added_package"], kind)


FAULTY = {
    "raises": ("1 / 0", "ZeroDivisionError"),
    "ends the process": ("import sys; sys.exit(3)", "SystemExit"),
    "lacks it": ("", "no attribute"),
    "another kind": ("one = 7", "is 7, and no"),
}
"""Modules of a package, and what is said of their entry `one`."""


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("name", FAULTY)
def test_a_package_whose_entry_is_of_no_use_is_named(
    name: str, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, said = FAULTY[name]
    package = f"faulty_{kind}_{[*FAULTY].index(name)}"
    install(tmp_path, package, code, **{kind: f"one = {package}:one"})
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=f"{package}.*{said}"):
        TABLES[kind]["one"]


@pytest.mark.parametrize("kind", TABLES)
def test_a_package_that_takes_a_name_is_named(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    taken = next(iter(TABLES[kind]))
    install(tmp_path, "first_package", "", **{kind: f"{taken} = first_package:one"})
    with monkeypatch.context() as first:
        first.syspath_prepend(tmp_path)
        with pytest.raises(UserError, match=f"first_package.*{re.escape(taken)}"):
            list(TABLES[kind])
    for package in ("second_package", "third_package"):
        install(tmp_path / "both", package, "", **{kind: f"same = {package}:one"})
    monkeypatch.syspath_prepend(tmp_path / "both")
    with pytest.raises(UserError, match=r"(second|third)_package.*same"):
        list(TABLES[kind])


@pytest.mark.parametrize("content", [b"[console_scripts]\nx\xff = a:b\n", b"[other]\nnonsense\n"])
def test_a_package_whose_entry_points_are_damaged_is_named(
    content: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(tmp_path, "damaged_package", "")
    (tmp_path / "damaged_package-1.0.dist-info" / "entry_points.txt").write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"damaged_package.*entry_points"):
        list(LOSSES)


def test_the_traceback_of_a_package_that_returns_nonsense_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(
        tmp_path, "odd_package", "def read(*_):\n    yield 1", readers=".odd = odd_package:read"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my.odd").touch()
    with pytest.raises(TypeError) as failed:
        main(["train", str(tmp_path / "my.odd"), "--out", str(tmp_path / "out")])
    assert any("odd_package" in note for note in failed.value.__notes__)
