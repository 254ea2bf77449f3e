"""mkdocs: pages from outside `docs/`, and the reference made from the code.

Links to files that are not in the site lead to the repository that PARACLIP_REPOSITORY names.
"""

import contextlib
import io
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from paraclip import __version__

ROOT = Path(__file__).parent.parent
REPOSITORY = os.environ.get("PARACLIP_REPOSITORY")
OUTSIDE = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages at the root of the repository by their place in the site."""
LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|#)([^)#]*)([^)]*)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not in `docs/`."""
    for name, place in OUTSIDE.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, place, content=from_root(text)))
    files.append(File.generated(config, "commands.md", content=commands()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links of pages in `docs/` at the site, and those to other files at the repository."""
    place = page.file.src_uri
    if place in (*OUTSIDE.values(), "commands.md"):
        return markdown
    return LINK.sub(lambda found: relinked(found, Path("docs", place)), markdown)


def from_root(text: str) -> str:
    """The text of a page at the root, with its links as they are in the site."""
    return LINK.sub(lambda found: relinked(found, Path("docs.md")), text)


def relinked(found: re.Match[str], document: Path) -> str:
    """A link as it is in the site: to its pages and images, or to files of the repository; without
    the repository's address, the bare text."""
    text, target, tail = found.groups()
    path = os.path.normpath(document.parent / target)
    page = OUTSIDE.get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
    if page is None:
        return f"[{text}]({REPOSITORY}/blob/v{__version__}/{path}{tail})" if REPOSITORY else text
    place = document.relative_to("docs") if document.parts[0] == "docs" else document
    return f"[{text}]({os.path.relpath(page, place.parent)}{tail})"


def commands() -> str:
    """The help of every command."""
    from paraclip.cli import COMMANDS

    parts = ["# Commands", "", "Made from the code: what `paraclip COMMAND --help` prints.", ""]
    for name, command in COMMANDS.items():
        parts += [f"## {name}", "", command.summary, "", "```text", help_of(name), "```", ""]
    return "\n".join(parts)


def help_of(name: str) -> str:
    """What `paraclip NAME --help` prints, 100 columns wide and without colours."""
    from paraclip.cli import main

    before = {key: os.environ.get(key) for key in ("COLUMNS", "NO_COLOR", "TERM")}
    os.environ.update(COLUMNS="100", NO_COLOR="1", TERM="dumb")
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
            main([name, "--help"])
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})
    return "\n".join(line.rstrip() for line in shown.getvalue().splitlines()).strip()
