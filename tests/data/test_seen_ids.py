"""The compact set of ids."""

from hypothesis import given
from hypothesis import strategies as st

from paraclip.data.seen import SMALLEST, SeenIds


@given(st.lists(st.text(max_size=3)))
def test_it_answers_as_a_set_does(names: list[str]) -> None:
    seen, plain = SeenIds(), set()
    for name in names:
        assert seen.add(name) == (name not in plain)
        plain.add(name)


def test_it_remembers_all_after_growing() -> None:
    seen = SeenIds()
    names = [f"photo-{number}" for number in range(3 * SMALLEST)]
    assert all(seen.add(name) for name in names)
    assert not any(seen.add(name) for name in names)
    assert seen.count == len(names)


def test_it_costs_at_most_24_bytes_an_id() -> None:
    seen = SeenIds()
    for number in range(20_000):
        seen.add(str(number))
    assert 12 <= seen.slots.itemsize * len(seen.slots) / 20_000 <= 24
