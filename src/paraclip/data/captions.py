"""One caption, as every reader yields it and every later step takes it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption and, where there is one, its picture.

    Args:
        id: unique in the source; follows the caption through generation and training.
        caption: the text, stripped, never empty.
        image_id: captions with the same `image_id` describe the same picture; equal to `id`
            where the caption has no picture.
        image: where the picture's bytes are (a path or an fsspec URL), or None: such a caption
            feeds L2 and L3 only.
        source: file and row it came from (`captions.csv:12`), for messages.
    """

    id: str
    caption: str
    image_id: str
    image: str | None
    source: str
