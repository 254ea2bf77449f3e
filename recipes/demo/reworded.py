"""The paper's two steps on some of the stamps' captions: asked of the language model of
`recipes/paraphraser`, judged by the filters, and shown."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import paraclip
from paraclip.data.triples import read_triples
from paraclip.errors import UserError, printable
from paraclip.paraphrase.outputs import REJECTED
from paraclip.starter import TEXTS

CAPTIONS = 40
"""Captions that are reworded: about a minute of one core."""
_SHOWN = 8  # of the kept, and of the refused


def reword(captions: Path, folder: Path, fresh: bool) -> Path | None:
    """Reword a file of captions in two steps, print some that are kept and some that are refused,
    and return the triples; None, with a line that says why, without the language model."""
    try:
        from recipes.paraphraser.smollm2 import NAME

        # One answer each, which shows what the filters refuse; of six, one nearly always passes.
        triples = paraclip.generate(captions, folder, backend=NAME, candidates=1, fresh=fresh)
    except UserError as error:
        print(printable(f"Left out, because the language model cannot be used: {error}"))
        return None
    kept = read_triples(triples).to_pylist()
    with (folder / REJECTED).open(encoding="utf-8") as lines:
        refused = [json.loads(line) for line in lines]
    print(f"{len(kept)} of {len(kept) + len(refused)} captions are kept.")
    print(table([*kept[:_SHOWN], *refused[:_SHOWN]]))
    return Path(triples)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Triples and rows of rejected.jsonl: each text, and what became of the caption, in a line."""
    lines = list[tuple[str, str]]()
    for row in rows:
        texts = {name: row[name] for name in TEXTS if name in row}
        verdict = "kept"
        if "reason" in row:
            verdict = f"refused in step {row['step']}: {row['reason']}"
            named = (one["text"] for one in row["candidates"] if one["reason"] == row["reason"])
            texts[TEXTS[row["step"]]] = next(named, "")
        lines += [("", ""), *texts.items(), ("", verdict)]
    return "\n".join(printable(f"{name:14}{text}".rstrip()) for name, text in lines)
