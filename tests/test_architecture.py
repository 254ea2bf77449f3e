"""The layers of ARCHITECTURE.md are those of the imports."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "paraclip"


def rooms() -> set[str]:
    """The packages and modules directly under `paraclip`."""
    found = {path.stem for path in SOURCE.glob("*.py")}
    return found | {path.parent.name for path in SOURCE.glob("*/__init__.py")} - {"paraclip"}


def layers() -> dict[str, int]:
    """The number of the layer of each room, the lowest first."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    shown = re.search(r"## Layers\n.*?\n\n((?:    [^\n]+\n)+)", text, re.DOTALL)
    assert shown is not None
    lines = [line.split() for line in shown[1].splitlines()]
    return {room: number for number, names in enumerate(reversed(lines)) for room in names}


def imported(path: Path) -> Iterator[str]:
    """The rooms that a module imports, at its top or within a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("paraclip"):
            inside = node.module.split(".")[1:]
            yield from inside[:1] or (alias.name for alias in node.names)


def test_every_room_has_a_layer() -> None:
    assert {*layers()} == rooms() - {"__init__", "__main__"}


def test_a_room_imports_only_what_stands_below_it() -> None:
    known = layers()
    wrong = [
        f"{path.relative_to(SOURCE)} imports {other}"
        for path in sorted(SOURCE.rglob("*.py"))
        if (room := path.relative_to(SOURCE).parts[0].removesuffix(".py")) in known
        for other in imported(path)
        if other != room and known[other] >= known[room]
    ]
    assert not wrong
