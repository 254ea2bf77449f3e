"""The exception for errors that the user can fix, and the imports of optional packages."""

import re
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

MOST_OFFERED = 8  # names in a hint
# To the last @ of the authority. Without one there, a colon that precedes no port begins a password
# with a slash, ? or #, which ends at the last @ that is in no query and before another URL. pathlib
# merges slashes. `az://container@host`, `[::1]:80` and `C:/` have no user.
_USER = re.compile(
    r"\b(?!abfss?:|az:|tar:)([A-Za-z]\w+:/+)(?:[^\s/?#]*@"
    r"|[^\s/?#@:[]*:(?!:|//|\d+(?:[/?#\s]|$))(?:(?!(?:::|,)\w+:/)\S)*@(?![^\s/?#]*[=&]))"
)
JOINERS = "\u200c\u200d\xa0\u202f\u3000"
"""Invisible, but part of ordinary words, of emoji, of macOS's screenshots and of Japanese names."""


def printable(text: object) -> str:
    """Escape control characters and characters that reverse or hide text.

    File names, server errors and data rows may contain escape sequences, which a terminal would
    execute.

    Returns:
        The text with `\\x1b` for an escape character, and so on. It can always be encoded.
    """
    line = str(text)
    if line.isprintable():
        return line
    return "".join(
        letter
        if letter.isprintable() or letter in JOINERS
        else letter.encode("unicode_escape").decode()
        for letter in line
    )


def without_password(text: object) -> str:
    """The text without the users and passwords of its URLs."""
    return _USER.sub(r"\1", str(text))


class UserError(Exception):
    """An error in the input or the environment that the user can fix.

    The command line prints it as one line without a traceback and exits with code 2. The line is
    always printable, and no part contains the password of a URL.

    Args:
        where: the file, with its row if applicable (`captions.csv:12`), or the option.
        what: the problem, as a clause without a full stop.
        hint: how to fix it, as an imperative sentence.
    """

    def __init__(self, where: object, what: str, hint: str) -> None:
        self.where, self.what, self.hint = map(without_password, (where, what, hint))
        line = f"{self.where}: {self.what}. {self.hint}"
        super().__init__(printable(" ".join(line.split())))

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str, str]]:
        """Pickle all three parts; the default of exceptions would keep only the line."""
        return UserError, (self.where, self.what, self.hint)


def nearest(name: str, known: list[str], prefix: str = "") -> str:
    """Return a hint that suggests known names similar to an unknown one."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=3, cutoff=0.6)
    if close:
        return f"Did you mean {' or '.join(f'{prefix}{one}' for one in close)}?"
    more = " and more" if len(known) > MOST_OFFERED else ""
    return f"There are {', '.join(known[:MOST_OFFERED])}{more}."


def optional_import(module: str, extra: str) -> Any:
    """Import a module that an extra of pyproject.toml installs; raises UserError without it."""
    try:
        return import_module(module)
    except ImportError as error:  # the module itself, or one that it needs
        raise not_installed(error.name or module, extra) from error


def require(needed: Mapping[str, str]) -> None:
    """Raise one UserError for all modules that are missing of those given with their extra."""
    missing = [module for module in needed if find_spec(module) is None]  # imports take seconds
    if missing:
        extras = sorted({needed[module] for module in missing})
        raise not_installed(" and ".join(missing), ",".join(extras))


def not_installed(module: str, extra: str) -> UserError:
    """Return the error for a missing module of an extra."""
    hint = f"pip install 'paraclip[{extra}]'"
    return UserError(module, "is not installed", hint)
