"""Progress bars: counts, totals, resumed work, and silence on request."""

from collections.abc import Iterator

import pytest

from paraclip.progress import bar, track


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars are drawn, whatever the environment of the tests."""
    monkeypatch.delenv("PARACLIP_QUIET", raising=False)


def closing(closed: list[bool]) -> Iterator[int]:
    """Three numbers; records that the iteration has ended."""
    try:
        yield from range(3)
    finally:
        closed.append(True)


@pytest.mark.usefixtures("shown")
def test_a_bar_is_on_standard_error_and_reaches_its_total(capfd: pytest.CaptureFixture) -> None:
    assert list(track("abc", "reading", 3, "row")) == ["a", "b", "c"]
    out, err = capfd.readouterr()
    assert out == "" and "reading" in err and "3/3" in err and "row/s" in err


@pytest.mark.usefixtures("shown")
def test_items_are_counted_after_the_caller_has_used_them(capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(ZeroDivisionError):
        for number in track(iter([1, 0]), "dividing", 2):
            assert 1 / number
    assert "1/2" in (shown := capfd.readouterr().err) and "2/2" not in shown


@pytest.mark.usefixtures("shown")
def test_a_resumed_bar_starts_at_what_is_done(capfd: pytest.CaptureFixture) -> None:
    with bar("indexing", 8, "picture", done=5) as progress:
        progress.update(2)
        assert progress.n == 7
    assert "5/8" in (err := capfd.readouterr().err) and "7/8" in err


@pytest.mark.parametrize("total", [None, 3, 0])
def test_a_quiet_bar_prints_nothing_and_passes_every_item(
    total: int | None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("PARACLIP_QUIET", "1")
    closed: list[bool] = []
    assert list(track(closing(closed), "reading", total)) == [0, 1, 2]
    assert closed == [True] and capfd.readouterr() == ("", "")
