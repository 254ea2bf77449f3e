"""Bad cache folders for `paraclip doctor`."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.inputs.attacks.cases import PLACES, Case, command


def cases(sound: Path) -> Iterator[Case]:
    """The cache folder itself, and the contents of its parts."""
    for words in (
        ("doctor", "--prune", "0"),
        ("doctor",),
        ("doctor", "--json"),
    ):
        for what, make in PLACES.items():
            for inside in ("", "features/x", "builtin/x.gguf"):
                name = f"{' '.join(words)}: {inside or 'the folder'} is {what}"
                yield Case("caches", name, partial(with_cache, words, inside, make))


def with_cache(
    words: tuple[str, ...], inside: str, make: Callable[[Path], object], folder: Path
) -> int:
    """Run a command with a bad cache."""
    path = folder / "cache" / inside if inside else folder / "cache"
    path.parent.mkdir(parents=True, exist_ok=True)
    make(path)
    os.environ["PARACLIP_CACHE"] = str(folder / "cache")
    return command(*words)
