"""Tables to which installed packages add, by entry points."""

import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, distributions, entry_points
from typing import Any, TypeVar, cast

from paraclip.errors import UserError

_Entry = TypeVar("_Entry")
_REPAIR = "Update or uninstall it."
packages_in_use: dict[str, None] = {}
"""Packages whose entries have been looked up, in order: an error may be theirs."""


class Table(MutableMapping[str, _Entry]):
    """Entries by name: ParaCLIP's own, then those of installed packages.

    A package declares its own in the group `paraclip.KIND`, such as `paraclip.losses`. One is
    imported when it is looked up, as an own one that is given as an entry point.

    Raises:
        UserError: at any use, a package declares a name that is taken; at the look-up, its entry
            cannot be imported, or is not of the kind of ParaCLIP's own.
    """

    def __init__(self, kind: str, own: Mapping[str, _Entry | EntryPoint]) -> None:
        self._group, self._own = f"paraclip.{kind}", dict(own)

    def _declared(self) -> dict[str, EntryPoint]:
        found = _entry_points(self._group, tuple(sys.path))
        for name in found.keys() & self._own.keys():
            raise _name_taken(found[name])
        return found

    def __getitem__(self, name: str) -> _Entry:
        point = self._declared().get(name)
        entry = point or self._own[name]
        if isinstance(entry, EntryPoint):
            entry = cast(_Entry, _imported(entry))
        if point is not None:
            packages_in_use[_package(point)] = None
            self._check_kind(name, entry, point)
        return entry

    def _check_kind(self, name: str, entry: _Entry, point: EntryPoint) -> None:
        """Raise UserError for an entry of another kind than the first of ParaCLIP's own."""
        first: Any = next(iter(self._own.values()))
        example = _imported(first) if isinstance(first, EntryPoint) else first
        if isinstance(example, type):
            kind = example.__base__ or example
            fits = isinstance(entry, type) and issubclass(entry, kind)
        else:
            kind = Callable if callable(example) else type(example)  # type: ignore[assignment]
            fits = isinstance(entry, kind)
        if not fits:
            what = f"its entry {name} of {self._group} is {entry!r}, and no {kind.__name__}"
            raise UserError(_package(point), what, _REPAIR)

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
    for point in _points_of(group):
        if point.name in found:
            raise _name_taken(point)
        found[point.name] = point
    return found


def _points_of(group: str) -> EntryPoints:
    try:
        return entry_points(group=group)
    except (ValueError, TypeError):  # of a damaged file of any package
        for package in distributions():
            try:
                _ = package.entry_points
            except (ValueError, TypeError) as error:
                what = f"its entry_points.txt cannot be read ({error})"
                raise UserError(f"package {package.name}", what, _REPAIR) from error
        raise


def _imported(point: EntryPoint) -> object:
    try:
        return point.load()
    except (Exception, SystemExit) as error:  # whatever its package raises
        what = f"its entry {point.name} of {point.group} cannot be imported ({error!r})"
        raise UserError(_package(point), what, _REPAIR) from error


def _name_taken(point: EntryPoint) -> UserError:
    what = f"declares {point.name} in {point.group}, where another entry has this name"
    return UserError(_package(point), what, _REPAIR)


def _package(point: EntryPoint) -> str:
    return f"package {point.dist.name if point.dist else point.module}"
