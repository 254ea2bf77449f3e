"""Example pictures: Debian's Tux Paint stamps, each with an English description."""

import re
import shutil
import subprocess
from pathlib import Path

from paraclip.errors import UserError
from paraclip.files import cache_folder, disk_errors
from paraclip.progress import bar

PACKAGE = "tuxpaint-stamps-default"
STAMPS = "usr/share/tuxpaint/stamps"
REPORT_STATUS = ("-q", "-o", "APT::Status-Fd=1")
STATUS = re.compile(r"dlstatus:\d+:(\d+(?:\.\d+)?):")  # apt's line with the percentage fetched
OWN_FOLDER = (
    "Give a folder of your own: pictures with a .txt beside each, or a captions file "
    "(`make demo DATA=folder`)."
)


def stamps_folder(cache: Path | None = None) -> Path:
    """The unpacked stamps, fetched into the cache if missing; no root needed.

    Raises:
        UserError: there is no `apt-get` or `dpkg-deb`, or the package cannot be fetched.
    """
    home = (cache or cache_folder()) / PACKAGE
    if (home / STAMPS).is_dir():
        return home / STAMPS
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise UserError(PACKAGE, f"this machine has no {tool} to fetch it with", OWN_FOLDER)
    unpacking = home.with_name(f"{PACKAGE}.part")
    with disk_errors(unpacking):
        shutil.rmtree(unpacking, ignore_errors=True)
        unpacking.mkdir(parents=True)
        run_tool(["dpkg-deb", "-x", str(download_stamps(unpacking)), str(unpacking)], unpacking)
        unpacking.replace(home)
    return home / STAMPS


def download_stamps(folder: Path) -> Path:
    """Fetch the package into `folder`, with package lists kept there if the system has none."""
    print(f"Fetching Debian's {PACKAGE} (81 MB) ...", flush=True)
    try:
        run_tool(["apt-get", "download", *REPORT_STATUS, PACKAGE], folder)
    except UserError:
        options = own_lists(folder)
        run_tool(["apt-get", *options, *REPORT_STATUS, "update"], folder)
        run_tool(["apt-get", *options, "download", *REPORT_STATUS, PACKAGE], folder)
    return next(folder.glob("*.deb"))


def own_lists(folder: Path) -> list[str]:
    """Options that keep apt's lists in `folder`, where updating them needs no root."""
    for name in ("lists/partial", "archives/partial"):
        (folder / "apt" / name).mkdir(parents=True, exist_ok=True)
    lists, cache = folder / "apt/lists", folder / "apt"
    return ["-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={cache}"]


def run_tool(command: list[str], folder: Path) -> None:
    """Run a command in `folder` with a progress bar; its last line becomes the error."""
    last_line = "it failed"
    pipe, out = subprocess.PIPE, subprocess.STDOUT
    with (
        subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=out, text=True) as process,
        bar(command[0], 100, "%") as progress,
    ):
        for line in process.stdout or ():
            if status := STATUS.match(line):
                progress.update(float(status[1]) - progress.n)
            elif line.strip():
                last_line = line.strip()
        if process.wait() != 0:
            raise UserError(PACKAGE, f"{command[0]} failed: {last_line}", OWN_FOLDER)
        progress.update(100 - progress.n)
