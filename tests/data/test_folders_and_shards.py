"""Pictures with a text file each, in folders and shards: order, bounds, what is left out."""

import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_files import draw, put, shard

from paraclip.data.captions import Record
from paraclip.data.config import Columns
from paraclip.data.folder import first_line, read_folder, walk
from paraclip.data.problems import Problems
from paraclip.data.reading import read_captions
from paraclip.data.shards import members, read_shard
from paraclip.errors import UserError

NAMES = st.sampled_from(["a", "B", "kite", "été", "日本", "x y", "a.b"])
FOLDERS = st.sampled_from(["", "a/", "B/c/", "日本/"])


def names(folder: Path) -> list[str]:
    """What `walk` yields, relative to the folder."""
    return [path.relative_to(folder).as_posix() for path in walk(folder)]


def records(source: str, columns: Columns | None = None) -> tuple[list[Record], Problems]:
    """The records of a shard, and the problems."""
    problems = Problems(1.0)
    return list(read_shard(source, columns or Columns(), problems)), problems


def test_a_folder_is_walked_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b.png", "a/z.JPEG", "a/b/y.webp", "c.Txt", "c.md", ".git/x.png", ".d.png"):
        put(tmp_path / name, b"")
    for name in ("README.txt", "licence.txt", "Notes.txt", "lost.txt", "b.txt", "a.txt"):
        put(tmp_path / name, "A text.")
    assert names(tmp_path) == ["a/b/y.webp", "a/z.JPEG", "a.txt", "b.png", "lost.txt"]


def test_a_linked_folder_is_not_followed(tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.png", b"")
    put(tmp_path / "out" / "b.png", b"")
    (tmp_path / "in" / "self").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "other").symlink_to(tmp_path / "out")
    (tmp_path / "in" / "c.png").symlink_to(tmp_path / "out" / "b.png")
    assert names(tmp_path / "in") == ["a.png", "c.png"]


@given(st.sets(st.tuples(FOLDERS, NAMES), min_size=1, max_size=8))
def test_every_picture_comes_once_with_its_own_text(pictures: set[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for inside, name in pictures:
            put(Path(folder) / f"{inside}{name}.png", b"")
            put(Path(folder) / f"{inside}{name}.txt", f"\n {inside}{name} \r\nother\n")
        rows = list(read_folder(folder, Problems(0.0)))
    assert [row.row for row in rows] == list(range(1, len(pictures) + 1))
    assert {row.id: row.caption.decode() for row in rows} == {
        f"{inside}{name}.png": f"{inside}{name}" for inside, name in pictures
    }
    assert all(row.id == row.image == row.image_id for row in rows)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", b""),
        (b" \n\t\r\n", b""),
        (b"\xef\xbb\xbf\n\xef\xbb\xbfA cat.", b"\xef\xbb\xbfA cat."),
        (b"\rA cat.\rA dog.", b"A cat."),
        ("Ein\u2028Bär".encode(), "Ein\u2028Bär".encode()),
        (b"Zw\xf6lf\nTwelve", b"Zw\xf6lf"),
    ],
)
def test_the_caption_is_the_first_line_that_is_not_empty(
    tmp_path: Path, content: bytes, line: bytes
) -> None:
    put(tmp_path / "a.txt", content)
    assert first_line(tmp_path / "a.txt") == line


def test_a_key_ends_at_the_first_dot_and_keeps_its_folder(tmp_path: Path) -> None:
    files = {"x.d/1.JPG": b"", "x.d/1.txt": b"One", "x.d/2.seg.png": b"", "x.d/2.txt": b"Two"}
    rows, _ = records(source := shard(tmp_path / "0.tar", files))
    assert [(row.id, row.caption) for row in rows] == [("x.d/1", b"One"), ("x.d/2", b"Two")]
    assert [row.image for row in rows] == [f"tar://x.d/1.JPG::{source}", None]
    assert [row.where for row in rows] == [f"{source}: x.d/1", f"{source}: x.d/2"]


def test_only_files_are_members_and_none_is_held(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        for name, kind in (("d.png", tarfile.DIRTYPE), ("l.txt", tarfile.SYMTYPE), ("a.txt", None)):
            member = tarfile.TarInfo(name)
            member.type = kind or tarfile.REGTYPE
            archive.addfile(member)
    with tarfile.open(tmp_path / "0.tar") as archive:
        assert [member.name for member in members(archive)] == ["a.txt"]
        assert archive.members == []


def test_a_folder_named_like_a_picture_or_a_text_is_entered(tmp_path: Path) -> None:
    put(tmp_path / "album.jpg" / "a.png", b"")
    put(tmp_path / "notes.txt" / "b.png", b"")
    put(tmp_path / "album.txt", "Of no picture.")
    assert names(tmp_path) == ["album.jpg/a.png", "album.txt", "notes.txt/b.png"]


@given(cut=st.integers(513, 1024 * 6))
def test_a_shard_cut_anywhere_gives_its_first_rows_and_is_reported(cut: int) -> None:
    texts = [bytes([97 + number]) * 400 for number in range(6)]
    with tempfile.TemporaryDirectory() as folder:
        source = shard(Path(folder) / "0.tar", {f"{n}.txt": text for n, text in enumerate(texts)})
        content = Path(source).read_bytes()
        Path(source).write_bytes(content[:cut])
        rows, problems = records(source)
    assert [row.caption for row in rows] == texts[: len(rows)]
    assert len(rows) >= (cut - 1) // 1024
    assert problems.listed == [(source, "the shard is truncated")]


def test_equal_names_in_several_folders_need_a_folder_above_them(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        draw(tmp_path / "all" / folder / "x.png")
        put(tmp_path / "all" / folder / "x.txt", "A kite.")
    with pytest.raises(UserError, match=r"'x\.png' occurs twice\. Name a folder that contains all"):
        list(read_captions(str(tmp_path / "all" / "*")))
    assert [row.id for row in read_captions(str(tmp_path / "all"))] == ["a/x.png", "b/x.png"]
