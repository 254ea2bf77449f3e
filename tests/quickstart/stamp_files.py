"""A small package of stamps: drawn pictures, and texts that describe them."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from tiny import draw


def write_stamps(folder: Path, train: int = 100, test: int = 50) -> None:
    """Draw `folder/stamps`, two pictures with one base name, and write `folder/stamps.jsonl`."""
    rows: list[dict[str, Any]] = []
    for number in range(train + test):
        name = f"{number % 2}/thing-{number // 2}.png"
        path = folder / "stamps" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (40 + number, 30)  # so that no two files are equal
        draw(path, ("disc", "square")[number % 2], ("red", "blue", "green")[number % 3], size)
        hashed = sha256(path.read_bytes()).hexdigest()
        texts = {"caption": f"caption {number} of a thing in colour"}
        names = ("paraphrase_1", "paraphrase_2")
        if number >= train:
            names = ("sentence", "short", "colloquial", "contrast")
        texts |= {kind: f"{kind} {number}" for kind in names}
        split = "train" if number < train else "test"
        rows.append({"image": name, "sha256": hashed, "split": split, **texts})
    (folder / "stamps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
