"""Fetching the stamps, with a stand-in `apt-get` on the path that packs a real .deb."""

import os
import shutil
import stat
from pathlib import Path

import pytest
from tqdm import tqdm

from paraclip.errors import UserError
from paraclip.quickstart import stamps
from paraclip.quickstart.stamps import PACKAGE, STAMPS, stamps_folder

NEEDS_DPKG = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
CONTROL = f"Package: {PACKAGE}\nVersion: 1\nArchitecture: all\nMaintainer: a test\nDescription: x\n"


def install(folder: Path, name: str, script: str) -> None:
    place = folder / name
    place.write_text(f"#!/bin/sh\n{script}\n")
    place.chmod(place.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder at the front of PATH, and a package tree to pack."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(CONTROL)
    (tree / STAMPS).mkdir(parents=True)
    (tree / STAMPS / "duck.txt").write_text("A duck.\n")
    return folder


def packing(tmp_path: Path) -> str:
    return f"dpkg-deb --build {tmp_path / 'tree'} {PACKAGE}_1_all.deb >/dev/null"


@NEEDS_DPKG
def test_the_package_is_unpacked_once(tools: Path, tmp_path: Path) -> None:
    install(tools, "apt-get", f"echo call >> {tmp_path / 'calls'}; {packing(tmp_path)}")
    for _ in range(2):
        folder = stamps_folder(tmp_path / "cache")
        assert (folder / "duck.txt").read_text() == "A duck.\n"
    assert (tmp_path / "calls").read_text() == "call\n"


@NEEDS_DPKG
def test_a_folder_without_the_stamps_is_replaced(tools: Path, tmp_path: Path) -> None:
    install(tools, "apt-get", packing(tmp_path))
    (tmp_path / "cache" / PACKAGE / "usr").mkdir(parents=True)
    assert (stamps_folder(tmp_path / "cache") / "duck.txt").is_file()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [PACKAGE]


@NEEDS_DPKG
def test_missing_lists_are_read_without_root(tools: Path, tmp_path: Path) -> None:
    lists = tmp_path / "lists-are-read"
    install(
        tools,
        "apt-get",
        f'case "$*" in *Dir::State::lists*update*) touch {lists};; '
        f"*) test -e {lists} || exit 100; {packing(tmp_path)};; esac",
    )
    assert (stamps_folder(tmp_path / "cache") / "duck.txt").exists()


@NEEDS_DPKG
def test_a_bar_shows_how_much_is_fetched(
    tools: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def eager(label: str, total: int, unit: str) -> tqdm:  # shows every move, however quick
        return tqdm(desc=label, total=total, unit=unit, mininterval=0)

    monkeypatch.setattr(stamps, "bar", eager)
    script = "; ".join(f"echo dlstatus:1:{share}:left" for share in ("0", "37.5", "80"))
    install(tools, "apt-get", f"{script}; {packing(tmp_path)}")
    stamps_folder(tmp_path / "cache")
    shown = capsys.readouterr().err
    assert "apt-get:  38%" in shown and "apt-get:  80%" in shown
    assert "apt-get: 100%" in shown and "dpkg-deb: 100%" in shown


@NEEDS_DPKG
def test_a_failure_reports_apts_message_and_a_hint(tools: Path, tmp_path: Path) -> None:
    install(tools, "apt-get", "echo 'E: no such package' >&2; exit 100")
    with pytest.raises(UserError, match=r"E: no such package.*DATA=folder"):
        stamps_folder(tmp_path / "cache")
    assert not (tmp_path / "cache" / PACKAGE).exists()


@NEEDS_DPKG
def test_a_half_downloaded_package_is_one_line_and_nothing_remains(
    tools: Path, tmp_path: Path
) -> None:
    half = f"{packing(tmp_path)}; truncate --size 200 {PACKAGE}_1_all.deb"
    install(tools, "apt-get", half)
    with pytest.raises(UserError, match=r"dpkg-deb failed: .*DATA=folder") as raised:
        stamps_folder(tmp_path / "cache")
    assert "\n" not in str(raised.value) and not list((tmp_path / "cache").iterdir())
    install(tools, "apt-get", packing(tmp_path))  # the next run starts from scratch
    assert (stamps_folder(tmp_path / "cache") / "duck.txt").is_file()


@NEEDS_DPKG
def test_without_a_network_apts_message_is_shown(tools: Path, tmp_path: Path) -> None:
    message = "E: Failed to fetch http://deb/x  Temporary failure resolving 'deb'"
    install(tools, "apt-get", f'echo "{message}" >&2; exit 100')
    with pytest.raises(UserError, match=r"Temporary failure resolving 'deb'\. .*DATA=folder"):
        stamps_folder(tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


@NEEDS_DPKG
@pytest.mark.parametrize("tool", ["apt-get", "dpkg-deb"])
def test_a_full_disk_is_reported_and_nothing_remains(
    tools: Path, tmp_path: Path, tool: str
) -> None:
    install(tools, "apt-get", packing(tmp_path).replace("dpkg-deb", shutil.which("dpkg-deb") or ""))
    install(tools, tool, "echo 'E: write: No space left on device' >&2; echo more; exit 2")
    with pytest.raises(UserError, match=r"the disk is full\. Free some space .*PARACLIP_CACHE"):
        stamps_folder(tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


@NEEDS_DPKG
def test_a_package_without_stamps_is_refused(tools: Path, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "tree" / "usr")
    install(tools, "apt-get", packing(tmp_path))
    with pytest.raises(UserError, match="the package holds no usr/share/tuxpaint/stamps"):
        stamps_folder(tmp_path / "cache")
    install(tools, "apt-get", "exit 0")
    with pytest.raises(UserError, match="apt-get fetched no package"):
        stamps_folder(tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_without_apt_the_hint_names_an_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"no apt-get .*DATA=folder"):
        stamps_folder(tmp_path / "cache")


def test_a_cache_that_is_a_file_is_one_line(tools: Path, tmp_path: Path) -> None:
    install(tools, "apt-get", "exit 100")
    install(tools, "dpkg-deb", "exit 100")
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match="a folder or a file is in the way"):
        stamps_folder(tmp_path / "cache")
