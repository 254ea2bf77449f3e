"""ARCHITECTURE.md is true: its layers are those of the imports, and what it names is there."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "paraclip"


def rooms() -> set[str]:
    """The packages and modules directly under `paraclip`."""
    found = {path.stem for path in SOURCE.glob("*.py")}
    return found | {path.parent.name for path in SOURCE.glob("*/__init__.py")} - {"paraclip"}


def text_after(heading: str) -> str:
    """The text of ARCHITECTURE.md from a heading on."""
    return (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition(f"## {heading}\n")[2]


def layers() -> dict[str, int]:
    """The number of the layer of each room, the lowest first."""
    shown = re.search(r"\n\n((?:    [^\n]+\n)+)", text_after("Layers"))
    assert shown is not None
    lines = [line.split() for line in shown[1].splitlines()]
    return {room: number for number, names in enumerate(reversed(lines)) for room in names}


def imported(path: Path) -> Iterator[str]:
    """The rooms that a module imports, at its top or within a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("paraclip"):
            inside = node.module.split(".")[1:]
            yield from inside[:1] or (alias.name for alias in node.names)


def imported_modules(path: Path, known: set[str]) -> Iterator[str]:
    """The modules of those known that a module imports, at its top or within a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from known & {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            for full in (f"{node.module}.{alias.name}" for alias in node.names):
                yield full if full in known else node.module


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


def test_what_writes_paraphrases_serves_two_verbs_alone() -> None:
    """Its packages are an extra; those who train, search and check do without."""
    others = (path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))
    using = {path.as_posix() for path in others if "paraphrase" in imported(SOURCE / path)}
    using = {name for name in using if not name.startswith("paraphrase/")}
    # `serve --llm` imports the last; the table of packages asks a backend for its own.
    assert using == {
        "commands/generate.py", "commands/packages.py", "image_search/serving/rewording.py"
    }  # fmt: skip


def test_a_room_is_small_enough_to_be_read() -> None:
    for room in (path.parent for path in SOURCE.glob("*/__init__.py")):
        files = sorted(room.rglob("*.py"))
        lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
        assert lines <= 4000 and len(files) <= 20, room.name


def test_modules_import_each_other_in_no_circle() -> None:
    modules = {
        ".".join(["paraclip", *path.relative_to(SOURCE).with_suffix("").parts]).removesuffix(
            ".__init__"
        ): path
        for path in SOURCE.rglob("*.py")
    }
    found = {name: set(imported_modules(path, {*modules})) for name, path in modules.items()}
    assert len(set().union(*found.values())) > 100, "imports are seen"
    TopologicalSorter(found).prepare()  # raises an error that names the circle


def test_one_step_leads_from_a_task_to_its_place() -> None:
    rows = re.findall(r"^\| .+ \| .*`(\S+\.py)` \| `(\w+)` \|$", text_after("Where is it?"), re.M)
    assert len(rows) >= 12
    for file, name in rows:
        tree = ast.parse((SOURCE / file).read_text(encoding="utf-8"))
        defined = {getattr(node, "name", None) for node in tree.body}
        for node in tree.body:
            targets = (
                [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
            )
            defined |= {one.id for one in targets if isinstance(one, ast.Name)}
        assert name in defined, file


def test_a_name_is_that_of_one_class_or_public_function() -> None:
    """But that a verb may have the name of the function that it calls."""
    found = Counter(
        (node.name, path.relative_to(SOURCE).parts[0] in ("__main__.py", "api.py", "commands"))
        for path in SOURCE.rglob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
        or (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_")
    )
    assert not [name for (name, _), count in found.items() if count > 1]


def test_a_test_reaches_a_private_name_only_through_its_module() -> None:
    """As `module._name`, which a reader sees; it is not imported, nor named in a text."""
    ours = {"paraclip", "benchmarks", "recipes", "study"}
    wrong = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            used: list[str] = []
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in ours:
                used = [alias.name for alias in node.names]
            elif isinstance(node, ast.Constant) and str(node.value).partition(".")[0] in ours:
                used = str(node.value).split(".") if " " not in str(node.value) else []
            wrong += [f"{path.name}: {name}" for name in used if re.fullmatch(r"_[^_]\w*", name)]
    assert not wrong
