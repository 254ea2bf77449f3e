"""What `paraclip --version` says of packages and of the cache."""

import os
from pathlib import Path

import pytest

from paraclip import installed
from paraclip.cli import main
from paraclip.version import __version__


def test_versions_missing_extras_and_the_cache_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "o\x1b[31m"
    monkeypatch.setenv("PARACLIP_CACHE", str(cache))
    needed = {"plots": "no-such>=1", "search": "torch", "dev": "no-other"}
    lines = ["torch", *(f'{name}; extra == "{extra}"' for extra, name in needed.items())]
    monkeypatch.setattr(installed.metadata, "requires", lambda _: lines)
    assert main(["--version"]) == 0
    versions, missing, empty = capsys.readouterr().out.splitlines()
    assert versions.startswith(f"paraclip {__version__}, Python 3.") and ", torch 2." in versions
    assert missing == "plots: no-such missing: pip install 'paraclip[plots]'"
    assert "0.0 MB" in empty and "\x1b" not in empty
    (cache / "search").mkdir(parents=True)
    (cache / "search" / "rows").write_bytes(bytes(2_000_000))
    (cache / "link").symlink_to(tmp_path)
    os.mkfifo(cache / "pipe")
    assert main(["--version"]) == 0
    assert "2.0 MB" in capsys.readouterr().out.splitlines()[-1]
