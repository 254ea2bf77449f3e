"""Which pictures of a source an index run reads, and which rows it removes."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from paraclip.image_search.build import _find_changes
from paraclip.image_search.sources import UNKNOWN, FoundPicture
from paraclip.stores import STATE, picture_id, schema

PATHS = st.sampled_from(["a.png", "b/é.png", "日本.png", "https://example.org/a.png"])
STAMPS = st.tuples(
    st.sampled_from([UNKNOWN, 0, 2**40]), st.integers(0, 1), st.sampled_from(["", "a disc"])
)
Stamp = tuple[int, int, str]
SOURCES = st.dictionaries(PATHS, STAMPS)


def found(source: dict[str, Stamp]) -> list[FoundPicture]:
    """Pictures of a source with these sizes, times and captions."""
    return [
        FoundPicture(path, f"/root/{path}", caption, size, time)
        for path, (size, time, caption) in source.items()
    ]


def state(source: dict[str, Stamp]) -> pa.Table:
    """The state of an index of a source."""
    rows = [
        {
            "id": picture_id(path), "path": path, "size": size, "modified": time, "hash": path * 2,
            "caption": caption,
        }
        for path, (size, time, caption) in source.items()
    ]  # fmt: skip
    kinds = pa.schema([schema(1).field(name) for name in STATE])
    return pa.Table.from_pylist(rows, kinds)


@given(SOURCES, SOURCES)
def test_a_picture_is_read_if_it_is_new_or_its_stamp_differs(
    before: dict[str, Stamp], now: dict[str, Stamp]
) -> None:
    again = _find_changes(found(before), state(before))
    assert (again.to_read, again.unchanged, again.gone()) == ([], len(before), [])
    work = _find_changes(iter(found(now)), state(before))
    known = [
        path
        for path, (size, _, caption) in now.items()
        if path in before
        and (now[path] == before[path] or (size == UNKNOWN and caption == before[path][2]))
    ]
    assert [one.path for one in work.to_read] == [path for path in now if path not in known]
    assert work.unchanged == len(known) and work.present == set(now)
    assert work.gone() == [picture_id(path) for path in before if path not in now]
    assert work.known == {path: picture_id(path) for path in before}
    assert work.by_hash == {path * 2: picture_id(path) for path in before}
