"""A tiny run of every stage of the reproduction: shards on disk, a fake LLM, a tiny CLIP."""

import io
import re
import shutil
import tarfile
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_server import FakeServer
from open_clip.model import CLIP
from safetensors.torch import load_file
from text_sets import write_sugar_crepe_pp
from torch import Tensor

import paraclip
from paraclip.commands.evaluate import EvaluateConfig
from paraclip.commands.generate import GenerateConfig
from paraclip.data.reading import read_captions
from paraclip.errors import UserError
from paraclip.models.checkpoint import load_checkpoint, save_model
from paraclip.models.openclip import build_clip
from paraclip.training.config import TrainOptions
from recipes import downloads
from recipes.reproduce import reproduce
from tiny import (
    COLOURS,
    ROBERTA,
    TINY_CLIP,
    WORDS,
    draw_pictures,
    make_triples,
    roberta_clip,
    tiny_clip,
    word_files,
    write_triples,
)

TEXT = {**TINY_CLIP["text_cfg"], "width": 8, "layers": 1}


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two tar files of ten drawn pictures each; two captions are too short or too long."""
    pictures = draw_pictures(tmp_path / "pictures", shades=5)
    folder = tmp_path / "web"
    folder.mkdir()
    for number in range(2):
        with tarfile.open(folder / f"s-{number:02d}.tar", "w") as archive:
            for place, path in enumerate(pictures[10 * number : 10 * number + 10]):
                archive.add(path, f"{number}{place}.png")
                add_text(archive, f"{number}{place}.txt", caption_of(path, place))
    return folder


def caption_of(path: Path, place: int) -> str:
    colour, shade = path.stem.split("_")
    assert colour in COLOURS
    if place == 3:
        return colour
    return f"A baker carries {colour} bread number {shade} through town."


def add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(text.encode())
    archive.addfile(member, io.BytesIO(text.encode()))


@pytest.fixture
def settings(tmp_path: Path, shards: Path) -> Path:
    """Settings in the layout of the shipped ones; the test fills in the server's address."""
    base = save_model(tiny_clip(text_cfg=TEXT), tmp_path / "base.safetensors")
    write_sugar_crepe_pp(tmp_path / "data" / "sugar_crepe_pp")
    text = f"""
shards = ["{shards.as_uri()}/s-{{00..01}}.tar"]
captions = 16
[bases]
tiny = "{base}"
[generation]
backend = "openai"
base_url = "URL"
model = "fake"
concurrency = 4
[training]
epochs = 1
batch_size = 8
precision = "fp32"
[rows.control]
control = true
[rows.consistent]
recipe = "consistent"
[evaluation]
benchmarks = "sugar-crepe-pp"
data = "{tmp_path / "data"}"
resamples = 10
"""
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return path


@pytest.mark.slow
def test_from_shards_to_weights(settings: Path, tmp_path: Path, capsys) -> None:
    work, every = tmp_path / "work", ["--stages", *reproduce.STAGES]
    with FakeServer() as server:
        settings.write_text(settings.read_text().replace("URL", server.url))
        reproduce.main(["--work", str(work), "--settings", str(settings), *every])
        asked = sum(server.asked.values())
        reproduce.main(["--work", str(work), "--settings", str(settings), *every])
        assert sum(server.asked.values()) == asked > 0, "a finished stage asks nothing again"
    output = capsys.readouterr().out
    assert "16 captions of 2 to 15 words" in output and "TOT" in output
    assert (work / "reports" / "tiny" / "report.md").exists()
    tuned = load_checkpoint(work / "models" / "tiny" / "consistent" / "last.safetensors")
    exported = work / "exported" / "tiny_consistent.safetensors"
    again = paraclip.export(tuned, tmp_path / "again.safetensors")
    assert exported.stat().st_size > 1000 and again.stat().st_size > 1000


@pytest.fixture
def towers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Tensor]]:
    """Random weights of the shipped bases that are no ViT-B/32 of a tag, with few and narrow
    layers: those of RoBERTa as a download, those of LaCLIP in the layout of its published file."""
    import open_clip.factory

    plain = {**TINY_CLIP, "text_cfg": TEXT}
    for name, config in {"ViT-B-32": plain, "roberta-ViT-B-32": ROBERTA}.items():
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)
    for name, text in word_files("roberta").items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(open_clip, "download_pretrained", lambda tag: tmp_path / "roberta.pt")
    weights = {
        "roberta": build_clip(roberta_clip().spec).state_dict(),
        "laclip": CLIP(**plain).state_dict(),
    }
    torch.save(weights["roberta"], tmp_path / "roberta.pt")
    state = {f"module.{name}": value for name, value in weights["laclip"].items()}
    torch.save({"epoch": 32, "state_dict": state}, tmp_path / "laion400m_laclip.pt")
    return weights


@pytest.mark.slow
def test_towers_of_other_kinds_are_trained_scored_and_exported(
    settings: Path, towers: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    work, rows = tmp_path / "work", make_triples(6, tmp_path / "drawn").to_pylist()
    texts = [f"a {size} {colour} disc" for size in ("small", "large") for colour in WORDS[1:4]]
    for row, text in zip(rows, texts, strict=True):
        row |= {"caption": text, "paraphrase_1": f"{text} on paper", "paraphrase_2": f"on {text}"}
    write_triples(work / "triples" / "triples.parquet", rows)
    lines = reproduce.SETTINGS.read_text().splitlines()
    named = [line.removeprefix("# ") for line in lines if re.match("roberta =|# laclip =", line)]
    own = "\n".join(named).replace("laion400m_", f"{tmp_path}/laion400m_")
    settings.write_text(re.sub("tiny = .*", own, settings.read_text()))
    stages = ["--stages", "train", "evaluate", "export"]
    reproduce.main(["--work", str(work), "--settings", str(settings), *stages])
    bases = reproduce.read_settings(settings).bases
    assert list(bases) == ["roberta", "laclip"]
    for base, name in bases.items():
        tuned = load_checkpoint(work / "models" / base / "consistent" / "last.safetensors")
        before, after = (
            paraclip.encode_texts(one, texts) for one in (paraclip.load_model(name), tuned)
        )
        assert not np.allclose(before, after, atol=1e-4)
        assert "TOT" in (work / "reports" / base / "report.md").read_text()
        exported = load_file(work / "exported" / f"{base}_consistent.safetensors")
        assert exported.keys() == towers[base].keys(), "open_clip loads them as the base's"


def test_triples_stay_as_they_are_once_training_has_begun(tmp_path: Path, monkeypatch) -> None:
    runs: list[Path] = []
    monkeypatch.setattr(paraclip, "generate", lambda source, out: runs.append(out))
    settings = reproduce.Settings((), 2, {})
    (tmp_path / "captions.jsonl").write_text("{}\n{}\n")
    (tmp_path / "triples").mkdir()
    (tmp_path / "triples" / "summary.json").write_text('{"captions": 2}')
    reproduce.generate(settings, tmp_path)
    assert len(runs) == 1, "failed captions are retried before training"
    (tmp_path / "models").mkdir()
    reproduce.generate(settings, tmp_path)
    assert len(runs) == 1
    (tmp_path / "captions.jsonl").write_text("{}\n{}\n{}\n")
    reproduce.generate(settings, tmp_path)
    assert len(runs) == 2, "more captions are another run"


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads are tried again at once."""
    monkeypatch.setattr(downloads, "PAUSE", 0.0)


def test_shards_may_be_missing_number_their_rows_alike_and_be_broken(
    settings: Path, shards: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    first = ["--work", "work", "--settings", str(settings), "--stages", "data"]
    (shards / "s-01.tar").unlink()
    with pytest.raises(UserError, match=r"s-01\.tar.*cannot be read"):
        reproduce.main(first)
    assert not Path("work/shards/s-01.tar").exists()
    shutil.copy(shards / "s-00.tar", shards / "s-01.tar")
    reproduce.main(first)
    rows = list(read_captions("work/captions.jsonl"))
    assert len({row.id for row in rows}) == len(rows) == 16
    assert all(str(tmp_path) in str(row.image) for row in rows)
    shutil.rmtree("work")
    with tarfile.open(shards / "s-00.tar", "w") as archive:
        add_text(archive, "broken.png", "no picture")
        add_text(archive, "fine.txt", "<PERSON> carries bread through town.")
    reproduce.main(first)
    assert "a person carries bread" in Path("work/captions.jsonl").read_text()
    shown = capsys.readouterr().out
    assert "s-00.tar: broken: the caption is empty" in shown and "hold no more" in shown


def test_the_shipped_settings_are_options_that_exist() -> None:
    settings = reproduce.read_settings(reproduce.SETTINGS)
    assert len(settings.shards) == 2176 and settings.shards[3].endswith("-0003.tar")
    given = {**settings.generation, "base_url": (settings.generation["base_url"],)}
    generation = GenerateConfig("captions.jsonl", "triples", **given)
    assert generation.llm.concurrency > 327, "in flight for one server, docs/full-scale.md"
    EvaluateConfig(models=("base",), **settings.evaluation)
    for options in settings.rows.values():
        TrainOptions(**{**settings.training, **options})
    assert list(settings.rows)[-1] == "ranked"
    assert set(settings.bases) == {"openai", "laion400m", "laion2b", "roberta"}
    own = tomllib.loads((Path(__file__).parents[2] / "configs/clip-vit-b-32.toml").read_text())
    assert {name: own[name] for name in settings.training} == settings.training


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("concurrency =", "concurency =", "concurency: is not a setting. Did you mean concurrency"),
        ("batch_size =", "batchsize =", "batchsize: is not a setting. Did you mean batch_size"),
        ("resamples =", "resample =", "resample: is not a setting. Did you mean resamples"),
        ("captions =", "wrong = 1\ncaptions =", "wrong: is not a setting"),
        ("[bases]", "[unknown]", "lacks a setting|is not a setting"),
        ("base.safetensors", "laclip.pt", "no such file"),
    ],
)
def test_a_misspelled_option_is_refused_before_the_first_stage(
    settings: Path, right: str, wrong: str, words: str
) -> None:
    settings.write_text(settings.read_text().replace(right, wrong))
    with pytest.raises(UserError, match=words):
        reproduce.read_settings(settings)
