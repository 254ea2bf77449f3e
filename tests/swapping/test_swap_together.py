"""Two runs of `swap` and `undo` change one cache at once: the base is never lost."""

import io
import shutil
import sys
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
from program_caches import contents, small_architectures, small_base
from test_swap import FILES

from forked import SERVER
from paraclip.errors import UserError
from paraclip.swapping.run import swap, undo

pytestmark = pytest.mark.slow
SYSTEM = "hugging-face"


class Watched(io.StringIO):
    """A stream that reports its first text: that a run waits for another."""

    def __init__(self, waits: Event) -> None:
        super().__init__()
        self.waits = waits

    def write(self, text: str) -> int:
        self.waits.set()
        return len(text)


def act(seed: int, cache: Path, first: bool, stopped: Event, other: Event) -> None:
    """Swap to the model of a seed, or undo for 0; exit with 2 for an error.

    The first run stops before its first change, until the other one has ended or waits for it.
    """

    def stop(event: str, values: tuple[object, ...]) -> None:
        if first and event == "os.link" and not stopped.is_set():
            stopped.set()
            assert other.wait(200)

    sys.addaudithook(stop)
    try:
        with small_architectures():
            if not first:
                sys.stderr = Watched(other)
            if seed:
                swap(SYSTEM, cache, small_base(SYSTEM, seed=seed))
            else:
                undo(SYSTEM, cache)
    except UserError:
        sys.exit(2)
    finally:
        if not first:
            other.set()


@pytest.mark.parametrize(
    ("swapped", "seeds", "codes"),
    [
        pytest.param(0, (1, 2), [0, 2], id="two models"),
        pytest.param(0, (1, 1), [0, 0], id="one model twice"),
        pytest.param(1, (0, 2), [0, 0], id="undo and swap"),
        pytest.param(1, (0, 0), [0, 2], id="undo twice"),
        pytest.param(0, (1, 0), [0, 2], id="swap and undo"),
    ],
)
def test_two_runs_at_once_keep_the_base(
    swapped: int, seeds: tuple[int, int], codes: list[int], cache: Callable[[str], Path]
) -> None:
    """The second run gets the folder of the model in the cache that the first one gets."""
    hub = cache(SYSTEM)
    shutil.rmtree(hub / "models--laion--clip")
    before = contents(hub)
    if swapped:
        swap(SYSTEM, hub, small_base(SYSTEM, seed=swapped))
    stopped, other = SERVER.Event(), SERVER.Event()
    folders = (hub, hub / "models--openai--clip")
    runs = [
        SERVER.Process(target=act, args=(seed, folder, not number, stopped, other))
        for number, (seed, folder) in enumerate(zip(seeds, folders, strict=True))
    ]
    runs[0].start()
    assert stopped.wait(200)
    runs[1].start()
    for run in runs:
        run.join(200)
    assert [run.exitcode for run in runs] == codes
    if any(seeds):
        assert contents(hub)[FILES[SYSTEM][0]] != before[FILES[SYSTEM][0]]
        undo(SYSTEM, hub)
    assert contents(hub) == before
