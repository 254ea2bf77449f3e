"""The progress of a distributed run: captions in Ray's checkpoint, of all."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pyarrow.parquet as pq

from paraclip.paraphrase.distributed.places import CHECKPOINT, Place
from paraclip.progress import bar

PAUSE = 5.0  # seconds between two looks


class Counter:
    """Counts committed captions; reads only files that are new."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._seen: set[str] = set()

    def new(self) -> int:
        """Captions committed since the last call."""
        paths = set(self.place.tables(CHECKPOINT)) - self._seen
        self._seen |= paths
        return sum(pq.read_metadata(path, filesystem=self.place.files).num_rows for path in paths)


@contextmanager
def committed_shown(place: Place, total: int, done: int) -> Iterator[None]:
    """A bar of committed captions, while the block runs.

    Args:
        place: of the run.
        total: captions of the source.
        done: of these, committed by earlier runs.
    """
    stop, counter = threading.Event(), Counter(place)
    counter.new()
    with bar("asking", total, "caption", done) as shown:

        def watch() -> None:
            while not stop.wait(PAUSE):
                with suppress(OSError):  # the next look counts again
                    shown.update(counter.new())

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            shown.update(counter.new())
