"""ParaCLIP works with its required dependencies alone."""

import importlib.metadata
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def distributions(lines: list[str]) -> set[str]:
    """Names of all distributions that the requirements need, directly or not."""
    found: set[str] = set()
    left = [Requirement(line) for line in lines]
    while left:
        needed = left.pop()
        if needed.name in found or (needed.marker and not needed.marker.evaluate({"extra": ""})):
            continue
        found.add(needed.name)
        left += map(Requirement, importlib.metadata.requires(needed.name) or [])
    return found


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with links to the packages that the required dependencies install, and no others."""
    folder = tmp_path_factory.mktemp("packages")
    for name in distributions(PROJECT["dependencies"]):
        distribution = importlib.metadata.distribution(name)
        for top in {path.parts[0] for path in distribution.files or [] if path.parts[0] != ".."}:
            place = Path(str(distribution.locate_file(top)))
            if top != "__pycache__" and place.exists() and not (folder / top).exists():
                (folder / top).symlink_to(place)
    return folder


def run(environment: Path, code: str) -> str:
    """Standard output of a program that sees only these packages and ParaCLIP."""
    program = f"import sys; sys.path[:0] = {[str(environment), str(ROOT / 'src')]!r}; {code}"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_there_are_at_most_fourteen_required_packages() -> None:
    assert len(PROJECT["dependencies"]) <= 14


def test_the_package_and_the_help_need_no_extra(environment: Path) -> None:
    shown = run(environment, "from paraclip.cli import main; main(['--help']); import paraclip.api")
    assert "paraclip COMMAND" in shown


@pytest.mark.parametrize("module", ["export", "train", "merge", "evaluate", "align", "generate"])
def test_these_commands_are_imported_without_an_extra(environment: Path, module: str) -> None:
    run(environment, f"import paraclip.commands.{module}")


def test_what_an_extra_installs_is_named(environment: Path) -> None:
    code = "from paraclip.cli import main; sys.exit(main(['serve']) - 2)"
    run(environment, code)
