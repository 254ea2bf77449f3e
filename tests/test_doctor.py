"""`paraclip doctor`: what is reported, and what --prune removes."""

import os
from pathlib import Path

import pytest
import torch

from paraclip.cli import main
from paraclip.commands import doctor
from paraclip.commands.doctor import cache_parts, prune_cache
from paraclip.models.row_store import stored_rows

DAY = 86_400


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path))
    folder = tmp_path / "image_features" / f"mini-{'0' * 16}-fp32"
    stored_rows(folder, ["a"], 4, lambda missing: [(missing, torch.zeros(1, 4))])
    for name in ("search/one/v1/vectors.npy", "search/two/v1/vectors.npy", "other/keep.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * 1000)
    return tmp_path


def age(path: Path, days: float) -> None:
    for file in [path, *path.rglob("*")]:
        then = file.stat().st_mtime - days * DAY
        os.utime(file, (then, then))


def test_everything_is_reported_and_what_is_missing_has_a_command(
    cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    extras = {"plots": "no-such>=1", "search": "torch", "dev": "x"}
    lines = ["torch", *(f'{name}; extra == "{extra}"' for extra, name in extras.items())]
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda _: lines)
    (cache / "o\x1b[31m").mkdir()
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    for part in ("ParaCLIP", "Python", "cores", "torch", "complete", "other"):
        assert part in shown
    assert "no-such is missing: pip install 'paraclip[plots]'" in shown
    assert "\x1b" not in shown and "  dev" not in shown


def test_the_cache_is_pruned_by_use(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    age(cache / "search" / "one", 40)
    age(cache / "image_features", 40)
    age(cache / "other", 400)
    assert main(["doctor", "--prune", "30"]) == 0
    assert "in 1 files" in capsys.readouterr().out
    assert not list(cache.rglob("one")) and not list(cache.rglob("mini-*"))
    assert (cache / "search" / "two" / "v1" / "vectors.npy").exists()
    assert (cache / "other" / "keep.txt").exists(), "what is not ours stays"


def test_links_are_not_followed(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "precious.txt").write_text("x")
    age(outside, 400)
    (cache / "search" / "link").symlink_to(outside)
    prune_cache(cache, 0.0)
    assert (cache / "search" / "one").exists() and list(cache.rglob("mini-*")), "used just now"
    assert (outside / "precious.txt").exists()
    assert cache_parts()["search"].endswith("in 2 files")


def test_a_cache_that_may_not_be_used_is_said(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    refuse = PermissionError(13, "Permission denied")
    monkeypatch.setattr(Path, "iterdir", lambda _: (_ for _ in ()).throw(refuse))
    assert main(["doctor"]) == 0
    assert "may not be written" in capsys.readouterr().out
    assert main(["doctor", "--prune", "1"]) == 2
