"""`paraclip doctor` and `paraclip cache`."""

import json
from dataclasses import asdict

from paraclip.doctor.caches import GB, Part, parts, prune
from paraclip.doctor.checks import Check, data, devices, environment, optional_parts
from paraclip.doctor.config import CacheConfig, DoctorConfig
from paraclip.errors import UserError, printable
from paraclip.files import cache_folder


def doctor_command(config: DoctorConfig) -> None:
    """Print the facts, and the commands that install what is missing."""
    groups = {
        "Environment": environment(),
        "Devices": devices(),
        "Optional parts": optional_parts(),
        "Data": data(),
    }
    cache_parts = parts()
    if config.json:
        checks = {name: [asdict(check) for check in group] for name, group in groups.items()}
        caches = {"folder": str(cache_folder()), "parts": [asdict(part) for part in cache_parts]}
        print(json.dumps({"checks": checks, "cache": caches}, indent=1))
        return
    for name, group in groups.items():
        print(f"{name}\n{lines(group)}\n")
    print(cache_lines(cache_parts))
    missing = [check for group in groups.values() for check in group if check.hint]
    if missing:
        print("\nTo install what is missing:")
        print("\n".join(f"  {check.hint}" for check in missing))


def lines(checks: list[Check]) -> str:
    """One line for each check."""
    width = max(len(check.name) for check in checks)
    return "\n".join(
        printable(f"  {'ok' if check.good else '--'}  {check.name.ljust(width)}  {check.state}")
        for check in checks
    )


def cache_lines(found: list[Part]) -> str:
    """The cache folder and its contents."""
    total = sum(part.bytes for part in found)
    head = printable(f"Cache {cache_folder()}: {size(total)}")
    return "\n".join([head, *(printable(line(part)) for part in found)])


def line(part: Part) -> str:
    """A part of the cache in one line."""
    return f"  {size(part.bytes):>10}  {part.name}: {part.purpose} ({part.files:,} files)"


def size(count: int) -> str:
    """A number of bytes with a unit."""
    return f"{count / GB:,.2f} GB" if count >= GB / 10 else f"{count / 10**6:,.1f} MB"


def cache_command(config: CacheConfig) -> None:
    """Print what the cache holds, or prune it; raises UserError if it may not be read."""
    if config.prune:
        most = None if config.most_gb is None else int(config.most_gb * GB)
        try:
            pruned = prune(config.days, most)
        except PermissionError as error:
            raise UserError(
                cache_folder(), "may not be read or written", "Check its rights."
            ) from error
        print(
            f"Removed {pruned.files:,} files, {size(pruned.removed)}; {size(pruned.kept)} remain."
        )
    print(cache_lines(parts()))
