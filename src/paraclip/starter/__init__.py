"""Texts that ship with ParaCLIP: starter set, held-out rows and query pairs.

Training on the starter set needs neither an LLM nor captions of pictures:
`paraclip train starter --bank INDEX`.
README.md beside this file says how the texts were written and checked.
"""

import json
import random
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args

TextName = Literal["caption", "paraphrase_1", "paraphrase_2"]
TEXTS: tuple[TextName, ...] = get_args(TextName)
"""The texts that every row of triples has, in the order in which they are made."""
FOLDER = Path(str(files(__name__)))
STARTER = "starter"
"""Name that stands for the starter triples wherever a triples file is expected."""
SCENES = "scenes"
"""Name that stands for everyday scenes drawn from the grammar and the starter set together."""
DRAWN = 10_000
"""How many scenes of the grammar a run learns from, for each of its languages."""
SCENES_ORIGIN = {
    "generator": "a grammar by a large language model, for this project", "licence": "Apache-2.0",
}  # fmt: skip
TRIPLES = FOLDER / "triples.jsonl"
FIRST_EDITION = 3000
"""Rows of TRIPLES that are its first edition, of which older weights and figures were made."""
HELD_OUT = FOLDER / "held_out.jsonl"
"""Rows for reports: nothing is trained on them."""
QUERIES = FOLDER / "queries.jsonl"
_UNRELATED = 300  # texts


def resolve(source: Path | str) -> Path | str:
    """The file behind the name `starter`; any other source, and a file of that name, unchanged."""
    return TRIPLES if str(source) == STARTER and not Path(source).exists() else source


def is_scenes(source: object) -> bool:
    """Whether a source is the name `scenes`, and no file of that name."""
    return isinstance(source, Path | str) and str(source) == SCENES and not Path(SCENES).exists()


@cache
def unrelated_texts() -> list[str]:
    """Texts that no picture shows, always the same: the first half of a caption with the second
    half of another, since a broad index may have a picture for each caption alone."""
    lines = random.Random(0).sample(TRIPLES.read_text(encoding="utf-8").splitlines(), _UNRELATED)
    captions = [json.loads(line)["caption"].split() for line in lines]
    pairs = zip(captions, [*captions[1:], captions[0]], strict=True)
    return [" ".join([*one[: len(one) // 2], *two[len(two) // 2 :]]) for one, two in pairs]
