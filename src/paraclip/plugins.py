"""Tables to which installed packages add, by entry points."""

import sys
from collections.abc import Iterator, Mapping, MutableMapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar, cast

from paraclip.errors import UserError

_Entry = TypeVar("_Entry")


class Table(MutableMapping[str, _Entry]):
    """Entries by name: ParaCLIP's own, then those of installed packages.

    A package declares its own in the group `paraclip.KIND`, such as `paraclip.losses`. One is
    imported when it is looked up, as an own one that is given as an entry point.

    Raises:
        UserError: at any use, a package declares a name that is taken; at the look-up, its entry
            cannot be imported.
    """

    def __init__(self, kind: str, own: Mapping[str, _Entry | EntryPoint]) -> None:
        self._group, self._own = f"paraclip.{kind}", dict(own)

    def _declared(self) -> dict[str, EntryPoint]:
        found = _entry_points(self._group, tuple(sys.path))
        for name in found.keys() & self._own.keys():
            raise _name_taken(found[name])
        return found

    def __getitem__(self, name: str) -> _Entry:
        entry = self._declared().get(name) or self._own[name]
        return cast(_Entry, _imported(entry)) if isinstance(entry, EntryPoint) else entry

    def __setitem__(self, name: str, entry: _Entry) -> None:
        self._own[name] = entry

    def __delitem__(self, name: str) -> None:
        del self._own[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*self._own, *self._declared()])

    def __len__(self) -> int:
        return len(self._own) + len(self._declared())


@cache
def _entry_points(group: str, path: tuple[str, ...]) -> dict[str, EntryPoint]:
    """Those of the packages in `path`, which is `sys.path`, by name."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        if point.name in found:
            raise _name_taken(point)
        found[point.name] = point
    return found


def _imported(point: EntryPoint) -> object:
    try:
        return point.load()
    except Exception as error:  # whatever its package raises
        what = f"its entry {point.name} of {point.group} cannot be imported ({error!r})"
        raise UserError(_package(point), what, "Update or uninstall it.") from error


def _name_taken(point: EntryPoint) -> UserError:
    what = f"declares {point.name} in {point.group}, where another entry has this name"
    return UserError(_package(point), what, "Update or uninstall it.")


def _package(point: EntryPoint) -> str:
    return f"package {point.dist.name if point.dist else point.module}"
