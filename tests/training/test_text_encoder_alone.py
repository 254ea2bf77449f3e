"""A text encoder without pictures learns from the vectors of an index."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from paraclip.api import export, train
from paraclip.cli import main
from paraclip.models.checkpoint import load_checkpoint, read_header, save_model
from paraclip.models.features import encode_images, encode_texts
from paraclip.models.loading import load_model
from paraclip.models.mini import SentenceModel
from paraclip.training.log import read_metrics
from tiny import draw_pictures, tiny_clip, word_files

WIDTH = 32
TRAIN = "train triples.jsonl --base base --out out --sentence-teacher 0 --bank"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of sentence-transformers, triples of words that it knows, and an index of vectors
    that lie around those of the captions."""
    torch.manual_seed(0)
    model = SentenceModel(word_files("bert", WIDTH))
    with torch.no_grad():  # random towers map all texts to nearly one vector
        for parameter in model.text_tower.parameters():
            parameter.mul_(3)
    export(model, tmp_path / "base", to="sentence-transformers")
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


def test_wordings_learn_the_ranking_of_their_average(world: Path) -> None:
    words = f"{TRAIN} index.npy --epochs 40 --batch-size 12 --learning-rate 1e-3"
    assert main(words.split()) == 0
    losses = [step["R"] for step in read_metrics(world / "out" / "metrics.jsonl")]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.2  # the entropy of the target remains
    tuned = load_checkpoint(world / "out" / "last.safetensors")
    texts = ["a small red disc", "red disc small", "disc on paper red small"]
    base, after = (encode_texts(one, texts) for one in (load_model("base", "cpu"), tuned))
    assert (after[0] @ after[1:].T).mean() > (base[0] @ base[1:].T).mean()
    options = {"epochs": 40, "batch_size": 12, "learning_rate": 1e-3, "sentence_teacher": 0.0}
    same = train("base", "triples.jsonl", "python", bank="index.npy", **options)
    assert encode_texts(same, texts).equal(after)


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


def test_the_texts_of_a_clip_learn_from_vectors_alone(world: Path) -> None:
    clip = tiny_clip()
    export(clip, world / "clip", to="open-clip")
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
