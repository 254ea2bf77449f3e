"""The three training commands, on tiny models and drawn pictures."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from tiny_models import draw, tiny_clip, word_files

from paraclip.cli import main
from paraclip.data.problems import Problems
from paraclip.data.triples import write_triples
from paraclip.errors import UserError
from paraclip.merging.command import merge_command
from paraclip.merging.config import MergeConfig
from paraclip.models.checkpoint import read_header, save_model
from paraclip.models.loading import load_model
from paraclip.models.mini import Mini
from paraclip.training.command import align_command, train_command
from paraclip.training.config import AlignConfig, TrainConfig
from paraclip.training.metrics import read_metrics
from paraclip.training.prepare import features_of
from paraclip.training.recipes import check_options

pytestmark = pytest.mark.slow

COLOURS = ("red", "green", "blue")
PICTURES = [(shape, colour) for shape in ("disc", "square") for colour in COLOURS]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Six drawn pictures with a caption in a .txt file next to each."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for shape, colour in PICTURES:
        draw(folder / f"{colour}_{shape}.png", shape, colour)
        (folder / f"{colour}_{shape}.txt").write_text(f"a {colour} {shape}")
    return folder


@pytest.fixture
def triples(tmp_path, pictures) -> Path:
    """A triple for each picture, and one without a picture."""
    rows = [
        {
            "id": str(place), "image_id": f"{colour}_{shape}", "caption": f"a {colour} {shape}",
            "paraphrase_1": f"a {shape}, {colour}", "paraphrase_2": f"{shape} in {colour}",
            "image": str(pictures / f"{colour}_{shape}.png"), "generator": "by hand",
        }
        for place, (shape, colour) in enumerate(PICTURES)
    ]  # fmt: skip
    texts = {"caption": "nothing", "paraphrase_1": "no thing", "paraphrase_2": "none"}
    rows.append({"id": "none", "image_id": "none", **texts})
    path = tmp_path / "triples.parquet"
    write_triples(path, rows, {"generator": {"model": "by hand", "terms": "free"}})
    return path


@pytest.fixture
def base(tmp_path) -> str:
    return str(save_model(tiny_clip(), tmp_path / "base.safetensors", {}))


def config_of(triples: Path, base: str, **changes: object) -> TrainConfig:
    settings = {
        "triples": str(triples), "model": base, "out": str(triples.parent / "run"), "epochs": 2,
        "batch_size": 4, "held_out": 0.0, "precision": "fp32",
    }  # fmt: skip
    return TrainConfig(**(settings | changes))


def test_train_from_files_to_a_checkpoint_that_loads(triples, base, capsys):
    train_command(config_of(triples, base))
    output = capsys.readouterr().out
    assert "7 rows, 6 with a picture." in output and "1 have none" in output
    path = triples.parent / "run" / "last.safetensors"
    assert f"Checkpoint: {path}" in output
    before, after = load_model(base), load_model(str(path))
    for name, value in before.image_tower.state_dict().items():
        assert torch.equal(after.image_tower.state_dict()[name], value)
    made = read_header(path)["training"]
    assert made["facts"]["triples"]["generator"]["terms"] == "free"
    assert made["facts"]["generators"] == ["by hand"]
    tokens = before.tokenize(["a red disc"]).ids
    assert not torch.equal(before.encode_tokens(tokens), after.encode_tokens(tokens))


def test_train_again_is_finished_and_other_options_are_refused(triples, base, capsys):
    train_command(config_of(triples, base))
    train_command(config_of(triples, base))
    assert "finished already" in capsys.readouterr().err
    with pytest.raises(UserError, match="epochs"):
        train_command(config_of(triples, base, epochs=3))


def test_pictures_are_found_by_image_id(triples, pictures, base, tmp_path, capsys):
    lines = tmp_path / "triples.jsonl"
    from paraclip.data.triples import read_triples

    write_triples(lines, read_triples(triples), {})
    train_command(config_of(lines, base, images=str(pictures)))
    assert "7 rows, 6 with a picture." in capsys.readouterr().out


def captions_file(pictures: Path, *lines: str) -> str:
    """A table of captions, next to the pictures."""
    path = pictures / "captions.csv"
    path.write_text("\n".join([*lines, ""]))
    return str(path)


THINGS = [f"{colour}_{shape}.png,the {colour} thing" for shape, colour in PICTURES]


def test_the_starter_set_is_added_to_the_triples_once(triples, pictures, base, capsys):
    config = config_of(triples, base, starter=True, epochs=1, batch_size=256)
    train_command(config)
    output = capsys.readouterr().out
    assert "3,007 rows, 6 with a picture." in output
    made = read_header(Path(config.out) / "last.safetensors")["training"]
    assert made["facts"]["starter"]["licence"] == "Apache-2.0"
    with pytest.raises(UserError, match="belongs to a run with other settings"):
        train_command(replace(config, starter=False))
    with pytest.raises(UserError, match="--starter: adds the triples"):
        train_command(replace(config, triples="starter", out=str(triples.parent / "other")))


def test_captions_without_paraphrases_are_replayed_with_the_triples(
    triples, pictures, base, capsys
):
    captions = captions_file(pictures, "image,caption", *THINGS, "gone.png,")
    config = config_of(triples, base, replay=captions, replay_per_triple=0.5)
    with pytest.raises(UserError, match=r"captions\.csv.*more than"):
        train_command(config)
    config = replace(config, max_broken=0.2)
    train_command(config)
    output = capsys.readouterr().out
    assert "7 triples, and 4 captions for L1 alone." in output
    assert "11 rows, 10 with a picture." in output and "on 11 rows" in output
    assert "1 broken row was skipped" in output
    moved = Path(captions).rename(pictures / "moved.csv")
    train_command(replace(config, replay=str(moved)))
    assert "finished already" in capsys.readouterr().err


def test_captions_to_replay_are_judged_apart_from_the_triples(triples, pictures, base, capsys):
    whole = triples.rename(triples.with_name("whole"))
    rows = pq.read_table(whole).to_pylist()
    write_triples(triples, [*rows, rows[0] | {"id": "broken", "caption": ""}], {})
    captions = captions_file(pictures, "image,caption", THINGS[0])
    train_command(config_of(triples, base, replay=captions, max_broken=0.2))  # 1 of 8, 0 of 1
    output = capsys.readouterr().out
    assert "7 triples, and 1 captions" in output and "1 broken row was skipped" in output


def test_a_replay_of_nothing_or_for_nothing_is_refused(triples, pictures, base):
    captions = captions_file(pictures, "caption", "the red thing")
    with pytest.raises(UserError, match=r"captions\.csv: has no captions of pictures beside"):
        train_command(config_of(triples, base, replay=captions))
    config = config_of(triples, base, replay=captions, weights=(0.0, 1.0, 1.0))
    with pytest.raises(UserError, match="--replay: is for L1, which has no weight"):
        train_command(config)
    check_options(replace(config, control=True))  # its only loss is L1


def test_a_broken_picture_is_named_or_skipped_and_counted(triples, pictures, base, capsys):
    broken = pictures / "red_disc.png"
    broken.write_bytes(b"not a picture")
    with pytest.raises(UserError, match=r"red_disc\.png.*more than"):
        train_command(config_of(triples, base))
    assert not (triples.parent / "run").exists()
    train_command(config_of(triples, base, max_broken=0.2))
    output = capsys.readouterr().out
    assert "5 with a picture" in output and "1 broken row was skipped" in output


def test_a_broken_picture_is_left_out_where_the_image_tower_is_trained(
    triples, pictures, base, capsys
):
    (pictures / "red_disc.png").write_bytes(b"not a picture")
    options = {"image_learning_rate": 1e-4, "epochs": 1}
    with pytest.raises(UserError, match=r"red_disc\.png.*more than.*--images"):
        train_command(config_of(triples, base, **options))
    train_command(config_of(triples, base, max_broken=0.2, **options))
    output = capsys.readouterr().out
    assert "5 with a picture" in output and "1 broken row was skipped" in output


def test_broken_pictures_are_a_share_of_the_pictures_not_of_the_rows(pictures):
    (pictures / "red_disc.png").write_bytes(b"not a picture")
    every = sorted(str(path) for path in pictures.glob("*.png"))
    references = [*every, *[every[-1]] * 99, *[None] * 99]
    assert not every[-1].endswith("red_disc.png")
    with pytest.raises(UserError, match=f"1 of {len(every)} rows are broken"):
        features_of(tiny_clip(), references, Problems(0.01))


def test_options_out_of_range_are_reported_before_anything_is_read():
    with pytest.raises(UserError, match="--epochs"):
        train_command(TrainConfig(triples="nowhere.parquet", epochs=0))
    with pytest.raises(UserError, match="--head-learning-rate"):
        align_command(AlignConfig(source="nowhere", head_learning_rate=-1.0))


def test_align_fits_mini_to_a_folder(pictures, tmp_path, capsys):
    torch.manual_seed(0)
    start = str(
        save_model(Mini(word_files("bert"), embed_dim=8), tmp_path / "mini.safetensors", {})
    )
    config = AlignConfig(
        source=str(pictures), model=start, out=str(tmp_path / "aligned"), epochs=8, batch_size=6,
        learning_rate=3e-3, head_learning_rate=3e-2, held_out=0.0, precision="fp32",
        dropout=0.0,
    )  # fmt: skip
    align_command(config)
    assert "6 captions, 6 with a picture." in capsys.readouterr().out
    steps = read_metrics(tmp_path / "aligned" / "metrics.jsonl")
    assert steps[-1]["L1"] < 0.8 * steps[0]["L1"]
    before, after = load_model(start), load_model(str(tmp_path / "aligned" / "best.safetensors"))
    assert before.image_key() == after.image_key()
    assert not torch.equal(before.image_head.weight, after.image_head.weight)


def test_new_heads_are_drawn_by_the_seed_and_carry_no_terms(pictures, tmp_path, monkeypatch):
    def with_linear_heads(heads):
        assert heads is None
        return Mini(word_files("bert"), embed_dim=8)

    monkeypatch.setattr(Mini, "with_linear_heads", with_linear_heads)
    found = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        out = tmp_path / name
        config = AlignConfig(source=str(pictures), out=str(out), new_heads=True, epochs=1,
                             batch_size=6, held_out=0.0, precision="fp32", seed=seed)  # fmt: skip
        align_command(config)
        found.append(load_model(str(out / "last.safetensors")).text_head.weight)
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
    assert "made_from" not in read_header(tmp_path / "a" / "last.safetensors")
    assert "- base: mini, new heads\n" in (tmp_path / "a" / "last.md").read_text()
    with pytest.raises(UserError, match=r"--new-heads: .*heads of its own"):
        align_command(AlignConfig(source=str(pictures), new_heads=True, model=str(out)))


def test_only_mini_is_aligned(pictures, base):
    with pytest.raises(UserError, match="--model"):
        align_command(AlignConfig(source=str(pictures), model=base))


def test_align_needs_pictures(tmp_path):
    captions = tmp_path / "captions.csv"
    captions.write_text("caption,image\none,\ntwo,\n")
    with pytest.raises(UserError, match="no caption has a picture"):
        align_command(AlignConfig(source=str(captions), model="mini"))


def test_merge_writes_a_model_between_both(triples, base, tmp_path, capsys):
    train_command(config_of(triples, base))
    tuned = str(triples.parent / "run" / "last.safetensors")
    merge_command(MergeConfig(base=base, tuned=tuned, out=str(tmp_path / "mixed.safetensors")))
    assert "50% tuned" in capsys.readouterr().out
    models = [load_model(name) for name in (base, tuned, str(tmp_path / "mixed.safetensors"))]
    first, second, mixed = (model.text_tower.token_embedding.weight for model in models)
    torch.testing.assert_close(mixed, (first + second) / 2)


def test_the_command_line_trains_the_control(triples, base, tmp_path, capsys):
    words = ["train", str(triples), "--model", base, "--out", str(tmp_path / "control")]
    more = ["--control", "--epochs", "1", "--batch-size", "4", "--weights", "1", "1", "1"]
    assert main([*words, *more, "--image-loss-on", "caption", "paraphrase_1"]) == 0
    assert "L2" not in read_metrics(tmp_path / "control" / "metrics.jsonl")[0]
    assert main([*words, "--epochs", "2"]) == 2
    complaint = capsys.readouterr().err.splitlines()[-1]
    assert complaint.startswith("paraclip: ") and "--fresh" in complaint


def test_torchrun_trains_as_one_process_does(triples, base, tmp_path):
    options = ["--model", base, "--epochs", "2", "--batch-size", "4", "--held-out", "0"]
    words = ["train", str(triples), *options, "--precision", "fp32", "--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "one")]) == 0
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    together = [*launcher, "--nproc-per-node", "2", "-m", "paraclip", *words]
    quiet = os.environ | {"PARACLIP_QUIET": "1", "OMP_NUM_THREADS": "1"}
    said = subprocess.run(
        [*together, "--out", str(tmp_path / "two")], env=quiet, capture_output=True, text=True,
        check=True, timeout=200,
    )  # fmt: skip
    assert said.stdout.count("Checkpoint:") == 1, "only the first process speaks"
    one, two = (load_file(tmp_path / name / "last.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5, msg=name)
    steps = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("one", "two")]
    losses = [[step["loss"] for step in run] for run in steps]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_torchrun_reports_what_went_wrong_in_its_processes(triples, base, tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    words = ["train", str(triples), "--model", base, "--out", str(tmp_path / "out")]
    options = ["--device", "cpu", "--text-tower", "last_layers", "--last-layers", "99"]
    run = subprocess.run(
        [*launcher, "--nproc-per-node", "2", "-m", "paraclip", *words, *options],
        env=os.environ | {"PARACLIP_QUIET": "1", "OMP_NUM_THREADS": "1"}, capture_output=True,
        text=True, check=False, timeout=200,
    )  # fmt: skip
    assert run.returncode != 0
    assert "paraclip: --last-layers: 99 is more than the 2 that" in run.stderr
    report = run.stderr.partition("Root Cause")[2]
    assert "UserError: --last-layers: 99" in report, run.stderr


def test_train_alone_needs_no_standard_error_of_the_system(triples, base, capsys):
    train_command(
        config_of(triples, base, epochs=1)
    )  # capsys's has no file number, as a notebook's
    assert "Checkpoint:" in capsys.readouterr().out
