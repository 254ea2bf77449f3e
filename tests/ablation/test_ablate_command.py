"""`paraclip ablate` on a tiny model: each cell runs once, despite changes, kills and failures."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_grid import CELL_PLOT, HEAD, VARIANTS, World, make_world

from paraclip.ablation import study
from paraclip.ablation.cells import checkpoint_of, model_of
from paraclip.ablation.command import ablate_command, prepare
from paraclip.cli import main
from paraclip.data.triples import read_triples, write_triples
from paraclip.errors import UserError
from paraclip.evaluation.compare import compare
from paraclip.files import locked
from paraclip.merging.merge import merge
from paraclip.models.checkpoint import read_header
from paraclip.models.loading import load_model

pytestmark = pytest.mark.slow

MERGED = "\n[variants.merged]\nmerge = 0.5\n"
ALL = "\n[variants.all]\n"
BROKEN = '\n[variants.broken]\nnegatives = "nowhere"\n'


def states(config) -> dict[str, str]:
    found = prepare(config)
    found.find()
    return {cell.name: found.state(cell) for cell in found.plan.cells}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> World:
    """A finished study, for tests that only read it."""
    world = make_world(tmp_path_factory.mktemp("finished"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARACLIP_CACHE", str(world.root / "cache"))
        patch.setenv("PARACLIP_QUIET", "1")
        patch.setattr(CELL_PLOT, lambda report, path: None)
        assert main(world.words()) == 0
    return world


def test_a_variant_with_the_starter_set_trains_on_it(world, monkeypatch):
    monkeypatch.setattr(CELL_PLOT, lambda report, path: None)
    variants = f"{ALL}[variants.more]\nstarter = true\nbatch_size = 512\nepochs = 1\n"
    config = replace(world.config(world.grid(variants)), seeds=(0,))
    assert main([*world.words(variants), "--seeds", "0"]) == 0
    facts = {
        cell.row.name: read_header(checkpoint_of(cell.training))["training"]["facts"]
        for cell in prepare(config).plan.cells
        if cell.row.kind == "tuned"
    }
    assert "starter" not in facts["all"] and "starter" in facts["more"]


def test_a_variant_without_pictures_finishes_without_a_control(world, capsys):
    rows = read_triples(world.root / "triples.parquet").drop_columns(["image"])
    write_triples(world.root / "texts.parquet", rows, {})
    variants = f'{ALL}[variants.texts]\ntriples = "texts"\nweights = [0, 1, 1]\n'
    words = [*world.words(variants), "--seeds", "0"]
    words.insert(words.index("--triples") + 2, f"texts={world.root / 'texts.parquet'}")
    assert main(words) == 0
    page = (world.out / "ablation.md").read_text()
    assert "texts has no control: its triples have no picture." in page
    assert "| texts |" in page and "control of texts" not in page


def test_the_table_the_data_and_the_plots_are_written(finished):
    page = (finished.out / "ablation.md").read_text()
    assert page.startswith("# Ablation: grid\n\n|  | TOT | T2I R@1 | seeds |\n")
    for line in ("| base |", "| control |", "| all |", "| L3 alone |", "- L3 alone: weights 0"):
        assert f"\n{line}" in page
    assert "- control: the original captions, with the settings of all, L3 alone" in page
    assert (finished.out / "scores.png").read_bytes()[:4] == b"\x89PNG"
    content = json.loads((finished.out / "ablation.json").read_text())
    assert [row["seeds"] for row in content["rows"]] == [[], [0, 1], [0, 1], [0, 1]]
    assert content["rows"][3]["options"]["weights"] == [0, 0, 1] and content["failed"] == {}
    assert {cell["folder"] for cell in content["cells"]} == {
        path.name for path in (finished.out / "cells").iterdir() if path.is_dir()
    }


def test_a_cell_describes_itself(finished):
    cells = prepare(finished.config()).plan.cells
    noted = [json.loads((cell.folder / "cell.json").read_text()) for cell in cells]
    assert [(one["row"], one["seed"]) for one in noted] == [
        (cell.row.name, cell.seed) for cell in cells
    ]
    minutes = sum(one["seconds"] for one in noted) / 60
    page = (finished.out / "ablation.md").read_text()
    assert f"\n7 cells took {minutes:.1f} minutes.\n" in page and minutes > 0


def test_the_cells_compare_to_the_same_differences(finished):
    """`paraclip compare` on the cells' reports agrees with the table."""
    cells = prepare(finished.config()).plan.cells
    reports = {
        name: tuple(str(cell.scores) for cell in cells if cell.row.name == name)
        for name in ("control", "all")
    }
    (comparison,) = compare(
        *reports["control"], models=("control", "tuned"), against=reports["all"],
        all_metrics=True, resamples=50,
    )  # fmt: skip
    rows = {row.metric: row for row in comparison.rows}
    content = json.loads((finished.out / "ablation.json").read_text())
    (tuned,) = [row for row in content["rows"] if row["name"] == "all"]
    for figure in tuned["figures"]:
        (found,) = [one for one in figure["against"] if one["row"] == "control"]
        row = rows[figure["name"]]
        assert found["p"] == pytest.approx(row.p, abs=1e-6)
        assert figure["value"]["value"] == pytest.approx(row.second, abs=1e-3)
        for name, value in vars(row.difference).items():
            assert found["difference"][name] == pytest.approx(value, abs=1e-3)


def test_the_same_command_again_does_nothing_and_reports_the_same(finished, monkeypatch, capsys):
    monkeypatch.setenv("PARACLIP_QUIET", "1")
    monkeypatch.setattr(study, "run_cell", lambda *_: pytest.fail("a finished cell is done again"))
    before = (finished.out / "ablation.md").read_text()
    assert main(finished.words()) == 0
    assert capsys.readouterr().out.splitlines()[0] == before.splitlines()[2]
    assert (finished.out / "ablation.md").read_text() == before


def test_only_what_changed_is_to_do(finished):
    changed = finished.grid(VARIANTS.replace("[0, 0, 1]", "[0, 1, 0]") + "[variants.more]\n")
    assert states(finished.config(changed, seeds=(0, 1, 2))) == {
        "base": "finished",
        **{f"control, seed {seed}": "finished" for seed in (0, 1)},
        **{f"all, seed {seed}": "finished" for seed in (0, 1)},
        **{f"more, seed {seed}": "finished" for seed in (0, 1)},  # the same as all
        **{f"L3 alone, seed {seed}": "to do" for seed in (0, 1, 2)},
        **{f"{name}, seed 2": "to do" for name in ("control", "all", "more")},
    }
    assert set(states(finished.config(finished.grid())).values()) == {"finished"}
    scored = finished.grid(head=HEAD.replace("resamples = 10", "k = [5]"))
    assert set(states(finished.config(scored)).values()) == {"begun"}
    rows = (finished.root / "triples.parquet").read_bytes()
    (finished.root / "other.parquet").write_bytes(rows + b" ")
    other = finished.config(finished.grid(), triples=(str(finished.root / "other.parquet"),))
    assert list(states(other).values()) == ["finished", *["to do"] * 6]


def test_a_dry_run_lists_and_does_nothing(world, capsys):
    ablate_command(world.config(dry_run=True))
    output = capsys.readouterr().out.splitlines()
    assert len(output) == 8 and output[-1] == "7 of 7 cells to do"
    assert output[0].startswith("to do     base  (") and "L3 alone, seed 1" in output[6]
    assert not world.out.exists()


def test_a_dry_run_leaves_no_triples_of_the_same_captions(world, capsys):
    grid = world.grid(head=f"same_captions = true\n{HEAD}")
    ablate_command(world.config(grid, dry_run=True))
    assert "7 of 7 cells to do" in capsys.readouterr().out and not world.out.exists()


def test_two_commands_do_not_work_on_the_same_cells(world, capsys):
    with locked(world.out / "cells"):
        assert main(world.words()) == 2
    assert "cells: another run is writing here. Wait for it" in capsys.readouterr().err
    assert not list(world.out.rglob("*.json"))


def tensors(cell) -> dict[str, torch.Tensor]:
    return load_file(checkpoint_of(cell.training))


def test_killed_in_the_middle_of_a_cell_it_continues_inside_it(world, finished):
    words = world.words(ALL, "--seeds", "0")
    config = world.config(words[1], seeds=(0,))
    script = Path(__file__).with_name("run_slow.py")
    command = [sys.executable, str(script), "0.3", *words]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    base, control, cell = prepare(config).plan.cells
    lines = Path(cell.training.out) / "metrics.jsonl"
    while not lines.exists() or lines.read_text().count("\n") < 3:
        assert killed.poll() is None, "it ended before it was killed"
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert list(states(config).values()) == ["finished", "finished", "begun"]
    before = [(one.scores / "report.json").stat().st_mtime_ns for one in (base, control)]
    assert main(words) == 0
    after = [(one.scores / "report.json").stat().st_mtime_ns for one in (base, control)]
    assert before == after, "a finished cell was done again"
    (other,) = (x for x in prepare(finished.config()).plan.cells if x.name == "all, seed 0")
    mine, theirs = tensors(cell), tensors(other)
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())


def test_a_failed_cell_is_reported_and_loses_no_other(world, capsys):
    assert main(world.words(ALL + BROKEN, "--seeds", "0")) == 2
    output = capsys.readouterr()
    assert "paraclip: broken, seed 0 failed: " in output.err and "has no column" in output.err
    assert output.err.strip().splitlines()[-1].startswith("paraclip: ablate: 1 of 4 cells failed (")
    assert "| all |" in output.out and "\nFailed: broken, seed 0: " in output.out
    assert "broken, seed 0" in json.loads((world.out / "ablation.json").read_text())["failed"]
    assert main(world.words(ALL, "--seeds", "0")) == 0, "nothing is left that fails"


def test_a_fault_leaves_its_traceback_and_the_next_cell_is_done(world, monkeypatch):
    once, run_cell = [], study.run_cell

    def faulty(cell, how):
        if cell.row.kind == "control" and not once:
            once.append(cell)
            raise RuntimeError("out of memory")
        run_cell(cell, how)

    monkeypatch.setattr(study, "run_cell", faulty)
    config = world.config(world.grid(ALL), seeds=(0,))
    with pytest.raises(UserError, match=r"1 of 3 cells failed \(control, seed 0: out of memory\)"):
        ablate_command(config)
    assert "RuntimeError: out of memory" in (once[0].folder / "failed.txt").read_text()
    assert "| all |" in (world.out / "ablation.md").read_text()
    ablate_command(config)
    assert "Failed" not in (world.out / "ablation.md").read_text()
    assert not (once[0].folder / "failed.txt").exists()


def test_merged_variants_and_weights_that_are_not_kept(world):
    config = world.config(world.grid(ALL + MERGED), seeds=(0,))
    ablate_command(config)
    cell = prepare(config).plan.cells[-1]
    mixed, base = model_of(cell, "cpu"), load_model(config.model, "cpu")
    expected = merge(base, load_model(str(checkpoint_of(cell.training)), "cpu"), 0.5).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in mixed.state_dict().items())
    page = (world.out / "ablation.md").read_text()
    ablate_command(replace(config, keep_weights=False))
    assert not list(world.out.rglob("*.safetensors")) and list(world.out.rglob("metrics.jsonl"))
    assert (world.out / "ablation.md").read_text() == page


def test_a_merged_variant_that_trains_the_image_tower_mixes_it_too(world):
    both = MERGED + "image_learning_rate = 1e-3\n"
    config = world.config(world.grid(both), seeds=(0,))
    ablate_command(config)
    cell = prepare(config).plan.cells[-1]
    towers = [
        model.image_tower.state_dict()
        for model in (
            load_model(config.model, "cpu"), model_of(cell, "cpu"),
            load_model(str(checkpoint_of(cell.training)), "cpu"),
        )
    ]  # fmt: skip
    changed = [name for name, value in towers[0].items() if not torch.equal(value, towers[2][name])]
    assert changed
    for name in changed:
        mean = (towers[0][name] + towers[2][name]) / 2
        torch.testing.assert_close(towers[1][name], mean)


def test_rows_that_train_the_same_are_done_once(world, monkeypatch):
    done, run_cell = [], study.run_cell

    def noted(cell, how):
        done.append(cell.name)
        run_cell(cell, how)

    monkeypatch.setattr(study, "run_cell", noted)
    ablate_command(world.config(world.grid(ALL + "[variants.twin]\n"), seeds=(0,)))
    assert done == ["base", "control, seed 0", "all, seed 0"]
    page = (world.out / "ablation.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith(("| all |", "| twin |"))]
    assert len(rows) == 2 and rows[0].replace("all", "twin") == rows[1]
    assert "\n3 cells took" in page


def test_a_wrong_figure_is_reported_after_the_base(world):
    grid = world.grid(head=HEAD.replace('"TOT"', '"TTO"'))
    with pytest.raises(UserError, match=r"figures: TTO.*Did you mean TOT"):
        ablate_command(world.config(grid))
    assert list(states(world.config()).values()) == ["finished", *["to do"] * 6]


def test_where_nothing_can_be_scored_the_first_reason_is_reported(world):
    config = world.config(model=str(world.root / "nowhere.safetensors"))
    with pytest.raises(UserError, match=r"every cell failed: base: .*nowhere\.safetensors"):
        ablate_command(config)
    assert not (world.out / "ablation.md").exists()


def test_several_processes_are_refused(world, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="runs in one process"):
        ablate_command(world.config())
