"""The contract of a store."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from paraclip.compute.exact_search import nearest_rows
from paraclip.errors import UserError
from paraclip.image_search.snapshot import open_pool
from paraclip.store import (
    STATE,
    IndexFacts,
    Store,
    StoreUnavailable,
    existing_facts,
    picture_id,
    schema,
    vectors_of,
)

WIDTH = 8
NASTY = ["a'b\"c.png", "<script>alert(1)</script>.png", "naïve 日本 🍕.png", "%s {x} \\ ;--.png"]
FACTS = IndexFacts("space", WIDTH, "/pictures", "/pictures", {"base": "mini"})


def made(paths: list[str], seed: int = 0) -> pa.Table:
    """Rows with random vectors."""
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((len(paths), WIDTH)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    columns = {
        "id": [picture_id(path) for path in paths],
        "path": paths,
        "size": [2**40 + number for number in range(len(paths))],
        "modified": [10**18 + number for number in range(len(paths))],
        "hash": [f"{number:064x}" for number in range(len(paths))],
        "caption": [f"caption of {path}" for path in paths],
        "thumbnail": [bytes([number % 256, 0, 255]) for number in range(len(paths))],
        "time": [datetime(2025, 1, 2, tzinfo=UTC)] * len(paths),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), WIDTH),
    }
    return pa.table(columns, schema=schema(WIDTH))


def stored(store: Store) -> pa.Table:
    tables = list(store.batches(schema(WIDTH).names))
    return pa.concat_tables(tables).sort_by("path") if tables else schema(WIDTH).empty_table()


@pytest.fixture
def store(address: str) -> Store:
    opened = Store(address)
    opened.save_facts(FACTS)
    return opened


def test_an_empty_place_has_no_facts(address: str) -> None:
    opened = Store(address)
    assert opened.facts() is None
    with pytest.raises(UserError, match="there is no index"):
        existing_facts(opened)
    with pytest.raises(StoreUnavailable):
        opened.version()


def test_facts_are_kept_and_changed_without_touching_the_rows(store: Store, address: str) -> None:
    store.put(made(["a.png"]))
    both = replace(FACTS, models={**FACTS.models, "tuned": "t.safetensors"})
    store.save_facts(both)
    again = Store(address)
    assert again.facts() == both
    assert again.count() == 1
    with pytest.raises(ValueError, match="another index"):
        again.save_facts(replace(FACTS, created="f" * 32))
    assert again.count() == 1


def test_a_staged_index_replaces_the_other_in_one_step(store: Store, address: str) -> None:
    store.put(made(["a.png", "b.png"]))
    other = IndexFacts("other", WIDTH + 1, "/p", "/p", {"base": "mini"})
    staged = store.staged()
    assert staged.facts() is None
    staged.save_facts(other)
    again = store.staged()
    assert (again.facts(), again.count()) == (other, 0), "a stopped run resumes"
    reader = Store(address)
    assert (reader.facts(), reader.count()) == (FACTS, 2)
    store.publish()
    for opened in (store, reader):
        assert (opened.facts(), opened.count()) == (other, 0)
    assert store.staged().facts() is None


def test_an_abandoned_staged_index_is_removed(store: Store, tmp_path: Path) -> None:
    store.put(made(["a.png"]))
    staged = store.staged()
    staged.save_facts(replace(FACTS, created="f" * 32))
    staged.put(made(["b.png"]))
    store.finish()
    assert store.staged().facts() is None and store.count() == 1
    assert len(list((tmp_path / "index").glob("*.lance"))) <= 1


def test_rows_come_back_as_they_were(store: Store) -> None:
    rows = made(NASTY)
    store.put(rows)
    assert stored(store).equals(rows.sort_by("path"))
    wanted = [picture_id(NASTY[1]), "0" * 24]
    assert store.rows(wanted, ("path", "thumbnail")).to_pydict() == {
        "path": [NASTY[1]],
        "thumbnail": [b"\x01\x00\xff"],
    }
    assert store.rows([]).num_rows == 0
    assert store.state().select(list(STATE)).num_rows == 4


def test_a_row_replaces_the_one_with_its_id(store: Store) -> None:
    store.put(made(["a.png", "b.png"]))
    store.put(made(["b.png", "c.png"], seed=1))
    assert stored(store)["path"].to_pylist() == ["a.png", "b.png", "c.png"]
    assert stored(store)["vector"][1] == made(["b.png", "c.png"], seed=1)["vector"][0]


def test_removed_rows_are_gone_and_unknown_ids_are_ignored(store: Store) -> None:
    store.put(made(NASTY))
    store.remove([picture_id(NASTY[0]), picture_id("never.png")])
    store.remove([])
    assert sorted(stored(store)["path"].to_pylist()) == sorted(NASTY[1:])


def test_every_change_changes_the_version(store: Store) -> None:
    seen = [store.version()]
    for change in (
        lambda: store.put(made(["a.png"])),
        lambda: store.put(made(["b.png"])),
        lambda: store.remove([picture_id("a.png")]),
    ):
        change()
        seen.append(store.version())
    assert len(set(seen)) == 4
    assert store.version() == seen[-1]


def test_search_in_the_store_is_exact(store: Store) -> None:
    rows = made([f"{number}.png" for number in range(200)])
    store.put(rows)
    store.finish()
    vectors = vectors_of(rows)
    queries = vectors[:3] + 0.7 * vectors[3:6]
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    ids, scores = store.nearest(queries, 7)
    positions, expected = nearest_rows(queries, vectors, 7)
    names = rows["id"].to_pylist()
    assert ids == [[names[place] for place in places] for places in positions]
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_a_large_table_gets_an_index_that_finds_what_an_exact_search_does(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "EXACT_BELOW", 1000)
    store.put(made([f"{number}.png" for number in range(1200)]))
    store.finish()
    queries = vectors_of(made([f"{number}.png" for number in range(100)], seed=1))
    exact, found = (store.nearest(queries, 10, exact=given)[0] for given in (True, False))
    assert sum(len({*one} & {*other}) for one, other in zip(exact, found, strict=True)) > 900
    query = vectors_of(made(["0.png"]))
    ids, _ = store.nearest(query, 1000)
    assert len(set(ids[0])) == 1000, "more than its usual candidates"
    store.put(made(["new.png"], seed=5))
    store.finish()
    ids, _ = store.nearest(vectors_of(made(["new.png"], seed=5)), 1)
    assert ids == [[picture_id("new.png")]], "rows after the index are searched as well"


def test_no_query_has_no_results(store: Store) -> None:
    store.put(made(["a.png"]))
    ids, scores = store.nearest(np.zeros((0, WIDTH), np.float32), 10)
    assert (ids, scores.shape) == ([], (0, 0))


def test_threads_may_search_and_read_at_once(store: Store) -> None:
    rows = made([f"{number}.png" for number in range(200)])
    store.put(rows)
    names = rows["id"].to_pylist()
    vectors = vectors_of(rows)

    def search(place: int) -> str:
        return store.nearest(vectors[place : place + 1], 3)[0][0][0]

    def read(place: int) -> str:
        return store.rows([names[place]], ("id",))["id"][0].as_py()

    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(call, n) for n in range(100) for call in (search, read)]
        assert [call.result() for call in calls] == [name for name in names[:100] for _ in "12"]


@pytest.mark.parametrize(
    "text",
    [
        *("[]", "{", '{"width": 1}', "1" * 5000, "[" * 100000, '{"format": "paraclip-index-0"}'),
        FACTS.to_json().replace("{", '{"more": 1,', 1),
        *(replace(FACTS, width=width).to_json() for width in (8.5, True, "8", 0, 2**20)),
        *(replace(FACTS, models=models).to_json() for models in ({}, {"base": 1}, [])),
        *(
            replace(FACTS, cutoffs=cutoffs).to_json()
            for cutoffs in ({"base": "high"}, {"base": float("nan")}, [1], None)
        ),
        # A folder of the cache is named after the creation, and must not be another one.
        *(
            replace(FACTS, created=created).to_json()
            for created in ("", "../" * 4, "/tmp/my", "A" * 32, "a" * 31, "a" * 32 + "\n")
        ),
    ],
)
def test_facts_of_anyone_are_checked(text: str) -> None:
    with pytest.raises(UserError, match="is not an index of this version"):
        IndexFacts.from_json(text, "index.json")
    # An index that an earlier version made has no cut-offs.
    assert IndexFacts.from_json(FACTS.to_json().replace('"cutoffs": {},', ""), "a") == FACTS


def test_stores_of_one_name_in_two_folders_keep_their_snapshots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        opened = Store("index")
        opened.save_facts(FACTS)
        opened.put(made([f"{name}.png"]))
        open_pool(opened)
    assert len(list((tmp_path / "cache" / "search").glob("*/*"))) == 2
    monkeypatch.chdir(tmp_path)
    open_pool(Store("two/index"))
    assert len(list((tmp_path / "cache" / "search").glob("*/*"))) == 2


def test_the_version_changes_although_finder_left_a_file_there(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save_facts(FACTS)
    (table,) = tmp_path.glob("*.lance")
    (table / "_versions" / ".DS_Store").touch()
    before = store.version()
    store.put(made(["a.png"]))
    assert store.version() != before


def test_no_folder_for_temporary_files_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    store = Store(tmp_path / "index")
    store.save_facts(FACTS)
    store.put(made(["a.png"]))
    assert store.count() == 1
