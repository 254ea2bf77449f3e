"""Inputs that once gave a wrong result, a traceback or a hang."""

import bz2
import gzip
import lzma
import os
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from source_files import draw, json_lines, lenient, put, read, shard, texts

from paraclip.data import lines, rows
from paraclip.data.images import open_image
from paraclip.data.problems import Problems
from paraclip.data.reading import read_captions
from paraclip.data.triples import SCHEMA, attach_images, read_triples
from paraclip.errors import UserError
from paraclip.evaluation.pairs import read_pairs, read_wordings

TEXTS = {"caption": "A cat.", "paraphrase_1": "One cat.", "paraphrase_2": "A feline."}


def test_a_relative_folder_with_a_slash_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw(Path("a/b/c/cat.png")), put(Path("a/b/c/cat.txt"), "A cat.")
    for source in ("a/b", "./a/b", "a/b/", "a", f"{tmp_path}/a/b"):
        (row,) = read(source)
        assert row.image is not None and Path(row.image).samefile("a/b/c/cat.png")


@pytest.mark.parametrize("tail", [" [1]", "x", "]", " {}"])
@pytest.mark.parametrize(
    "whole", ['[{"caption": "A cat."}]', '{"images": [], "annotations": []}', "[]"]
)
def test_trailing_text_after_json_is_an_error(tmp_path: Path, whole: str, tail: str) -> None:
    source = put(tmp_path / "a.json", whole + tail)
    with pytest.raises(UserError, match="is not JSON") as caught:
        lenient(source)
    assert caught.value.where == source
    with pytest.raises(UserError, match="is not JSON"):
        read_pairs(put(tmp_path / "pairs.json", '[{"caption": "a", "paraphrase": "b"}]' + tail))


def lenient_problem(source: str) -> str:
    """The problem with the only row."""
    problems = Problems(1.0)
    with pytest.raises(UserError, match="no captions"):
        list(read_captions(source, None, problems))
    return problems.listed[0][1]


def test_a_header_over_a_mebibyte_and_json_out_of_bounds_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = put(tmp_path / "a.csv", "caption," + "x" * 2**20 + "\nA cat.,1\nA dog.,2\n")
    with pytest.raises(UserError, match="header is longer") as caught:
        lenient(source)
    assert caught.value.where == f"{source}:1"
    row = '{"caption": "A cat.", "score": 1e999}'
    monkeypatch.setattr(rows, "_LARGEST_JSON", 2**18)
    monkeypatch.setattr(rows, "_MOST_VALUES", 2**15)
    for content, words in (
        (f"[{row}]", "too large"), ("[" * 30_000, "nested deeper"), ("[" + "1," * 2**15, "values"),
        ("[]" + " " * 2**18, "more than 0.25 MiB"), ("3", "neither a list nor an object"),
    ):  # fmt: skip
        source = put(tmp_path / "a.json", content)
        with pytest.raises(UserError, match=words) as caught:
            lenient(source)
        assert caught.value.where == source
    assert lenient_problem(put(tmp_path / "a.jsonl", f"{row}\n")).startswith("the line")


def test_nan_is_not_a_paraphrase_and_no_two_columns_have_one_name(tmp_path: Path) -> None:
    columns = {name: ["A cat.", "A dog."] for name in TEXTS}
    columns["paraphrase_2"] = pa.array([float("nan")] * 2)
    source = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"id": ["1", "2"], **columns}), source)
    with pytest.raises(UserError, match="a paraphrase is empty"):
        read_triples(source)
    table = pa.Table.from_arrays([pa.array(["a"])] * 5, ["id", *TEXTS, "caption"])
    pq.write_table(table, source)
    for reader in (read, read_pairs, read_triples):
        with pytest.raises(UserError, match="two columns called 'caption'"):
            reader(source)


def test_a_nul_in_a_picture_name_or_a_score_too_large_is_a_broken_row(tmp_path: Path) -> None:
    rows = [{"id": "1", "image": "a\0b", **TEXTS}, {"id": "2", "image": "c", **TEXTS}]
    source = json_lines(tmp_path / "a.jsonl", rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    for path in (source, tmp_path / "a.parquet"):
        problems = Problems(1.0)
        assert read_triples(path, problems)["id"].to_pylist() == ["2"]
        assert "NUL" in problems.listed[0][1]
    assert "NUL" in lenient_problem(json_lines(tmp_path / "b.jsonl", rows[:1]))
    rows = [{"similarity_1": 10**50, **TEXTS}, {"similarity_1": 1, **TEXTS}]  # beyond 32 bits
    problems = Problems(1.0)
    assert len(read_triples(json_lines(tmp_path / "a.jsonl", rows), problems)) == 1
    assert "too large" in problems.listed[0][1]


def test_pictures_of_one_name_are_resolved_or_refused(tmp_path: Path) -> None:
    for folder, colour in (("x", "red"), ("y", "blue")):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (4, 4), colour).save(tmp_path / folder / "1.png")
    table = pa.Table.from_pylist([{"id": "1", "image_id": "y/1.png", **TEXTS}], SCHEMA)
    assert attach_images(table, tmp_path)["image"].to_pylist() == [f"{tmp_path}/y/1.png"]
    for name in ("1", "1.png"):
        table = pa.Table.from_pylist([{"id": "1", "image_id": name, **TEXTS}], SCHEMA)
        with pytest.raises(UserError, match=f"2 different pictures are named '{name}'"):
            attach_images(table, tmp_path)
    (tmp_path / "y/1.png").write_bytes((tmp_path / "x/1.png").read_bytes())
    assert attach_images(table, tmp_path)["image"].null_count == 0  # copies are one picture


def header(name: str = "a.txt", kind: bytes = tarfile.REGTYPE, size: int = 0) -> bytes:
    """The header of a member, with any size."""
    member = tarfile.TarInfo(name)
    member.type = kind
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = (
        (size % 2**96).to_bytes(12, "big")
        if size < 0
        else b"\x80" + bytes(size.to_bytes(11, "big"))
    )
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(fields: bytes) -> bytes:
    """A PAX header for the next member."""
    return header("pax", tarfile.XHDTYPE, len(fields)) + fields + b"\0" * (-len(fields) % 512)


SPARSE = bytearray(header("s", tarfile.GNUTYPE_SPARSE))
SPARSE[482] = 1  # is extended by blocks that are missing
SPARSE[148:156] = b" " * 8
SPARSE[148:156] = b"%06o\0 " % sum(SPARSE)
TARS = {
    "a negative size": header(size=-512),
    "a second negative size": header() + header("b.txt", size=-1024),
    "a huge size": header(size=2**80),
    "a huge PAX header": header("pax", tarfile.XHDTYPE, 2**40),
    "a huge long name": header("name", tarfile.GNUTYPE_LONGNAME, 2**40),
    "a negative size in PAX": pax(b"14 size=-1024\n") + header(),
    "many PAX headers": pax(b"9 a=bcde\n") * 2000 + header(),
    "a long number": pax(b"1" * 5000 + b" a=") + header(),
    "a sparse file without its map": bytes(SPARSE),
    "a broken sparse map": pax(b"22 GNU.sparse.map=x,y\n") + header(),
    "a broken sparse size": pax(b"23 GNU.sparse.size=x,y\n") + header(),
}


@pytest.mark.parametrize("content", TARS.values(), ids=TARS.keys())
def test_impossible_headers_of_a_shard_are_refused(tmp_path: Path, content: bytes) -> None:
    source = put(tmp_path / "0.tar", content)
    for use in (lambda: read(source), lambda: open_image(f"tar://a.png::{source}", 8)):
        with pytest.raises(UserError, match="is not a tar file") as caught:
            use()
        assert caught.value.where == source


@pytest.mark.parametrize(
    "name",
    [
        "zip://a.csv::b.zip", "tar://a.csv", "dir://a", "generic://a.csv", "reference://a.csv",
        "github://a:b@c/d.csv", "asyncwrapper://a.csv", "simplecache::http://localhost/a.csv",
        "memory://a.csv::file:///etc/passwd", "ftp://localhost/a.csv", "nowhere://a.csv",
        "http://localhost/a::file://etc/passwd.csv", "filecache://a.csv", "memory://none/*.csv",
    ],
)  # fmt: skip
def test_urls_that_wrap_others_are_refused(tmp_path: Path, name: str) -> None:
    for use in (lambda: read(name), lambda: read_triples(name)):
        with pytest.raises(UserError, match=r"not supported|no such"):
            use()
    with pytest.raises(UserError):
        open_image(name, 8)
    assert "no picture" in str(lenient_problem(json_lines(tmp_path / "a.jsonl", [
        {"caption": "A cat.", "image": f"simplecache::{tmp_path}/a.jsonl"}
    ])))  # fmt: skip


def test_double_colons_are_part_of_names(tmp_path: Path) -> None:
    secret = draw(tmp_path / "secret.png")
    picture = draw(tmp_path / "in" / f"simplecache::{secret}")
    put(Path(picture).with_suffix(".txt"), "A cat.")
    (row,) = read(str(tmp_path / "in"))
    os.remove(secret)
    assert row.image == picture and open_image(picture, 8).size == (4, 3)
    table = put(tmp_path / "a::b.csv", f"caption,image\nA cat.,in/simplecache::{secret}\n")
    assert [row.image for row in read(table)] == [picture]
    content = Path(picture).read_bytes()
    members = {}
    for key in (f"x::{tmp_path}/other", "100%3A", "a:", "::"):
        members |= {f"{key}.png": content, f"{key}.txt": b"A cat."}
    source = shard(tmp_path / "c::d.tar", members)
    assert [open_image(str(row.image), 8).size for row in read(source)] == [(4, 3)] * 4


@pytest.mark.parametrize("scheme", ["", "file://", "local://"])
def test_pipes_are_refused_also_as_urls_and_among_pictures_and_captions(
    tmp_path: Path, scheme: str
) -> None:
    for name in ("a.csv", "a.json", "a.jsonl", "a.parquet", "a.png", "a.tar", "b.txt"):
        os.mkfifo(tmp_path / name)
    uses = [lambda: open_image(f"{scheme}{tmp_path}/a.png", 8)]
    uses += [lambda: open_image(f"tar://a.png::{scheme}{tmp_path}/a.tar", 8)]
    readers = [read] if scheme else [read, read_pairs, read_triples, read_wordings]
    for reader in readers:
        for name in ("a.csv", "a.json", "a.jsonl", "a.parquet", "a.tar"):
            uses.append(lambda reader=reader, name=name: reader(f"{scheme}{tmp_path}/{name}"))
    for use in uses:
        with pytest.raises(UserError, match="is a pipe"):
            use()
    rows = [{"caption": "A cat.", "image": f"{scheme}{tmp_path}/a.png"}]
    assert "no picture" in lenient_problem(json_lines(tmp_path / "rows.jsonl", rows))
    put(tmp_path / "a.txt", "A cat."), draw(tmp_path / "b.png")
    draw(tmp_path / "c.png"), put(tmp_path / "c.txt", "A dog.")
    good, problems = lenient(str(tmp_path))
    assert good == ["A dog."] and problems.count == 2


@pytest.mark.parametrize(("suffix", "packed"), [("gz", gzip), ("bz2", bz2), ("xz", lzma)])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json"])
def test_files_that_expand_too_much_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, suffix: str, packed
) -> None:
    monkeypatch.setattr(lines, "_ALWAYS_ALLOWED", 2**16)
    start = {"a.csv": b"caption\n", "a.json": b"[", "a.jsonl": b""}[name]
    source = put(tmp_path / f"{name}.{suffix}", packed.compress(start + b"\n" * 2**23))
    with pytest.raises(UserError, match="expands to more than 100 times"):
        lenient(source)
    source = put(tmp_path / f"b.csv.{suffix}", packed.compress(b"caption\nA cat.\n"))
    assert texts(source) == ["A cat."]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Port of a server where /a.png is a picture and /to/URL redirects to URL."""

    class Redirects(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            target = self.path.removeprefix("/to/")
            self.send_response(302 if target != self.path else 200)
            self.send_header("Location", target)
            self.end_headers()
            if target == self.path:
                Image.new("RGB", (4, 3)).save(self.wfile, "PNG")

        def log_message(self, *_: object) -> None: ...

    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), Redirects) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running.server_port
        running.shutdown()


def test_pictures_are_not_redirected_to_other_hosts(server: int) -> None:
    here = f"http://127.0.0.1:{server}"
    for name in ("/a.png", "/to//a.png", f"/to/{here}/a.png"):
        assert open_image(here + name, 2).size == (4, 3)
    for target in (f"http://localhost:{server}/a.png", "file:///etc/passwd", "//localhost/a.png"):
        with pytest.raises(UserError, match=r"another host|cannot be downloaded"):
            open_image(f"{here}/to/{target}", 2)


def test_pictures_are_read_without_the_password_of_their_address(server: int) -> None:
    assert open_image(f"http://me:sesame@127.0.0.1:{server}/a.png", 2).size == (4, 3)
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:1/a\.png: cannot be") as caught:
        open_image("http://me:sesame@127.0.0.1:1/a.png", 2)
    assert "sesame" not in str(caught.value)


def test_a_path_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    os.mkdir(folder)
    for name in ("", "/a.csv", "/a.parquet"):
        with pytest.raises(UserError, match="not UTF-8") as caught:
            read(folder + name)
        assert str(caught.value).isprintable() and str(caught.value).encode()
    with pytest.raises(UserError, match="not UTF-8"):
        read_triples(f"{folder}/a.parquet")
