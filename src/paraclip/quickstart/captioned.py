"""The captioned stamps: texts included in ParaCLIP, joined to the pictures of the package."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

import pyarrow as pa

from paraclip.data.captions import Caption
from paraclip.data.triples import with_schema
from paraclip.errors import UserError
from paraclip.evaluation.pairs import Wording, Wordings
from paraclip.evaluation.pictures import Pool
from paraclip.files import file_hash, text_hash
from paraclip.quickstart.stamps import OWN_FOLDER, PACKAGE
from paraclip.starter import STAMPS

KINDS = ("sentence", "short", "colloquial")
"""How people type a query: in full, in a few words, or in a roundabout way."""
FEWEST_TRAIN, FEWEST_TEST = 100, 50
WRITER = "a large language model, for this project"


@dataclass(frozen=True)
class CaptionedStamps:
    """The stamps whose pictures are unchanged since their captions were written.

    Args:
        learn: captions of the training pictures.
        triples: the same with their two paraphrases.
        wordings: captions of the held-out pictures, each in three wordings, with a contrast.
        pool: the held-out pictures.
        missing: number of captioned pictures that the package does not contain.
        changed: number of pictures with changed content.
    """

    learn: list[Caption]
    triples: pa.Table
    wordings: Wordings
    pool: Pool
    missing: int
    changed: int

    def captions(self) -> list[Caption]:
        """Captions of all pictures, the held-out ones last."""
        held_out = [
            Caption(item.image, item.caption, item.image, item.image, "stamps")
            for item in self.wordings.items
        ]
        return [*self.learn, *held_out]

    def skipped(self) -> str:
        """What was left out, in one line; empty if nothing was."""
        if not self.missing + self.changed:
            return ""
        return (
            f"{self.missing} captioned stamps are missing and {self.changed} have changed in this "
            "version of the package; they are skipped"
        )


def read_stamps(folder: Path, texts: Path = STAMPS) -> CaptionedStamps:
    """Join the texts to the pictures in a folder.

    Args:
        folder: `tuxpaint/stamps`, unpacked.
        texts: the captions, JSON lines.

    Raises:
        UserError: too few of the pictures exist unchanged.
    """
    rows, missing, changed = [], 0, 0
    for row in read_texts(texts):
        path = folder / row["image"]
        if not path.is_file():
            missing += 1
            continue
        with path.open("rb") as file:
            if file_digest(file, "sha256").hexdigest() == row["sha256"]:
                rows.append({**row, "path": str(path)})
            else:
                changed += 1
    learn = [row for row in rows if row["split"] == "train"]
    test = [row for row in rows if row["split"] == "test"]
    if len(learn) < FEWEST_TRAIN or len(test) < FEWEST_TEST:
        what = (
            f"is another version: only {len(rows)} of {len(rows) + missing + changed} captioned "
            "pictures are in it as they were captioned"
        )
        raise UserError(PACKAGE, what, OWN_FOLDER)
    captions = [Caption(r["image"], r["caption"], r["image"], r["path"], "stamps") for r in learn]
    items = tuple(
        Wording(
            image=row["path"],  # file names repeat
            caption=row["caption"],
            rewordings=tuple((kind, row[kind]) for kind in KINDS),
            contrast=row["contrast"],
            where=f"{texts.name}: {row['image']}",
        )
        for row in test
    )
    wordings = Wordings("the held-out stamps", items, KINDS, file_hash(texts))
    names = text_hash("\n".join(sorted(row["image"] for row in test)))
    pool = Pool("held-out stamps", tuple(sorted(row["path"] for row in test)), None, names)
    return CaptionedStamps(captions, _triples(learn), wordings, pool, missing, changed)


def read_texts(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of the file that is included in ParaCLIP."""
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _triples(rows: list[dict[str, Any]]) -> pa.Table:
    """Triples of the training pictures."""
    texts = ("caption", "paraphrase_1", "paraphrase_2")
    return with_schema(
        pa.Table.from_pylist([
            {
                "id": row["image"], "image_id": row["image"], "image": row["path"],
                "generator": WRITER, **{name: row[name] for name in texts},
            }
            for row in rows
        ])
    )  # fmt: skip
