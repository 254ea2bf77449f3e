"""Where an export is written, and what the header of a checkpoint states about its base."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from export_models import small_clip

from paraclip.api import export
from paraclip.errors import UserError
from paraclip.exporting.run import check_free, new_folder, refuse_sources
from paraclip.exporting.source import (
    image_tower_was_trained,
    known_architecture,
    recorded_tags,
)
from paraclip.models.openclip import OpenClip


def tree(folder: Path) -> dict[str, str]:
    """The texts of all files below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def filled(path: Path, force: bool, fault: BaseException | None = None) -> None:
    """Write a folder with one file and its card, or fail in the middle."""
    with new_folder(path, force) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "a.txt").write_text("new")
        if fault is not None:
            raise fault
        card = json.dumps({"export": {"files": ["inner/a.txt"]}})
        (folder / "README.md").write_text(f"```json\n{card}\n```\n")


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), UserError("a", "b", "c"), OSError(5, "x")])
def test_a_failure_keeps_the_folder_that_was_to_be_replaced(
    tmp_path: Path, fault: BaseException
) -> None:
    filled(tmp_path / "out", force=False)
    (tmp_path / "out" / "inner" / "a.txt").write_text("old")
    with pytest.raises(type(fault)):
        filled(tmp_path / "out", force=True, fault=fault)
    assert tree(tmp_path)["out/inner/a.txt"] == "old"
    filled(tmp_path / "out", force=True)
    assert tree(tmp_path)["out/inner/a.txt"] == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_link_to_a_folder_is_replaced_and_its_target_stays(tmp_path: Path) -> None:
    filled(tmp_path / "target", force=False)
    (tmp_path / "target" / "inner" / "a.txt").write_text("old")
    (tmp_path / "out").symlink_to(tmp_path / "target")
    with pytest.raises(UserError, match="--force"):
        check_free(tmp_path / "out")
    filled(tmp_path / "out", force=True)
    assert tree(tmp_path / "target")["inner/a.txt"] == "old"
    assert tree(tmp_path / "out")["inner/a.txt"] == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "target"]


def test_force_replaces_exports_and_no_other_folder(tmp_path: Path, quick_clip: OpenClip) -> None:
    out = export(quick_clip, tmp_path / "out")
    export(quick_clip, out, force=True)
    for path in (out / "mine.txt", tmp_path / "photos" / "mine.txt"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("kept")
        with pytest.raises(UserError, match="not written by ParaCLIP"):
            export(quick_clip, path.parent, force=True)
        assert path.read_text() == "kept"


def test_a_folder_in_which_nothing_can_be_created_is_one_line(quick_clip: OpenClip) -> None:
    for out in ("/proc/x", "/proc/x.safetensors"):
        with pytest.raises(UserError, match="/proc/x"):
            export(quick_clip, out)


@pytest.mark.parametrize(
    ("name", "what"),
    [(".", "does not end"), ("..", "does not end"), ("", "does not end"), ("x" * 300, "too long")],
)
def test_a_path_that_cannot_be_an_output_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for check in (check_free, filled):
        with pytest.raises(UserError, match=what):
            check(Path(name), force=True)
    assert not list(tmp_path.iterdir())


def test_an_output_in_a_folder_that_may_not_be_entered_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", forbidden)
    with pytest.raises(UserError, match="may not be written"):
        check_free(tmp_path / "out", folder=False)


def test_a_checkpoint_is_not_its_own_output_under_any_name(
    tmp_path: Path, quick_clip: OpenClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.safetensors").touch()
    Path("b.safetensors").symlink_to("a.safetensors")
    names = (
        "a.safetensors",
        "b.safetensors",
        "ViT-B-32:a.safetensors",
        "ViT-B-32:openai:a.safetensors",
    )
    for model in (*names, tmp_path / ".." / tmp_path.name / "a.safetensors"):
        with pytest.raises(UserError, match="is the checkpoint itself"):
            refuse_sources(Path("a.safetensors"), model)
    refuse_sources(Path("c.safetensors"), "a.safetensors")
    refuse_sources(Path("a.safetensors"), quick_clip, None)


def test_a_folder_that_holds_the_model_is_not_replaced(tmp_path: Path) -> None:
    file = tmp_path / "run" / "best.safetensors"
    file.parent.mkdir()
    file.touch()
    for model in (file, f"ViT-B-32:{file}", tmp_path / "run", f"local-dir:{tmp_path}/run"):
        for out in (tmp_path, tmp_path / "run"):
            with pytest.raises(UserError, match=r"holds best\.safetensors, which is exported"):
                refuse_sources(out, "mini", model)
    refuse_sources(tmp_path / "run" / "export", file, "mini", "hf-hub:some/model")


def test_a_model_without_local_files_may_be_exported_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mini").mkdir()
    Path("mini", "old.txt").touch()
    for name in ("mini", "~nosuch/x.safetensors", "ViT-B-32:~nosuch/x", "a" * 300, "a\0b"):
        refuse_sources(Path("mini"), name)


TRAINED = {"training": {"config": {"image_learning_rate": 1e-5}}}
MERGED: dict[str, Any] = {"merged": {}}
TEXT_ONLY = {"training": {"config": {"image_learning_rate": None}}}


@pytest.mark.parametrize(
    ("header", "trained"),
    [
        ({}, False), (TRAINED, True), (TEXT_ONLY, False), ({"training": "x"}, False),
        ({"training": {"config": [1]}}, False), ({**TRAINED, "made_from": TEXT_ONLY}, True),
        ({**MERGED, "made_from": {"tuned": TRAINED}}, True),
        ({**MERGED, "made_from": {"base": TRAINED, "tuned": TEXT_ONLY}}, False),
        ({**MERGED, "made_from": {"tuned": {**MERGED, "made_from": {"tuned": TRAINED}}}}, True),
        ({**MERGED, "made_from": {"tuned": None}}, False),
    ],
)  # fmt: skip
def test_the_header_states_whether_the_image_tower_was_trained(
    header: dict[str, Any], trained: bool
) -> None:
    assert image_tower_was_trained(header) is trained


def test_recorded_tags_are_those_of_the_architecture() -> None:
    nested = {"training": {"facts": {"base": "ViT-B-32:openai"}, "identity": {"base": "x:y"}}}
    assert recorded_tags(nested, "ViT-B-32-quickgelu") == ["openai"]
    several = {"base": ["ViT-B-32:laion2b_e16:/my/file.pt", "mini", "ViT-B-32:mine.pt", ""]}
    assert recorded_tags(several, "ViT-B-32") == ["laion2b_e16"]
    assert recorded_tags(several, "RN50") == recorded_tags({}, "ViT-B-32") == []


def test_a_model_is_known_by_its_sizes_under_any_name(named: Callable[..., OpenClip]) -> None:
    quick = named("ViT-B-32-quickgelu", quick=True)
    assert known_architecture(quick) == "ViT-B-32-quickgelu"
    assert known_architecture(small_clip("my-folder", quick_gelu=True)) == "ViT-B-32-quickgelu"
    assert known_architecture(small_clip(embed_dim=8)) is None
