"""The bad-inputs benchmark: how outcomes are classified, and a few inputs of every kind."""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks.inputs import bad_inputs
from benchmarks.inputs.areas import READERS, STORES, all_cases, swap_check
from benchmarks.inputs.cases import Action, Case, paraclip
from benchmarks.inputs.sound import NAMES, write_sound
from paraclip.errors import UserError


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in ("PARACLIP_QUIET", "OMP_NUM_THREADS", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "1")  # given back at the end
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path_factory.mktemp("cache")))


def user_error() -> None:
    raise UserError("a", "is b", "Do c.")


def fault() -> None:
    raise ValueError("a fault")


def fault_in_a_thread() -> None:
    print("Traceback (most recent call last):\n  x", file=sys.stderr)


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        (user_error, "clear error"),
        (["trian"], "clear error"),
        (["train", "x", "--epochs", "many"], "clear error"),
        (["--version"], "accepted"),
        (lambda: Path("new").write_text("x") and None, "accepted"),
        (fault, "traceback"),
        (fault_in_a_thread, "traceback"),
        (lambda: 2, "traceback"),  # an error without a message
        (os.abort, "traceback"),
        (lambda: Path("mine").write_text("other") and None, "file lost"),
        (lambda: Path("mine").unlink(), "file lost"),
        (lambda: Path("own").unlink(), "accepted"),
    ],
)
def test_every_outcome_has_its_kind(action: Action, kind: str, tmp_path: Path) -> None:
    def make(folder: Path) -> Action:
        (folder / "mine").write_text("of a user")
        (folder / "own").write_text("of the command")
        return action

    cases = [Case("area", "name", make, may_change=("own",))]
    (found,) = bad_inputs.attack(cases, tmp_path, 120, 1)
    assert (found.area, found.name, found.kind) == ("area", "name", kind)
    assert not list(tmp_path.iterdir())


def test_hangs_are_found(tmp_path: Path) -> None:
    cases = [Case("area", str(n), lambda folder: partial(time.sleep, 600)) for n in range(3)]
    assert [found.kind for found in bad_inputs.attack(cases, tmp_path, 0.5, 2)] == ["hang"] * 3


def test_there_are_many_inputs_with_unique_names(tmp_path: Path) -> None:
    cases = list(all_cases(tmp_path))
    assert len(cases) >= 1_000
    assert len({(case.area, case.name) for case in cases}) == len(cases)


@pytest.mark.slow
def test_some_inputs_of_every_area_are_kept_as_a_table(run: Callable[..., Any]) -> None:
    found = run(bad_inputs, "--every", 171, "--seconds", 120)
    areas = {outcome["area"].partition(":")[0] for outcome in found["outcomes"]}
    assert areas >= {"files", "caches", "options"}
    assert sum(found["totals"].values()) == len(found["outcomes"])
    assert found["totals"]["clear error"] > 0
    assert not any("paraclip-bad-" in outcome["detail"] for outcome in found["outcomes"])


@pytest.mark.slow
def test_sound_inputs_are_accepted(tmp_path: Path) -> None:
    bad_inputs.prepare()
    sound = tmp_path / "sound"
    bad_inputs.in_child(lambda: write_sound(sound))

    def in_place(kind: str, folder: Path) -> Action:
        for path in (sound / kind).iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        return READERS[kind](folder / NAMES[kind])

    def copied(name: str, path: Path) -> None:
        path.write_bytes((sound / "stores" / name).read_bytes())

    kinds = set(READERS) - {
        "coco",
        "options",
        "rejected",
        "marks",
        "sheet",
        "answers",
    }  # need others
    cases = [Case("files", kind, partial(in_place, kind), ("*",)) for kind in sorted(kinds)]
    cases += [
        Case("swap-check", kind, partial(swap_check, sound, name, option, partial(copied, name)))
        for kind, (name, option) in STORES.items()
    ]
    search = ["search", "a red disc", "--index", sound / "index"]
    cases.append(Case("index", "search", lambda folder: partial(paraclip, *search)))
    found = list(bad_inputs.attack(cases, tmp_path, 200, 2))
    # Captions that were read are sent to a server, and none answers there.
    wrong = {one.name: one.detail for one in found if one.kind != "accepted"}
    assert {name: said for name, said in wrong.items() if "no server answers" not in said} == {}
