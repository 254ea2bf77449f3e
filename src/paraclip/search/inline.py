"""Thumbnails in the terminal: Kitty's protocol, Sixel, or coloured blocks."""

import io
import sys
from collections.abc import Mapping

from PIL import Image

from paraclip.data.images import FORMATS
from paraclip.errors import UserError, printable
from paraclip.search.snapshot import Hit

WIDTH = 24  # columns of a picture


def show_pictures(found: Mapping[str, list[Hit]], thumbnails: Mapping[str, bytes]) -> None:
    """Print the pictures of each model's results, three in a row.

    Raises:
        UserError: standard output is not a terminal, or the optional package is not installed.
    """
    if not sys.stdout.isatty():
        raise UserError("--inline", "standard output is not a terminal", "Use --sheet results.png.")
    try:
        from textual_image.renderable import Image as Picture
    except ImportError as error:
        hint = "pip install '.[search]'"
        raise UserError("textual-image", "is not installed", hint) from error
    from rich.columns import Columns
    from rich.console import Console, Group
    from rich.text import Text

    console = Console()
    for label, hits in found.items():
        console.print(Text(printable(label), style="bold"))
        cells = [
            Group(
                Picture(Image.open(io.BytesIO(thumbnails[hit.id]), formats=FORMATS), width=WIDTH),
                Text(printable(f"{rank} {hit.path}"), overflow="ellipsis", no_wrap=True),
            )
            for rank, hit in enumerate(hits, start=1)
            if hit.id in thumbnails
        ]
        console.print(Columns(cells, width=WIDTH))
