"""The table of benchmarks: suites, missing data, and broken rows."""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from text_sets import write_sts

from paraclip.errors import UserError
from paraclip.evaluation import choice, registry
from paraclip.evaluation.config import EvaluateConfig
from paraclip.evaluation.registry import BENCHMARKS, Entry, Missing, in_suite, load
from paraclip.evaluation.scoring.vectors import Arithmetic


class Found:
    """A benchmark that remembers where its data is."""

    def __init__(self, data: Path) -> None:
        self.name, self.pool, self.data = "made", "1 item", {"folder": str(data)}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of two benchmarks, rows `made-one`, `made-two`, and two rows that are broken."""
    module = ModuleType("paraclip.evaluation.made")
    module.NEEDS = {"made-one": ("one|other_one", "both"), "made-two": ("two",)}
    module.GET = {"made-one": "Draw one.", "made-two": "Draw two."}
    module.load_it = lambda data, how: Found(data)
    monkeypatch.setitem(sys.modules, "paraclip.evaluation.made", module)
    rows = {
        "made-one": Entry(".made:load_it", "text"),
        "made-two": Entry(".made:load_it", "text"),
        "no-module": Entry("nowhere_to_be_found:load", "text"),
        "no-function": Entry(".made:nothing", "text"),
        "sts": BENCHMARKS["sts"],
    }
    monkeypatch.setattr(registry, "BENCHMARKS", rows)
    monkeypatch.setattr(choice, "BENCHMARKS", rows)
    monkeypatch.delenv("PARACLIP_DATA", raising=False)
    return module


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_every_row_is_complete(name: str) -> None:
    assert callable(registry.maker_of(name))
    needs = registry.fact_of(name, "NEEDS") or ()
    assert isinstance(needs, tuple)
    assert not [need for need in needs if Path(need).is_absolute()]
    assert registry.how_to_get(name).endswith(".")
    assert set(BENCHMARKS[name].suites) <= set(registry.SUITES)


def test_every_benchmark_has_its_section_and_no_other_has_one() -> None:
    text = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    _, *parts = re.split(r"^### `(.+)`$", text, flags=re.MULTILINE)
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    assert list(sections) == list(BENCHMARKS)
    for name, section in sections.items():
        section = section.partition("\n## ")[0]
        for word in ("- **Formula.** ", "- **Data.** ", "- **Limitations.** "):
            assert section.count(word) == 1, (name, word)
        documented = re.findall(r"Suites?: ([a-z, ]+)\.", section)
        assert documented == (
            [", ".join(BENCHMARKS[name].suites)] if BENCHMARKS[name].suites else []
        )


def test_suites() -> None:
    assert in_suite("all") == list(BENCHMARKS)
    assert {"paraphrased-retrieval", "sts"} <= set(in_suite("paper")) <= set(BENCHMARKS)
    assert "sts" in in_suite("quick") and "paraphrased-retrieval" not in in_suite("quick")


def test_a_missing_path_is_named_with_what_to_do(made: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"one or .*other_one is missing. Draw one."):
        load("made-one", tmp_path, Arithmetic())
    (tmp_path / "other_one").mkdir()
    with pytest.raises(Missing, match=r"both is missing. Draw one."):
        load("made-one", tmp_path, Arithmetic())
    (tmp_path / "both").write_text("")
    assert load("made-one", tmp_path, Arithmetic()).data == {"folder": str(tmp_path)}
    with pytest.raises(Missing, match="no data folder is named"):
        load("made-two", None, Arithmetic())


def test_a_broken_row_breaks_no_other(
    made: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "both"):
        (tmp_path / name).mkdir()
    found, left_out = choice.choose_benchmarks(EvaluateConfig((), data=str(tmp_path)))
    assert len(found) == 1
    assert list(left_out) == ["made-two", "no-module", "no-function", "sts"]
    assert "cannot be loaded" in left_out["no-module"]
    assert "has no function nothing" in left_out["no-function"]
    assert not capsys.readouterr().err
    choice.warn_left_out(left_out)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and lines[0].startswith("paraclip: made-two left out: --data: ")
    for name in ("no-module", "no-function"):
        with pytest.raises(UserError, match=name):
            choice.find_benchmarks(EvaluateConfig((), name, data=str(tmp_path)))


def test_a_benchmark_half_downloaded_is_reported_by_file(made: ModuleType, tmp_path: Path) -> None:
    for name in ("one", "both"):
        (tmp_path / name).mkdir()
    lost = write_sts(tmp_path / "sts") / "STS" / "STS14-en-test" / "STS.gs.images.txt"
    lost.unlink()
    _, left_out = choice.choose_benchmarks(EvaluateConfig((), data=str(tmp_path)))
    assert re.search(r"STS\.gs\.images\.txt: this file of STS14 is missing", left_out["sts"])
    with pytest.raises(UserError, match=r"STS\.gs\.images\.txt"):
        choice.find_benchmarks(EvaluateConfig((), "sts", data=str(tmp_path)))


def test_a_data_folder_that_is_named_must_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = str(tmp_path / "lost")
    with pytest.raises(UserError, match=r"--data: there is no folder .*lost\. Check the name"):
        choice.choose_benchmarks(EvaluateConfig((), suite="quick", data=lost))
    with pytest.raises(UserError, match=r"--data: there is no folder x{300}\. Check the name"):
        choice.choose_benchmarks(EvaluateConfig((), suite="quick", data="x" * 300))
    monkeypatch.setenv("PARACLIP_DATA", lost)
    with pytest.raises(UserError, match="PARACLIP_DATA: there is no folder"):
        choice.choose_benchmarks(EvaluateConfig((), suite="quick"))


def test_what_options_name_must_be_right(tmp_path: Path) -> None:
    wrong = EvaluateConfig(
        (), pairs=str(tmp_path / "none.csv"), pool=str(tmp_path), data=str(tmp_path)
    )
    with pytest.raises(UserError, match=r"none\.csv"):
        choice.find_benchmarks(wrong)


def test_suite_and_benchmarks_are_one_or_the_other(tmp_path: Path) -> None:
    both = EvaluateConfig((), benchmarks="sts", suite="paper", data=str(tmp_path))
    with pytest.raises(UserError, match="--benchmarks is given too"):
        choice.find_benchmarks(both)
    with pytest.raises(UserError, match=r"is not a suite. Did you mean paper"):
        choice.find_benchmarks(EvaluateConfig((), data=str(tmp_path), suite="papr"))


def test_a_folder_next_to_the_checkout_is_not_taken_unless_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PARACLIP_DATA", raising=False)
    (tmp_path / "checkout").mkdir()
    monkeypatch.chdir(tmp_path / "checkout")
    write_sts(tmp_path / "shared" / "data" / "sts")
    with pytest.raises(UserError, match="no data folder is named"):
        choice.find_benchmarks(EvaluateConfig((), "sts"))
    monkeypatch.setenv("PARACLIP_DATA", "../shared/data")
    (benchmark,) = choice.find_benchmarks(EvaluateConfig((), "sts"))
    assert benchmark.name == "sts"
