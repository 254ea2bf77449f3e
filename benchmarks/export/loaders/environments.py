"""Virtual environments of the systems that load exports; one each, because they conflict.

    python -m benchmarks.export.loaders.environments             # create what is missing
    python -m benchmarks.export.loaders.environments fastembed   # only this one

They are in `PARACLIP_TARGETS`, by default `.targets` in the repository. A test whose environment is
missing is skipped with a message.
"""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
FOLDER = Path(os.environ.get("PARACLIP_TARGETS") or HERE.parents[2] / ".targets")
PACKAGES = {
    "fastembed": ("fastembed==0.9.1",),
    "rclip3": ("rclip>=3,<4",),
    "rclip4": ("rclip>=4,<5",),
    "transformers4": ("transformers<5", "sentence-transformers<5.4", "torch", "torchvision"),
    "weaviate": ("sentence-transformers==3.2.1", "transformers==4.57.3", "torch"),
    # Its dependency `clip-anytorch` imports pkg_resources, which newer setuptools lack.
    "clip_retrieval": ("all_clip==1.3.0", "setuptools<81", "torch", "torchvision"),
    "lancedb": ("lancedb>=0.40", "open_clip_torch>=3.3,<3.4", "torch", "torchvision"),
}
"""Packages for pip, by environment. clip-retrieval loads models with all_clip; its own pins hold
back numpy and pyarrow, which have no wheels for new Pythons."""
LATEST = 20  # highest minor version of Python that is searched
NEEDS_PYTHON = {"rclip4": (3, 12)}
NODE = {"transformers_js": "@huggingface/transformers@4"}
"""Package for npm."""


def program(name: str) -> Path | None:
    """The Python of an environment, or None if it was not created."""
    path = FOLDER / name / "bin" / "python"
    return path if (FOLDER / name / "ready").exists() and path.exists() else None


def node_modules() -> Path | None:
    """The folder in which Node finds transformers.js, or None."""
    folder = FOLDER / "transformers_js"
    return folder if (folder / "ready").exists() and shutil.which("node") else None


def create(name: str) -> str:
    """Create an environment; returns the outcome, in one line."""
    folder = FOLDER / name
    if (folder / "ready").exists():
        return "is there"
    reason = create_node(folder, NODE[name]) if name in NODE else create_python(folder, name)
    if reason is None:
        (folder / "ready").touch()
    return reason or "created"


def create_python(folder: Path, name: str) -> str | None:
    """Create a virtual environment; returns the reason if it is not possible, or None."""
    python = python_for(NEEDS_PYTHON.get(name, (3, 11)))
    if python is None:
        return "left out: no Python new enough"
    if python == sys.executable:
        venv.create(folder, with_pip=True, clear=True)
    elif run(python, "-m", "venv", "--clear", str(folder)):
        return f"left out: {python} has no venv"
    words = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    pip = (str(folder / "bin" / "python"), *words, *os.environ.get("PIP_ARGS", "").split())
    return "left out: pip failed" if run(*pip, *PACKAGES[name]) else None


def create_node(folder: Path, package: str) -> str | None:
    """Install an npm package into a folder; returns the reason if it is not possible, or None."""
    if not shutil.which("npm"):
        return "left out: no npm"
    folder.mkdir(parents=True, exist_ok=True)
    # Install scripts would fetch GPU libraries.
    words = ("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix")
    return "left out: npm failed" if run(*words, str(folder), package) else None


def python_for(version: tuple[int, int]) -> str | None:
    """A Python of at least this version that can create environments, or None."""
    if sys.version_info >= version:
        return sys.executable
    names = [f"python3.{minor}" for minor in range(version[1], LATEST)]
    return next((path for name in names if (path := shutil.which(name)) and works(path)), None)


def works(python: str) -> bool:
    """Whether a program is a Python that can create environments; some pyenv shims are not."""
    words = (python, "-c", "import ensurepip, venv")
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


def run(*words: str) -> int:
    """Run a program; returns its exit code, or 1 if it has not ended after ten minutes."""
    try:
        return subprocess.run(words, check=False, stdout=sys.stderr, timeout=600).returncode
    except subprocess.TimeoutExpired:  # a download that stalls must not hold up the tests
        return 1


if __name__ == "__main__":
    for chosen in sys.argv[1:] or [*PACKAGES, *NODE]:
        print(f"{chosen}: {create(chosen)}", flush=True)
