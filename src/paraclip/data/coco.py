"""COCO captions JSON: the official layout, and plain lists of pictures with their captions."""

from collections.abc import Iterator
from typing import Any

from paraclip.data.captions import Record, choose_columns
from paraclip.data.config import Columns
from paraclip.data.json_stream import JsonStream
from paraclip.data.lines import open_source
from paraclip.data.problems import Problems
from paraclip.errors import UserError

LAYOUT = 'It must hold {"images": [...], "annotations": [...]} or a list of objects.'
# Plain lists name things differently; the first of these that an element has is taken.
IMAGE_NAMES = ("file_name", "filename", "image")
CAPTION_NAMES = ("captions", "caption", "sentences")


def read_coco(source: str, columns: Columns, problems: Problems) -> Iterator[Record]:
    """Records of a COCO captions file, streamed; the names of the pictures are held."""
    with open_source(source) as stream:
        first = JsonStream(stream, source).peek()
    if first == "[":
        yield from read_list(source, columns, problems)
    elif first == "{":
        yield from read_annotations(source, columns, problems)
    else:
        raise UserError(source, "is not JSON", LAYOUT)


def read_list(source: str, columns: Columns, problems: Problems) -> Iterator[Record]:
    """Records of a list of objects: `image_id`, `file_name`, and `captions` or `caption`.

    A caption's id is that of the picture and a running number, unless there is an `id`.
    """
    chosen = None
    with open_source(source) as stream:
        for row, found in enumerate(JsonStream(stream, source).elements(), start=1):
            where = f"{source}:{row}"
            if not isinstance(found, dict):
                problems.add(where, "the element is not an object")
                continue
            chosen = chosen or choose_columns(found, fitting(found, columns), source)
            made = chosen.record(where, row, found)
            if chosen.id is None and isinstance(made.caption, list):
                made.id = made.image_id
            yield made


def fitting(found: dict[str, Any], columns: Columns) -> Columns:
    """The columns, with the usual names of plain lists where the defaults do not fit."""

    def first(wanted: str, usual: str, names: tuple[str, ...]) -> str:
        there = [name for name in names if name in found]
        return there[0] if wanted == usual and there else wanted

    return Columns(
        caption=first(columns.caption, "caption", CAPTION_NAMES),
        image=first(columns.image, "image", IMAGE_NAMES) if columns.image else None,
        id=columns.id,
        image_id=columns.image_id,
        images=columns.images,
    )


def read_annotations(source: str, columns: Columns, problems: Problems) -> Iterator[Record]:
    """Records of the official layout."""
    names = image_names(source, problems) if columns.image else {}
    with open_source(source) as stream:
        parts, met = JsonStream(stream, source), False
        for key in parts.keys():  # noqa: SIM118 not a dict
            if key != "annotations":
                parts.skip_value()
                continue
            met = True
            for row, found in enumerate(parts.elements(), start=1):
                where = f"{source}: annotation {row}"
                if not isinstance(found, dict):
                    problems.add(where, "is not an object")
                    continue
                image_id = found.get("image_id")
                image = names.get(str(image_id))
                if columns.image and image is None:
                    problems.add(where, f"there is no image with the id {image_id!r}")
                    continue
                yield Record(where, row, found.get("caption"), image, found.get("id"), image_id)
    if not met:
        raise UserError(source, "has no 'annotations'", LAYOUT)


def image_names(source: str, problems: Problems) -> dict[str, str]:
    """File name of each image id."""
    with open_source(source) as stream:
        parts = JsonStream(stream, source)
        for key in parts.keys():  # noqa: SIM118 not a dict
            if key != "images":
                parts.skip_value()
                continue
            return {
                str(found["id"]): str(found["file_name"])
                for found in parts.elements()
                if isinstance(found, dict) and "id" in found and "file_name" in found
            }
    raise UserError(source, "has no 'images'", LAYOUT)
