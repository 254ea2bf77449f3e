"""A search, killed by a test while it copies vectors: `python killed_search.py STORE`."""

import sys
import time

from paraclip.image_search import snapshot
from paraclip.store import Store

if __name__ == "__main__":

    def slowly(*_: object) -> None:
        print("copied", flush=True)
        time.sleep(60)

    snapshot.pa.ipc.new_file = slowly
    snapshot.open_pool(Store(sys.argv[1]))
