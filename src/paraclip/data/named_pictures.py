"""Finding the one picture that a name means among files of equal names."""

import os
from collections.abc import Sequence

from paraclip.errors import UserError
from paraclip.files import file_hash


def one_of(name: str, candidates: Sequence[str], where: object) -> str:
    """The file that a name means.

    Args:
        name: of a picture, with or without folders and the suffix.
        candidates: paths of files that may be meant, one at least.
        where: for the error.

    Raises:
        UserError: several fit, and they are different pictures.
    """
    if len(candidates) == 1:
        return candidates[0]
    fitting = [path for path in candidates if ends_with(path, name)] or list(candidates)
    if len(fitting) > 1 and len({fingerprint(path) for path in fitting}) > 1:
        shown = " and ".join(sorted(fitting)[:2])
        what = f"{len(fitting):,} different pictures are called {name!r}, such as {shown}"
        raise UserError(where, what, "Name it with its folder, or rename the others.")
    return fitting[0]


def ends_with(path: str, name: str) -> bool:
    """Whether a path ends in the name, whole parts of it, its suffix counted or not."""
    ending = f"/{name.removeprefix('./')}"
    return any(f"/{form}".endswith(ending) for form in (path, os.path.splitext(path)[0]))


def fingerprint(path: str) -> str:
    """Hash of the content, so that copies are one picture; of what is no file here, its name."""
    try:
        return file_hash(path)
    except OSError:
        return path
