"""An index run, killed by a test: `python killed_index.py FOLDER STORE MODEL [rebuild]`.

It writes after every batch of two pictures, embeds slowly, and hangs in the middle.
"""

import sys
import time
from itertools import count
from typing import Any

from paraclip.data.problems import Problems
from paraclip.image_search import build

if __name__ == "__main__":
    build._WRITE_ROWS, build.IMAGES_AT_ONCE = 2, 2
    embed, batches = build.embed, count()

    def slowly(*arguments: Any) -> Any:
        time.sleep(0.05 if next(batches) < 10 else 600)
        return embed(*arguments)

    build.embed = slowly
    folder, store, model, *rebuild = sys.argv[1:]
    build.build_index(folder, store, model, Problems(1.0), rebuild=bool(rebuild))
