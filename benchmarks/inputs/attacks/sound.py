"""Sound files of every kind, which `files.py` damages."""

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.inputs.attacks.models import write_model

CAPTIONS = ["A red disc.", "A blue square.", "A green disc on paper.", "A small red square."]


def lines(*rows: object) -> bytes:
    """JSON lines."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def write_sound(folder: Path, names: Mapping[str, str]) -> None:
    """Write a sound file of every kind under the given names, the pictures, and a model."""
    for kind, name in names.items():
        (folder / kind).mkdir(parents=True)
        WRITERS[kind](folder / kind / name)
    write_model(folder / "tiny.safetensors")


def draw(path: Path) -> bytes:
    """A small picture."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    path.write_bytes(stream.getvalue())
    return stream.getvalue()


def rows() -> list[dict[str, Any]]:
    """Captions with pictures."""
    return [{"caption": text, "image": f"{n}.png"} for n, text in enumerate(CAPTIONS)]


def triple_rows() -> list[dict[str, Any]]:
    """Triples."""
    return [
        {"id": f"c{n}", "image_id": f"i{n}", "caption": text, "paraphrase_1": f"There is {text}",
         "paraphrase_2": f"One sees {text}", "image": f"{n}.png", "negative": f"No {text}"}
        for n, text in enumerate(CAPTIONS)
    ]  # fmt: skip


def write_table(path: Path, sep: str) -> None:
    """CSV or TSV with pictures."""
    for row in rows():
        draw(path.with_name(row["image"]))
    body = [sep.join(("caption", "image")), *(sep.join(row.values()) for row in rows())]
    path.write_text("\n".join(body) + "\n")


def write_coco(path: Path) -> None:
    """COCO captions."""
    images = [{"id": n, "file_name": row["image"]} for n, row in enumerate(rows())]
    found = [{"id": n, "image_id": n, "caption": row["caption"]} for n, row in enumerate(rows())]
    path.write_text(json.dumps({"images": images, "annotations": found}))


def write_shard(path: Path) -> None:
    """A WebDataset shard."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for n, text in enumerate(CAPTIONS):
            for suffix, content in (("png", draw(path.with_name("x.png"))), ("txt", text.encode())):
                member = tarfile.TarInfo(f"{'d' * 110}/{n}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def write_parquet(path: Path, found: list[dict[str, Any]]) -> None:
    """A Parquet table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(found), path)


def write_triples(path: Path) -> None:
    """Triples with negatives."""
    import pyarrow as pa

    from paraclip.data.triples import write_triples as write

    extra = pa.table({"negative": [row["negative"] for row in triple_rows()]})
    write(path, triple_rows(), {"made": "here"}, extra)


def write_report(path: Path) -> None:
    """A report with its items."""
    from paraclip.evaluation.benchmark import Metric
    from paraclip.evaluation.reporting.report import Interval, Line, Report, Section, write_json

    values = {label: Interval(50.0, 40.0, 60.0) for label in ("base", "tuned")}
    line = Line("AO@10", True, 20, values, {"tuned - base": Interval(0.0, -1.0, 1.0)}, "mean")
    section = Section("one", "20 items", {"hash": "x"}, [line], ["a note"])
    facts = {label: {"weights": label, "architecture": {"name": "tiny"}} for label in values}
    write_json(Report(facts, [section], {"versions": {"torch": "2"}}), path)
    items = {f"one/{label}/AO@10": np.linspace(0, 1, 20) for label in values}
    assert Metric("AO@10", items["one/base/AO@10"]).value()
    np.savez(path.with_name("items.npz"), **items)


def write_items(path: Path) -> None:
    """Items of a report."""
    write_report(path.with_name("report.json"))


def write_state(path: Path) -> None:
    """The state of a run."""
    import torch

    from paraclip.training.folder import save_state

    save_state(path.parent, 1, {"w": torch.zeros(4, 4)}, {"step": 1})
    (written,) = path.parent.rglob("*.safetensors")
    written.rename(path)


def write_vectors(path: Path) -> None:
    """Unit vectors."""
    np.save(path, np.eye(4, dtype=np.float32))


VARIATIONS = {"synonyms": "A crimson disc.", "contrast": "A blue disc."}
TEXTS = {
    "jsonl": lines(*rows()), "triples lines": lines(*triple_rows()),
    "pairs": json.dumps([{"caption": a, "caption2": f"There is {a}"} for a in CAPTIONS]).encode(),
    "pairs csv": b"caption,paraphrase\nA dog.,One dog.\nA cat.,One cat.\n",
    "wordings": lines(*({"image_id": str(n), "caption": text, "variations": VARIATIONS}
                        for n, text in enumerate(CAPTIONS))),
    "names": b"a.png\nb.png\n",
    "options": b'epochs = 3\nlearning_rate = 1e-4\nweights = [1, 0.5, 2]\nloss = "info_nce"\n',
    "grid": b"seeds = [0, 1]\n[common]\nepochs = 2\n[variants.all]\n[variants.one]\nmerge = 0.5\n",
    "sheet": lines(*({"id": str(n), "step": 1, "source": "A dog.", "answer": "One dog.",
                      "verdict": "kept", "stratum": "kept, step 1", "weight": 1.0}
                     for n in range(4))),
    "marks": lines(*({"id": str(n), "meaning": "same", "style": "plain", "reviewer": "ana"}
                     for n in range(4))),
    "rejected": lines({"id": "c", "image_id": "i", "caption": "A dog.", "step": 1, "reason": "copy",
                       "candidates": [{"text": "A dog.", "reason": "copy", "similarity": None}]}),
    "answers": lines({"paraclip": "paraclip-answers-1", "settings": {"model": "fake"}},
                     {"key": "a", "caption_id": "c", "step": 1, "texts": ["x"]}),
    "metrics": lines(*({"step": n, "loss": 1.5, "rate": 1e-4} for n in range(4))),
}  # fmt: skip
WRITERS: dict[str, Callable[[Path], Any]] = {
    **{kind: (lambda path, text=text: path.write_bytes(text)) for kind, text in TEXTS.items()},
    "csv": partial(write_table, sep=","), "tsv": partial(write_table, sep="\t"),
    "coco": write_coco, "shard": write_shard, "triples": write_triples, "picture": draw,
    "captions parquet": lambda path: write_parquet(path, rows()), "report": write_report,
    "items": write_items, "state": write_state, "vectors": write_vectors,
}  # fmt: skip
