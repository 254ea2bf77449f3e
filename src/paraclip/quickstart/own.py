"""What the workflow on the user's own pictures adds to the API: checks before the first long stage,
captions as queries, and examples as a picture."""

import json
import os
import random
from contextlib import suppress
from pathlib import Path

import paraclip
from paraclip.image_search.engine import search_texts
from paraclip.image_search.serving.captions import choose_examples, everyday_pairs
from paraclip.image_search.sheet import Group, check_sheet, thumbnails_of, write_sheet
from paraclip.output_folder import OutputFolder
from paraclip.quickstart.config import QuickstartConfig
from paraclip.starter import SCENES
from paraclip.store import Store, existing_facts, full_path
from paraclip.training.checkpoint import AnotherRun
from paraclip.training.config import TrainConfig
from paraclip.training.prepare import check_base
from paraclip.training.train import check_training

_DRAWN, _SHOWN = 100, 5  # pairs of wordings, of which those are shown that fit best
_K = 10
_MOST_CAPTIONS = 10_000  # that are searched for
_CAPTIONS, _SHEET = "captions.jsonl", "contact_sheet.png"


def index_of(config: QuickstartConfig) -> Path:
    """The index of the pictures."""
    return config.folder / "index"


def training_of(config: QuickstartConfig) -> dict[str, object]:
    """Options of `paraclip.train`."""
    epochs = {} if config.epochs is None else {"epochs": config.epochs}
    teachers = ("base", *config.teacher) if config.teacher else ()
    return {"bank": str(index_of(config)), "teacher": teachers, "seed": config.seed, **epochs}


def check_own(config: QuickstartConfig) -> None:
    """Raise UserError, before the first long stage, for what a later one would lack."""
    check_sheet(str(config.folder / _SHEET))
    data = OutputFolder(config.folder / "data", "quickstart")
    data.refuse_foreign(data.path / _CAPTIONS)
    base = paraclip.load_model(config.base)
    check_base(base)
    out = config.folder / "tuned"
    options = TrainConfig(triples=SCENES, out=str(out), **training_of(config))  # type: ignore[arg-type]
    with suppress(AnotherRun):  # starts from scratch
        check_training(options, out, config.fresh, base)


def write_captions(config: QuickstartConfig) -> Path | None:
    """Write the captions that the index has of picture files, at most 10,000 of them; None if there
    are none."""
    store = Store(index_of(config))
    root, rows = existing_facts(store).root, list[dict[str, str]]()
    for part in store.batches(("path", "caption")):
        rows += [
            {"image": os.path.abspath(file), "caption": row["caption"]}
            for row in part.to_pylist()
            if row["caption"] and os.path.isfile(file := full_path(root, row["path"]))
        ]
    if not rows:
        return None
    chosen = random.Random(config.seed).sample(rows, min(len(rows), _MOST_CAPTIONS))
    data = OutputFolder(config.folder / "data", "quickstart")
    data.write(data.path / _CAPTIONS, "".join(f"{json.dumps(row)}\n" for row in chosen))
    return data.path / _CAPTIONS


def write_examples(config: QuickstartConfig, models: str) -> Path | None:
    """Write what models, as of `paraclip search --models`, find for everyday pairs of wordings that
    fit the pictures best, as the last one finds; None if none fits."""
    index, path = str(index_of(config)), config.folder / _SHEET
    pairs = random.Random(config.seed).sample(everyday_pairs(), _DRAWN)
    texts = [text for pair in pairs for text in pair]
    found = search_texts(texts, index, models=models, k=_K)
    groups: list[Group] = []
    for one in choose_examples(pairs, [*found.values()][-1], _SHOWN):
        asked = [texts.index(text) for text in (one.q, one.second)]
        for label, hits in found.items():
            rows = {texts[place]: hits[place] for place in asked}
            shared = set.intersection(*({hit.id for hit in row} for row in rows.values()))
            groups.append((f"{label}: {len(shared)} found by both wordings", rows))
    if not groups:
        return None
    write_sheet(str(path), groups, thumbnails_of(groups, Store(index)))
    return path
