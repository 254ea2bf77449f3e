"""One picture of the source, read once for its hash, thumbnail and pixels."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from PIL import Image

from paraclip.data.images import LARGEST_FILE, decode_image, fault, open_bytes
from paraclip.errors import UserError
from paraclip.search.indexing.sources import Found

THUMBNAIL = 256  # pixels of the longer side
QUALITY = 80


@dataclass(frozen=True)
class Read:
    """Result of reading a picture.

    Args:
        found: the picture.
        hash: SHA-256 of the file, hexadecimal.
        row: id of the row in the index with this hash; the following fields are then empty.
        pixels: input of the image tower.
        thumbnail: JPEG.
    """

    found: Found
    hash: str
    row: str | None = None
    pixels: Any = None
    thumbnail: bytes = b""


@dataclass(frozen=True)
class Reader:
    """Reads pictures in several threads.

    Args:
        preprocess: the model's function from a picture to pixels.
        side: side in pixels that the model expects.
        by_hash: ids of the rows in the index by hash.
    """

    preprocess: Callable[[Image.Image], Any]
    side: int
    by_hash: dict[str, str]

    def read(self, found: Found) -> Read | UserError:
        """The picture, or the reason why it cannot be read."""
        try:
            content = file_bytes(found)
            digest = sha256(content).hexdigest()
            if row := self.by_hash.get(digest):
                return Read(found, digest, row)
            image = decode_image(io.BytesIO(content), found.path, max(self.side, THUMBNAIL // 2))
            return Read(found, digest, None, self.preprocess(image), thumbnail(image))
        except UserError as error:
            return error


def file_bytes(found: Found) -> bytes:
    """The bytes of the picture's file; raises UserError if it cannot be read, or is too large."""
    try:
        with open_bytes(found.reference) as stream:
            content = stream.read(LARGEST_FILE + 1)
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(found.path, "vanished while it was indexed", "Index again.") from error
    except Exception as error:  # tar files and file systems raise many types
        raise UserError(found.path, fault(error), "Replace the picture.") from error
    if len(content) > LARGEST_FILE:
        what = f"holds more than {LARGEST_FILE / 2**20:.0f} MiB"
        raise UserError(found.path, what, "Replace the picture.")
    return content


def thumbnail(image: Image.Image) -> bytes:
    """A JPEG with a longer side of at most 256 pixels, without the metadata of the file."""
    small = image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR, reducing_gap=2.0)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()
