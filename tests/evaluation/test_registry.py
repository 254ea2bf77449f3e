"""The table of benchmarks: suites, missing data, and broken rows."""

import re
from pathlib import Path

import pytest

from paraclip.commands import evaluate as command
from paraclip.commands.evaluate import (
    EvaluateConfig,
    choose_benchmarks,
    load_benchmark,
)
from paraclip.errors import UserError
from paraclip.evaluation import benchmarks
from paraclip.evaluation.benchmark import MissingData, find_source
from paraclip.evaluation.benchmarks import BENCHMARKS, Entry


class Found:
    """A benchmark that remembers where its data is."""

    def __init__(self, data: Path | None, get: str, *needs: str | tuple[str, ...]) -> None:
        found = [find_source(data, need, get) for need in needs]
        self.name, self.pool, self.data = "made", "1 item", {"folder": str(found[0].parent)}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Benchmarks `made-one` and `made-two`, STS, and one whose data options select."""
    rows = {
        "made-one": Entry(lambda data, how: Found(data, "Draw one.", ("one", "other_one"), "both")),
        "made-two": Entry(lambda data, how: Found(data, "Draw two.", "two")),
        **{name: BENCHMARKS[name] for name in ("sts", "image-text-retrieval")},
    }
    monkeypatch.setattr(benchmarks, "BENCHMARKS", rows)
    monkeypatch.delenv("PARACLIP_DATA", raising=False)


@pytest.mark.parametrize("name", list(BENCHMARKS))
def test_every_benchmark_says_how_to_get_its_data(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(BENCHMARKS[name].suites) <= set(benchmarks.SUITES)
    monkeypatch.delenv("PARACLIP_DATA", raising=False)
    for data in (None, str(tmp_path)):
        with pytest.raises(MissingData, match=r"is missing|is named") as caught:
            load_benchmark(name, EvaluateConfig(data=data))
        assert caught.value.hint.endswith((".", "--images-by-class"))


def test_every_benchmark_has_its_section_and_no_other_has_one() -> None:
    page = Path(__file__).parents[2] / "docs" / "guide" / "evaluate.md"
    text = page.read_text(encoding="utf-8")
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


def test_a_missing_path_is_named_with_what_to_do(made: None, tmp_path: Path) -> None:
    config = EvaluateConfig(data=str(tmp_path))
    with pytest.raises(MissingData, match=r"one or .*other_one is missing. Draw one."):
        load_benchmark("made-one", config)
    (tmp_path / "other_one").mkdir()
    with pytest.raises(MissingData, match=r"both is missing. Draw one."):
        load_benchmark("made-one", config)
    (tmp_path / "both").write_text("")
    assert load_benchmark("made-one", config).data == {"folder": str(tmp_path)}
    with pytest.raises(MissingData, match="no data folder is named"):
        load_benchmark("made-two", EvaluateConfig())


def test_what_has_no_data_is_left_out_with_a_line(
    made: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "both"):
        (tmp_path / name).mkdir()
    found, left_out = choose_benchmarks(EvaluateConfig(data=str(tmp_path)))
    assert len(found) == 1 and list(left_out) == ["made-two", "sts", "image-text-retrieval"]
    assert not capsys.readouterr().err
    command._warn_left_out(left_out)
    made, sts, retrieval = capsys.readouterr().err.splitlines()
    assert made.startswith("paraclip: made-two left out: --data: ") and made.endswith("Draw two.")
    assert "sts left out: --data: " in sts and "Get SentEval's STS and SICK" in sts
    assert "image-text-retrieval left out: --captions: " in retrieval


def test_a_data_folder_that_is_named_must_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = str(tmp_path / "lost")
    for named in (lost, "x" * 300):
        with pytest.raises(UserError, match=rf"--data: there is no folder {named}\. Check"):
            choose_benchmarks(EvaluateConfig(benchmarks="quick", data=named))
    monkeypatch.setenv("PARACLIP_DATA", lost)
    with pytest.raises(UserError, match="PARACLIP_DATA: there is no folder"):
        choose_benchmarks(EvaluateConfig(benchmarks="quick"))


def test_a_name_that_is_unknown_gets_a_hint(tmp_path: Path) -> None:
    for name, hint in (("papr", "paper"), ("sst", "sts"), ("sts,papr", "paper")):
        with pytest.raises(UserError, match=rf"is not a benchmark. Did you mean {hint}"):
            choose_benchmarks(EvaluateConfig(benchmarks=name, data=str(tmp_path)))


def test_a_suite_stands_alone(made: None, tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    for name in ("all,", " all,all"):
        found, _ = choose_benchmarks(EvaluateConfig(benchmarks=name, data=str(tmp_path)))
        assert len(found) == 1
    with pytest.raises(UserError, match="the suite quick does not go with"):
        choose_benchmarks(EvaluateConfig(benchmarks="quick,made-two", data=str(tmp_path)))
