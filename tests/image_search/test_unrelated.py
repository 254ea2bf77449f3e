"""Results that are no better than what unrelated queries get, and "nothing close"."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from served import WIDTH, HashTower, made_index

from paraclip.cli import main
from paraclip.data.captions import Problems
from paraclip.evaluation.metrics import cutoff_above
from paraclip.image_search import build
from paraclip.image_search.build import build_index
from paraclip.image_search.engine import mark_close, measure_cutoffs, search_index
from paraclip.image_search.snapshot import Hit
from paraclip.image_search.towers import model_stamp
from paraclip.starter import unrelated_texts
from paraclip.store import IndexFacts, Store
from tiny import draw


def test_present_subjects_hardly_move_the_cutoff() -> None:
    absent = np.random.default_rng(0).normal(0.2, 0.02, 300)
    clean = cutoff_above(absent)
    assert clean == pytest.approx(0.215, abs=0.004)
    some_present = np.where(np.arange(300) % 4 == 0, absent + 0.3, absent)
    assert clean <= cutoff_above(some_present) < clean + 0.02


def test_the_cutoff_is_made_of_the_best_result_of_each_unrelated_text(
    tmp_path: Path, address: str
) -> None:
    store = made_index(tmp_path, address)
    facts = store.facts()
    assert facts is not None
    towers = {"base": HashTower("first", 1.0), "tuned": HashTower("second")}
    cutoffs = measure_cutoffs(store, facts, towers)
    (part,) = store.batches(("vector",))
    pool = np.stack(part["vector"].to_pylist())
    for label, tower in towers.items():
        best = (tower.embed(unrelated_texts()) @ pool.T).max(axis=1)
        assert cutoffs[label] == pytest.approx(cutoff_above(best), abs=1e-6)
    assert cutoffs["base"] != cutoffs["tuned"]
    known = replace(facts, cutoffs={model_stamp("first"): 0.5})
    asked = len(towers["base"].batches)
    assert measure_cutoffs(store, known, towers) == {"base": 0.5, "tuned": cutoffs["tuned"]}
    assert len(towers["base"].batches) == asked, "a stored cut-off is not measured again"


def test_an_empty_index_has_no_cutoff(tmp_path: Path) -> None:
    store = Store(tmp_path / "empty")
    facts = IndexFacts("space", WIDTH, "/pictures", "/pictures", {"base": "mini"})
    store.save_facts(facts)
    assert measure_cutoffs(store, facts, {"base": HashTower("base")}) == {}


def test_results_at_the_cutoff_are_not_close() -> None:
    hits = [Hit("a", "a.png", "", 0.31), Hit("b", "b.png", "", 0.3), Hit("c", "c.png", "", 0.1)]
    assert [hit.close for hit in mark_close(hits, 0.3)] == [True, False, False]
    assert all(hit.close for hit in mark_close(mark_close(hits, 0.3), None))


def cutoffs_in(address: str) -> dict[str, float]:
    facts = Store(address).facts()
    assert facts is not None
    return facts.cutoffs


def test_index_measures_the_cutoffs_of_its_models(
    pictures: Path, address: str, models: dict[str, str], tmp_path: Path
) -> None:
    base, tuned = models["base"], models["tuned"]
    build_index(str(pictures), address, base, Problems(1.0))
    first = cutoffs_in(address)
    assert list(first) == [model_stamp(base)]
    build_index(str(pictures), address, base, Problems(1.0), tuned=tuned)
    both = cutoffs_in(address)
    assert both.keys() == {model_stamp(base), model_stamp(tuned)}
    assert both[model_stamp(base)] == first[model_stamp(base)] != both[model_stamp(tuned)]
    for path in pictures.glob("disc*"):
        path.unlink()
    build_index(str(pictures), address, base, Problems(1.0), tuned=tuned)
    assert cutoffs_in(address) != both, "measured again, since the pictures have changed"


def test_a_model_that_was_trained_again_gets_another_cutoff(
    pictures: Path, tmp_path: Path, models: dict[str, str]
) -> None:
    address, tuned = str(tmp_path / "index"), tmp_path / "tuned.safetensors"
    for weights in ("tuned", "base"):
        shutil.copy(models[weights], tuned)
        build_index(str(pictures), address, models["base"], Problems(1.0), tuned=str(tuned))
    first, second = cutoffs_in(address).values()
    assert first == second, "both have the weights of the base now"


def test_a_run_that_was_killed_before_its_cutoffs_measures_them_when_it_resumes(
    pictures: Path, tmp_path: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped, whole = str(tmp_path / "stopped"), str(tmp_path / "whole")
    build_index(str(pictures), stopped, models["base"], Problems(1.0))
    before = cutoffs_in(stopped)
    for colour in ("yellow", "black", "orange"):
        draw(pictures / f"{colour}.png", "square", colour)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(build, "cutoffs_of", Mock(side_effect=KeyboardInterrupt))
        build_index(str(pictures), stopped, models["base"], Problems(1.0))
    for address in (stopped, whole):
        build_index(str(pictures), address, models["base"], Problems(1.0))
    assert cutoffs_in(stopped) == pytest.approx(cutoffs_in(whole), abs=1e-6)
    assert cutoffs_in(stopped) != before


def test_search_says_that_nothing_is_close(
    pictures: Path, tmp_path: Path, models: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    address = str(tmp_path / "index")
    build_index(str(pictures), address, models["base"], Problems(1.0))

    def found(*words: str) -> str:
        capsys.readouterr()
        assert main(["search", "a red disc", "--index", address, *words]) == 0
        return capsys.readouterr().out

    assert "~" not in found() and "~" not in found("--cutoff", "-1")
    shown = found("--cutoff", "1")
    assert "Nothing close" in shown and shown.count("~0.") == 6
    assert "Close: above 1.000 (base)" in shown and "above" not in found()
    assert found("--cutoff", "1", "--paths") == ""
    assert "Close" not in found("--cutoff", "-1", "--paths")
    twice = ("--models", f"base,again={models['base']}")
    assert "again: nothing close" in found("--cutoff", "1", *twice)
    automatic = f"{cutoffs_in(address)[model_stamp(models['base'])]:.3f}"
    assert f"above {automatic} (base), {automatic} (again)" in found("--cutoff", "auto", *twice)
    assert "above" not in found("--cutoff", "auto", "--minus", "a square")

    content = json.loads(found("--cutoff", "auto", "--json", *twice))
    cutoff = cutoffs_in(address)[model_stamp(models["base"])]
    assert content["cutoff"] == {"base": cutoff, "again": cutoff}
    for hit in content["models"]["base"]:
        assert hit["close"] == (hit["score"] > cutoff)
    mixed = json.loads(found("--cutoff", "auto", "--json", "--minus", "a square"))
    assert mixed["cutoff"] == {"base": None}


def test_an_index_without_cutoffs_gets_the_same(
    pictures: Path, tmp_path: Path, models: dict[str, str]
) -> None:
    address = str(tmp_path / "index")
    build_index(str(pictures), address, models["base"], Problems(1.0))
    stored, _ = search_index("a red disc", address, cutoff="auto")
    store = Store(address)
    facts = store.facts()
    assert facts is not None
    store.save_facts(replace(facts, cutoffs={}))
    measured, _ = search_index("a red disc", address, cutoff="auto")
    assert measured["base"].cutoff == pytest.approx(stored["base"].cutoff, abs=1e-5)


def test_a_cutoff_is_a_number_or_auto(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "x", "--cutoff", "2"]) == 2
    assert "--cutoff" in capsys.readouterr().err
