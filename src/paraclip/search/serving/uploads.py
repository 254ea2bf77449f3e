"""Uploaded pictures, limited in bytes and pixels before they are decoded."""

import io

from PIL import Image

from paraclip.data.images import FORMATS, decode_image, without_warnings
from paraclip.errors import UserError

MOST_BYTES = 10 * 2**20
MOST_PIXELS = 50_000_000
SIDE = 336  # pixels; the largest input of CLIP models


def check_upload(content: bytes) -> Image.Image:
    """Decode the picture to RGB at a small size.

    Raises:
        UserError: it has too many bytes or pixels, or is not a picture in a known format.
    """
    if len(content) > MOST_BYTES:
        raise UserError("picture", f"is larger than {MOST_BYTES >> 20} MiB", "Send a smaller one.")
    try:
        with without_warnings(), Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            pixels = opened.width * opened.height
    except Exception:  # decode_image reports it
        pixels = 0
    if pixels > MOST_PIXELS:
        what = f"has more than {MOST_PIXELS // 10**6} million pixels"
        raise UserError("picture", what, "Send a smaller one.")
    return decode_image(io.BytesIO(content), "picture", SIDE)
