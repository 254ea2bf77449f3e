"""Texts that ship with ParaCLIP: starter triples, held-out query pairs, captions of stamps.

Training on the starter triples needs neither an LLM nor pictures: `paraclip train starter`.
README.md beside this file says how the texts were written and checked.
"""

from importlib.resources import files
from pathlib import Path

FOLDER = Path(str(files(__name__)))
STARTER = "starter"
"""Name that stands for the starter triples wherever a triples file is expected."""
TRIPLES = FOLDER / "triples.jsonl"
QUERIES = FOLDER / "queries.jsonl"
STAMPS = FOLDER / "stamps.jsonl"


def resolve(source: Path | str) -> Path | str:
    """The file behind the name `starter`; any other source, and a file of that name, unchanged."""
    return TRIPLES if str(source) == STARTER and not Path(source).exists() else source
