"""The bad-inputs benchmark: how outcomes are classified, and a few inputs from every area."""

import argparse
import json
import os
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from benchmarks.inputs import bad_inputs
from benchmarks.inputs.attacks import batches, caches, indexes
from benchmarks.inputs.attacks.cases import Case, command
from paraclip.errors import UserError


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in ("PARACLIP_QUIET", "OMP_NUM_THREADS", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "1")  # given back at the end
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path_factory.mktemp("cache")))


def user_error(folder: Path) -> None:
    raise UserError("a", "is b", "Do c.")


def fault(folder: Path) -> None:
    raise ValueError("a fault")


def sleep(folder: Path) -> None:
    time.sleep(600)


def leave_silently(folder: Path) -> int:
    return 2


def crash(folder: Path) -> None:
    os.abort()


def write_and_print(folder: Path) -> None:
    Path("here").write_text("x")
    print("done")


def fault_in_a_thread(folder: Path) -> None:
    print("Traceback (most recent call last):\n  x", file=sys.stderr)


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        (user_error, "clear error"),
        (lambda folder: command("trian"), "clear error"),
        (lambda folder: command("train", "x", "--epochs", "many"), "clear error"),
        (lambda folder: command("--version"), "accepted"),
        (write_and_print, "accepted"),
        (fault, "traceback"),
        (fault_in_a_thread, "traceback"),
        (leave_silently, "traceback"),
        (crash, "traceback"),
    ],
)
def test_every_outcome_has_its_kind(action, kind: str, tmp_path: Path) -> None:
    (found,) = bad_inputs.attack([Case("area", "name", action)], tmp_path, 120, 1)
    assert (found.area, found.name, found.kind) == ("area", "name", kind)
    assert not list(tmp_path.iterdir())


def test_an_input_that_takes_too_long_is_a_hang(tmp_path: Path) -> None:
    cases = [Case("area", str(n), sleep) for n in range(3)]
    assert [found.kind for found in bad_inputs.attack(cases, tmp_path, 0.5, 2)] == ["hang"] * 3


def test_there_are_500_inputs_with_unique_names() -> None:
    cases = [case for area in bad_inputs.AREAS.values() for case in area(Path("sound"))]
    assert len(cases) >= 500
    assert len({(case.area, case.name) for case in cases}) == len(cases)


def test_some_inputs_of_every_area_are_kept_as_a_table(run) -> None:
    found = run(bad_inputs, "--every", 171, "--seconds", 120)
    areas = {outcome["area"].partition(":")[0] for outcome in found["outcomes"]}
    assert areas >= {"files", "server", "models", "batches", "options"}
    assert sum(found["totals"].values()) == len(found["outcomes"])
    assert found["totals"]["clear error"] > 0
    assert not any("paraclip-bad-" in outcome["detail"] for outcome in found["outcomes"])


def test_the_rows_of_one_area_are_replaced(tmp_path: Path) -> None:
    def outcome(area: str, kind: str, name: str = "a") -> bad_inputs.Outcome:
        return bad_inputs.Outcome(area, name, kind, "", 0.1)

    options = argparse.Namespace(only="", keep=False, out=tmp_path)
    first = [outcome("one", "hang"), outcome("two", "accepted"), outcome("one", "hang", "b")]
    bad_inputs.report(first, options)
    options = argparse.Namespace(only="one", keep=True, out=tmp_path)
    bad_inputs.report([outcome("one", "clear error")], options)
    kept = json.loads((tmp_path / "bad_inputs.json").read_text())
    assert [one["area"] for one in kept["outcomes"]] == ["two", "one"]
    assert kept["totals"] == {"clear error": 1, "accepted": 1, "traceback": 0, "hang": 0}
    bad_inputs.report([outcome("one", "hang")], argparse.Namespace(only="one", keep=False))
    assert json.loads((tmp_path / "bad_inputs.json").read_text()) == kept


def sound_again(content: bytes, drawn: object) -> bytes:
    """No damage."""
    return content


@pytest.mark.slow
def test_sound_rounds_and_indexes_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad_inputs.prepare()
    sound = tmp_path / "sound"
    bad_inputs.in_child(lambda: bad_inputs.write_all_sound(sound))
    answers = (sound / "round" / "answers.jsonl").read_bytes()
    stores = [
        Case("swap-check", kind, partial(indexes.swap_one, sound, name, option, partial(
            indexes.write, (sound / "stores" / name).read_bytes())))
        for kind, (name, option) in indexes.READ.items()
    ]  # fmt: skip
    cases = [
        Case("batches", "file", partial(
            batches.from_file, sound, "answers.jsonl", partial(batches.write, answers))),
        Case("index", "search", partial(
            indexes.table, sound, "index.json", "", sound_again, indexes.search)),
        Case("cache", "", partial(caches.with_cache, ("cache",), "x", lambda path: None)),
        *stores,
    ]  # fmt: skip
    found = list(bad_inputs.attack(cases, tmp_path, 200, 2))
    assert {one.name: one.detail for one in found if one.kind != "accepted"} == {}


def test_sound_inputs_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.inputs.attacks.files import NAMES, READERS, SOUND, read_content
    from benchmarks.inputs.attacks.sound import write_sound

    bad_inputs.prepare()
    bad_inputs.in_child(lambda: write_sound(tmp_path / "sound", NAMES))
    SOUND.update({kind: tmp_path / "sound" / kind / name for kind, name in NAMES.items()})
    refused = []
    for kind, (name, reader) in READERS.items():
        if kind in ("csv", "tsv", "coco", "jsonl", "shard", "names", "options", "grid"):
            continue  # they name pictures, rows or benchmarks that are not there
        content = (tmp_path / "sound" / kind / name).read_bytes()
        (tmp_path / kind).mkdir()
        try:
            if read_content(name, content, reader, tmp_path / kind):
                refused.append(kind)
        except UserError as error:
            refused.append(f"{kind}: {error}")
    assert not refused
