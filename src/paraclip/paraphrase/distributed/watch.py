"""Progress of a distributed run: the share of captions in Ray's checkpoint."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pyarrow.parquet as pq

from paraclip.paraphrase.distributed.places import CHECKPOINT, Place
from paraclip.progress import bar

PAUSE = 5.0  # seconds between updates


class Counter:
    """Counts committed captions; reads only new files."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._seen: set[str] = set()

    def new(self) -> int:
        """Number of captions committed since the last call."""
        paths = set(self.place.tables(CHECKPOINT)) - self._seen
        files = self.place.files
        rows: int = sum(pq.read_metadata(path, filesystem=files).num_rows for path in paths)
        self._seen |= paths  # not before: a failed update is repeated
        return rows


@contextmanager
def committed_shown(place: Place, total: int, done: int) -> Iterator[None]:
    """Show a bar of committed captions while the block runs.

    Args:
        place: location of the run.
        total: number of captions in the source.
        done: number of them that earlier runs committed.
    """
    stop, counter = threading.Event(), Counter(place)
    counter.new()
    with bar("asking", total, "caption", done) as shown:

        def watch() -> None:
            while not stop.wait(PAUSE):
                with suppress(OSError):  # the next update counts again
                    shown.update(counter.new())

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            shown.update(counter.new())
