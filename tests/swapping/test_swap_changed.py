"""`swap` and `undo` of caches that the program or a user has changed."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from program_caches import (
    COMMIT,
    TEXT,
    contents,
    small_base,
    write_text_file,
)
from test_swap import FILES, tag

from paraclip.cli import main
from paraclip.errors import UserError
from paraclip.models.openclip import OpenClip
from paraclip.swapping.run import Swapped, inspect_swap, swap, undo

pytestmark = pytest.mark.slow
HUB = "hugging-face"
NAME, NOT_UTF8 = "model.safetensors", "\udcff"
Cache = Callable[[str], Path]
Tuned = dict[str, OpenClip]


@pytest.fixture
def hub(cache: Cache) -> Path:
    """The folder of one model in the hub's cache."""
    return cache(HUB) / "models--openai--clip"


@pytest.fixture
def file(hub: Path) -> Path:
    return hub / "snapshots" / COMMIT / NAME


def download(system: str, path: Path, seed: int, scratch: Path) -> bytes:
    """The program replaces its file by another base with the same image tower."""
    new = write_text_file(system, small_base(system, seed=seed), scratch / str(seed), path.name)
    os.replace(new, path)
    return path.read_bytes()


def swap_model(system: str, folder: Path, model: OpenClip) -> Swapped:
    return swap(system, folder, model, tag=tag(system))


def test_undo_leaves_a_newer_base_and_swap_takes_it_for_the_base(
    hub, file, tuned, tmp_path, capsys
) -> None:
    (kept,) = swap(HUB, hub, tuned[HUB]).kept
    old = kept.read_bytes()
    newer = download(HUB, file, 5, tmp_path)
    assert main(["swap", HUB, "--cache", str(hub)]) == 2
    assert f"{file} has changed" in capsys.readouterr().out
    assert main(["swap", HUB, "--cache", str(hub), "--undo"]) == 0
    shown = capsys.readouterr().out
    assert f"{file} has changed" in shown and str(kept) in shown
    assert file.read_bytes() == newer and kept.read_bytes() == old
    done = swap(HUB, hub, tuned[HUB], dry_run=True)
    assert swap(HUB, hub, tuned[HUB]) == done
    assert done.files == [file] and str(file) in done.left[0]
    undo(HUB, hub)
    assert file.read_bytes() == newer
    rest = {path.name for path in file.parent.iterdir() if path.name.startswith(NAME)}
    assert rest == {NAME, f"{NAME}.{kept.name.split('.')[2]}.old"}
    assert file.with_name(max(rest)).read_bytes() == old


@pytest.mark.parametrize(
    ("system", "old", "new", "left"),
    [
        (HUB, f"models--openai--clip/snapshots/{COMMIT}", "models--openai--clip/snapshots/new", 1),
        (HUB, f"models--openai--clip/snapshots/{COMMIT}", "models--else--clip/snapshots/new", 0),
        ("immich", "clip/ViT-B-32__openai/v2", "clip/ViT-B-32__openai/v3", 1),
        ("immich", "clip/ViT-B-32__openai/v2", "clip/ViT-L-14__openai/v2", 0),
    ],
)
def test_a_newer_revision_is_not_swapped_but_another_model_need_not_be(
    system, old, new, left, cache, tuned
) -> None:
    folder = cache(system)
    if system == HUB:
        shutil.rmtree(folder / "models--laion--clip")
    shutil.copytree(folder / old, folder / new, symlinks=False)
    shutil.move(folder / new, folder / "later")
    files = swap_model(system, folder, tuned[system]).files
    (folder / new).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder / "later", folder / new)
    state = inspect_swap(system, folder)
    assert {*files} == {*state.files} and len(state.left) == left
    assert all(new in one and "not swapped" in one for one in state.left)


def test_undo_leaves_a_newer_list_of_sizes(cache, tuned, tmp_path) -> None:
    folder = cache("fastembed")
    before, listing = contents(folder), folder / TEXT / "files_metadata.json"
    path = folder / FILES["fastembed"][0]
    swap_model("fastembed", folder, tuned["fastembed"])
    short = contents(folder)
    newer = download("fastembed", path, 5, tmp_path)
    assert undo("fastembed", folder).files == []
    changed = FILES["fastembed"][0]
    assert {**contents(folder), changed: ""} == {**short, changed: ""}  # its size is not the old
    assert path.read_bytes() == newer
    listing.write_text(json.dumps({"other": {"size": 1}}))
    swap_model("fastembed", folder, tuned["fastembed"])
    assert undo("fastembed", folder).files[0] == path
    assert path.read_bytes() == newer and json.loads(listing.read_text()) == {"other": {"size": 1}}
    assert contents(folder).keys() - before.keys()  # the base of before


def test_only_what_has_changed_is_left(cache, tuned, tmp_path) -> None:
    folder = cache("immich")
    before = contents(folder)
    first, second = (folder / name for name in FILES["immich"])
    swap_model("immich", folder, tuned["immich"])
    newer = download("immich", first, 5, tmp_path)
    (prepared := first.parent / "cpu").mkdir()
    done = undo("immich", folder)
    assert done.files == [second] and str(first) in done.left[0]
    assert first.read_bytes() == newer and prepared.is_dir()
    assert contents(folder)[FILES["immich"][1]] == before[FILES["immich"][1]]


def test_a_base_that_is_in_place_needs_no_kept_one(hub, file, tuned) -> None:
    before = contents(hub)
    (kept,) = swap(HUB, hub, tuned[HUB]).kept
    os.replace(kept, file)
    kept.write_bytes(b"damaged")
    assert undo(HUB, hub).files == [file]
    assert contents(hub) == before


def test_owner_and_mode_stay_those_of_the_base(hub, file, tuned, monkeypatch) -> None:
    before, blob = contents(hub), file.resolve()
    if os.geteuid() == 0:
        os.chown(blob, 1234, 2345)
    blob.chmod(0o640)

    def owner() -> tuple[int, int, int]:
        facts = file.stat()
        return facts.st_uid, facts.st_gid, facts.st_mode

    def no_links(*_: object, **__: object) -> None:
        raise PermissionError

    expected = owner()
    swap(HUB, hub, tuned[HUB])
    assert owner() == expected
    undo(HUB, hub)
    assert owner() == expected
    monkeypatch.setattr(os, "link", no_links)  # a file system without hard links
    (kept,) = swap(HUB, hub, tuned[HUB]).kept
    assert kept.is_symlink() and owner() == expected
    undo(HUB, hub)
    assert owner() == expected and contents(hub) == before


def test_what_a_killed_run_left_is_cleared_and_no_other_file(hub, file, tuned) -> None:
    zeros, end = "0" * 16, "0123456789ab.part"
    parts = [f".{NAME}.{end}", f".{NAME}.{zeros}.{zeros}.base.{end}"]
    others = [f".notes.{end}", f".{NAME}.notes.{end}", f"{NAME}.{end}", f"{NAME}.notes.base"]

    def leave() -> None:
        for name in (*parts, *others):
            file.with_name(name).touch()

    leave()
    before = contents(hub)
    with pytest.raises(UserError, match="no swapped file"):
        undo(HUB, hub)
    rest = {name: one for name, one in before.items() if Path(name).name not in parts}
    assert contents(hub) == rest
    leave()
    (kept,) = swap(HUB, hub, tuned[HUB]).kept
    assert contents(hub).keys() == {*rest, kept.relative_to(hub).as_posix()}


def test_loops_of_links_in_a_snapshot_end(hub, file, tuned) -> None:
    for name in ("a", "b"):
        file.with_name(name).symlink_to(".")
    (hub / "snapshots" / "main").symlink_to(COMMIT)
    (hub / "snapshots" / "all").symlink_to("..")
    before = contents(hub)
    assert swap(HUB, hub, tuned[HUB]).files == [file]
    undo(HUB, hub)
    assert contents(hub) == before


def test_a_folder_with_two_paths_is_swapped_once(cache, tuned) -> None:
    folder = cache("immich")
    model = folder / "clip" / "ViT-B-32__openai"
    shutil.rmtree(model / "v2")
    (model / "v2").symlink_to(".")
    assert len(swap_model("immich", folder, tuned["immich"]).files) == 1
    assert len(undo("immich", folder).files) == 1


@pytest.mark.parametrize("name", ["loop", "a" * 5000, "a\0b", NOT_UTF8])
def test_a_cache_that_cannot_be_is_an_error_of_one_line(name, tuned, tmp_path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for deed in (
        lambda: undo(HUB, tmp_path / name),
        lambda: swap(HUB, tmp_path / name, tuned[HUB]),
    ):
        with pytest.raises(UserError, match=r"cannot be used|NUL|not UTF-8|long"):
            deed()


def test_a_revision_whose_name_is_not_utf8_is_an_error_of_one_line(hub, tuned) -> None:
    snapshots = hub / "snapshots"
    (snapshots / COMMIT).rename(snapshots / NOT_UTF8)
    with pytest.raises(UserError, match=r"udcff.*not UTF-8"):
        swap(HUB, hub, tuned[HUB])
