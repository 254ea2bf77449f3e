"""The public API: fast to import, complete, quiet, and equal to the commands."""

import dataclasses
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from doctest import DocTestParser
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pyarrow as pa
import pytest
import torch
from PIL import Image

import paraclip
from paraclip import api
from paraclip.errors import UserError
from paraclip.models.checkpoint import read_header, save_model
from tiny import SMALL_CLIP, draw, tiny_clip

SOURCE = Path(paraclip.__file__).parents[1]
HEAVY = ("torch", "numpy", "pyarrow", "transformers", "open_clip", "pydantic")


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = f"import sys, paraclip; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_windows_is_told_what_to_use_instead() -> None:
    code = "import sys; sys.platform = 'win32'; import paraclip"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "WSL" in done.stderr.splitlines()[-1]


def test_every_public_name_exists_and_others_are_not() -> None:
    assert set(paraclip.__all__) == set(api.__all__) <= set(dir(paraclip))
    for name in paraclip.__all__:
        assert getattr(paraclip, name) is getattr(api, name)
        assert getattr(paraclip, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        paraclip.trian  # noqa: B018
    assert Path(paraclip.__file__).with_name("py.typed").is_file()


@pytest.mark.parametrize(
    "function",
    [
        api.generate,
        api.train,
        api.evaluate,
        api.export,
        api.index,
        api.search,
        api.swap,
        api.swap_check,
    ],
)
def test_help_shows_each_option_with_its_default_and_explanation(
    function: Callable[..., Any],
) -> None:
    options = inspect.unwrap(function).__annotations__["options"]
    shown = inspect.signature(function).parameters
    for one in dataclasses.fields(options):
        assert shown[one.name].default in (one.default, inspect.Parameter.empty)
        assert f"    {one.name}: " in str(function.__doc__)


@pytest.mark.slow
def test_a_type_checker_knows_the_options(tmp_path: Path) -> None:
    """The class of the options alone has their types."""
    wrong = {
        'paraclip.train("mini", "scenes", epcohs=2)': "epcohs",
        'paraclip.train("mini", "scenes", epochs="2")': "epochs",
        'paraclip.train("mini", "scenes", Path("out"), bank=Path("a"), teacher=["base"])': "",
    }
    file = tmp_path / "calls.py"
    file.write_text("\n".join(["import paraclip", "from pathlib import Path", *wrong]))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(file)],
        capture_output=True, text=True, check=False, env={**os.environ, "MYPYPATH": str(SOURCE)},
    )  # fmt: skip
    found = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert len(found) == len([*filter(None, wrong.values())])
    assert all(word in line for word, line in zip(wrong.values(), found, strict=False))


@pytest.fixture
def triples(tmp_path: Path) -> Path:
    lines = []
    for number in range(12):
        Image.new("RGB", (64, 64), (20 * number, 80, 255 - 20 * number)).save(
            tmp_path / f"{number}.png"
        )
        texts = [f"{word} number {number}" for word in ("a square", "one square", "the box")]
        lines.append(
            f'{{"index": {number}, "image_id": "{number}", "caption": "{texts[0]}", '
            f'"paraphrase_1": "{texts[1]}", "paraphrase_2": "{texts[2]}"}}'
        )
    path = tmp_path / "triples.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_pictures_are_indexed_and_found(
    triples: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("lancedb")
    monkeypatch.chdir(tmp_path)
    model = str(save_model(tiny_clip(), tmp_path / "base.safetensors"))
    summary = paraclip.index(tmp_path, tmp_path / "index", base=model, device="cpu")
    assert (summary.added, summary.total) == (12, 12)
    found = paraclip.search(index=tmp_path / "index", image=str(tmp_path / "3.png"), k=2)
    assert list(found) == ["base"] and found["base"][0].path == "3.png"
    assert len(paraclip.search("a red square", tmp_path / "index", k=5)["base"]) == 5
    assert capsys.readouterr().out == ""
    paraclip.index(tmp_path, base=model, tuned=model, device="cpu")
    for example in DocTestParser().get_examples(str(paraclip.search.__doc__)):
        exec(example.source, {"search": paraclip.search})
    assert capsys.readouterr().out.startswith("tuned [")


@pytest.mark.slow
def test_train_merge_export_and_evaluate_without_a_word(
    triples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tiny_clip()
    before = {name: value.clone() for name, value in base.state_dict().items()}
    options = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3}
    lines: list[Mapping[str, float]] = []
    tuned = paraclip.train(
        base, triples, tmp_path / "tuned", images=tmp_path, device="cpu", on_step=lines.append,
        **options,
    )  # fmt: skip
    logged = (tmp_path / "tuned" / "metrics.jsonl").read_text().splitlines()
    assert lines == [json.loads(line) for line in logged] and len(lines) == 3
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
    changed = [name for name, value in tuned.state_dict().items() if not value.equal(before[name])]
    assert changed and not [name for name in changed if name.startswith("image_tower")]

    pictures = [tmp_path / "1.png", str(tmp_path / "2.png")]
    assert paraclip.encode_images(tuned, pictures).equal(paraclip.encode_images(base, pictures))
    texts = [paraclip.encode_texts(one, ["a square", "the box"]) for one in (base, tuned)]
    assert texts[0].shape == texts[1].shape and not texts[0].equal(texts[1])
    torch.testing.assert_close(texts[1].norm(dim=1), torch.ones(2))
    torch.testing.assert_close(paraclip.encode_texts(base, "the box"), texts[0][1])

    half = paraclip.merge(base, tuned, 0.5)
    written = paraclip.export(half, tmp_path / "half.safetensors")
    assert written.is_file() and written.with_suffix(".md").is_file()

    report = paraclip.evaluate(
        {"base": base, "tuned": tuned}, benchmarks="paraphrased-retrieval", pairs=triples,
        columns=("caption", "paraphrase_2"), pool=tmp_path, k=(3,), out=tmp_path / "report",
        resamples=20,
    )  # fmt: skip
    assert "AO@3" in report.table() and "tuned" in report.table()
    (comparison,) = {
        type(one).__name__ for one in paraclip.compare(tmp_path / "report", resamples=20)
    }
    assert comparison == "Comparison"
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_models_are_named_as_on_the_command_line(triples: Path, tmp_path: Path) -> None:
    path = save_model(tiny_clip(), tmp_path / "base.safetensors", {})
    options = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3}
    first = paraclip.train(str(path), triples, tmp_path / "run", images=tmp_path, **options)
    again = paraclip.train(path, triples, tmp_path / "run", images=tmp_path, **options)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    header = read_header(tmp_path / "run" / "last.safetensors")
    assert header["training"]["facts"]["base"] == str(path)


def test_pictures_are_encoded_from_files_and_from_memory(tmp_path: Path) -> None:
    path, model = draw(tmp_path / "disc.png", "disc", "red"), tiny_clip()
    picture = Image.open(path)
    array = np.asarray(picture.convert("RGB"))
    vectors = paraclip.encode_images(model, [path, str(path), picture, array])
    assert vectors.shape == (4, model.architecture.embed_dim) and (vectors == vectors[0]).all()
    for one in (path, str(path), picture, array):
        torch.testing.assert_close(paraclip.encode_images(model, one), vectors[0])
    assert paraclip.encode_images(model, np.stack([array] * 2)).shape == vectors[:2].shape
    assert paraclip.encode_images(model, []).shape == (0, model.architecture.embed_dim)
    with pytest.raises(paraclip.UserError, match="float32"):
        paraclip.encode_images(model, array.astype(np.float32))
    with pytest.raises(paraclip.UserError, match="no such picture"):
        paraclip.encode_images(model, "nowhere.png")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["dictionaries", "pyarrow", "pandas", "datasets"])
def test_triples_are_a_file_or_rows_in_memory(form: str, triples: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in triples.read_text().splitlines()]
    given: Any = [row | {"image": tmp_path / f"{row['image_id']}.png"} for row in rows]
    if form != "dictionaries":
        given = pa.Table.from_pylist([row | {"image": str(row["image"])} for row in given])
    if form == "pandas":
        pytest.importorskip("pandas")
        given = given.to_pandas()
    if form == "datasets":
        given = pytest.importorskip("datasets").Dataset(given)
    options = {"epochs": 1, "batch_size": 4, "learning_rate": 1e-3}
    base = tiny_clip()
    tuned = paraclip.train(base, given, tmp_path / form, **options)
    same = paraclip.train(base, triples, tmp_path / "file", images=tmp_path, **options)
    for name, value in tuned.state_dict().items():
        assert value.equal(same.state_dict()[name]), name


@pytest.mark.slow
def test_one_text_of_several_is_no_list_of_letters(triples: Path, tmp_path: Path) -> None:
    base = save_model(tiny_clip(), tmp_path / "base.safetensors")
    (tmp_path / "queries.txt").write_text("a red disc\n")
    options = {
        "bank": tmp_path, "teacher": base, "texts": tmp_path / "queries.txt", "languages": ["en"],
        "images": tmp_path, "epochs": 1, "batch_size": 4, "loss_weights": {"S": 0.0},
    }  # fmt: skip
    paraclip.train(base, triples, tmp_path / "run", **options)
    facts = read_header(tmp_path / "run" / "last.safetensors")["training"]["facts"]
    assert facts["texts"]["count"] == 1 and facts["teachers"]["1"]["taught_by"] == str(base)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda base, rows: api.train(base, rows, "out", bacth_size=2), "Did you mean batch_size"),
        (lambda base, rows: api.train(base, rows, "out", config="a"), "config: is not an option"),
        (lambda base, rows: api.train(base, rows, "out", device="gpu"), "no device 'gpu'"),
        (lambda *_: api.search("a disc", kk=3), "kk: is not an option of search"),
        (lambda *_: api.search("a disc", json=True), "json: is not an option"),
        (lambda *_: api.generate("a", "b", dry_run=True), "dry_run: is not an option"),
        (lambda base, _: api.export(base, "out", formt="hf"), "formt"),
        (lambda base, _: api.evaluate({"base": base}, benchmark="sts"), "mean benchmarks"),
        (lambda base, rows: api.train(rows, base, "out"), "is a model.*train\\(base, triples"),
        (lambda base, rows: api.train(rows, "ViT-B-32:openai", "out"), "is a model"),
        (lambda base, rows: api.train(rows, "mini", "out"), "is a model"),
        (lambda _, rows: api.train(rows, tiny_clip(), "out"), "triples.jsonl"),
        (lambda base, _: api.train(base, [], "out"), "no triples"),
        (lambda base, _: api.train(base, ["a disc"], "out"), "rows are broken"),
        (lambda base, rows: api.train(base, rows, "o", recipe="paper", teacher="base"), "R=3"),
    ],
)
def test_wrong_arguments_are_named(
    call: Callable[[Path, Path], object], message: str, triples: Path, tmp_path: Path
) -> None:
    base = save_model(tiny_clip(), tmp_path / "base.safetensors")
    with pytest.raises(paraclip.UserError, match=message):
        call(base, triples)


COLUMNS = ("caption", "paraphrase_1", "paraphrase_2")


def test_the_page_on_own_encoders_trains_and_reads_them_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[1] / "docs/guide/own-encoders.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert page.count("\n") <= 40
    texts = ("a red disc {}", "{} discs in red", "red, round: {}")

    rows = [dict(zip(COLUMNS, (one.format(n) for one in texts), strict=True)) for n in range(8)]
    (tmp_path / "triples.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("paraclip.models.checkpoint.KINDS", {})
    own: dict[str, Any] = {}
    exec(code, own)
    tuned, again = own["tuned"], paraclip.load_model("runs/own/last.safetensors")
    assert type(again) is own["Own"] and again.architecture.name == "bytes"
    assert torch.equal(again.text_tower.weight, tuned.text_tower.weight)
    assert json.loads(Path("runs/own/summary.json").read_text("utf-8"))["steps"] == 2
    vectors = paraclip.encode_images(again, Image.new("RGB", (9, 9), "red"))
    assert vectors.shape == (32,)
    monkeypatch.setattr("paraclip.models.checkpoint.KINDS", {})
    with pytest.raises(UserError, match="'own', whose checkpoints no class reads"):
        paraclip.train(own["Own"](), rows, "runs/other", recipe="consistent")
    assert not Path("runs/other").exists()


@pytest.mark.slow
def test_a_model_of_open_clip_in_memory_is_used_by_every_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-in-memory", SMALL_CLIP)
    clip, _, preprocess = open_clip.create_model_and_transforms("tiny-in-memory")
    base = (clip, open_clip.get_tokenizer("tiny-in-memory"), preprocess)
    before = {name: value.clone() for name, value in clip.state_dict().items()}
    pictures = [draw(tmp_path / f"{name}.png", "disc", name) for name in ("red", "blue")]
    texts = ("a disc {}", "one disc {}", "round {}")
    rows = [dict(zip(COLUMNS, (one.format(n) for one in texts), strict=True)) for n in range(4)]
    tuned = paraclip.train(base, rows, tmp_path / "run", recipe="consistent", epochs=1)
    assert tuned.architecture.name == "tiny-in-memory"
    assert all(torch.equal(before[name], value) for name, value in clip.state_dict().items())
    assert paraclip.encode_texts(base, "a disc").shape == (16,)
    vectors = paraclip.encode_images(base, pictures)
    np.save(tmp_path / "index.npy", vectors.numpy())
    written = paraclip.export(base, tmp_path / "folder", to="open-clip")
    assert torch.equal(paraclip.encode_images(str(written), pictures), vectors)
