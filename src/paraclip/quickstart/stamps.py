"""Pictures to try ParaCLIP on: Debian's Tux Paint stamps, each with an English description."""

import re
import shutil
import subprocess
from pathlib import Path

from paraclip.errors import UserError
from paraclip.files import cache_folder, disk_errors
from paraclip.progress import bar

PACKAGE = "tuxpaint-stamps-default"
STAMPS = "usr/share/tuxpaint/stamps"
TELLING = ("-q", "-o", "APT::Status-Fd=1")
TOLD = re.compile(r"dlstatus:\d+:(\d+(?:\.\d+)?):")  # what apt then says: percent fetched
OWN_FOLDER = (
    "Give a folder of your own: pictures with a .txt beside each, or a captions file "
    "(`make demo DATA=folder`)."
)


def stamps_folder(cache: Path | None = None) -> Path:
    """The unpacked stamps, fetched into the cache if they are not there yet; no root needed.

    Raises:
        UserError: there is no `apt-get` or `dpkg-deb`, or the package cannot be had.
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
        run(["dpkg-deb", "-x", str(download(unpacking)), str(unpacking)], unpacking)
        unpacking.replace(home)
    return home / STAMPS


def download(folder: Path) -> Path:
    """Fetch the package into `folder`; with package lists of our own where the system has none."""
    print(f"Fetching Debian's {PACKAGE} (81 MB) ...", flush=True)
    try:
        run(["apt-get", "download", *TELLING, PACKAGE], folder)
    except UserError:
        own = own_lists(folder)
        run(["apt-get", *own, *TELLING, "update"], folder)
        run(["apt-get", *own, "download", *TELLING, PACKAGE], folder)
    return next(folder.glob("*.deb"))


def own_lists(folder: Path) -> list[str]:
    """Options that keep apt's lists in `folder`: reading them anew there needs no root."""
    for name in ("lists/partial", "archives/partial"):
        (folder / "apt" / name).mkdir(parents=True, exist_ok=True)
    places = {"Dir::State::lists": folder / "apt/lists", "Dir::Cache": folder / "apt"}
    return [word for name, place in places.items() for word in ("-o", f"{name}={place}")]


def run(command: list[str], folder: Path) -> None:
    """Run a command in `folder`, with a bar of what it fetches; its last words become the error."""
    said = ["it failed"]
    pipe, out = subprocess.PIPE, subprocess.STDOUT
    with (
        subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=out, text=True) as process,
        bar(command[0], 100, "%") as moving,
    ):
        for line in process.stdout or ():
            if told := TOLD.match(line):
                moving.update(float(told[1]) - moving.n)
            elif line.strip():
                said.append(line.strip())
        if process.wait() != 0:
            raise UserError(PACKAGE, f"{command[0]} said: {said[-1]}", OWN_FOLDER)
        moving.update(100 - moving.n)
