"""Pictures of folders and shards, and errors of LanceDB."""

import os
import tarfile
from hashlib import sha256
from pathlib import Path

import fsspec
import pytest

from paraclip.data import images
from paraclip.data.captions import Columns, Problems
from paraclip.errors import UserError
from paraclip.image_search import sources
from paraclip.image_search.build import build_index
from paraclip.image_search.sources import FoundPicture, PictureReader, picture_source
from paraclip.store import FACTS, IndexFacts, Store, StoreUnavailable
from tiny import draw

READER = PictureReader(lambda image: image.size, 32, {})


def found_in(source: Path | str) -> dict[str, FoundPicture]:
    """Pictures of a source by path."""
    problems = Problems(0.0)
    return {one.path: one for one in picture_source(str(source), Columns()).pictures(problems)}


def test_pictures_at_an_address_have_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "captions.csv").write_text("image,caption\na.jpg,a disc\n")
    monkeypatch.chdir(tmp_path)
    columns = Columns(images="https://example.org/pictures")
    assert picture_source("captions.csv", columns).root == ""


def test_captions_are_the_first_usable_line_of_the_text(tmp_path: Path) -> None:
    texts = {"a": b"\n a disc \nmore", "b": b"\xff", "c": b"\xff\xfea\0", "d.e": "日本".encode()}
    for name, text in texts.items():
        draw(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_bytes(text)
    draw(tmp_path / "f.PNG")
    (tmp_path / "g.txt").write_text("of no picture")
    captions = {path: one.caption for path, one in found_in(tmp_path).items()}
    assert captions == {"a.png": "a disc", "b.png": "", "c.png": "", "d.e.png": "日本", "f.PNG": ""}


def test_stamps_are_those_of_the_file_and_links_count_as_their_target(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("a.png")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    found, state = found_in(tmp_path), (tmp_path / "a.png").stat()
    assert list(found) == ["a.png", "b.png"]
    assert {(one.size, one.modified) for one in found.values()} == {
        (state.st_size, state.st_mtime_ns)
    }


def test_links_inside_a_linked_folder_are_found(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    draw(tmp_path / "pictures" / "a.png")
    (tmp_path / "pictures" / "b.png").symlink_to(tmp_path / "pictures" / "a.png")
    draw(tmp_path / "outside.png")
    (tmp_path / "pictures" / "c.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "link").symlink_to("pictures")
    assert list(found_in(tmp_path / "link")) == list(found_in(tmp_path / "pictures"))
    assert list(found_in(tmp_path / "link")) == ["a.png", "b.png"]


def test_a_link_that_leaves_the_folder_is_listed_and_is_the_reason_for_an_empty_index(
    tmp_path: Path, models: dict[str, str]
) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "folder.png").mkdir()
    draw(tmp_path / "outside.png")
    link = tmp_path / "pictures" / "a.png"
    link.symlink_to(tmp_path / "outside.png")
    source, problems = picture_source(str(tmp_path / "pictures"), Columns()), Problems(1.0)
    assert list(source.pictures(problems)) == []
    assert problems.listed == [
        (str(link), f"is a link to nothing, or to a file outside {source.root}")
    ]
    with pytest.raises(UserError, match=f"{link}: is a link to nothing.*contains no other"):
        build_index(source.name, str(tmp_path / "index"), models["base"], Problems(1.0))


def test_names_in_a_folder_are_paths_and_no_urls(tmp_path: Path) -> None:
    draw(tmp_path / "secret.png")
    names = ["a::b.png", "http:/x.png", f"simplecache::{tmp_path}/secret.png"]
    for number, name in enumerate(names):
        path = Path(f"{tmp_path}/pictures/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(path, "disc", "red", (20 + number, 20))
    found = found_in(tmp_path / "pictures")
    assert sorted(found) == sorted(name.replace("//", "/") for name in names)
    for one in found.values():
        content = (tmp_path / "pictures" / one.path).read_bytes()
        assert READER.read(one).hash == sha256(content).hexdigest()


def test_members_of_a_shard_have_their_own_size_and_the_time_of_the_shard(tmp_path: Path) -> None:
    content = Path(draw(tmp_path / "a.png")).read_bytes()
    with tarfile.open(tmp_path / "0.tar", "w") as shard:
        shard.add(tmp_path / "a.png", "in/a.png")
    (tmp_path / "a.png").unlink()
    (one,) = found_in(tmp_path / "0.tar").values()
    assert (one.path, one.size) == ("0.tar::in/a.png", len(content))
    assert one.modified == (tmp_path / "0.tar").stat().st_mtime_ns
    assert READER.read(one).hash == sha256(content).hexdigest()


def test_a_member_whose_name_is_not_utf8_is_broken(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    with tarfile.open(tmp_path / "0.tar", "w") as shard:
        for name in (b"a.png", b"caf\xe9.png"):
            shard.add(tmp_path / "a.png", os.fsdecode(name))
    problems = Problems(1.0)
    source = picture_source(str(tmp_path / "0.tar"), Columns())
    assert [one.path for one in source.pictures(problems)] == ["0.tar::a.png"]
    assert problems.listed == [("0.tar::caf\udce9.png", "is a name that is not UTF-8")]


def test_a_known_file_is_not_decoded_and_a_vanished_one_is_named(tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    one = found_in(tmp_path)["a.png"]
    first = READER.read(one)
    assert (first.row, first.pixels) == (None, (40, 30)) and first.thumbnail[:2] == b"\xff\xd8"
    again = PictureReader(lambda image: 1 / 0, 32, {first.hash: "id"}).read(one)
    assert (again.row, again.pixels, again.thumbnail) == ("id", None, b"")
    (tmp_path / "a.png").unlink()
    assert str(READER.read(one)) == "a.png: vanished while it was indexed. Index again."


@pytest.mark.parametrize("name", ["", "0' OR '1'='1", "AB", "a" * 65, "0\n", "日"])
def test_an_id_that_is_not_hexadecimal_reaches_no_query(name: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save_facts(IndexFacts("space", 8, "/a", "/a", {"base": "mini"}))
    for query in (store.rows, store.remove):
        with pytest.raises(UserError, match="is not hexadecimal"):
            query(["00ff", name])


@pytest.mark.parametrize(
    ("error", "kind", "what"),
    [
        (RuntimeError("lance: No space left (os error 28)"), UserError, "the disk is full"),
        (OSError(13, "Permission denied"), UserError, "may not be read or written"),
        (RuntimeError("a\n b " + "x" * 500), StoreUnavailable, "cannot be read or written (a b x"),
        (ValueError("os error 9999999"), StoreUnavailable, "cannot be read or written"),
        *(
            (
                type(name, (kind,), {"__module__": module})("x"),
                StoreUnavailable,
                "cannot be read or written (LanceDB stopped at damaged data)",
            )
            for module, name, kind in (
                ("pyo3_async_runtimes", "RustPanic", Exception),
                ("pyo3_runtime", "PanicException", BaseException),
            )
        ),
    ],
)
def test_errors_of_lancedb_are_one_line_with_the_folder(
    error: Exception, kind: type[UserError], what: str, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    store.opened = "a table"
    with pytest.raises(UserError) as caught, store.errors():
        raise error
    assert type(caught.value) is kind and caught.value.what.startswith(what)
    assert caught.value.where == str(tmp_path) and len(caught.value.what) < 240
    assert (store.opened is None) == (kind is StoreUnavailable)


def test_facts_that_cannot_be_read_are_not_a_missing_index(tmp_path: Path) -> None:
    (tmp_path / FACTS).mkdir()
    with pytest.raises(UserError, match=rf"{FACTS}: cannot be read \(Is a directory\)"):
        Store(tmp_path).facts()
    (tmp_path / "file").write_text("")
    assert Store(tmp_path / "file").facts() is None
    assert Store(tmp_path / "nowhere").facts() is None


def test_a_remote_picture_that_is_too_large_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.filesystem("memory").pipe_file("/large.png", bytes(11))
    for module in (images, sources):
        monkeypatch.setattr(module, "LARGEST_FILE", 10)
    large = FoundPicture("large.png", "memory://large.png", "", 11, 0)
    assert "holds more than" in str(READER.read(large))
