"""Which files a source names, folders of pictures, shards, and streamed JSON."""

import gc
import json
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_files import json_lines, lenient, put, read, shard, texts

from paraclip.data.captions import Columns, Problems
from paraclip.data.images import open_image, picture_files
from paraclip.data.reading import braces, find_files, read_captions
from paraclip.data.rows import read_rows
from paraclip.data.shards import first_line, walk
from paraclip.errors import UserError
from tiny import draw

# --- which files ---


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.csv", ["a.csv"]),
        ("{08..11}.tar", ["08.tar", "09.tar", "10.tar", "11.tar"]),
        ("{a,b}/{1..2}.csv", ["a/1.csv", "a/2.csv", "b/1.csv", "b/2.csv"]),
        ("{a}.csv", ["{a}.csv"]),
        ("{3..2}.csv", []),
        ("{1..1}" * 5000, ["1" * 5000]),
        ("{" + "," * 60_000, ["{" + "," * 60_000]),
        (f"{{0..{'1' * 5000}}}", [f"{{0..{'1' * 5000}}}"]),
    ],
)
def test_braces(pattern: str, names: list[str]) -> None:
    assert braces(pattern) == names
    for many in ("{0..99999999}.tar", "{1..9999}/{a,b}{1..999}.tar", f"{{0..{10**30}}}.tar"):
        with pytest.raises(UserError, match="more than a million"):
            braces(many)


@pytest.mark.parametrize(
    ("name", "what", "hint"),
    [
        ("none", "no such file or folder", ""), ("{0..3}.tar", "0.tar: there is no such file", ""),
        ("{a,b}.csv", "b.csv: there is no such file", ""), ("{3..2}.csv", "no such file", ""),
        ("*.tsv", "no such file or folder", ""), ("a.xlsx", "cannot be read", ".parquet"),
        ("a.tar.gz", "is a compressed tar file", "Decompress it to a."),
    ],
)  # fmt: skip
def test_unknown_sources_are_named_at_once(tmp_path: Path, name: str, what: str, hint: str) -> None:
    for file in ("a.xlsx", "a.tar.gz", "a.csv"):
        put(tmp_path / file, b"")
    with pytest.raises(UserError, match=what) as caught:
        read_captions(f"{tmp_path}/{name}")
    assert hint in caught.value.hint


def test_several_files_are_read_in_order_with_ids_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b.csv", "a.csv", "c.tsv", "kites [1].csv"):
        put(tmp_path / name, "caption\nOne\n")
    assert find_files(f"{tmp_path}/?.csv") == [f"{tmp_path}/a.csv", f"{tmp_path}/b.csv"]
    assert texts(f"{tmp_path}/{{a.csv,c.tsv}}") == ["One", "One"]
    assert texts(f"{tmp_path}/kites [1].csv") == ["One"]
    monkeypatch.chdir(tmp_path)
    for pattern in (f"{tmp_path}/?.csv", "?.csv"):
        assert [row.id for row in read(pattern)] == ["a.csv:2", "b.csv:2"]
    for name in ("x/a.jsonl", "y/a.jsonl", "y/deep/a.jsonl"):
        json_lines(tmp_path / name, [{"caption": "Kite"}, {"caption": "Boat"}])
    rows = read(f"{tmp_path}/**/*.jsonl")
    assert [row.id for row in rows[:3]] == ["x/a.jsonl:1", "x/a.jsonl:2", "y/a.jsonl:1"]
    assert len({row.id for row in rows}) == 6 and len(read(f"{tmp_path}/x/{{a,a}}.jsonl")) == 2


def test_urls_of_other_machines_are_read(tmp_path: Path) -> None:
    import fsspec

    put(tmp_path / "a.csv", f"caption,image\nOne,file://{draw(tmp_path / 'a.png')}\n")
    (row,) = read(f"file://{tmp_path}/a.csv")
    assert (row.caption, row.image) == ("One", f"{tmp_path}/a.png")
    with pytest.raises(UserError, match="no such file"):
        read(f"file://{tmp_path}/none.csv")
    remote = fsspec.filesystem("memory")
    content = Path(shard(tmp_path / "0.tar", sample("a.b/7", tmp_path, "One"))).read_bytes()
    for name in ("/paraclip/0.tar", "/paraclip/1.csv.gz"):
        remote.pipe(name, content)
    try:
        for source in ("memory://paraclip/0.tar", "memory://paraclip/*.tar"):
            (row,) = read(source)
            assert row.id == "a.b/7" and open_image(str(row.image), 2).size == (4, 3)
        with pytest.raises(UserError, match="cannot be read to its end"):
            read("memory://paraclip/1.csv.gz")
    finally:
        remote.rm("/paraclip", recursive=True)


# --- folders ---


def test_a_relative_folder_with_a_slash_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw(Path("a/b/c/cat.png")), put(Path("a/b/c/cat.txt"), "A cat.")
    for source in ("a/b", "./a/b", "a/b/", "a", f"{tmp_path}/a/b"):
        (row,) = read(source)
        assert row.image is not None and Path(row.image).samefile("a/b/c/cat.png")


def test_a_folder_gives_the_first_line_of_each_text(tmp_path: Path) -> None:
    for name in ("b/swan.png", "a.JPG", "b/c/kite.png", "d.png", "e.png", "f.png"):
        draw(tmp_path / name)
    (tmp_path / "f.txt").mkdir()
    put(tmp_path / "b/swan.txt", b"\n  A swan.  \r\nes.utf8=Un cisne.\nlatin=\xf6\n")
    put(tmp_path / "a.txt", "\ufeffAn apple.")
    put(tmp_path / "b/c/kite.txt", "A kite.")
    put(tmp_path / "e.txt", "A cat.".encode("utf-16"))
    put(tmp_path / "lost.txt", "A dog.")
    problems = Problems(1.0)
    rows = list(read_captions(str(tmp_path), None, problems))
    assert [(row.id, row.caption) for row in rows] == [
        ("a.JPG", "An apple."), ("b/c/kite.png", "A kite."), ("b/swan.png", "A swan."),
    ]  # fmt: skip
    assert [row.image for row in rows] == [f"{tmp_path}/{row.id}" for row in rows]
    assert [row.image_id for row in rows] == [row.id for row in rows]
    assert problems.listed == [
        (f"{tmp_path}/d.png", "the picture has no caption file 'd.txt' beside it"),
        (f"{tmp_path}/e.png", "the caption is in UTF-16, not UTF-8"),
        (f"{tmp_path}/f.png", "the caption file 'f.txt' cannot be read (Is a directory)"),
        (f"{tmp_path}/lost.txt", "there is no picture with this name"),
    ]


def test_a_folder_is_walked_in_the_order_of_names_without_links_to_folders(tmp_path: Path) -> None:
    inside = tmp_path / ".in"  # may be hidden itself; photo tools make `.thumbs/`, macOS `._b.png`
    names = ("b.png", "a/z.JPEG", "a/b/y.webp", "c.Txt", "c.md", ".thumbs/x.png", "a/.t/x.png")
    for name in (*names, "._b.png"):
        put(inside / name, b"")
    for name in ("README.txt", "licence.txt", "problems.txt", "lost.txt", "b.txt", "a.txt"):
        put(inside / name, "A text.")
    put(inside / "album.jpg" / "p.png", b"")  # a folder named like a picture
    put(tmp_path / "out" / "b.png", b"")
    links = {"self": inside, "other": tmp_path / "out", "x.png": inside / "b.png"}
    links["folder.png"] = tmp_path / "out"
    for name, target in links.items():
        (inside / name).symlink_to(target)
    first = ["a/b/y.webp", "a/z.JPEG", "a.txt", "album.jpg/p.png", "b.png"]
    expected = [*first, "folder.png", "lost.txt", "x.png"]
    assert [path.relative_to(inside).as_posix() for path in walk(inside)] == expected
    pictures = [path.relative_to(inside).as_posix() for path in picture_files(inside)]
    assert pictures == [name for name in expected if name[-3:] != "txt" and name != "folder.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="contains no pictures"):
        read(str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", b""), (b" \n\t\r\n", b""), (b"\rA cat.\rA dog.", b"A cat."),
        (b"\xef\xbb\xbf\n\xef\xbb\xbfA cat.", b"\xef\xbb\xbfA cat."),
        ("Ein\u2028Bär".encode(), "Ein\u2028Bär".encode()), (b"Zw\xf6lf\nTwelve", b"Zw\xf6lf"),
    ],
)  # fmt: skip
def test_the_caption_is_the_first_line_that_is_not_empty(
    tmp_path: Path, content: bytes, line: bytes
) -> None:
    put(tmp_path / "a.txt", content)
    assert first_line(tmp_path / "a.txt") == line


# --- shards ---


def sample(key: str, folder: Path, caption: str = "A kite") -> dict[str, bytes]:
    """The members of a sample in img2dataset's layout."""
    picture = Path(draw(folder / "picture.png", size=(4, 3))).read_bytes()
    facts = json.dumps({"key": key, "caption": caption, "status": "success"})
    return {f"{key}.jpg": picture, f"{key}.json": facts.encode(), f"{key}.txt": caption.encode()}


def test_shards_are_read_and_their_pictures_opened(tmp_path: Path) -> None:
    for number in (0, 1):
        keys = [f"{number:05d}{row:04d}" for row in range(2)]
        samples = sample(keys[0], tmp_path, "One") | sample(keys[1], tmp_path, "Two")
        shard(tmp_path / f"{number:05d}.tar", samples)
    for source in ("{00000..00001}.tar", "*.tar"):
        rows = read(f"{tmp_path}/{source}")
        assert [row.id for row in rows] == ["000000000", "000000001", "000010000", "000010001"]
        assert [row.caption for row in rows] == ["One", "Two", "One", "Two"]
        assert rows[3].image == f"tar://000010001.jpg::{tmp_path}/00001.tar"
        assert open_image(rows[3].image, 2).size == (4, 3)
    (tmp_path / "00002.tar").write_bytes((tmp_path / "00001.tar").read_bytes())
    with pytest.raises(UserError, match="'000010000' occurs twice"):
        read(f"{tmp_path}/*.tar")


def test_captions_in_json_and_samples_without_any(tmp_path: Path) -> None:
    files = {
        "a.json": b'{"caption": "From JSON", "TEXT": "Other"}', "b.jpg": b"...",
        "b.json": b"{broken", "c.txt": b"No picture", "d.txt": b"Zw\xf6lf",
    }  # fmt: skip
    source = shard(tmp_path / "0.tar", files)
    good, problems = lenient(source)
    assert good == ["From JSON", "No picture"]
    assert [where for where, _ in problems.listed] == [f"{source}: b", f"{source}: d"]
    assert lenient(source, Columns(caption="TEXT"))[0][0] == "Other"
    assert all(row.image is None for row in read_captions(source, Columns(image=None), problems))


def test_texts_have_no_byte_order_mark_and_stand_beside_their_picture(tmp_path: Path) -> None:
    names = ("._a.jpg", "a.jpg", "._a.txt", "a.txt", "b.jpg", "c.jpg", "b.txt", "d/._e.txt")
    source = shard(tmp_path / "0.tar", dict.fromkeys(names, "\ufeffA kite\r\n".encode()))
    problems = Problems(1.0)
    rows = list(read_captions(source, None, problems))
    assert [(row.id, row.caption) for row in rows] == [("a", "A kite"), ("b", "A kite")]
    assert rows[0].image == f"tar://a.jpg::{source}" and rows[1].image is None
    assert [where for where, _ in problems.listed] == [f"{source}: b", f"{source}: c"]


def test_a_key_ends_at_the_first_dot_and_keeps_its_folder(tmp_path: Path) -> None:
    files = {"x.d/1.JPG": b"", "x.d/1.txt": b"One", "x.d/2.seg.png": b"", "x.d/2.txt": b"Two"}
    rows = list(read_rows(source := shard(tmp_path / "0.tar", files), Problems()))
    assert [(where, *values.values()) for where, values in rows] == [
        (f"{source}: x.d/1", b"One", f"tar://x.d/1.JPG::{source}", "x.d/1", "x.d/1"),
        (f"{source}: x.d/2", b"Two", None, "x.d/2", "x.d/2"),
    ]


def test_members_with_odd_names_are_rows_or_listed(tmp_path: Path) -> None:
    names = ("", "/", "a.", "..", "../x.txt", "b.json", "c.txt/")
    good, problems = lenient(shard(tmp_path / "0.tar", dict.fromkeys(names, b"A cat.")))
    assert {*good} == {"A cat."} and problems.count


def count_headers() -> int:
    """Number of headers of tar files in memory."""
    return sum(issubclass(type(one), tarfile.TarInfo) for one in gc.get_objects())


def test_only_files_are_members_and_few_are_held(tmp_path: Path) -> None:
    path, names = tmp_path / "0.tar", [f"{number}.txt" for number in range(50)]
    with tarfile.open(path, "w") as archive:
        for name in ("d.png", "l.txt", *names):
            member = tarfile.TarInfo(name)
            member.type = {"d.png": tarfile.DIRTYPE, "l.txt": tarfile.SYMTYPE}.get(name, b"0")
            archive.addfile(member)
    before = count_headers()
    rows = read_rows(str(path), Problems())
    assert [f"{next(rows)[1]['id']}.txt" for _ in names] == names
    assert count_headers() < before + 5


@given(cut=st.integers(513, 1024 * 6))
def test_a_shard_cut_anywhere_gives_its_first_rows_and_is_reported(cut: int) -> None:
    content = [bytes([97 + number]) * 400 for number in range(6)]
    with tempfile.TemporaryDirectory() as folder:
        source = shard(Path(folder) / "0.tar", {f"{n}.txt": text for n, text in enumerate(content)})
        Path(source).write_bytes(Path(source).read_bytes()[:cut])
        problems = Problems(1.0)
        rows = list(read_rows(source, problems))
    assert [values["caption"] for _, values in rows] == content[: len(rows)]
    assert len(rows) >= (cut - 1) // 1024
    assert problems.listed == [(source, "the shard is truncated")]
