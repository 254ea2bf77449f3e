"""The model card of an export: provenance, terms, what an index depends on, and its files."""

import json
from pathlib import Path
from typing import Any

from paraclip.errors import UserError
from paraclip.exporting.drift import Drift
from paraclip.exporting.source import Source
from paraclip.files import read_bounded, write_text
from paraclip.models.checkpoint import model_card
from paraclip.provenance import package_versions

CARD = "README.md"
KEPT = """\
## What an index depends on

Vectors of pictures stay valid as long as these three are those of the base (SHA-256, first 16
digits, as ParaCLIP computes them):

- image tower, with activation and preprocessing: {image_tower}
- preprocessing alone: {preprocessing}
- tokenizer: {tokenizer}
"""


def write_card(
    source: Source,
    path: Path,
    name: str,
    written: dict[str, Any],
    steps: tuple[str, ...] = (),
    drift: Drift | None = None,
) -> None:
    """Write the card; that of a folder lists the folder's files.

    Args:
        source: the model that was exported.
        path: path of the card.
        name: name of the export, used as title.
        written: how it was exported, for the card's last section.
        steps: instructions for using it in the target system.
        drift: drift of text vectors with shortened weights.
    """
    facts = source.facts()
    if path.name == CARD:
        written = {**written, "files": sorted(files_below(path.parent) - {CARD})}
    header = {
        **source.header,
        # A file's header may lack parts of it.
        "architecture": source.model.architecture.as_dict(),
        "export": {**written, **facts, "versions": package_versions()},
    }
    card = model_card(name, header)
    parts = [KEPT.format(**facts)]
    if drift is not None:
        parts.append(f"{drift}\n")
    if steps:
        parts.append("## Steps\n")
        parts += [f"{number}. {step}" for number, step in enumerate(steps, 1)]
        parts.append("")
    head, terms, rest = card.partition("\n## Terms\n")  # on a line of its own; values have no lines
    write_text(path, head + "\n" + "\n".join(parts) + terms + rest)


def files_below(folder: Path) -> set[str]:
    """Files and links below a folder, by their path in it."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


def is_export(folder: Path) -> bool:
    """Whether a folder holds the files of an export, as its card lists them, and nothing else."""
    try:
        text = read_bounded(folder / CARD).decode()
        files = json.loads(text.split("```json\n")[-1].split("```")[0])["export"]["files"]
        return files_below(folder) - {CARD} <= set(files)
    except (OSError, UserError, ValueError, KeyError, TypeError):
        return False
