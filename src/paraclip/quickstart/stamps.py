"""Pictures to try ParaCLIP on: Debian's Tux Paint stamps, each with an English description."""

import shutil
import subprocess
from pathlib import Path

from paraclip.errors import UserError
from paraclip.files import cache_folder, disk_errors

PACKAGE = "tuxpaint-stamps-default"
STAMPS = "usr/share/tuxpaint/stamps"
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
    fetch = ["apt-get", "download", "-q", PACKAGE]
    if subprocess.run(fetch, cwd=folder, capture_output=True, check=False).returncode != 0:
        own = own_lists(folder)
        run(["apt-get", *own, "-q", "update"], folder)
        run(["apt-get", *own, "download", "-q", PACKAGE], folder)
    return next(folder.glob("*.deb"))


def own_lists(folder: Path) -> list[str]:
    """Options that keep apt's lists in `folder`: reading them anew there needs no root."""
    for name in ("lists/partial", "archives/partial"):
        (folder / "apt" / name).mkdir(parents=True, exist_ok=True)
    places = {"Dir::State::lists": folder / "apt/lists", "Dir::Cache": folder / "apt"}
    return [word for name, place in places.items() for word in ("-o", f"{name}={place}")]


def run(command: list[str], folder: Path) -> None:
    """Run a command in `folder`; its last words become the error."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines() or ["it failed"]
        raise UserError(PACKAGE, f"{command[0]} said: {words[-1]}", OWN_FOLDER)
