"""`paraclip evaluate` as a function of its options, with tiny models."""

import json
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
from text_sets import write_sts, write_sugar_crepe_pp

from paraclip import api, given_models
from paraclip.commands import evaluate as command
from paraclip.commands.evaluate import (
    EvaluateConfig,
    choose_benchmarks,
    label_models,
    names_sources,
)
from paraclip.errors import UserError
from paraclip.evaluation import benchmarks, run
from paraclip.evaluation.benchmarks import BENCHMARKS
from paraclip.evaluation.report import read_report
from tiny import ColourEncoder, write_flickr8k

ROWS = ("paraphrased-retrieval", "image-text-retrieval", "sugar-crepe-pp", "sts")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EvaluateConfig:
    """All benchmarks in a data folder; models `steady` and `brittle` can be loaded."""
    noises = {"steady": 0.1, "brittle": 1.5}
    monkeypatch.setattr(
        given_models, "load_model", lambda name, device: ColourEncoder(noises[name])
    )
    monkeypatch.setattr(command, "check_model", lambda name: None)
    rows = {name: BENCHMARKS[name] for name in ROWS}  # not those that need no data at all
    monkeypatch.setattr(benchmarks, "BENCHMARKS", rows)
    monkeypatch.setattr(run, "find_spec", lambda name: None)  # no plots, which take long
    monkeypatch.delenv("PARACLIP_DATA", raising=False)
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "kept"))
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    write_sts(data / "sts")
    write_sugar_crepe_pp(data / "sugar_crepe_pp")
    write_flickr8k(data / "flickr8k", shades=3, tested=10)
    return EvaluateConfig(
        models=("base=brittle", "tuned=steady"), data=str(data), out=str(tmp_path / "out"),
        resamples=20,
    )  # fmt: skip


def test_all_benchmarks_of_a_data_folder(
    config: EvaluateConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.evaluate_command(config)
    printed = capsys.readouterr().out
    report = read_report(Path(config.out) / "report.json")
    names = [section.name for section in report.sections]
    assert names == ["paraphrased-retrieval", "image-text-retrieval", "sugar-crepe-pp", "sts"]
    assert "10 pictures and 20 captions of captions.csv (test_images.txt)" in printed
    assert "over 12 pictures of flickr8k/images, not the 8,091 of Flickr8k" in printed
    assert "(caption and caption2), without " in printed
    assert "report.md" in printed
    assert report.provenance["models"] == {"base": "brittle", "tuned": "steady"}
    assert any((tmp_path / "kept" / "image_features").iterdir())


def test_python_passes_over_what_the_command_passes_over(
    config: EvaluateConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for picture in (tmp_path / "data" / "flickr8k" / "images").iterdir():
        picture.write_bytes(b"broken")
    report = api.evaluate(
        {"base": ColourEncoder()}, benchmarks="all", data=str(tmp_path / "data"), out="python"
    )
    assert [section.name for section in report.sections] == ["sugar-crepe-pp", "sts"]
    assert "image-text-retrieval left out: " in capsys.readouterr().err


def test_captions_and_pictures_may_be_remote(config: EvaluateConfig, tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    for path in (tmp_path / "data" / "flickr8k" / "images").iterdir():
        store.pipe(f"/pictures/{path.name}", path.read_bytes())
    rows = (f"{name.rpartition('/')[2]},a red hat" for name in store.ls("/pictures", detail=False))
    store.pipe("/pictures/captions.csv", "\n".join(["image,caption", *rows]).encode())
    options = replace(
        config, benchmarks="image-text-retrieval", captions="memory://pictures/captions.csv"
    )
    command.evaluate_command(options)
    (section,) = read_report(Path(config.out) / "report.json").sections
    assert section.pool == "12 pictures and 12 captions of captions.csv"


def test_no_secret_of_a_url_is_in_the_report(config: EvaluateConfig) -> None:
    secret = "https://user:sesame@example.org/captions.csv?key=sesame"
    unused = ("captions", "pairs", "pool", "wordings", "images", "images_by_class")
    command.evaluate_command(replace(config, benchmarks="sts", **dict.fromkeys(unused, secret)))
    for name in ("report.json", "report.md"):
        text = (Path(config.out) / name).read_text()
        assert "sesame" not in text and "https://example.org/captions.csv" in text
    store, there = fsspec.filesystem("memory"), "/me:sesame@host"
    for path in (Path(config.data or "") / "flickr8k" / "images").iterdir():
        store.pipe(f"{there}/{path.name}", path.read_bytes())
    rows = [f"{name.rpartition('/')[2]},a hat" for name in store.ls(there, detail=False)]
    store.pipe(f"{there}/a.csv", "\n".join(["image,caption", *rows, "no.jpg,a cap"]).encode())
    options = replace(
        config, benchmarks="image-text-retrieval", captions=f"memory:/{there}/a.csv", max_broken=0.5
    )
    command.evaluate_command(options)
    files = [path for path in Path(config.out).rglob("*") if path.is_file()]
    assert files and not any(b"sesame" in path.read_bytes() for path in files)
    assert "memory://host/no.jpg" in (Path(config.out) / "report.md").read_text()


def test_json_is_the_report_and_nothing_else(
    config: EvaluateConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    command.evaluate_command(replace(config, benchmarks="sts", json=True))
    printed = capsys.readouterr().out
    assert json.loads(printed) == json.loads((Path(config.out) / "report.json").read_text())


def test_named_benchmarks_must_have_their_data(config: EvaluateConfig) -> None:
    nothing = replace(config, data=None)
    with pytest.raises(UserError, match="--pairs: no data folder is named"):
        choose_benchmarks(replace(nothing, benchmarks="paraphrased-retrieval"))
    with pytest.raises(UserError, match="no benchmark has its data"):
        choose_benchmarks(nothing)


def test_ones_own_pairs_pool_and_captions(config: EvaluateConfig, tmp_path: Path) -> None:
    data = Path(config.data or "") / "flickr8k"
    (tmp_path / "pairs.csv").write_text("one,two\na red,red one\n")
    (tmp_path / "pool.txt").write_text("red_0.png\nblue_0.png\n")
    own = replace(
        config, data=None, pairs=str(tmp_path / "pairs.csv"), columns=("one", "two"),
        pool=str(tmp_path / "pool.txt"), images=str(data / "images"), k=(2,),
        captions=str(data / "captions.csv"),
    )  # fmt: skip
    (retrieval, both_ways), _ = choose_benchmarks(own)
    assert retrieval.pool == "1 pairs of pairs.csv (one and two), over 2 pictures of pool.txt"
    assert both_ways.pool == "12 pictures and 24 captions of captions.csv"


def test_an_error_in_named_data_is_raised_and_not_skipped(config: EvaluateConfig) -> None:
    with pytest.raises(UserError, match=r"nothing.csv: there is no such file"):
        choose_benchmarks(replace(config, pairs="nothing.csv"))
    with pytest.raises(UserError, match="--columns: 1 columns are named"):
        choose_benchmarks(replace(config, columns=("one",)))
    assert names_sources(replace(config, wordings="mine.jsonl"))


def test_labels() -> None:
    given = (
        "base=ViT-B-32:laion2b_s34b_b79k", "mini", "runs/tuned/last.safetensors",
        "runs/merged.safetensors", "ViT-B-32:/w=1.safetensors",
    )  # fmt: skip
    assert label_models(given) == {
        "base": "ViT-B-32:laion2b_s34b_b79k",
        "mini": "mini",
        "tuned": "runs/tuned/last.safetensors",
        "merged": "runs/merged.safetensors",
        "ViT-B-32:/w=1.safetensors": "ViT-B-32:/w=1.safetensors",
    }
    with pytest.raises(UserError, match="label 'mini' occurs twice"):
        label_models(("mini", "mini=other"))
    with pytest.raises(UserError, match="no model is given"):
        label_models(())
    with pytest.raises(UserError, match="a label of more than 4,096 bytes"):
        api.evaluate({"x" * 65_000: "mini"}, benchmarks="sts")
