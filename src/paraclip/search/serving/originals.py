"""Files of indexed pictures; files outside the indexed folder are never returned."""

import os
from pathlib import Path

KINDS = {
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp",
    ".gif": "image/gif", ".bmp": "image/bmp", ".avif": "image/avif",
}  # fmt: skip
"""Types that browsers display. The media type is taken from this table, never from the file."""


def original(root: str, path: str) -> tuple[Path, str] | None:
    """The file and its media type; None if only a thumbnail can be shown.

    Args:
        root: root folder of the index.
        path: path of the picture in the index; untrusted.

    A path that leaves the root, by `..` or by a link, gives None, as do URLs and members of shards.
    """
    kind = KINDS.get(os.path.splitext(path)[1].lower())
    if not root or not kind or "\0" in path or "://" in path or "::" in path:
        return None
    inside = os.path.realpath(root)
    try:
        real = os.path.realpath(os.path.join(inside, path), strict=True)
    except OSError:
        return None
    if os.path.commonpath([inside, real]) != inside or not os.path.isfile(real):
        return None
    return Path(real), kind
