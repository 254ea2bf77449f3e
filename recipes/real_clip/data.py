"""The pictures and texts of the recipe, downloaded.

No picture of the bank is in a pool: COCO's unlabelled pictures are in none of its labelled sets.
"""

import json
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

from paraclip.data.captions import Problems
from paraclip.data.images import open_image, picture_files
from paraclip.data.rows import read_rows
from paraclip.errors import UserError
from paraclip.files import atomic_path, write_text
from recipes.downloads import digest, download, download_all, unpack
from recipes.real_clip.languages import NAMES, XTD, lines
from recipes.real_clip.settings import Settings, Source

COCO = "http://images.cocodataset.org"
CLASSES = {
    "n01440764": "tench", "n02102040": "English springer", "n02979186": "cassette player",
    "n03000684": "chain saw", "n03028079": "church", "n03394916": "French horn",
    "n03417042": "garbage truck", "n03425413": "gas pump", "n03445777": "golf ball",
    "n03888257": "parachute",
}  # fmt: skip
"""Imagenette's folders."""


def get_data(settings: Settings, work: Path) -> None:
    """Download everything, and write people's pairs; what is there is not downloaded again."""
    for name, source in settings.sources.items():
        try:
            _get_source(name, source, settings, work)
        except UserError as error:
            if not source.optional:
                raise
            (work / "downloads" / name).unlink(missing_ok=True)  # an archive that did not fit
            print(f"{name} is left out: {error}", flush=True)
    _get_pictures(settings, work)
    _write_people(work)
    for folder, name in CLASSES.items():
        if (work / "lists" / "imagenette" / folder).exists():
            target = work / "data" / "imagenette" / name
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(work / "lists" / "imagenette" / folder, target)


def _get_source(name: str, source: Source, settings: Settings, work: Path) -> None:
    """Download one source and unpack it; its mark is the last that is written."""
    mark, file = work / "downloads" / f"{name}.json", work / "downloads" / name
    if mark.exists():
        return
    print(f"getting {name}", flush=True)
    if not source.keep:
        file = work / source.into
    download(settings.at(source.address), file, source.md5)
    found = {"address": source.address, "sha256": digest(file, "sha256")}
    if source.keep:
        found["files"] = unpack(file, source.keep, work / source.into)
        file.unlink()  # disks of hosted machines are small
        if source.side:
            _shrink(work / source.into, source.side)
    write_text(mark, json.dumps(found, indent=1))


def _shrink(folder: Path, side: int) -> None:
    """Replace pictures by what a model of that side is shown (`open_image`), if it is smaller."""
    for path in picture_files(folder):
        copy = BytesIO()
        try:
            open_image(str(path), side).save(copy, "JPEG", quality=95, subsampling=0)
        except UserError:  # named when it is to be embedded
            continue
        if copy.tell() < path.stat().st_size:
            with atomic_path(path) as temporary:
                temporary.write_bytes(copy.getvalue())


def _get_pictures(settings: Settings, work: Path) -> None:
    """Download the bank, Karpathy's test pictures and XTD-10's one by one: whole sets are 25 GB.

    COCO's own archives of them hold 20 times as many pictures as are used.
    """
    listed = work / "lists" / "image_info_unlabeled2017.json"
    names = sorted(row["file_name"] for row in _rows_of(listed))
    step = max(1, len(names) // settings.bank)
    chosen = names[::step][: settings.bank]  # spread over the whole set
    files = {f"{COCO}/unlabeled2017/{name}": work / "bank" / name for name in chosen}
    split = work / "karpathy" / "coco" / "dataset_coco.json"
    for row in _rows_of(split):
        if row["split"] == "test":
            part, name = row["filepath"], row["filename"]
            files[f"{COCO}/{part}/{name}"] = split.parent / part / name
    several = work / "data" / XTD
    for name in lines(several / NAMES):  # COCO_train2014_000000000001.jpg
        files[f"{COCO}/{name.split('_')[1]}/{name}"] = several / "images" / name
    print(f"getting {len(files):,} pictures", flush=True)
    problems = download_all({settings.at(address): path for address, path in files.items()})
    if problems.count:
        print(problems.summary())


def _write_people(work: Path) -> None:
    """Write two people's captions of each picture as pairs."""
    captions: dict[int, list[str]] = {}
    for row in _rows_of(work / "lists" / "captions_val2017.json"):
        captions.setdefault(row["image_id"], []).append(row["caption"])
    lines = (
        json.dumps({"caption": texts[0], "caption2": texts[1], "filename": f"{number:012d}.jpg"})
        for number, texts in sorted(captions.items())
        if len(texts) > 1
    )
    write_text(work / "people.jsonl", "\n".join(lines) + "\n")


def _rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a list of pictures, captions or pairs, all sound."""
    return [row for _, row in read_rows(str(path), Problems(0.0))]
