"""Downloads for the recipes: complete or not at all, tried again, checked."""

import hashlib
import re
import shutil
import tarfile
import time
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.error import HTTPError

from paraclip.data.captions import Problems
from paraclip.errors import UserError
from paraclip.files import atomic_path

SECONDS = 60
ATTEMPTS = 5
"""Downloads of one file; before the second, a pause of PAUSE seconds, then twice as long each."""
PAUSE = 10.0
LONGEST_PAUSE = 600.0  # of those that a server asks for
AT_ONCE = 16
MOST_BYTES = 8 * 2**30  # of a download, and of what is unpacked
PASSING = (408, 425, 429)  # statuses below 500 after which it is worth trying again


def download(address: str, path: Path, md5: str = "") -> None:
    """Download an address to a file, completely or not at all; passing failures are tried again.

    Raises:
        UserError: the server has no such file, it failed too often, or the file has another MD5.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with (
                urllib.request.urlopen(address, timeout=SECONDS) as source,
                atomic_path(path) as temporary,
            ):
                with open(temporary, "wb") as file:
                    _copy(source, file, address)
                    # A connection that closes early looks like the end of the file.
                    size = int(source.headers.get("Content-Length", file.tell()))
                    if file.tell() != size:
                        raise OSError(f"only {file.tell():,} of {size:,} bytes arrived")
                if md5 and (found := digest(temporary, "md5")) != md5:
                    hint = "Find out why, then write its new MD5 into the settings."
                    raise UserError(address, f"has changed: its MD5 is {found}, not {md5}", hint)
            return
        except (OSError, HTTPException) as error:
            status, asked = 500, ""
            if isinstance(error, HTTPError):
                status, asked = error.code, error.headers.get("Retry-After", "")
                error.close()
            if attempt == ATTEMPTS or (status < 500 and status not in PASSING):
                raise UserError(address, f"cannot be read ({error})", "Run again later.") from error
            wait = max(PAUSE * 2 ** (attempt - 1), float(asked) if asked.isdigit() else 0.0)
            print(f"{address}: {error}; again in {wait:g} seconds", flush=True)
            time.sleep(min(wait, LONGEST_PAUSE))


def download_all(files: Mapping[str, Path]) -> Problems:
    """Download many small files at once, those that are missing; one in a hundred may fail.

    Returns:
        Those that failed.

    Raises:
        UserError: more failed.
    """
    problems = Problems()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        waiting = {
            threads.submit(download, address, path): address
            for address, path in files.items()
            if not path.exists()
        }
        try:
            for done in as_completed(waiting):
                try:
                    done.result()
                except UserError as error:
                    problems.add(error.where, error.what)
                    problems.check(len(files))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return problems


def unpack(archive: Path, keep: str, folder: Path) -> int:
    """Unpack the members of a zip or tar file whose name ends as the expression `keep` says.

    Their paths in `folder` are what the expression matches, so no other path can occur.

    Returns:
        How many there are.

    Raises:
        UserError: it is no archive, holds none of them, or more than 8 GiB of them.
    """
    pattern, count, total = re.compile(f"(?:{keep})$"), 0, 0
    try:
        with _members(archive) as members:
            for name, size, member in members:
                found = pattern.search(name)
                if found is None or ".." in found[0].split("/"):
                    continue
                total += size
                if total > MOST_BYTES:
                    raise UserError(archive, "holds more than 8 GiB", "Check its address.")
                with atomic_path(folder / found[0]) as temporary, open(temporary, "wb") as file:
                    shutil.copyfileobj(member(), file)
                count += 1
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(archive, f"is no archive ({error})", "Delete it and run again.") from error
    if not count:
        raise UserError(archive, f"holds nothing like {keep}", "It has another layout now.")
    return count


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[tuple[str, int, "type[IO[bytes]]"]]]:
    """Name, size and opener of each file in an archive."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            infos = (info for info in packed.infolist() if not info.is_dir())
            yield ((one.filename, one.file_size, lambda one=one: packed.open(one)) for one in infos)
        return
    with tarfile.open(archive) as tar:
        files = (one for one in tar if one.isfile())
        yield ((one.name, one.size, lambda one=one: tar.extractfile(one)) for one in files)


def digest(path: Path, kind: str) -> str:
    """The hash of a file in hex digits, by the name of its kind."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def _copy(source: IO[bytes], target: IO[bytes], address: str) -> None:
    """Copy a stream; raises UserError if it is too long."""
    while block := source.read(2**20):
        target.write(block)
        if target.tell() > MOST_BYTES:
            raise UserError(address, "holds more than 8 GiB", "Check the address.")
