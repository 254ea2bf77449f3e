"""Is this commit ready to be published? `make release-check` prints a line for each question.

    PARACLIP_REPOSITORY=https://HOST/OWNER/NAME python tests/release/release_check.py --tag v0.2.0

Builds wheel and sdist into `dist`, and the site into `build/site`. What only the accounts can
answer is listed at the end.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from email.parser import BytesParser
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "src")]
ELSEWHERE = """\
Not asked here, because only the accounts know:
  PyPI: a trusted publisher for release.yml and the environment pypi
  GitHub: the environment pypi, Pages from Actions (site.yml), a green run of ci.yml on this commit
  Hugging Face: downloads of weights by tag, which `paraclip train --base ViT-B-32:openai` shows"""
FIRST_STEPS = ROOT / "notebooks" / "first_steps.ipynb"
NUMBER = re.compile(r"\d[\d,.]*")
RELATIVE_LINK = re.compile(r"(?:\]\(|(?:src|href)=\")(?!https?:|#)[^)\"]*")


class NotReadyError(Exception):
    """The answer to a question is no."""


def check_version(root: Path, tag: str | None) -> str:
    """The tag is the version, which changelog and citation know."""
    (version,) = re.findall(
        r'^__version__ = "(.+)"', (root / "src/paraclip/version.py").read_text("utf-8"), re.M
    )
    if tag not in (None, f"v{version}"):
        raise NotReadyError(f"the tag is {tag}, the version {version}")
    lines = {"CHANGELOG.md": f"## {version} - ", "CITATION.cff": f"version: {version}"}
    for name, line in lines.items():
        if not re.search(rf"^{re.escape(line)}", (root / name).read_text("utf-8"), re.MULTILINE):
            raise NotReadyError(f"{name} has no line {line!r}")
    changes = (root / "CHANGELOG.md").read_text("utf-8")
    if re.search(r"^## Unreleased\n++(?!## )", changes, re.MULTILINE):
        raise NotReadyError("CHANGELOG.md has unreleased changes: cut them into a new version")
    return version if tag else f"{version}; to publish it, push the tag v{version}"


def check_wheel(wheel: Path, repository: str) -> str:
    """The wheel names the repository, has its licence, and a README without relative links."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (place,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        metadata = BytesParser().parsebytes(archive.read(place))
    if f"Repository, {repository}" not in metadata.get_all("Project-URL", []):
        raise NotReadyError(f"{wheel.name} does not name {repository}")
    if missing := [
        name
        for name in metadata.get_all("License-File", ["LICENSE"])
        if not any(one.endswith(f".dist-info/licenses/{name}") for one in names)
    ]:
        raise NotReadyError(f"{wheel.name} is without {missing[0]}")
    if relative := RELATIVE_LINK.findall(metadata.get_payload()):
        raise NotReadyError(f"the README of {wheel.name} has the relative link {relative[0]}")
    return f"{metadata['License-Expression']}, {repository}"


def check_distributions(repository: str) -> str:
    """Wheel and sdist are built, and their README can be shown by PyPI."""
    if not repository:
        raise NotReadyError("PARACLIP_REPOSITORY is not set: give the address of the repository")
    for old in (ROOT / "dist").glob("paraclip-*"):
        old.unlink()
    run("build", "--outdir", "dist")
    built = sorted(map(str, (ROOT / "dist").glob("paraclip-*")))
    run("twine", "check", "--strict", *built)
    (wheel,) = (ROOT / "dist").glob("*.whl")
    return f"{len(built)} files in dist; {check_wheel(wheel, repository)}"


def check_notebook(place: Path = FIRST_STEPS) -> str:
    """The notebook of five minutes runs, and its outputs are those of its code, but for numbers."""
    with tempfile.TemporaryDirectory() as folder:
        printed = run_notebook(place, Path(folder))
    if NUMBER.sub("0", printed) != NUMBER.sub("0", stored_output(place)):
        raise NotReadyError(f"{place.name} has other outputs than its code: run and save it again")
    return place.name


def stored_output(place: Path) -> str:
    """What the code of a notebook printed when it was saved."""
    outputs = [
        output
        for cell in json.loads(place.read_text("utf-8"))["cells"]
        for output in cell.get("outputs", ())
    ]
    return "".join("".join(one["text"]) for one in outputs if one.get("name") == "stdout")


def run_notebook(place: Path, folder: Path) -> str:
    """Run the code of a notebook in a folder, but for the installation; returns what it printed."""
    cells = json.loads(place.read_text("utf-8"))["cells"]
    code = [
        "".join(cell["source"])
        for cell in cells
        if cell["cell_type"] == "code" and "install" not in cell["metadata"].get("tags", ())
    ]
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)], cwd=folder, env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise NotReadyError(f"{place.name} fails:\n{done.stderr}")
    return done.stdout


def check_site() -> str:
    """The documentation is built for Pages without a warning."""
    run("mkdocs", "build", "--strict", "--clean")
    return "build/site"


def run(module: str, *words: str) -> None:
    """Run a program of the environment in the repository."""
    command = [sys.executable, "-m", module, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotReadyError(f"{module} fails:\n{done.stdout}{done.stderr}")


def main() -> int:
    """Ask all questions; returns the number of those whose answer is no."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tag", help="the tag that will be published, such as v0.2.0")
    tag, repository = parser.parse_args().tag or None, os.environ.get("PARACLIP_REPOSITORY", "")
    questions: dict[str, Callable[[], str]] = {
        "version": lambda: check_version(ROOT, tag),
        "distributions": lambda: check_distributions(repository),
        "notebook": check_notebook,
        "site": check_site,
    }
    failed = 0
    for name, ask in questions.items():
        try:
            print(f"yes  {name}: {ask()}", flush=True)
        except NotReadyError as problem:
            failed += 1
            print(f"NO   {name}: {problem}", flush=True)
    print(ELSEWHERE)
    return failed


if __name__ == "__main__":
    sys.exit(main())
