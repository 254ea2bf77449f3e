"""Which files a source names, and the kinds that are not tables: folder, COCO JSON, shards."""

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_files import draw, json_lines, lenient, put, read, shard, texts

from paraclip.data import untrusted_json
from paraclip.data.config import Columns
from paraclip.data.images import open_image
from paraclip.data.problems import Problems
from paraclip.data.reading import braces, find_files, read_captions
from paraclip.data.untrusted_json import JsonStream
from paraclip.errors import UserError

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


def test_too_many_names_are_refused() -> None:
    with pytest.raises(UserError, match="more than a million"):
        braces("{0..99999999}.tar")
    with pytest.raises(UserError, match="more than a million"):
        braces("{1..9999}/{a,b}{1..999}.tar")
    with pytest.raises(UserError, match="more than a million"):
        braces(f"{{0..{10**30}}}.tar")


@pytest.mark.parametrize("name", ["a.tar.gz", "a.TAR.xz"])
def test_a_compressed_tar_file_is_refused_with_a_hint(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="is a compressed tar file") as caught:
        read(put(tmp_path / name, b""))
    assert "Decompress it to a." in caught.value.hint


def test_a_glob_names_files_in_order(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "c.tsv"):
        put(tmp_path / name, "caption\nOne\n")
    assert find_files(f"{tmp_path}/*.csv") == [f"{tmp_path}/a.csv", f"{tmp_path}/b.csv"]
    assert [row.id for row in read(f"{tmp_path}/*.csv")] == ["a.csv:2", "b.csv:2"]
    assert texts(f"{tmp_path}/{{a.csv,c.tsv}}") == ["One", "One"]


def test_files_in_the_current_folder_keep_their_whole_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b.csv"):
        put(Path(name), "caption\nOne\n")
    assert [row.id for row in read("*.csv")] == ["a.csv:2", "b.csv:2"]


def test_a_name_with_brackets_is_a_name_first(tmp_path: Path) -> None:
    source = put(tmp_path / "kites [1].csv", "caption\nOne\n")
    assert texts(source) == ["One"]


@pytest.mark.parametrize("name", ["none.csv", "none", "{0..3}.tar", "*.csv"])
def test_a_missing_source_is_named_at_once(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        read_captions(f"{tmp_path}/{name}")


def test_an_unknown_kind_is_named_at_once(tmp_path: Path) -> None:
    source = put(tmp_path / "a.xlsx", "x")
    with pytest.raises(UserError, match="a format that cannot be read") as caught:
        read_captions(source)
    assert ".parquet" in caught.value.hint


def test_urls_are_read(tmp_path: Path) -> None:
    put(tmp_path / "a.csv", f"caption,image\nOne,file://{draw(tmp_path / 'a.png')}\n")
    put(tmp_path / "b.jsonl", '{"caption": "Two"}\n')
    (row,) = read(f"file://{tmp_path}/a.csv")
    assert (row.caption, row.image) == ("One", f"{tmp_path}/a.png")
    assert texts(f"file://{tmp_path}/*.jsonl") == ["Two"]
    with pytest.raises(UserError, match="no such file"):
        read(f"file://{tmp_path}/none.csv")


# --- folder ---


def test_a_folder_gives_the_first_line_of_each_text(tmp_path: Path) -> None:
    for name in ("b/swan.png", "a.JPG", "b/c/kite.png"):
        draw(tmp_path / name)
    put(tmp_path / "b/swan.txt", b"\n  A swan.  \r\nes.utf8=Un cisne.\nlatin=\xf6\n")
    put(tmp_path / "a.txt", "\ufeffAn apple.")
    put(tmp_path / "b/c/kite.txt", "A kite.")
    put(tmp_path / "readme.txt", "No picture goes with this.")
    draw(tmp_path / ".hidden.png")
    rows = read(str(tmp_path))
    assert [(row.id, row.caption) for row in rows] == [
        ("a.JPG", "An apple."), ("b/c/kite.png", "A kite."), ("b/swan.png", "A swan."),
    ]  # fmt: skip
    assert [row.image for row in rows] == [f"{tmp_path}/{row.id}" for row in rows]
    assert [row.image_id for row in rows] == [row.id for row in rows]


def test_a_picture_without_a_text_is_listed(tmp_path: Path) -> None:
    draw(tmp_path / "a.png"), draw(tmp_path / "b.png"), draw(tmp_path / "c.png")
    put(tmp_path / "a.txt", "An apple.")
    put(tmp_path / "c.txt", "A cat.".encode("utf-16"))
    good, problems = lenient(str(tmp_path))
    assert good == ["An apple."]
    assert problems.listed == [
        (f"{tmp_path}/b.png", "the picture has no caption file 'b.txt' beside it"),
        (f"{tmp_path}/c.png", "the caption is in UTF-16, not UTF-8"),
    ]


def test_a_folder_without_pictures_is_fatal(tmp_path: Path) -> None:
    put(tmp_path / "a.txt", "An apple.")
    with pytest.raises(UserError, match="contains no pictures") as caught:
        read(str(tmp_path))
    assert "captions file" in caught.value.hint


# --- COCO JSON ---


def official(folder: Path, **more: object) -> str:
    """A file in COCO's official layout, with the pictures it names."""
    draw(folder / "a.jpg"), draw(folder / "b.jpg")
    layout = {
        "info": {"year": 2014},
        "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "b.jpg"}],
        "licenses": [],
        "annotations": [
            {"id": 70, "image_id": 7, "caption": "An apple. "},
            {"id": 71, "image_id": 7, "caption": "Grüne Frucht"},
            {"id": 80, "image_id": 8, "caption": "A boat."},
        ],
        **more,
    }
    return put(folder / "captions.json", json.dumps(layout, ensure_ascii=False))


def test_the_official_layout_is_read(tmp_path: Path) -> None:
    rows = read(official(tmp_path))
    assert [(row.id, row.image_id, row.caption) for row in rows] == [
        ("70", "7", "An apple."), ("71", "7", "Grüne Frucht"), ("80", "8", "A boat."),
    ]  # fmt: skip
    assert [Path(row.image or "").name for row in rows] == ["a.jpg", "a.jpg", "b.jpg"]


def test_captions_alone_need_no_images(tmp_path: Path) -> None:
    source = put(tmp_path / "a.json", '{"annotations": [{"id": 1, "image_id": 5, "caption": "x"}]}')
    (row,) = read(source, Columns(image=None))
    assert (row.image, row.image_id) == (None, "5")
    with pytest.raises(UserError, match="has no 'images'"):
        read(source)


def test_broken_annotations_are_listed(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "image_id": 9, "caption": "Of no picture"},
        7,
        {"id": 2, "image_id": 7},
        {"id": 3, "image_id": 7, "caption": "Good"},
    ]
    good, problems = lenient(official(tmp_path, annotations=rows))
    assert good == ["Good"]
    assert [what for _, what in problems.listed] == [
        "there is no image with the id 9", "is not an object", "the caption is empty",
    ]  # fmt: skip


def test_a_plain_list_is_read(tmp_path: Path) -> None:
    draw(tmp_path / "images" / "a.jpg")
    rows = [{"image_id": 42, "file_name": "a.jpg", "captions": ["One", "Two"], "licence": None}]
    captions = read(put(tmp_path / "a.json", json.dumps(rows)))
    assert [(row.id, row.image_id, row.caption) for row in captions] == [
        ("42-1", "42", "One"), ("42-2", "42", "Two"),
    ]  # fmt: skip
    assert captions[0].image == f"{tmp_path}/images/a.jpg"


def test_elements_without_an_image_id_get_ids_of_their_own(tmp_path: Path) -> None:
    rows = [{"image_id": 2, "captions": ["One"]}, {"captions": ["Two"]}]
    captions = read(put(tmp_path / "a.json", json.dumps(rows)), Columns(image=None))
    assert [row.id for row in captions] == ["2-1", "row 2-1"]


def test_a_plain_list_with_other_keys_is_read(tmp_path: Path) -> None:
    rows = [{"words": "One"}, 5, {"words": "Two"}]
    good, problems = lenient(put(tmp_path / "a.json", json.dumps(rows)), Columns(caption="words"))
    assert good == ["One", "Two"] and problems.listed[0][1] == "the element is not an object"


@pytest.mark.parametrize(
    "content",
    ["hello", '{"images": []', '{"images": [], "annotations": [}', '{"images": []}', "[1 2]"],
)
def test_other_json_is_named(tmp_path: Path, content: str) -> None:
    source = put(tmp_path / "a.json", content)
    with pytest.raises(UserError) as caught:
        lenient(source)
    assert caught.value.where == source


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(JSON), st.integers(1, 9), st.sampled_from([None, 1]))
def test_streamed_json_equals_parsed_json(values: list, chunk: int, indent: int | None) -> None:
    content = json.dumps(values, indent=indent, ensure_ascii=True).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(untrusted_json, "CHUNK", chunk)
        assert list(JsonStream(io.BytesIO(content), "a").elements()) == values


def test_a_long_list_is_not_held(tmp_path: Path) -> None:
    content = json.dumps([{"caption": "kite " * 100} for _ in range(2_000)]).encode()
    stream = JsonStream(io.BytesIO(content), "a")
    longest = max(len(stream.text) for _ in stream.elements())
    assert longest < 2 * untrusted_json.CHUNK < len(content)


# --- shards ---


def sample(key: str, folder: Path, caption: str = "A kite") -> dict[str, bytes]:
    """The members of a sample in img2dataset's layout."""
    picture = Path(draw(folder / "picture.png")).read_bytes()
    facts = json.dumps({"key": key, "caption": caption, "status": "success"})
    return {f"{key}.jpg": picture, f"{key}.json": facts.encode(), f"{key}.txt": caption.encode()}


def test_shards_are_read_and_their_pictures_opened(tmp_path: Path) -> None:
    for number in (0, 1):
        keys = [f"{number:05d}{row:04d}" for row in range(2)]
        members = sample(keys[0], tmp_path, "One") | sample(keys[1], tmp_path, "Two")
        shard(tmp_path / f"{number:05d}.tar", members)
    for source in ("{00000..00001}.tar", "*.tar"):
        rows = read(f"{tmp_path}/{source}")
        assert [row.id for row in rows] == ["000000000", "000000001", "000010000", "000010001"]
        assert [row.caption for row in rows] == ["One", "Two", "One", "Two"]
        assert rows[3].image == f"tar://000010001.jpg::{tmp_path}/00001.tar"
        assert open_image(rows[3].image, 2).size == (4, 3)


def test_a_shard_by_url_is_read(tmp_path: Path) -> None:
    shard(tmp_path / "0.tar", sample("a.b/7", tmp_path, "One"))
    (row,) = read(f"file://{tmp_path}/0.tar")
    assert row.id == "a.b/7" and open_image(str(row.image), 2).size == (4, 3)


def test_captions_in_json_and_samples_without_any(tmp_path: Path) -> None:
    members = {
        "a.json": b'{"caption": "From JSON", "TEXT": "Other"}',
        "b.jpg": b"...",
        "b.json": b"{broken",
        "c.txt": b"No picture",
        "d.txt": b"Zw\xf6lf",
    }
    source = shard(tmp_path / "0.tar", members)
    good, problems = lenient(source)
    assert good == ["From JSON", "No picture"]
    assert problems.listed == [
        (f"{source}: b", "the caption is empty"),
        (f"{source}: d", "the caption is not UTF-8"),
    ]
    assert lenient(source, Columns(caption="TEXT"))[0][0] == "Other"
    assert all(row.image is None for row in read_captions(source, Columns(image=None), problems))


def test_a_shard_that_breaks_off_gives_what_it_holds(tmp_path: Path) -> None:
    members = {f"{row:03d}.txt": b"caption " * 200 for row in range(5)}
    whole = Path(shard(tmp_path / "0.tar", members)).read_bytes()
    (tmp_path / "0.tar").write_bytes(whole[:5_000])
    good, problems = lenient(f"{tmp_path}/0.tar")
    assert 1 <= len(good) <= 2
    assert problems.listed[0][1] == "the shard is truncated"


def test_pictures_before_the_break_of_a_shard_are_read(tmp_path: Path) -> None:
    members = {name: part for key in "abc" for name, part in sample(key, tmp_path).items()}
    source = shard(tmp_path / "0.tar", {**members, "d.txt": b"A kite" * 999})
    Path(source).write_bytes(Path(source).read_bytes()[: 2 * 512 * 9 + 2_000])
    rows = list(read_captions(source, None, Problems(1.0)))
    assert len(rows) == 3
    assert {open_image(str(row.image), 4).size for row in rows} == {(4, 3)}


def test_a_file_that_is_not_a_shard_is_named(tmp_path: Path) -> None:
    source = put(tmp_path / "0.tar", b"<html>404</html>" * 99)
    with pytest.raises(UserError, match="is not a tar file"):
        read(source)


def test_the_same_key_in_two_shards_is_fatal(tmp_path: Path) -> None:
    for number in (0, 1):
        shard(tmp_path / f"{number}.tar", {"7.txt": b"A kite"})
    with pytest.raises(UserError, match="'7' occurs twice"):
        read(f"{tmp_path}/*.tar")


def test_row_numbers_of_two_files_give_different_ids(tmp_path: Path) -> None:
    for name in ("x/a.jsonl", "y/a.jsonl", "y/deep/a.jsonl"):
        json_lines(tmp_path / name, [{"caption": "Kite"}, {"caption": "Boat"}])
    rows = read(f"{tmp_path}/**/*.jsonl")
    assert [row.id for row in rows[:3]] == ["x/a.jsonl:1", "x/a.jsonl:2", "y/a.jsonl:1"]
    assert len({row.id for row in rows}) == 6
    assert len(read(f"{tmp_path}/x/{{a,a}}.jsonl")) == 2


def test_problems_of_others_are_not_counted_as_rows(tmp_path: Path) -> None:
    problems = Problems(0.3)
    source = json_lines(tmp_path / "a.jsonl", [{"caption": "Kite"}] * 8 + [{"caption": ""}])
    captions = read_captions(source, None, problems)
    for _ in range(2):
        problems.add(next(captions).source, "the picture is broken")
    with pytest.raises(UserError, match="3 of 9 rows"):
        list(captions)
