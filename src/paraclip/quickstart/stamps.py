"""Fetches the example pictures: Debian's Tux Paint stamps."""

import re
import shutil
import subprocess
from pathlib import Path

from paraclip.errors import UserError
from paraclip.files import cache_folder, disk_errors
from paraclip.progress import bar

PACKAGE = "tuxpaint-stamps-default"
STAMPS = "usr/share/tuxpaint/stamps"
PATIENCE = ("-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=20")
REPORT_STATUS = ("-q", "-o", "APT::Status-Fd=1")
STATUS = re.compile(r"dlstatus:\d+:(\d+(?:\.\d+)?):")  # apt's line with the percentage fetched
FULL = "No space left on device"
FREE_SPACE = "Free some space (about 200 MB), or set PARACLIP_CACHE to a folder on another disk."
OWN_FOLDER = (
    "Give a folder of your own: pictures, each with a .txt of the same name, or a captions file "
    "(`make demo DATA=folder`)."
)


def stamps_folder(cache: Path | None = None) -> Path:
    """The unpacked stamps, fetched into the cache if missing; no root needed.

    Raises:
        UserError: there is no `apt-get` or `dpkg-deb`, the package cannot be fetched or unpacked,
            or the disk is full. Nothing incomplete remains.
    """
    home = (cache or cache_folder()) / PACKAGE
    if (home / STAMPS).is_dir():
        return home / STAMPS
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise UserError(PACKAGE, f"this machine has no {tool} to fetch it with", OWN_FOLDER)
    unpacking = home.with_name(f"{PACKAGE}.part")
    try:
        with disk_errors(unpacking):
            shutil.rmtree(unpacking, ignore_errors=True)
            unpacking.mkdir(parents=True)
            package = _download_stamps(unpacking)
            _run_tool(["dpkg-deb", "-x", str(package), str(unpacking)], unpacking)
            package.unlink()
            if not (unpacking / STAMPS).is_dir():
                raise UserError(PACKAGE, f"the package holds no {STAMPS}", OWN_FOLDER)
            shutil.rmtree(home, ignore_errors=True)  # a folder without the stamps
            unpacking.replace(home)
    finally:
        shutil.rmtree(unpacking, ignore_errors=True)
    return home / STAMPS


def _download_stamps(folder: Path) -> Path:
    """Fetch the package into `folder`, with package lists kept there if the system has none."""
    print(f"Fetching Debian's {PACKAGE} (81 MB) ...", flush=True)
    try:
        _run_tool(["apt-get", *PATIENCE, "download", *REPORT_STATUS, PACKAGE], folder)
    except UserError as error:
        if error.hint == FREE_SPACE:
            raise
        for name in ("lists/partial", "archives/partial"):
            (folder / "apt" / name).mkdir(parents=True, exist_ok=True)
        lists = f"Dir::State::lists={folder / 'apt' / 'lists'}"  # updating them needs no root
        options = [*PATIENCE, "-o", lists, "-o", f"Dir::Cache={folder / 'apt'}"]
        _run_tool(["apt-get", *options, *REPORT_STATUS, "update"], folder)
        _run_tool(["apt-get", *options, "download", *REPORT_STATUS, PACKAGE], folder)
    package = next(folder.glob("*.deb"), None)
    if package is None:
        raise UserError(PACKAGE, "apt-get fetched no package", OWN_FOLDER)
    return package


def _run_tool(command: list[str], folder: Path) -> None:
    """Run a command in `folder` with a progress bar; its last line becomes the error message."""
    last_line, full = "it failed", False
    pipe, out = subprocess.PIPE, subprocess.STDOUT
    with (
        subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=out, text=True) as process,
        bar(command[0], 100, "%") as progress,
    ):
        for line in process.stdout or ():
            if status := STATUS.match(line):
                progress.update(float(status[1]) - progress.n)
            elif line.strip():
                last_line, full = line.strip(), full or FULL in line
        if process.wait() != 0:
            what = "the disk is full" if full else f"{command[0]} failed: {last_line}"
            raise UserError(PACKAGE, what, FREE_SPACE if full else OWN_FOLDER)
        progress.update(100 - progress.n)
