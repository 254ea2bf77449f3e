"""Progress bars: counts, totals, resumed work, and silence on request."""

import sys
from collections.abc import Iterator

import pytest

from paraclip import progress
from paraclip.progress import bar, steps, suggest, track


def closing(closed: list[bool]) -> Iterator[int]:
    """Three numbers; records that the iteration has ended."""
    try:
        yield from range(3)
    finally:
        closed.append(True)


def test_a_bar_is_on_standard_error_and_counts_items_that_were_used(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.delenv("PARACLIP_QUIET", raising=False)
    assert list(track("abc", "reading", 3, "row")) == ["a", "b", "c"]
    out, err = capfd.readouterr()
    assert out == "" and "reading" in err and "3/3" in err and "row/s" in err
    with pytest.raises(ZeroDivisionError):
        for number in track(iter([1, 0]), "dividing", 2):
            assert 1 / number
    assert "1/2" in (shown := capfd.readouterr().err) and "2/2" not in shown
    with bar("indexing", 8, "picture", done=5) as progress:
        progress.update(2)
        assert progress.n == 7
    assert "5/8" in (err := capfd.readouterr().err) and "7/8" in err


def test_a_bar_redraws_itself_in_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.delenv("PARACLIP_QUIET", raising=False)
    monkeypatch.setattr(progress, "LOGGED_SECONDS", 0.0)
    for _ in track(range(20), "reading", 20):
        list(track(range(3), "reading parts", 3))
    lines = capfd.readouterr().err.splitlines(keepends=True)
    assert len(lines) >= 2 and all(line.startswith("reading") for line in lines)
    assert not any("\r" in line or "\x1b" in line for line in lines) and "20/20" in lines[-1]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for _ in track(range(2), "reading", 2):
        pass
    assert "\r" in capfd.readouterr().err


def test_a_bar_that_a_signal_stopped_while_it_was_made_ends_without_a_word():
    kind = type(bar("made", 1))
    unfinished = kind.__new__(kind)
    unfinished.disable = False  # the first thing that tqdm sets
    unfinished.__del__()  # pytest would turn what is raised in it into a warning


@pytest.mark.parametrize("total", [None, 3, 0])
def test_a_quiet_bar_prints_nothing_and_passes_every_item(
    total: int | None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("PARACLIP_QUIET", "1")
    closed: list[bool] = []
    assert list(track(closing(closed), "reading", total)) == [0, 1, 2]
    assert closed == [True] and capfd.readouterr() == ("", "")


def test_steps_are_named_as_they_begin(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.delenv("PARACLIP_QUIET", raising=False)
    with steps("export", "loading", "writing") as begin_next:
        begin_next()
        first = capfd.readouterr().err
        assert "1/2" in first and "loading" in first and "writing" not in first
        begin_next()
    assert "2/2" in (last := capfd.readouterr().err) and "writing" in last


def test_a_suggestion_can_be_pasted_and_quiet_leaves_it_out(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    for quiet, shown in (("0", "Next: paraclip search 'a dog' --index 'my index'\n"), ("1", "")):
        monkeypatch.setenv("PARACLIP_QUIET", quiet)
        suggest("search", "a dog", "--index", "my index")
        assert capfd.readouterr() == ("", shown)
