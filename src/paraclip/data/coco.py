"""COCO captions JSON: the official layout, and plain lists of pictures with their captions."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from paraclip.data.captions import Record, choose_columns, make_record, with_picture_keys
from paraclip.data.config import Columns
from paraclip.data.json_stream import array_at, open_json
from paraclip.data.problems import Problems
from paraclip.errors import UserError

LAYOUT = 'It must hold {"images": [...], "annotations": [...]} or a list of objects.'
# Keys of the picture and the caption in plain lists; the first key that an element has is read.
IMAGE_NAMES = ("file_name", "filename", "image")
CAPTION_NAMES = ("captions", "caption", "sentences")


def read_coco(source: str, columns: Columns, problems: Problems) -> Iterator[Record]:
    """Records of a COCO captions file, streamed; only the names of the pictures are kept."""
    with open_json(source) as text:
        first = text.peek()
    if first == "[":
        yield from read_list(source, columns, problems)
    elif first == "{":
        yield from read_annotations(source, columns, problems)
    else:
        raise UserError(source, "is not JSON", LAYOUT)


def read_list(source: str, columns: Columns, problems: Problems) -> Iterator[Record]:
    """Records of a list of objects: `image_id`, `file_name`, and `captions` or `caption`.

    Without an `id`, the id of a caption is its image id and a running number.
    """
    chosen = None
    keyed = False
    with open_json(source) as text:
        for row, values in enumerate(text.elements(), start=1):
            where = f"{source}:{row}"
            if not isinstance(values, dict):
                problems.add(where, "the element is not an object")
                continue
            if chosen is None:
                named = usual_names(values, columns)
                chosen = choose_columns(values, named, source)
                keyed = chosen.id is None and chosen.image_id is not None
                chosen = with_picture_keys(chosen, named)
            record = make_record(chosen, where, row, values)
            if columns.image == "image":
                record.image = next((values[x] for x in IMAGE_NAMES if x in values), None)
            if keyed and isinstance(record.caption, list):
                # another picture may have the row's number as its id
                record.id = f"row {row}" if record.image_id is None else record.image_id
            yield record


def usual_names(values: dict[str, Any], columns: Columns) -> Columns:
    """The columns, with the usual names of plain lists instead of the default ones."""

    def first(name: str, default: str, names: tuple[str, ...]) -> str:
        return next((other for other in names if name == default and other in values), name)

    return replace(
        columns,
        caption=first(columns.caption, "caption", CAPTION_NAMES),
        image=first(columns.image, "image", IMAGE_NAMES) if columns.image else None,
    )


def read_annotations(source: str, columns: Columns, problems: Problems) -> Iterator[Record]:
    """Records of the official layout."""
    names = image_names(source) if columns.image else {}
    chosen = None
    for row, values in enumerate(array_at(source, "annotations", LAYOUT), start=1):
        where = f"{source}: annotation {row}"
        if not isinstance(values, dict):
            problems.add(where, "is not an object")
            continue
        if chosen is None:
            named = choose_columns(values, replace(columns, image=None), source)
            chosen = with_picture_keys(named, columns)
        image_id = values.get("image_id")
        image = names.get(str(image_id))
        if columns.image and image is None:
            problems.add(where, f"there is no image with the id {image_id!r}")
            continue
        record = make_record(chosen, where, row, values)
        record.image = image
        yield record


def image_names(source: str) -> dict[str, str]:
    """File name by image id."""
    return {
        str(values["id"]): str(values["file_name"])
        for values in array_at(source, "images", LAYOUT, to_end=False)
        if isinstance(values, dict) and "id" in values and "file_name" in values
    }
