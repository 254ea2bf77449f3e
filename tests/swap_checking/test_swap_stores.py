"""Every kind of index is read as it was written, and broken ones are reported."""

import errno
import io
import os
import sqlite3
from contextlib import closing
from functools import partial
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from paraclip.errors import UserError
from paraclip.indexes import read_index
from paraclip.systems.columns import arrow_parts, columns_of
from paraclip.systems.system import IndexAddress

WIDTH = 6
IMAGES = """
CREATE TABLE images (id INTEGER PRIMARY KEY, deleted BOOLEAN, filepath TEXT NOT NULL UNIQUE,
modified_at DATETIME NOT NULL, size INTEGER NOT NULL, vector BLOB NOT NULL, indexing BOOLEAN,
hash TEXT)
"""


@pytest.fixture
def rows():
    """Five vectors, not of unit length, and their paths."""
    values = np.random.default_rng(0).standard_normal((5, WIDTH)).astype(np.float32)
    return values, [f"/photos/{number}.jpg" for number in range(5)]


def read(address, **options):
    return read_index(IndexAddress(str(address), **options))


def assert_read(index, values, paths) -> None:
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    np.testing.assert_allclose(index.vectors, unit, atol=1e-6)
    assert index.paths == paths


def as_lists(values, kind=None):
    return pa.array(values.tolist(), kind or pa.list_(pa.float32()))


def test_npy(rows, tmp_path) -> None:
    values, paths = rows
    np.save(tmp_path / "v.npy", values.astype(np.float16))
    found = read(tmp_path / "v.npy")
    assert found.paths is None and found.kind == "npy"
    (tmp_path / "p.txt").write_text("\n".join(paths))
    found = read(tmp_path / "v.npy", paths=str(tmp_path / "p.txt"))
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-6)
    assert found.paths == paths
    names = ["a\u2028b.jpg", "c\x0bd.jpg", "e\x85.jpg", "d.jpg", "f.jpg"]
    for ending in ("\n", "\r\n"):  # a mark is no part of a name, nor other separators its end
        (tmp_path / "p.txt").write_bytes((ending.join(names) + ending).encode("utf-8-sig"))
        assert read(tmp_path / "v.npy", paths=str(tmp_path / "p.txt")).paths == names
    (tmp_path / "p.txt").write_text("one")
    with pytest.raises(UserError, match="5 vectors have 1 paths"):
        read(tmp_path / "v.npy", paths=str(tmp_path / "p.txt"))
    pq.write_table(pa.table({"vector": as_lists(values)}), tmp_path / "v.parquet")
    with pytest.raises(UserError, match=r"gives the paths of a \.npy file"):
        read(tmp_path / "v.parquet", paths=str(tmp_path / "p.txt"))


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.list_(pa.float32(), WIDTH)])
def test_parquet(rows, kind, tmp_path) -> None:
    values, paths = rows
    table = pa.table({"n": range(5), "filepath": paths, "embedding": as_lists(values, kind)})
    pq.write_table(table, tmp_path / "v.parquet", row_group_size=2)
    assert_read(read(tmp_path / "v.parquet"), values, paths)
    folder = tmp_path / "parts"
    folder.mkdir()
    pq.write_table(table.slice(0, 3), folder / "0.parquet")
    pq.write_table(table.slice(3), folder / "1.parquet")
    for name in ("README.md", "._0.parquet", "_SUCCESS"):
        (folder / name).write_text("no Parquet")
    assert_read(read(folder), values, paths)
    two = table.append_column("other", as_lists(values[::-1]))
    pq.write_table(two, tmp_path / "two.parquet")
    with pytest.raises(UserError, match=r"several columns of vectors\. Add --column embedding"):
        read(tmp_path / "two.parquet")
    assert_read(read(tmp_path / "two.parquet", column="other"), values[::-1], paths)
    with pytest.raises(UserError, match=r"has no column embeding.*embedding"):
        read(tmp_path / "two.parquet", column="embeding")


def test_a_column_of_the_pictures_themselves_is_not_their_path(rows, tmp_path) -> None:
    # As the datasets of Hugging Face, whose column `image` has bytes and path.
    values, paths = rows
    content = [{"bytes": b"\xff\xd8", "path": "a.jpg"}] * 5
    for pictures in (pa.array(content), pa.array([b"\xff\xd8"] * 5, pa.large_binary())):
        table = pa.table({"image": pictures, "vector": as_lists(values)})
        pq.write_table(table, tmp_path / "v.parquet")
        assert read(tmp_path / "v.parquet").paths is None
        pq.write_table(table.append_column("url", pa.array(paths)), tmp_path / "v.parquet")
        assert_read(read(tmp_path / "v.parquet"), values, paths)


def clip_retrieval_index(folder, vectors, paths) -> None:
    """Parts of vectors and of paths, one file each."""
    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for part, values in enumerate(vectors):
        np.save(folder / "img_emb" / f"img_emb_{part}.npy", values)
    for part, names in enumerate(paths):
        meta = pa.table({"image_path": names, "caption": names})
        pq.write_table(meta, folder / "metadata" / f"metadata_{part}.parquet")


def test_clip_retrieval(rows, tmp_path) -> None:
    values, paths = rows
    clip_retrieval_index(tmp_path, (values[:3], values[3:]), ([None, *paths[1:3]], paths[3:]))
    found = read(tmp_path)
    assert_read(found, values, ["", *paths[1:]])
    assert found.kind == "clip-retrieval"
    # The sum of the rows is right.
    clip_retrieval_index(tmp_path, (), (paths[:2], paths[2:]))
    with pytest.raises(UserError, match=r"metadata_0\.parquet: has 2 rows for the 3 vectors"):
        read(tmp_path)
    clip_retrieval_index(tmp_path / "widths", (values[:3], values[3:, :4]), ())
    with pytest.raises(UserError, match=f"has vectors of {WIDTH} and of 4 numbers"):
        read(tmp_path / "widths")


def test_lancedb(rows, tmp_path) -> None:
    lancedb = pytest.importorskip("lancedb")
    values, paths = rows
    database = lancedb.connect(tmp_path / "db")
    data = pa.table({"path": paths, "vector": as_lists(values, pa.list_(pa.float32(), WIDTH))})
    database.create_table("photos", data)
    assert_read(read(tmp_path / "db"), values, paths)
    database.create_table("other", data)
    with pytest.raises(UserError, match=r"several tables.*--table other"):
        read(tmp_path / "db")
    assert read(tmp_path / "db", table="photos").kind == "lancedb"
    (tmp_path / "empty" / "photos.lance").mkdir(parents=True)
    for suffix, place in (("nothing", "empty"), ("lance", "db"), ("manifest", "db")):
        for file in (tmp_path / "db").rglob(f"*.{suffix}"):
            if file.is_file():
                file.write_bytes(b"garbage")
        with pytest.raises(UserError, match="cannot be read as LanceDB"):
            read(tmp_path / place, table="photos")
    lancedb.connect(tmp_path / "panic").create_table("t", data)
    (manifest,) = (tmp_path / "panic").rglob("*.manifest")
    content = manifest.read_bytes()
    manifest.write_bytes(content[:3] + b"\xff" + content[4:])  # a length; LanceDB panics
    with pytest.raises(UserError, match="cannot be read as LanceDB"):
        read(tmp_path / "panic")
    with pytest.raises(UserError, match="there is no such"):
        read(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()


def rclip_index(path, values, paths) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(IMAGES)
        for name, row in zip(paths, values, strict=True):
            blob = row.astype("<f4").tobytes()
            statement = "INSERT INTO images VALUES (NULL, NULL, ?, 0, 0, ?, NULL, NULL)"
            connection.execute(statement, (name, blob))
        connection.execute("UPDATE images SET deleted = 1 WHERE id = 3")
        connection.commit()


@pytest.mark.parametrize("name", ["plain", "a#b", "a?b", "a%20b", "ä b"])
def test_rclip(rows, name, tmp_path) -> None:
    values, paths = rows
    (tmp_path / name).mkdir()
    rclip_index(tmp_path / name / "db.sqlite3", values, paths)
    before = (tmp_path / name / "db.sqlite3").read_bytes()
    kept = [0, 1, 3, 4]
    for address in (tmp_path / name, tmp_path / name / "db.sqlite3"):
        assert_read(read(address), values[kept], [paths[row] for row in kept])
    assert (tmp_path / name / "db.sqlite3").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.slow
def test_pgvector(rows, postgres) -> None:
    values, paths = rows
    postgres.query(f"CREATE TABLE photos (id int, file_path text, v vector({WIDTH}))")
    for number, (path, row) in enumerate(zip(paths, values, strict=True)):
        postgres.query(f"INSERT INTO photos VALUES ({number}, '{path}', '{row.tolist()}')")
    postgres.query("INSERT INTO photos VALUES (9, 'none', NULL)")
    found = read(postgres.url)
    assert_read(found, values, paths)
    assert found.kind == "pgvector"
    postgres.query(f"CREATE TABLE bare (n int, embedding halfvec({WIDTH}))")
    postgres.query(f"INSERT INTO bare VALUES (1, '{values[0].tolist()}')")
    with pytest.raises(UserError, match=r"several tables.*public\.bare"):
        read(postgres.url)
    assert read(postgres.url, table="bare").paths is None
    with pytest.raises(UserError, match=r"has no table public\.fotos"):
        read(postgres.url, table="fotos")
    postgres.query("DROP TABLE photos, bare")
    # Pictures in the table, and a row without a path.
    postgres.query(f"CREATE TABLE photos (image bytea, url text, v vector({WIDTH}))")
    for path, vector in zip(("NULL", "'/b.jpg'"), values.tolist(), strict=False):
        postgres.query(f"INSERT INTO photos VALUES ('\\xffd8', {path}, '{vector}')")
    assert sorted(read(postgres.url).paths) == ["", "/b.jpg"]
    postgres.query("DROP TABLE photos")
    # A large table is read from its start, so that training that resumes sees the same bank.
    vector = f"'{values[0].tolist()}'::vector({WIDTH})"
    setting = "current_setting('synchronize_seqscans')"
    postgres.query(f"CREATE VIEW scanned AS SELECT {setting} AS path, {vector} AS v")
    assert read(postgres.url).paths == ["off"]
    postgres.query("DROP VIEW scanned")


@pytest.mark.slow
def test_immich(rows, postgres) -> None:
    values, paths = rows
    ids = [f"00000000-0000-0000-0000-00000000000{number}" for number in range(5)]
    postgres.query('CREATE TABLE asset (id uuid PRIMARY KEY, "originalPath" text)')
    postgres.query(f'CREATE TABLE smart_search ("assetId" uuid, embedding vector({WIDTH}))')
    for key, path, row in zip(ids, paths, values, strict=True):
        postgres.query(f"INSERT INTO asset VALUES ('{key}', '{path}')")
        postgres.query(f"INSERT INTO smart_search VALUES ('{key}', '{row.tolist()}')")
    found = read(postgres.url)
    order = [found.paths.index(path) for path in paths]
    assert found.kind == "immich"
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    np.testing.assert_allclose(found.vectors[order], unit, atol=1e-6)
    postgres.query("DROP TABLE asset, smart_search")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["double precision[]", "jsonb"])
def test_librephotos(kind, rows, postgres) -> None:
    """Arrays of older versions; JSON of newer ones, in a string or not, with the model's name."""
    values, paths = rows
    postgres.query("CREATE TABLE api_file (hash varchar(64) PRIMARY KEY, path text)")
    model = ", clip_embeddings_model text" if kind == "jsonb" else ""
    postgres.query(f"CREATE TABLE api_photo (clip_embeddings {kind}, main_file_id text{model})")
    stored = []
    for number, (path, row) in enumerate(zip(paths, values.tolist(), strict=True)):
        postgres.query(f"INSERT INTO api_file VALUES ('{number}', '{path}')")
        value = f"'{row}'" if kind == "jsonb" else f"ARRAY{row}"
        if kind == "jsonb" and number % 2:
            value = f"to_jsonb({value}::text)"
        stored.append((value, number))
    names = iter(["NULL", "'clip_vit_b32'"] * 4)
    others = [("NULL", 0)]
    if kind == "jsonb":
        others += [("'[]'", 0)]
        postgres.query("INSERT INTO api_photo VALUES ('[1, 2]', '0', 'mobileclip_s2')")
        with pytest.raises(UserError, match=r"has no column clip.*mobileclip_s2"):
            read(postgres.url, column="clip")
        assert_read(read(postgres.url), np.array([[1.0, 2.0]]), [paths[0]])
    for value, number in stored + others:
        name = f", {next(names)}" if kind == "jsonb" else ""
        postgres.query(f"INSERT INTO api_photo VALUES ({value}, '{number}'{name})")
    named = {}
    if kind == "jsonb":
        named = {"column": "clip_vit_b32"}
        with pytest.raises(UserError, match=r"several columns.*--column clip_vit_b32"):
            read(postgres.url)
    found = read(postgres.url, **named)
    assert (found.kind, found.paths) == ("librephotos", list(paths))
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    np.testing.assert_allclose(found.vectors, unit, atol=1e-6)
    postgres.query("DROP TABLE api_photo, api_file")


@pytest.mark.slow
def test_a_database_that_computes_for_too_long_is_given_up(postgres, monkeypatch) -> None:
    monkeypatch.setattr("paraclip.systems.pgvector.STATEMENT_SECONDS", 1)
    slow = f"pg_sleep(9)::text AS path, '{[1] * WIDTH}'::vector AS v"
    postgres.query(f"CREATE VIEW photos AS SELECT {slow}")
    try:
        with pytest.raises(UserError, match="has not answered within 1 seconds"):
            read(postgres.url)
    finally:
        postgres.query("DROP VIEW photos")


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("me:secret@127.0.0.1:1/photos", "the database cannot be read"),
        ("me:50%off-secret@127.0.0.1:1/db", "is not a valid address. In a password, write % as"),
        ("me:secret@[127.0.0.1:1/db", "is not a valid address"),
        ("me:a secret@127.0.0.1:1/db", "is not a valid address"),
    ],
)
def test_a_server_that_does_not_answer_shows_no_password(address, what) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(UserError, match=what) as caught:
        read(f"postgresql://{address}")
    assert "secret" not in str(caught.value) and "127.0.0.1" in str(caught.value)


GOOD = np.ones((3, WIDTH), np.float32)
ENDLESS = (
    "CREATE VIEW images AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
    " SELECT i AS id, 'a' AS filepath, x'00' AS vector, NULL AS deleted FROM n"
)
INSERT = f"{IMAGES}; INSERT INTO images VALUES (1, NULL, 'a', 0, 0, "


def several(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, values, values)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("npy", GOOD * [[1], [0], [1]], "row 2: its vector is zero"),
        ("npy", GOOD * [[1], [1], [np.inf]], "row 3: its vector is zero or not finite"),
        ("npy", GOOD[0], "is not a matrix of floats"),
        ("npy", GOOD.astype(int), "is not a matrix of floats"),
        ("npy", GOOD[:0], "holds no rows"),
        ("npy", np.array([{}], dtype=object), r"is not a readable .npy file"),
        ("npy", b"\x93NUMPY garbage", r"is not a readable .npy file"),
        ("npy", several(GOOD), "is an .npz file of several arrays"),
        ("parquet", [[1.0, 2.0], [1.0]], "different widths"),
        ("parquet", [[1.0, 2.0], None], "rows without a vector"),
        ("parquet", [1, 2], "has no column of vectors"),
        ("parquet", b"PAR1 garbage", "cannot be read as Parquet"),
        ("sqlite3", "CREATE TABLE other (x)", "is not an index of rclip"),
        ("sqlite3", ENDLESS, "is not an index of rclip"),
        ("sqlite3", f"{INSERT} zeroblob(90000000), NULL, NULL)", "is not an index of rclip"),
        ("sqlite3", f"{INSERT} x'0102', NULL, NULL)", "different widths"),
        ("sqlite3", IMAGES, "holds no rows"),
    ],
)
def test_what_holds_no_vectors_is_refused(name, content, reason, tmp_path) -> None:
    path = tmp_path / f"v.{name}"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif name == "npy":
        np.save(path, content, allow_pickle=True)
    elif name == "parquet":
        pq.write_table(pa.table({"v": content}), path)
    else:
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(content)
    with pytest.raises(UserError, match=reason):
        read(path)


def test_ctrl_c_reaches_a_query_of_sqlite(rows, tmp_path, monkeypatch) -> None:
    class Interrupted(sqlite3.Connection):
        def set_progress_handler(self, handler, steps) -> None:
            super().set_progress_handler(Mock(side_effect=KeyboardInterrupt), 1)

    rclip_index(tmp_path / "db.sqlite3", *rows)
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Interrupted))
    with pytest.raises(KeyboardInterrupt):
        read(tmp_path / "db.sqlite3")


def test_a_subfolder_that_may_not_be_read_is_not_left_out(rows, tmp_path, monkeypatch) -> None:
    pq.write_table(pa.table({"vector": as_lists(rows[0])}), tmp_path / "0.parquet")
    (tmp_path / "more").mkdir()
    scan = os.scandir

    def refuse(folder):
        if str(folder).endswith("more"):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(UserError, match="more: may not be read"):
        read(tmp_path)


def test_more_rows_than_allowed(rows, tmp_path, monkeypatch) -> None:
    values, paths = rows
    np.save(tmp_path / "v.npy", values)
    pq.write_table(pa.table({"v": as_lists(values)}), tmp_path / "v.parquet")
    rclip_index(tmp_path / "db.sqlite3", values, paths)
    monkeypatch.setattr("paraclip.indexes.MOST_ROWS", 3)
    for name in ("v.npy", "v.parquet", "db.sqlite3"):
        with pytest.raises(UserError, match="holds more than 3 rows"):
            read(tmp_path / name)


@given(arrays(np.float16, array_shapes(min_dims=2, max_dims=2, max_side=5)), st.integers(0, 3))
def test_a_part_of_a_column_is_its_own_rows(values, start) -> None:
    width = values.shape[1]
    for kind in (pa.float16(), pa.float32(), pa.float64()):
        for lists in (pa.list_(kind), pa.large_list(kind), pa.list_(kind, width)):
            column = pa.array(values.tolist(), lists)[min(start, len(values) - 1) :]
            batch, place = pa.RecordBatch.from_arrays([column], ["v"]), IndexAddress("a")
            assert columns_of(batch.schema, place) == ("v", None)
            ((_, part),) = arrow_parts([batch], "v", None, place)
            np.testing.assert_array_equal(part, values[-len(column) :])
