"""Grid files: every shipped one gives a plan, and errors in one are named."""

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_grid import HEAD, VARIANTS

from paraclip.ablation.config import AblateConfig
from paraclip.ablation.grid import read_grid
from paraclip.ablation.plan import (
    Plan,
    content,
    control_of,
    key_of,
    make_plan,
    model_content,
    read_by_control,
)
from paraclip.ablation.table import describe_row
from paraclip.data.triples import write_triples
from paraclip.errors import UserError
from paraclip.evaluation.config import EvaluateConfig
from paraclip.evaluation.registry import BENCHMARKS

SHIPPED = sorted((Path(__file__).parents[2] / "configs" / "ablations").glob("*.toml"))
TEXTS = {"caption": "a hat", "paraphrase_1": "the hat", "paraphrase_2": "some hat"}
PICTURED = {**TEXTS, "image": "hat.png"}


def planned(path: Path | str, folder: Path, **changes: object) -> Plan:
    """The plan of a grid in which every name of triples is the same file of two rows."""
    rows = [{"id": str(n), "image_id": str(n), **PICTURED} for n in range(2)]
    write_triples(folder / "t.parquet", rows, {})
    named = tuple(f"{name}={folder / 't.parquet'}" for name in ("strong", "weak"))
    grid = read_grid(path)
    several = any("triples" in options for options in grid.variants.values())
    settings = {"triples": named if several else (str(folder / "t.parquet"),), "out": str(folder)}
    return make_plan(grid, AblateConfig(grid=str(path), **(settings | changes)))


def test_the_open_points_of_the_paper_have_their_grids():
    names = {path.stem for path in SHIPPED}
    assert names >= {"losses", "steps", "image-tower", "generators", "batch-size", "merging"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_grid_is_a_plan(path, tmp_path):
    grid, plan = read_grid(path), planned(path, tmp_path)
    assert path.read_text().startswith("# ")
    asked = EvaluateConfig(models=(), **grid.evaluation)
    assert set(str(asked.benchmarks).split(",")) <= set(BENCHMARKS)
    assert {row.name for row in plan.rows} >= {"base", "control", *grid.variants}
    assert all(
        "/" not in str(value) for table in grid.variants.values() for value in table.values()
    )
    for row in plan.rows:
        assert describe_row(plan, row)
        if row.control is not None:
            control = next(other for other in plan.rows if other.name == row.control)
            assert control.options == control_of(row.options)


def losses() -> str:
    return str(next(path for path in SHIPPED if path.stem == "losses"))


def test_variants_of_the_losses_share_one_control_and_batch_sizes_do_not(tmp_path):
    kinds = [row.kind for row in planned(losses(), tmp_path).rows]
    assert kinds == ["base", "control", *["tuned"] * 7]
    path = next(path for path in SHIPPED if path.stem == "batch-size")
    names = [row.name for row in planned(path, tmp_path).rows]
    assert names == ["base", "control", "control of 256", "control of 1024", "64", "256", "1024"]


def test_recipes_and_the_placebo_are_cells_of_their_own_and_share_a_control(tmp_path):
    path = tmp_path / "grid.toml"
    other = '[variants.b]\nrecipe = "paper"\n[variants.c]\nshuffle_paraphrases = true\n'
    path.write_text(f"{HEAD}[variants.a]\n{other}")
    plan = planned(path, tmp_path)
    assert [row.name for row in plan.rows] == ["base", "control", "a", "b", "c"]
    keys = {row.name: key_of(row.options) for row in plan.rows if row.name != "base"}
    assert len(set(keys.values())) == 4
    same = '[variants.d]\nrecipe = "paper"\nimage_loss_on = ["caption"]\ntext_temperature = 0.2\n'
    path.write_text(HEAD + same)
    assert key_of(planned(path, tmp_path).rows[-1].options) == keys["a"], "what is resolved decides"


def test_the_placebo_grid_differs_in_its_paraphrases_alone(tmp_path):
    grid = next(path for path in SHIPPED if path.stem == "placebo")
    plan = planned(grid, tmp_path)
    assert [row.name for row in plan.rows] == ["base", "control", "paraphrases", "placebo"]
    real, placebo = plan.rows[2:]
    assert replace(real.options, shuffle_paraphrases=True) == placebo.options


def test_the_reference_is_a_variant_that_all_others_name(tmp_path):
    path = tmp_path / "grid.toml"
    variants = "[variants.a]\n[variants.placebo]\nshuffle_paraphrases = true\n"
    path.write_text(f'reference = "placebo"\n{HEAD}{variants}')
    named = {row.name: row.reference for row in planned(path, tmp_path).rows}
    assert named == {"base": None, "control": None, "a": "placebo", "placebo": None}
    alone = planned(path, tmp_path, variants=("a",)).rows
    assert [row.reference for row in alone] == [None, None, None]
    path.write_text(f'reference = "plcebo"\n{HEAD}{variants}')
    with pytest.raises(
        UserError, match=r"reference: 'plcebo' is not a variant.*Did you mean placebo"
    ):
        read_grid(path)


def test_a_folder_as_a_base_is_known_by_its_files(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text("{}")
    (folder / "weights.safetensors").write_text("one")
    before = model_content(str(folder))
    assert model_content(f"local-dir:{folder}") == ["local-dir", *before[1:]]
    other = tmp_path / "other"
    other.mkdir()
    (other / "open_clip_config.json").write_text("{}")
    (other / "weights.safetensors").write_text("two")
    assert model_content(str(other)) != before and len(before) == 3
    assert model_content("mini") == ["mini"]


def test_rewordings_of_the_same_captions_share_one_control(tmp_path):
    grid = next(path for path in SHIPPED if path.stem == "generators")

    def controls(*rewordings):
        names = []
        for name, last in zip(("strong", "weak"), rewordings, strict=True):
            rows = [{"id": f"{name}{n}", "image_id": str(n), **PICTURED, "paraphrase_2": last}
                    for n in range(2)]  # fmt: skip
            write_triples(tmp_path / f"{name}.parquet", rows, {})
            names.append(f"{name}={tmp_path / name}.parquet")
        read_by_control.cache_clear()
        content.cache_clear()
        rows = planned(grid, tmp_path, triples=tuple(names)).rows
        keys = {key_of(row.options) for row in rows if row.kind == "tuned"}
        return len(keys), [row.name for row in rows if row.control is None and row.kind != "base"]

    assert controls("one hat", "that hat") == (2, ["control"])
    assert controls("one hat", "one hat") == (2, ["control"])  # files differ in their ids


def test_triples_without_a_picture_have_no_control_unless_others_have_pictures(tmp_path):
    path, images = tmp_path / "grid.toml", tmp_path / "pictures"
    path.write_text(
        f"{HEAD}[variants.texts]\ntriples = 'texts'\nweights = [0, 1, 1]\n[variants.all]\n"
    )
    rows = [{"id": str(n), "image_id": str(n), **TEXTS} for n in range(2)]
    write_triples(tmp_path / "texts.parquet", rows, {})
    write_triples(tmp_path / "all.parquet", [{**rows[0], **PICTURED}, rows[1]], {})
    named = (f"texts={tmp_path / 'texts.parquet'}", str(tmp_path / "all.parquet"))

    def controls(**changes):
        found = planned(path, tmp_path, triples=named, **changes).rows
        return [(row.name, row.control) for row in found if row.kind != "base"]

    assert controls() == [("control", None), ("texts", None), ("all", "control")]
    assert controls(images=str(images))[2:] == [("texts", "control"), ("all", "control of all")]
    path.write_text(path.read_text().replace("weights = [0, 1, 1]", "replay = 'captions.csv'"))
    assert controls()[2:] == [("texts", "control"), ("all", "control of all")]


def test_merged_and_tuned_share_one_training_run(tmp_path):
    path = next(path for path in SHIPPED if path.stem == "merging")
    plan = planned(path, tmp_path, seeds=(3,))
    runs = [cell.training.out for cell in plan.cells if cell.row.kind in ("tuned", "merged")]
    assert len(runs) == 4 and len(set(runs)) == 1
    folders = [cell.folder for cell in plan.cells]
    assert len(set(folders)) == len(folders) == 6


def test_grids_that_share_a_folder_of_cells_share_what_they_train_alike(tmp_path):
    plans = {path.stem: planned(path, tmp_path, out=None, seeds=(0,)) for path in SHIPPED}
    found = {name: {cell.folder.name.split(".")[1] for cell in plan.cells}
             for name, plan in plans.items()}  # fmt: skip
    assert len(found["losses"] & found["merging"]) == 3, "base, control, all three losses"
    assert len(found["losses"] & found["steps"]) == 3
    assert plans["merging"].out == Path("runs/ablate/merging")


def test_a_base_is_known_by_its_file_and_architecture_and_not_by_the_place(tmp_path):
    for name, weights in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / name).write_bytes(weights)

    def keys(model):
        cells = planned(losses(), tmp_path, model=model, seeds=(0,)).cells
        return [cell.folder.name.rpartition(".")[2] for cell in cells]

    first = keys(str(tmp_path / "a"))
    assert keys(str(tmp_path / "b")) == first
    for other in (str(tmp_path / "c"), f"ViT-B-32:{tmp_path / 'a'}", "mini"):
        assert not set(keys(other)) & set(first)
    assert keys(f"RN50:{tmp_path / 'a'}") != keys(f"ViT-B-32:{tmp_path / 'b'}")


def test_captions_of_a_replay_are_known_by_their_file_and_not_by_the_place(tmp_path):
    plan = planned(losses(), tmp_path)
    options = next(row.options for row in plan.rows if row.kind == "tuned")
    for name, captions in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        (tmp_path / name).write_bytes(captions)
    names = [None, *(str(tmp_path / name) for name in "abc"), "s3://a"]
    none, first, same, other, far = (key_of(replace(options, replay=name)) for name in names)
    assert first == same and len({none, first, other, far}) == 4


def test_the_starter_set_and_other_pictures_make_another_run(tmp_path):
    plan = planned(losses(), tmp_path)
    for kind in ("tuned", "control"):
        options = next(row.options for row in plan.rows if row.kind == kind)
        changes = ({}, {"starter": True}, {"images": "a"}, {"images": "b"})
        assert len({key_of(replace(options, **one)) for one in changes}) == len(changes)


def test_where_the_cells_are(tmp_path):
    def folder(**changes):
        return planned(losses(), tmp_path, **changes).cells[0].folder.parent

    assert folder(out=None) == Path("runs/ablate/cells")
    assert folder(out="there") == Path("there/cells")
    assert folder(out="there", cells="else") == Path("else")


def test_the_command_line_overrides_the_common_options_and_a_variant_before_both(tmp_path):
    head = HEAD + 'model = "mini"\nimages = "there"\n'
    path = tmp_path / "grid.toml"
    path.write_text(head + '[variants.own]\nmodel = "minilm"\n[variants.usual]\n')
    plan = planned(path, tmp_path, model="other", seeds=(7, 7, 5))
    options = {row.name: row.options for row in plan.rows}
    assert [options[name].model for name in ("own", "usual")] == ["minilm", "other"]
    assert options["usual"].images == "there" and plan.seeds == (7, 5)
    bases = {row.name: (row.base, row.control) for row in plan.rows if row.kind == "tuned"}
    assert bases == {"own": ("base", "control"), "usual": ("base of usual", "control of usual")}


def test_only_some_variants(tmp_path):
    plan = planned(losses(), tmp_path, variants=("L2", "L1"))
    assert [row.name for row in plan.rows] == ["base", "control", "L2", "L1"]
    with pytest.raises(UserError, match=r"--variants L4: .*no such variant\. Did you mean L"):
        planned(losses(), tmp_path, variants=("L4",))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("sedes = [1]\n" + VARIANTS, r"sedes: is not a key of a grid\. Did you mean seeds"),
        ("[variant.a]\n" + VARIANTS, r"variant: is not a key of a grid\. Did you mean variants"),
        ("seeds = []\n" + VARIANTS, "seeds: is empty"),
        ("seeds = 3\n" + VARIANTS, "seeds: 3 is not valid"),
        ("[common]\nbacth_size = 8\n" + VARIANTS, r"\[common\]: bacth_size.*batch_size"),
        ("[common]\nseed = 8\n" + VARIANTS, r"\[common\]: seed: is not allowed in a grid"),
        ("[variants.a]\ncontrol = true\n", r"\[variants.a\]: control: is not allowed in a grid"),
        ("[variants.a]\nmrege = 0.5\n", r"\[variants.a\]: mrege: is not an option.*merge"),
        ("[variants.a]\nmerge = 1.5\n", r"\[variants.a\]: merge: 1.5 is outside 0 to 1"),
        ("[variants.a]\nmerge = 'half'\n", r"merge: 'half' is not valid"),
        ("[variants]\na = 3\n", r"\[variants.a\]: 3 is not a table"),
        ("variants = 3\n", r"\[variants\]: 3 is not a table"),
        ("[evaluation]\nbenchmark = 'sts'\n" + VARIANTS, r"\[evaluation\]: benchmark.*benchmarks"),
        ("[evaluation]\nout = 'x'\n" + VARIANTS, r"\[evaluation\]: out: is not allowed in a grid"),
        ("seeds = [1]\n", "has no variant"),
        ("[variants.base]\n", "'base' is the name of another row"),
        ("[variants.'control of a']\n", "'control of a' is the name of another row"),
        ("[variants.'base of a']\n", "'base of a' is the name of another row"),
        ('[variants."a\\nb"]\n', r"cannot be a name"),
        ("[variants.a]\nepochs = 0\n", "epochs: 0 is not valid"),
        ("[variants.a]\nweights = [0, 0, 0]\n", "leaves no loss to train on"),
        ("[variants.a]\ntriples = 'elsewhere'\n", "elsewhere: there is no such file"),
        ("[variants\n", "is not TOML"),
    ],
)
def test_what_is_wrong_in_a_grid_is_named_before_anything_is_run(text, complaint, tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=complaint):
        planned(path, tmp_path)
    assert not (tmp_path / "cells").exists()
