"""One attack on the readers: broken, huge and generated files give rows, a listed problem or one
line that says what to do."""

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from source_files import as_file, json_lines, lenient, put, read, shard, texts

from mangled import mangled
from paraclip.data import lines, rows
from paraclip.data.captions import Columns, Problems
from paraclip.data.images import open_image
from paraclip.data.reading import read_captions
from paraclip.data.rows import read_rows
from paraclip.data.triples import read_provenance, read_triples
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Arithmetic
from paraclip.evaluation.benchmarks import image_text_retrieval
from paraclip.evaluation.benchmarks.sugar_crepe import read_subset
from paraclip.evaluation.pairs import read_pairs, read_wordings
from paraclip.evaluation.pictures import read_pool
from study.benchmarks.coco_order import read_cases
from tiny import draw

# --- mangled files ---

ROW = {
    "id": "7", "index": 7, "image": "a.png", "image_id": "a.png", "filename": "a.png",
    "caption": "A cat.", "caption2": "One cat.", "negative_caption": "A dog.",
    "paraphrase_1": "One cat.", "paraphrase_2": "A feline.", "similarity_1": 0.5, "split": "test",
    "sentences": [{"raw": "A cat."}], "wordings": [{"text": "A cat, one"}],
    "variations": {"lexical": "One cat.", "contrast": "A dog."},
}  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["\0", "../a.png", "\ud800", "tar://x::y", 10**400, "nan", "a" * 10_001])
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["text", "raw", "contrast", "", "\0"]), inner, max_size=3)
    ),
    max_leaves=8,
)
ROWS = st.lists(
    st.fixed_dictionaries({}, optional={name: st.just(x) | VALUES for name, x in ROW.items()}),
    max_size=3,
)
PACKED = {".gz": gzip.compress, ".xz": lzma.compress}
PICTURE = io.BytesIO()
Image.new("RGB", (9, 9)).save(PICTURE, "PNG")


@st.composite
def files(draw: st.DrawFn, suffix: str) -> bytes:
    """A file of a format with sound rows or others, mangled or not."""
    rows = [ROW, *draw(st.just([]) | ROWS)]
    if suffix == ".png":
        content = PICTURE.getvalue()
    elif suffix == ".coco.json":
        images = [{"id": "a.png", "file_name": "a.png"}, *draw(st.lists(VALUES, max_size=1))]
        content = json.dumps({"images": images, "annotations": rows}).encode()
    else:
        content = as_file(rows, Path(f"a{suffix}").suffixes[0])
    content = draw(st.just(content) | mangled(content))
    pack = PACKED.get(Path(f"a{suffix}").suffix)
    return draw(st.just(pack(content)) | mangled(pack(content))) if pack else content


def rows_of(path: Path) -> None:
    """Read all rows of a source, as they are and as captions with several choices of columns."""
    for columns in (None, Columns(), Columns(image=None)):
        for where, values in read_rows(str(path), Problems(1.0), columns):
            assert where.startswith(str(path)) and isinstance(values, dict)
    for row in read_captions(str(path), Columns(), Problems(1.0)):
        assert row.caption.strip() and f"{row.id}{row.image_id}{row.image}".encode()


READS: list[Callable[[Path], Any]] = [
    rows_of, read_provenance, read_pool,
    lambda path: open_image(str(path), 8),
    lambda path: read_triples(path, Problems(1.0)),
    lambda path: read_pairs(path, problems=Problems(1.0)),
    lambda path: read_wordings(path, None, Problems(1.0)),
    lambda path: read_subset(path, Problems(1.0)),
    lambda path: image_text_retrieval._load_split(
        str(path), path, "Get it.", Arithmetic(max_broken=1.0)
    ),
    lambda path: read_cases(path, Problems(1.0)),
]  # fmt: skip


@pytest.mark.parametrize("suffix", [*rows.READERS, ".csv.gz", ".json.xz", ".coco.json", ".png"])
@given(data=st.data())
def test_a_mangled_file_gives_rows_or_one_line_that_names_it(
    suffix: str, data: st.DataObject
) -> None:
    content = data.draw(files(suffix))
    with tempfile.TemporaryDirectory() as made:
        folder, path = Path(made), Path(made, f"a{suffix}")
        draw(folder / "a.png")
        path.write_bytes(content)
        for read_file in READS:
            for place in (path, folder):
                problem = None
                try:
                    read_file(place)
                except UserError as error:
                    problem = error
                if problem is not None:
                    assert problem.where.startswith(str(place)) and problem.what and problem.hint
                    assert "\n" not in str(problem)


# --- made by hand ---


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
    return summed(block)


def summed(block: bytearray) -> bytes:
    """The header with its sum."""
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(fields: bytes) -> bytes:
    """A PAX header for the next member."""
    return header("pax", tarfile.XHDTYPE, len(fields)) + fields + b"\0" * (-len(fields) % 512)


SPARSE = bytearray(header("s", tarfile.GNUTYPE_SPARSE))
SPARSE[482] = 1  # is extended by blocks that are missing
TARS = {
    "a negative size": header(size=-512),
    "a second negative size": header() + header("b.txt", size=-1024),
    "a huge size": header(size=2**80),
    "a huge PAX header": header("pax", tarfile.XHDTYPE, 2**40),
    "a huge long name": header("name", tarfile.GNUTYPE_LONGNAME, 2**40),
    "a negative size in PAX": pax(b"14 size=-1024\n") + header(),
    "many PAX headers": pax(b"9 a=bcde\n") * 2000 + header(),
    "a long number": pax(b"1" * 5000 + b" a=") + header(),
    "a sparse file without its map": summed(SPARSE),
    "a broken sparse map": pax(b"22 GNU.sparse.map=x,y\n") + header(),
    "a broken sparse size": pax(b"23 GNU.sparse.size=x,y\n") + header(),
}
TWICE = io.BytesIO()
pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 2, ["caption", "caption"]), TWICE)
LARGE = '{"caption": "A cat.", "score": 1e999}'
WHOLE = ('[{"caption": "A cat."}]', '{"images": [], "annotations": []}', "[]")


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        *(pytest.param("a.tar", content, "is not a tar file", id=x) for x, content in TARS.items()),
        *(("a.json", text + tail, "is not JSON") for text in WHOLE for tail in (" [1]", "x", "]")),
        ("a.json", f"[{LARGE}]", "too large"), ("a.json", "[" * 30_000, "nested deeper"),
        ("a.json", "[" + "1," * 2**15, "values"), ("a.json", "3", "neither a list nor an object"),
        ("a.json", "[]" + " " * 2**18, "more than 0.25 MiB"),
        ("a.csv", f"caption,{'x' * 2**20}\nA cat.,1\n", "header is longer"),
        ("a.csv", '"caption"s,image\nOne,a.png\n', "first line that cannot be read"),
        ("a.csv", "caption,image\rOne,\rOne,a.png\n", "first line that cannot be read"),
        ("a.txt", "A cat.\rA dog.\r\nA bird.\r", "ends its lines by CR alone"),
        ("a.txt", "A cat.\nA dog.\n".encode("utf-16-le"), "is in UTF-16"),
        ("a.txt", "A cat.\nA dog.\n".encode("utf-16-be"), "is in UTF-16"),
        ("a.txt", "\0\0\0\n\0\n", "or no text"),
        ("a.csv", '"caption\nOne,a.png\n', "first line that cannot be read"),
        ("a.tsv", "caption\t\tcaption\n1\t2\t3\n", "two columns called 'caption'"),
        ("a.parquet", TWICE.getvalue(), "two columns called 'caption'"),
        ("a.csv", "caption\nOne\n".encode("utf-16"), "is in UTF-16"),
        ("a.csv.gz", gzip.compress(b"caption\nOne\n" * 99, mtime=0)[:-30], "cannot be read to its"),
        ("a.csv.gz", gzip.compress(b"caption\n" + b"\n" * 2**23), "expands to more than 100 times"),
        ("a.jsonl.bz2", bz2.compress(b"\n" * 2**23), "expands to more than 100 times"),
        ("a.json.xz", lzma.compress(b"[" + b"\n" * 2**23), "expands to more than 100 times"),
        ("a.parquet", "PAR1 but not really", "cannot be read as Parquet"),
        ("a.csv", "", "is empty"), ("a.jsonl", "", "no captions"), ("a.json", "", "is not JSON"),
    ],
)  # fmt: skip
def test_a_file_out_of_bounds_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str | bytes, word: str
) -> None:
    monkeypatch.setattr(rows, "LARGEST_JSON", 2**18)
    monkeypatch.setattr(rows, "MOST_VALUES", 2**15)
    monkeypatch.setattr(lines, "ALWAYS_ALLOWED", 2**16)
    source = put(tmp_path / name, content)
    with pytest.raises(UserError, match=word) as caught:
        lenient(source)
    assert caught.value.where.removesuffix(":1") == source
    if name.endswith(".tar"):
        with pytest.raises(UserError, match=word):
            open_image(f"tar://a.png::{source}", 8)


TEXTS = {"caption": "A cat.", "paraphrase_1": "One cat.", "paraphrase_2": "A feline."}


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ({"image": "a\0b"}, "NUL"), ({"caption": "A \0 cat."}, "NUL"), ({"id": "\0"}, "NUL"),
        ({"similarity_1": 10**50}, "too large"), ({"id": 1.5}, "id"),
        ({"paraphrase_2": None}, "paraphrase_2"), ({"similarity_1": "high"}, "is not a number"),
    ],
)  # fmt: skip
def test_a_triple_with_a_wrong_value_is_a_broken_row(
    tmp_path: Path, row: dict[str, Any], word: str
) -> None:
    problems, path = Problems(1.0), json_lines(tmp_path / "a.jsonl", [TEXTS | row, TEXTS])
    assert len(read_triples(path, problems)) == 1
    ((_, what),) = problems.listed
    assert word in what


def test_nan_is_no_paraphrase(tmp_path: Path) -> None:
    columns = {name: ["A cat."] for name in TEXTS} | {"paraphrase_2": [float("nan")]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="has no 'paraphrase_2'"):
        read_triples(tmp_path / "a.parquet")


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
    for use in (read, read_triples):
        with pytest.raises(UserError, match=r"not supported|no such"):
            use(name)
    with pytest.raises(UserError):
        open_image(name, 8)
    rows = [{"caption": "A cat.", "image": f"simplecache::{tmp_path}/a.jsonl"}]
    problems = Problems(1.0)
    with pytest.raises(UserError, match="no captions"):
        list(read_captions(json_lines(tmp_path / "a.jsonl", rows), None, problems))
    assert "no picture" in problems.listed[0][1]


def test_double_colons_are_part_of_names(tmp_path: Path) -> None:
    secret = draw(tmp_path / "secret.png")
    picture = draw(tmp_path / "in" / f"simplecache::{secret}", size=(4, 3))
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
    uses = [(open_image, ("a.png", 8)), (open_image, ("a.tar", 8))]
    readers = [read] if scheme else [read, read_pairs, read_triples, read_wordings]
    tables = ("a.csv", "a.json", "a.jsonl", "a.parquet", "a.tar")
    uses += [(reader, (name,)) for reader in readers for name in tables]
    for use, (name, *more) in uses:
        place = f"{scheme}{tmp_path}/{name}"
        with pytest.raises(UserError, match="is a pipe"):
            use(f"tar://a.png::{place}" if more and name == "a.tar" else place, *more)
    rows = [{"caption": "A cat.", "image": f"{scheme}{tmp_path}/a.png"}]
    with pytest.raises(UserError, match="no picture"):
        read(json_lines(tmp_path / "rows.jsonl", rows))
    put(tmp_path / "a.txt", "A cat."), draw(tmp_path / "b.png")
    draw(tmp_path / "c.png"), put(tmp_path / "c.txt", "A dog.")
    good, problems = lenient(str(tmp_path))
    assert good == ["A dog."] and problems.count == 2


def test_a_path_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    os.mkdir(folder)
    for name, use in (("", read), ("/a.csv", read), ("/a.pq", read), ("/a.pq", read_triples)):
        with pytest.raises(UserError, match="not UTF-8") as caught:
            use(folder + name)
        assert str(caught.value).isprintable() and str(caught.value).encode()


def test_compressed_files_are_read(tmp_path: Path) -> None:
    for suffix, packed in (("gz", gzip), ("bz2", bz2), ("xz", lzma)):
        source = put(tmp_path / f"b.csv.{suffix}", packed.compress(b"caption\nA cat.\n"))
        assert texts(source) == ["A cat."]
