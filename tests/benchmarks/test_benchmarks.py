"""Runs the benchmark programs at a small size, and checks how they classify and count."""

import json
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import starter
from benchmarks.evaluation import mini
from benchmarks.generation.peers import found_of, middle, table_of
from benchmarks.generation.watching import Watched, watched
from benchmarks.inputs import bad_inputs
from benchmarks.inputs.areas import READERS, STORES, all_cases, swap_check
from benchmarks.inputs.cases import Action, Case, paraclip
from benchmarks.inputs.sound import NAMES, write_sound
from benchmarks.machine import RESULTS
from benchmarks.training import recipe as training_recipe
from benchmarks.training import throughput as training_throughput
from paraclip.errors import UserError
from paraclip.models.loading import load_model
from paraclip.models.wheels import IMAGE_PACKAGE, TEXT_PACKAGE
from tiny import write_flickr8k

torch.set_num_threads(1)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Runs a benchmark's `main` at a small size; returns the JSON that it wrote."""

    def run_benchmark(module: Any, *options: object) -> dict[str, Any]:
        name = module.__name__.rpartition(".")[2]
        words = [f"{name}.py", *map(str, options), "--out", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", words)
        module.main()
        (written,) = tmp_path.glob(f"*{name}.json")
        assert written.with_suffix(".md").read_text().startswith("| ")
        return json.loads(written.read_text())

    return run_benchmark


# --- bad inputs ---


@pytest.fixture
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
@pytest.mark.usefixtures("environment")
def test_every_outcome_has_its_kind(action: Action, kind: str, tmp_path: Path) -> None:
    def make(folder: Path) -> Action:
        (folder / "mine").write_text("of a user")
        (folder / "own").write_text("of the command")
        return action

    cases = [Case("area", "name", make, may_change=("own",))]
    (found,) = bad_inputs.attack(cases, tmp_path, 120, 1)
    assert (found.area, found.name, found.kind) == ("area", "name", kind)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("environment")
def test_hangs_are_found(tmp_path: Path) -> None:
    cases = [Case("area", str(n), lambda folder: partial(time.sleep, 600)) for n in range(3)]
    assert [found.kind for found in bad_inputs.attack(cases, tmp_path, 0.5, 2)] == ["hang"] * 3


def test_there_are_many_inputs_with_unique_names(tmp_path: Path) -> None:
    cases = list(all_cases(tmp_path))
    assert len({(case.area, case.name) for case in cases}) == len(cases) >= 1_000


@pytest.mark.slow
@pytest.mark.usefixtures("environment")
def test_some_inputs_of_every_area_are_kept_as_a_table(run: Callable[..., Any]) -> None:
    found = run(bad_inputs, "--every", 171, "--seconds", 120)
    areas = {outcome["area"].partition(":")[0] for outcome in found["outcomes"]}
    assert areas >= {"files", "caches", "options"}
    assert sum(found["totals"].values()) == len(found["outcomes"])
    assert found["totals"]["clear error"] > 0
    assert not any("paraclip-bad-" in outcome["detail"] for outcome in found["outcomes"])


@pytest.mark.slow
@pytest.mark.usefixtures("environment")
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

    need_others = {"coco", "options", "rejected", "marks", "sheet", "answers"}
    kinds = set(READERS) - need_others
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


# --- generation ---


ALLOCATES = "import time; held = bytearray(64 << 20); held[:] = bytes(64 << 20); time.sleep(1.5)"
FORKS = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ALLOCATES!r}])"


@pytest.mark.parametrize("program", [ALLOCATES, FORKS])
def test_memory_of_a_command_and_its_children_is_seen(program: str, tmp_path: Path) -> None:
    run = watched([sys.executable, "-c", program], {}, 60.0, tmp_path / "log")
    assert run.work > 0 and run.code == 0 and run.peak > 64 << 20 and sum(run.parts) == run.peak


def test_a_command_that_hangs_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('begun', flush=True); import time; time.sleep(600)"]
    run = watched(command, {}, 1.0, tmp_path / "log")
    assert run.code == -9 and run.output == "begun\n"


def test_ratios_are_within_a_turn() -> None:
    first = found_of(
        "x", 4, Watched(0, 20.0, 3 << 20, (2 << 20,), 1.0, ""), [0.0, 9.0, 9.5, 10.0] * 2
    )
    turns = [[replace(first, rate=mine), replace(first, rate=other, seconds=mine)]
             for mine, other in ((1.0, 2.0), (4.0, 4.0), (8.0, 4.0))]  # fmt: skip
    found = middle([turn[1] for turn in turns], turns)
    assert (found.rate, found.ratio, found.seconds) == (4.0, 1.0, 4.0)
    assert middle([replace(first, fault="no")], turns[:1]).fault == "no"


def test_rates_leave_out_the_first_quarter() -> None:
    times = [0.0, 9.0, 9.5, 10.0, 10.5, 11.0, 11.5, 12.0]
    found = found_of("x", 4, Watched(0, 20.0, 3 << 20, (2 << 20, 1 << 20), 1.0, ""), times)
    assert (found.rate, found.seconds, found.peak, found.largest) == (1.0, 20.0, 3.0, 2.0)
    assert not found.fault
    failed = found_of("y", 5, Watched(1, 20.0, 3 << 20, (3 << 20,), 1.0, "no such thing"), times)
    table = table_of({"settings": [asdict(found), asdict(failed)], "below": "below"})
    assert "| x | 4 | 1.0 | 1.00 | 0.0 | 20 | 125.0 | 3 | 2 | 0% |" in table
    assert "| y | 5 | - | - | - | - | - | - | - | - |" in table
    assert "y: exit code 1, 8 answers: no such thing" in table and table.endswith("below")


# --- training ---


TINY = ("--model", "tiny", "--threads", 1)


@pytest.mark.slow
def test_plain_steps_and_ours_learn_alike(run):
    found = run(training_throughput, *TINY, "--batch", 8, "--rounds", 4)
    rows = found["rows"]
    curves = {row["step"]: row["losses"] for row in rows}
    plain = curves["plain open_clip: 77 tokens, image tower each step, fp32"]
    assert plain[3] != pytest.approx(plain[0], rel=0.01), "it learns"
    for name, losses in curves.items():
        tolerance = 1e-4 if "bf16" not in name and name != "paraclip" else 0.02
        assert losses == pytest.approx(plain, rel=tolerance), name
    assert rows[0]["ratio"] == 1.0 and 0 <= found["input_wait"] < 1


@pytest.mark.slow
@pytest.mark.weights
def test_the_recipe_written_plainly_learns_as_ours(run):
    found = run(training_recipe, *TINY, "--batch", 8, "--bank", 50, "--rounds", 4)
    plain, ours = (row["losses"] for row in found["rows"])
    assert plain[3] < 0.8 * plain[0], "it learns"
    assert ours == pytest.approx(plain, rel=0.02)


# --- Flickr8k ---


needs_weights = pytest.mark.weights(IMAGE_PACKAGE, TEXT_PACKAGE)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder of drawn pictures, half of them for training."""
    folder = tmp_path / "data" / "flickr8k"
    learnt = write_flickr8k(folder, shades=6)[1::2]
    (folder / "train_images.txt").write_text("\n".join(path.name for path in learnt))
    return folder.parent


@pytest.mark.slow
@needs_weights
def test_the_aligned_mini_is_made_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mini, "OPTIONS", replace(mini.OPTIONS, epochs=1, batch_size=4))
    made = mini.aligned(data, tmp_path / "out")
    model = load_model(str(made))
    head = model.image_tower.head.weight
    assert float(head.detach().abs().max()) > 0, "a map of features was learnt"
    written = made.stat().st_mtime_ns
    assert mini.aligned(data, tmp_path / "out") == made and made.stat().st_mtime_ns == written


# --- the starter set ---


@pytest.mark.slow
def test_the_page_shows_what_the_command_writes(tmp_path: Path) -> None:
    starter.main(["--out", str(tmp_path)])
    for name in ("starter.md", "starter_samples.md"):
        made, shown = ((folder / name).read_text() for folder in (tmp_path, RESULTS))
        assert made.rpartition("\n\n")[0] == shown.rpartition("\n\n")[0], "all but the date"


ROWS = [
    {
        "id": "one", "domain": "d", "caption": "a </script> & b", "paraphrase_1": "p",
        "paraphrase_2": "q", "contrast": {"kind": "colour", "text": "c"},
        "wordings": [{"kind": "short", "text": "s"}, {"lang": "de", "text": "t"}],
    }
]  # fmt: skip


def test_every_text_is_on_the_searchable_page_and_none_ends_its_script(tmp_path: Path) -> None:
    starter.write_page(ROWS, tmp_path / "starter.html")
    text = (tmp_path / "starter.html").read_text()
    found = re.findall(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
    assert [json.loads(one) for one in found] == [ROWS]


# --- options and environments ---
