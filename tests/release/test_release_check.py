"""What `make release-check` refuses; its notebook runs."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
from release_check import (
    FIRST_STEPS,
    NotReadyError,
    check_notebook,
    check_version,
    check_wheel,
    run_notebook,
    stored_output,
)

from paraclip import __version__
from paraclip.models.wheels import IMAGE_PACKAGE, TEXT_PACKAGE

ROOT = Path(__file__).parents[2]
REPOSITORY = "https://code.example/owner/name"
METADATA = {
    "Name": "paraclip",
    "License-Expression": "Apache-2.0",
    "License-File": "LICENSE",
    "Project-URL": f"Repository, {REPOSITORY}",
}


@pytest.mark.parametrize("tag", ["v0.1", "v9.9.9", __version__])
def test_a_tag_that_is_not_the_version_is_refused(tag: str) -> None:
    with pytest.raises(NotReadyError, match="the tag is"):
        check_version(ROOT, tag)


@pytest.mark.parametrize(
    ("name", "known", "wrong"),
    [
        ("CHANGELOG.md", f"## {__version__} - ", "## 0.0.1 - "),
        ("CITATION.cff", f"version: {__version__}", "version: 0.0.1"),
        ("CHANGELOG.md", "## Unreleased\n", "## Unreleased\n\n### Added\n\n- A change.\n"),
    ],
)
def test_a_version_that_a_document_does_not_know_is_refused(
    name: str, known: str, wrong: str, tmp_path: Path
) -> None:
    (tmp_path / "src/paraclip").mkdir(parents=True)
    for copied in ("src/paraclip/version.py", "CITATION.cff"):
        shutil.copy(ROOT / copied, tmp_path / copied)
    changes = f"# Changelog\n\n## Unreleased\n\n## {__version__} - 2026-11-30\n\n- A change.\n"
    (tmp_path / "CHANGELOG.md").write_text(changes, encoding="utf-8")
    assert __version__ in check_version(tmp_path, f"v{__version__}")
    text = (tmp_path / name).read_text(encoding="utf-8")
    assert known in text
    (tmp_path / name).write_text(text.replace(known, wrong), encoding="utf-8")
    with pytest.raises(NotReadyError, match=name):
        check_version(tmp_path, None)


@pytest.mark.parametrize(
    ("changes", "readme", "files", "reason"),
    [
        ({}, "[a](https://a.b)", ("LICENSE",), None),
        ({"Project-URL": f"Repository, {REPOSITORY}-fork"}, "", ("LICENSE",), "does not name"),
        ({}, "", (), "without LICENSE"),
        ({}, "![a](docs/a.png)", ("LICENSE",), "relative link"),
    ],
)
def test_a_wheel_that_is_not_as_a_release_is_refused(
    changes: dict[str, str], readme: str, files: tuple[str, ...], reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "paraclip-1.0-py3-none-any.whl"
    lines = [f"{name}: {value}" for name, value in (METADATA | changes).items()]
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("paraclip-1.0.dist-info/METADATA", "\n".join([*lines, "", readme]))
        for name in files:
            wheel.writestr(f"paraclip-1.0.dist-info/licenses/{name}", "terms")
    if reason is None:
        assert REPOSITORY in check_wheel(path, REPOSITORY)
        return
    with pytest.raises(NotReadyError, match=reason):
        check_wheel(path, REPOSITORY)


def test_notebooks_install_their_clone_and_the_first_one_shows_what_it_prints() -> None:
    for place in FIRST_STEPS.parent.glob("*.ipynb"):
        cells = json.loads(place.read_text("utf-8"))["cells"]
        (install,) = [one for one in cells if "install" in one["metadata"].get("tags", ())]
        assert "://" not in "".join(install["source"]), place.name
    shown = stored_output(FIRST_STEPS)
    assert "54 pictures in the index" in shown and "stays valid: True" in shown


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.weights(IMAGE_PACKAGE, TEXT_PACKAGE, "lancedb")
def test_the_notebook_of_the_first_steps_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    text = FIRST_STEPS.read_text("utf-8")
    assert text.count("scenes(512)") == 1
    quick = text.replace("scenes(512)", "scenes(48)").replace("epochs=1", "learning_rate=1e-4")
    (tmp_path / "short.ipynb").write_text(quick, "utf-8")
    printed = run_notebook(tmp_path / "short.ipynb", tmp_path)
    assert "54 pictures in the index" in printed and "red-disc" in printed
    assert "merged.safetensors" in printed and "stays valid: True" in printed
    (tmp_path / "broken.ipynb").write_text(
        '{"cells": [{"cell_type": "code", "metadata": {}, "source": ["1 / 0"]}]}'
    )
    with pytest.raises(NotReadyError, match="ZeroDivisionError"):
        run_notebook(tmp_path / "broken.ipynb", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("text", "is_right"), [("4 rows\n", True), ("3 lines\n", False)])
def test_outputs_of_other_code_are_refused(text: str, is_right: bool, tmp_path: Path) -> None:
    output = {"output_type": "stream", "name": "stdout", "text": [text]}
    cell = {"cell_type": "code", "metadata": {}, "source": ["print('5 rows')"], "outputs": [output]}
    place = tmp_path / "small.ipynb"
    place.write_text(json.dumps({"cells": [cell]}))
    if is_right:
        assert check_notebook(place) == place.name
    else:
        with pytest.raises(NotReadyError, match="other outputs"):
            check_notebook(place)
