"""Sound inputs of every kind, which `areas.py` damages."""

import io
import json
import os
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.inputs.cases import CAPTIONS, generate, paraclip


def lines(*rows: object) -> bytes:
    """JSON lines."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def draw(path: Path, size: tuple[int, int] = (20, 30)) -> bytes:
    """A small picture."""
    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    path.write_bytes(stream.getvalue())
    return stream.getvalue()


NAMES = {
    "csv": "a.csv",
    "tsv": "a.tsv",
    "jsonl": "a.jsonl",
    "coco": "a.json",
    "captions parquet": "a.parquet",
    "shard": "a.tar",
    "triples": "t.parquet",
    "triples lines": "t.jsonl",
    "pairs": "p.json",
    "pairs csv": "p.csv",
    "wordings": "w.jsonl",
    "vectors": "v.npy",
    "names": "n.txt",
    "report": "report.json",
    "items": "items.npz",
    "picture": "a.png",
    "marks": "marks.jsonl",
    "sheet": "sheet.jsonl",
    "options": "o.toml",
    "rejected": "rejected.jsonl",
    "answers": "log.jsonl",
    "metrics": "metrics.jsonl",
}
"""File name by kind of file."""
ROWS = [{"caption": text, "image": f"{n}.png"} for n, text in enumerate(CAPTIONS)]
TRIPLES = [
    {"id": f"c{n}", "image_id": f"{n}.png", "caption": text, "paraphrase_1": f"There is {text}",
     "paraphrase_2": f"One sees {text}"}
    for n, text in enumerate(CAPTIONS)
]  # fmt: skip
SNAPSHOT = "hub/models--me--tiny/snapshots/1/open_clip_model.safetensors"
"""The file that `swap` replaces in a cache of the hub."""
PAIR = {"caption": "A dog.", "caption2": "One dog."}
VARIATIONS = {"synonyms": "A crimson disc.", "contrast": "A blue disc."}
TINY: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def write_shard(path: Path) -> None:
    """A WebDataset shard."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for n, text in enumerate(CAPTIONS):
            for suffix, content in (("png", draw(path.with_name("x.png"))), ("txt", text.encode())):
                member = tarfile.TarInfo(f"{'d' * 110}/{n}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def write_coco(path: Path) -> None:
    """COCO captions."""
    images = [{"id": n, "file_name": row["image"]} for n, row in enumerate(ROWS)]
    found = [{"id": n, "image_id": n, "caption": row["caption"]} for n, row in enumerate(ROWS)]
    path.write_text(json.dumps({"images": images, "annotations": found}))


def write_report(path: Path) -> None:
    """A report with its items."""
    from paraclip.evaluation.report import Interval, Line, Report, Section, report_json

    values = {label: Interval(50.0, 40.0, 60.0) for label in ("base", "tuned")}
    line = Line("AO@10", True, 20, values, {"tuned - base": Interval(0.0, -1.0, 1.0)}, "mean")
    section = Section("one", "20 items", {"hash": "x"}, [line], ["a note"])
    facts = {label: {"weights": label, "architecture": {"name": "tiny"}} for label in values}
    path.write_text(report_json(Report(facts, [section], {"versions": {"torch": "2"}})))
    items = {f"one/{label}/AO@10": np.linspace(0, 1, 20) for label in values}
    np.savez(path.with_name("items.npz"), **items)


def write_model(path: Path) -> None:
    """A tiny model with random weights, as a checkpoint."""

    from paraclip.models.checkpoint import save_model
    from paraclip.models.openclip import ClipSpec, OpenClip, build_clip

    spec = ClipSpec("tiny", TINY, {})
    save_model(OpenClip(spec, build_clip(spec)), path)


def write_hub(sound: Path) -> None:
    """The tiny model in a cache of the hub, and that model with another text tower."""
    import torch

    from paraclip import load_model
    from paraclip.models.checkpoint import save_model

    folder = (sound / SNAPSHOT).parent
    assert paraclip("export", sound / "tiny.safetensors", folder, "--for", "open-clip") == 0
    model: Any = load_model(str(folder))
    with torch.no_grad():
        for parameter in model.text_tower.parameters():
            parameter.add_(0.1)
    save_model(model, sound / "tuned.safetensors")


def write_rclip(path: Path, paths: list[str], vectors: np.ndarray) -> None:
    """rclip's database."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TABLE images (id INTEGER PRIMARY KEY, deleted BOOLEAN, filepath TEXT, "
            "vector BLOB)"
        )
        rows = [(name, row.tobytes()) for name, row in zip(paths, vectors, strict=True)]
        connection.executemany("INSERT INTO images (filepath, vector) VALUES (?, ?)", rows)
        connection.commit()


CONTENTS: dict[str, bytes | Callable[[Path], object]] = {
    "csv": b"caption,image\n" + "\n".join(",".join(row.values()) for row in ROWS).encode(),
    "tsv": b"caption\timage\n" + "\n".join("\t".join(row.values()) for row in ROWS).encode(),
    "jsonl": lines(*ROWS), "coco": write_coco, "shard": write_shard, "picture": draw,
    "captions parquet": lambda path: pq.write_table(pa.Table.from_pylist(ROWS), path),
    "triples": lambda path: pq.write_table(pa.Table.from_pylist(TRIPLES), path),
    "triples lines": lines(*TRIPLES), "pairs": json.dumps([PAIR] * 4).encode(),
    "pairs csv": b"caption,paraphrase\nA dog.,One dog.\nA cat.,One cat.\n",
    "wordings": lines(*({"image_id": str(n), "caption": text, "variations": VARIATIONS}
                        for n, text in enumerate(CAPTIONS))),
    "vectors": lambda path: np.save(path, np.eye(4, dtype=np.float32)), "names": b"a.png\nb.png\n",
    "report": write_report, "items": lambda path: write_report(path.with_name("report.json")),
    "options": b'epochs = 3\nlearning_rate = 1e-4\nloss_weights = {L1 = 1, L2 = 0.5}\n',
    "marks": lines(*({"id": str(n), "meaning": "same", "style": "plain", "reviewer": "ana"}
                     for n in range(4))),
    "sheet": lines(*({"id": str(n), "step": 1, "source": "A dog.", "answer": "One dog.",
                      "verdict": "kept", "stratum": "kept, step 1", "weight": 2.0}
                     for n in range(4))),
    "rejected": lines({"id": "c", "image_id": "i", "caption": "A dog.", "step": 1, "reason": "copy",
                       "candidates": [{"text": "A dog.", "reason": "copy", "similarity": None}]}),
    "answers": lines({"paraclip": 1, "settings": {"model": "fake"}},
                     {"key": "a", "caption_id": "c", "step": 1, "texts": ["x"]}),
    "metrics": lines(*({"step": n, "loss": 1.5, "rate": 1e-4} for n in range(4))),
}  # fmt: skip
"""A file of each kind that is read without an error: its bytes, or what writes it."""


def write_sound(sound: Path) -> None:
    """Write a sound file of every kind, pictures, a model, indexes, and runs of `generate`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for kind, content in CONTENTS.items():
        path = sound / kind / NAMES[kind]
        path.parent.mkdir(parents=True)
        path.write_bytes(content) if isinstance(content, bytes) else content(path)
    (sound / "pictures").mkdir()
    for n, text in enumerate(CAPTIONS):
        for kind in ("csv", "tsv", "jsonl", "captions parquet"):
            draw(sound / kind / f"{n}.png")
        draw(sound / "pictures" / f"{n}.png", (20 + n, 30))
        (sound / "pictures" / f"{n}.txt").write_text(text)
    write_model(sound / "tiny.safetensors")
    write_hub(sound)
    words = ("--index", sound / "index", "--base", sound / "tiny.safetensors")
    assert paraclip("index", sound / "pictures", *words) == 0

    from paraclip import load_model
    from paraclip.models.features import encode_images

    (sound / "stores").mkdir()
    paths = sorted(str(path) for path in (sound / "pictures").glob("*.png"))
    vectors = encode_images(load_model(str(sound / "tiny.safetensors")), paths).numpy()
    np.save(sound / "stores" / "v.npy", vectors)
    pq.write_table(pa.table({"path": paths, "vector": list(vectors)}), sound / "stores/v.parquet")
    write_rclip(sound / "stores" / "db.sqlite3", paths, vectors)
    (sound / "stores" / "queries.txt").write_text("a red disc\ta disc that is red\na blue square\n")
    (sound / "stores" / "paths.txt").write_text("".join(f"{path}\n" for path in paths))

    assert paraclip(*generate(sound, sound / "work"), "--to-file", sound / "round") == 0
    line = json.loads((sound / "round" / "requests-0001.jsonl").read_text())
    (sound / "round" / "answers.jsonl").write_bytes(lines(answered(line["custom_id"])))


def answered(identifier: str) -> dict[str, Any]:
    """A line of a batch's results."""
    message = {"content": "A red disc."}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    response = {"status_code": 200, "body": {"choices": [choice]}}
    return {"custom_id": identifier, "response": response, "error": None}
