"""`paraclip index`, killed or interrupted by a test: `python killed_index.py index FOLDER ...`.

It writes after every batch of two pictures, embeds slowly, and hangs in the middle.
"""

import sys
import time
from itertools import count
from typing import Any

from paraclip.cli import main
from paraclip.image_search import build

if __name__ == "__main__":
    build.ROWS_AT_ONCE, build.IMAGES_AT_ONCE = 2, 2
    embed, batches = build.pixel_vectors, count()

    def slowly(*arguments: Any) -> Any:
        time.sleep(0.05 if next(batches) < 10 else 600)
        return embed(*arguments)

    build.pixel_vectors = slowly
    sys.exit(main())
