import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from paraclip.errors import UserError
from paraclip.models.row_store import KEYS, ROWS, stored_rows

WIDTH = 3


def numbered(keys: list[str]) -> torch.Tensor:
    """A row for each key, whose numbers are those of its letters."""
    return torch.tensor([[float(ord(key[0]))] * WIDTH for key in keys])


def rows_of(folder, keys, batch=2, made=None, leave_out="!"):
    """The rows of some keys; `made` receives those that are made, in batches."""

    def make(missing):
        for start in range(0, len(missing), batch):
            part = np.arange(start, min(start + batch, len(missing)))
            good = [place for place in part if keys[missing[place]] not in leave_out]
            names = [keys[number] for number in missing[good]]
            if made is not None:
                made.extend(names)
            yield np.array(good, int), numbered(names).reshape(len(names), WIDTH)

    return stored_rows(folder, keys, WIDTH, make)


@pytest.mark.parametrize("in_memory", [True, False])
def test_rows_are_found_by_key_and_made_once(tmp_path, in_memory):
    folder, made = None if in_memory else tmp_path / "store", []
    rows = rows_of(folder, ["a", "!", "c", "é\udcff"], made=made)
    assert torch.equal(rows[[2, 0, 3]], numbered(["c", "a", "é"])) and rows[[1]].isnan().all()
    assert torch.cat(list(rows.split(3))).nan_to_num(0).equal(rows[:].nan_to_num(0))
    taken = rows.take(np.array([2, -1, 2]))
    assert taken.shape == (3, WIDTH) and taken[[0, 2]].equal(numbered(["c", "c"]))
    assert taken[1:2].isnan().all() and rows_of(folder, []).take(np.array([-1]))[:].isnan().all()
    again = rows_of(folder, ["d", "c", "a"], made=made)
    assert torch.equal(again[:], numbered(["d", "c", "a"]))
    assert made == ["a", "c", "é\udcff", *(["d", "c", "a"] if in_memory else ["d"])]


KILLED = """
    import os, signal, torch
    from pathlib import Path
    from paraclip.models import row_store
    def make(missing):
        yield missing[:2], torch.ones(2, 3)
        yield missing[2:4], torch.full((2, 3), 2.0)
        write = row_store._write_end
        def stops(path, *more):
            if path.name == "keys.bin":
                os.kill(os.getpid(), signal.SIGKILL)
            write(path, *more)
        row_store._write_end = stops
        yield missing[4:], torch.zeros(1, 3)
    row_store.stored_rows(Path({folder!r}), list("edcba"), 3, make)
"""


@pytest.mark.slow
def test_a_killed_run_keeps_every_batch_and_no_key_without_a_row(tmp_path):
    folder, made = tmp_path / "store", []
    code = textwrap.dedent(KILLED).format(folder=str(folder))
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert (folder / ROWS).stat().st_size == 5 * 4 * WIDTH
    rows = rows_of(folder, list("abcde"), made=made)
    assert made == ["a"] and rows[:][:, 0].tolist() == [ord("a"), 2, 2, 1, 1]


@pytest.mark.slow
def test_rows_take_no_memory_before_they_are_read(tmp_path):
    keys, folder = [str(number) for number in range(40_000)], tmp_path / "store"
    stored_rows(folder, keys, 1024, lambda missing: [(missing, torch.ones(40_000, 1024))])
    script = f"""
        from pathlib import Path
        from resource import RUSAGE_SELF, getrusage
        from paraclip.models import row_store
        before = getrusage(RUSAGE_SELF).ru_maxrss
        keys = [str(number) for number in range(0, 40_000, 200)]
        found = row_store.stored_rows(Path({str(folder)!r}), keys, 1024, None)
        assert found[[5, 199]].sum() == 2048 and found.shape == (200, 1024)
        assert getrusage(RUSAGE_SELF).ru_maxrss - before < 50_000, "kilobytes of 160,000"
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)


def test_rows_of_another_model_are_refused(tmp_path):
    one, other = tmp_path / "one-fp32", tmp_path / "other-fp32"
    rows_of(one, ["a"])
    one.rename(other)
    with pytest.raises(UserError, match=r"rows of another model \(one-fp32\)"):
        rows_of(other, ["a"])


@pytest.mark.parametrize(
    ("name", "change", "again"),
    [
        (ROWS, lambda content: content[:13] + b"?" + content[14:], ["b"]),
        (KEYS, lambda content: content[:-1] + bytes([content[-1] ^ 1]), ["c"]),
        (ROWS, lambda content: content[:-9], ["c"]),
        (ROWS, lambda content: b"", ["a", "b", "c"]),
        (KEYS, lambda content: b'{"format"' + content[9:].replace(b"3", b"-3", 1), ["a", "b", "c"]),
        *((KEYS, lambda content, head=head: head + content[512:], ["a", "b", "c"])
          for head in (b"", b"[" * 512, b"\xff" * 512, b"{}".ljust(512), b"[1]".ljust(512))),
    ],
)  # fmt: skip
def test_damaged_rows_are_named_and_made_again(tmp_path, capsys, name, change, again):
    folder, made = tmp_path / "store", []
    rows_of(folder, ["a", "b", "c"])
    (folder / name).write_bytes(change((folder / name).read_bytes()))
    assert torch.equal(rows_of(folder, ["c", "b", "a"], made=made)[:], numbered(["c", "b", "a"]))
    assert sorted(made) == again
    assert str(folder / ROWS) in capsys.readouterr().err
    assert torch.equal(rows_of(folder, ["c", "b"], made=made)[:], numbered(["c", "b"]))
    assert len(made) == len(again) and not capsys.readouterr().err


@pytest.mark.parametrize("name", [ROWS, KEYS])
def test_what_follows_the_last_whole_row_is_written_over(tmp_path, capsys, name):
    rows_of(tmp_path / "store", ["a"])
    with (tmp_path / "store" / name).open("ab") as file:
        file.write(b"more")
    assert torch.equal(rows_of(tmp_path / "store", ["b", "a"])[:], numbered(["b", "a"]))
    assert not capsys.readouterr().err
    assert (tmp_path / "store" / ROWS).stat().st_size == 2 * 4 * WIDTH


def test_a_full_disk_is_one_line_before_the_work(tmp_path):
    with pytest.raises(UserError, match=r"has .* free"):
        stored_rows(tmp_path / "store", ["a"], 2**50, lambda _: pytest.fail("made"))
