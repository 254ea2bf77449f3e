"""Pictures, decoded at about the size that a model needs: 224 pixels for CLIP."""

import io
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any, BinaryIO
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from paraclip.data.lines import is_remote, local_path, open_source
from paraclip.data.shards import SUFFIXES, read_member, split_reference, walk
from paraclip.errors import UserError, optional_import, without_password
from paraclip.files import check_input, file_hash, text_hash

Picture = Path | str | Image.Image | NDArray[np.uint8]
"""A picture: its path, URL or `tar://member::shard.tar`, Pillow's, or 8-bit colours [height, width,
3]."""
# Pillow's other formats include some that start programs (EPS).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # brands
# COCO_train2014_000000000009.jpg of one release is 000000000009.jpg in another.
_NUMBERED = re.compile(r"(?:COCO_\w+_)?0*(\d+)\.jpe?g")
LARGEST_FILE = 256 * 2**20  # bytes of what is read into memory: downloads, members of shards, HEIC
_LONGEST_DOWNLOAD = 300.0  # seconds
# Reverses each EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
MOST_PIXELS = 89_478_485  # where Pillow begins to warn
_MOST_RATIO = 100  # longer side to shorter, which a model scales to hundreds of pixels
_FULL_SIZE = 10**6  # no picture has sides twice as long, so none is shrunk before it is cropped
_LARGE = 2**24  # pixels; a WebP of 81 million takes 1.2 GB while it is decoded
_ALONE = Lock()  # held while a large picture is decoded: dozens of threads may do so
_TOO_MANY = f"has more than {MOST_PIXELS:,} pixels"
_QUIET = Lock()  # all threads share Python's list of warning filters


def open_image(reference: str, side: int) -> Image.Image:
    """A picture in RGB, about as small as `side` allows.

    The shorter side of the result is between two and four times `side`, or that of the picture
    if it is smaller. At twice `side`, the bicubic resize that follows differs from that of the
    full picture by 0.3 of 255 on average; at `side` itself, by 5.7. Transparent parts become
    white, the EXIF orientation is applied, and of an animation the first frame is used. JPEG is
    decoded at a half, a quarter or an eighth of its size; other formats are averaged down after
    decoding.

    Args:
        reference: path, URL, or `tar://member::shard.tar`.
        side: pixels of the shorter side after the resize that follows.

    Raises:
        UserError: the picture is missing or broken, has more than 89 million pixels, or one
            side is more than a hundred times the other.
    """
    with _picture_errors(reference), open_bytes(reference) as stream:
        return decode_image(stream, reference, side)


def is_picture(given: object) -> bool:
    """Whether this is one picture, rather than several."""
    if isinstance(given, np.ndarray):
        return given.ndim < 4
    return isinstance(given, Path | str | Image.Image)


def open_picture(given: Picture, side: int) -> Image.Image:
    """A picture as `open_image` opens it, from a file or from memory.

    Also raises UserError for an array of other numbers than 8-bit colours.
    """
    if isinstance(given, Path | str):
        return open_image(str(given), side)
    where = f"a picture of type {type(given).__name__}"
    with _picture_errors(where):
        if isinstance(given, np.ndarray):
            if given.dtype != np.uint8:
                what = f"is an array of {given.dtype}"
                raise UserError(where, what, "Give 8-bit colours, uint8 [height, width, 3].")
            given = Image.fromarray(given)
        _check_size(given, where)
        return _shrink(given, side)


@dataclass(frozen=True)
class Crop:
    """A rectangular part of a picture."""

    path: str  # path of the picture
    box: tuple[int, int, int, int]  # left, top, width and height in pixels

    def name(self) -> str:
        """Return the crop as a media fragment (W3C): `dog.jpg#xywh=1,2,30,40`."""
        return f"{self.path}#xywh={','.join(map(str, self.box))}"

    def open(self) -> Image.Image:
        """Open the crop as RGB; it is black outside the picture, as in ARO's code."""
        picture, (x, y, width, height) = open_image(self.path, _FULL_SIZE), self.box
        overlaps = -width < x < picture.width and -height < y < picture.height
        # A crop is black outside the picture, so a small picture does not bound its size.
        if width < 1 or height < 1 or not overlaps or width * height > MOST_PIXELS:
            what = f"the box {self.box} is not inside a picture of {picture.size}"
            raise UserError(self.path, what, "Fix the box or replace the picture.")
        return picture.crop((x, y, x + width, y + height))


@contextmanager
def _picture_errors(reference: object) -> Iterator[None]:
    """Raise UserError for the dozens of types that Pillow and file systems raise."""
    try:
        yield
    except FileNotFoundError as error:
        hint = "Add the picture, or remove its row."
        raise UserError(reference, "there is no such picture", hint) from error
    except UserError:
        raise
    except Exception as error:
        raise UserError(reference, fault(error), "Replace the picture.") from error


def decode_image(stream: BinaryIO, reference: object, side: int) -> Image.Image:
    """Decode a picture from the bytes of a file, whose name is for messages; see `open_image`."""
    with _picture_errors(reference):
        formats = _load_heif(stream, reference) if _is_heic(stream) else FORMATS
        with without_warnings():
            # Decodes nothing yet, so that size and shape are checked before.
            image = Image.open(stream, formats=formats)
        _check_size(image, reference)
        image.draft("RGB", (2 * side, 2 * side))  # changes how JPEG is decoded, and no other format
        return _shrink(image, side)


def _check_size(image: Image.Image, where: object) -> None:
    if image.width * image.height > MOST_PIXELS:
        raise UserError(where, _TOO_MANY, "Replace the picture.")
    if max(image.size) > _MOST_RATIO * min(image.size):
        what = f"has sides of {image.width:,} x {image.height:,} pixels, which is too thin"
        raise UserError(where, what, "Crop or replace the picture.")


def _shrink(image: Image.Image, side: int) -> Image.Image:
    """The picture upright in RGB, about as small as `side` allows."""
    turn = _TURNS.get(_orientation(image))
    with _ALONE if image.width * image.height > _LARGE else nullcontext():
        small = _averageable(image)
        factor = min(small.size) // (2 * side)  # `reduce` averages blocks of whole pixels
        if factor > 1:
            small = small.reduce(factor)
        if small.mode in ("RGBa", "La"):
            straight = small.convert({"RGBa": "RGBA", "La": "LA"}[small.mode]).convert("RGBA")
            small = Image.new("RGB", small.size, "white")
            small.paste(straight, mask=straight.getchannel("A"))
        small = small.convert("RGB")
    return small if turn is None else small.transpose(turn)


def _is_heic(stream: BinaryIO) -> bool:
    head = stream.read(12)
    stream.seek(0)
    return head[4:8] == b"ftyp" and head[8:] in _HEIC


def _load_heif(stream: BinaryIO, reference: object) -> tuple[str, ...]:
    """Register Pillow's plugin for HEIC, which reads whole files; returns its format."""
    try:
        optional_import("pillow_heif", "heif").register_heif_opener()
    except UserError as error:
        what = "is HEIC, and pillow-heif is not installed"
        raise UserError(reference, what, error.hint) from error
    if stream.seek(0, os.SEEK_END) > LARGEST_FILE:
        what = f"is larger than {LARGEST_FILE >> 20} MiB"
        raise UserError(reference, what, "Replace the picture.")
    stream.seek(0)
    return ("HEIF",)


@contextmanager
def without_warnings() -> Iterator[None]:
    """Suppress Pillow's warnings about things that this module checks itself."""
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        # EXIF is read for the orientation only.
        warnings.filterwarnings("ignore", message="Corrupt EXIF data")
        yield


def fault(error: Exception) -> str:
    """The message for an error of Pillow."""
    if isinstance(error, UnidentifiedImageError):
        return f"is not a picture in a known format ({', '.join(FORMATS)})"
    if isinstance(error, Image.DecompressionBombError):
        return _TOO_MANY
    return f"is broken ({error})"


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation; 1 (upright) without one."""
    try:
        with without_warnings():
            return int(image.getexif().get(0x0112, 1))
    except Exception:  # broken EXIF does not make the picture broken
        return 1


def _averageable(image: Image.Image) -> Image.Image:
    """The picture in a mode in which pixels can be averaged; alpha is premultiplied."""
    if image.mode.startswith("I;16"):
        # 16-bit grey: keep the upper eight bits; `convert` would clip to white.
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if image.mode in ("I", "F"):
        return _eight_bits(image)
    if image.has_transparency_data:
        wide = image if image.mode in ("RGBA", "LA") else image.convert("RGBA")
        return wide.convert({"RGBA": "RGBa", "LA": "La"}[wide.mode])
    return image if image.mode in ("RGB", "L") else image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 32-bit grey, integer or float, by the range of its largest value: 0 to 1 (floats only),
    8, 16 or 31 bits; `convert` would clip to 255. Raises ValueError for values outside all
    ranges."""
    values = np.asarray(image)
    least, most = values.min(), values.max()
    if not (np.isfinite(most) and least >= 0):
        raise ValueError("its values are negative or not finite")
    ranges: tuple[int, ...] = (1, 2**8 - 1, 2**16 - 1, 2**31 - 1)
    if image.mode == "I":
        # Pillow reads 16-bit PNG and PPM into 32 bits.
        ranges = (2**16 - 1,) if image.format in ("PNG", "PPM") else ranges[1:]
    top = next((top for top in ranges if most <= top), None)
    if top is None:
        raise ValueError(f"its values reach {most}")
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))


def open_bytes(reference: str) -> BinaryIO:
    """The picture's bytes as a file; of remote ones and shards, one more than `LARGEST_FILE`."""
    if in_shard := split_reference(reference):
        return io.BytesIO(read_member(*in_shard, LARGEST_FILE + 1))
    if reference.startswith(("http://", "https://")):
        return io.BytesIO(_download(reference))
    if is_remote(reference):
        with open_source(reference) as remote:
            return io.BytesIO(remote.read(LARGEST_FILE + 1))
    path = local_path(reference)
    check_input(path)
    return Path(path).open("rb")


class _SameHost(HTTPRedirectHandler):
    """Follows redirects to the same host only: a table must not name what others decide."""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        """The request for the new address."""
        if urlsplit(newurl).hostname != urlsplit(req.full_url).hostname:
            what = f"is redirected to another host, {urlsplit(newurl).hostname}"
            raise UserError(req.full_url, what, "Name the address that it is redirected to.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(url: str) -> bytes:
    """The content of an http address: at most one byte more than `LARGEST_FILE`, in 5 minutes."""
    until = monotonic() + _LONGEST_DOWNLOAD
    # urllib takes a password for the port, and would quote it
    request = Request(without_password(url), headers={"User-Agent": "paraclip"})
    content = bytearray()
    try:
        # 30 seconds without a byte; `until` limits the whole.
        with build_opener(_SameHost).open(request, timeout=30) as response:
            # `read` would wait for all of a part, and the clock below with it.
            while len(content) <= LARGEST_FILE and (part := response.read1(2**16)):
                content += part
                if monotonic() > until:
                    raise TimeoutError("it takes longer than 5 minutes")
    except (OSError, ValueError, HTTPException) as error:
        raise UserError(url, f"cannot be downloaded ({error})", "Replace the picture.") from error
    return bytes(content)


def picture_files(folder: Path) -> list[Path]:
    """All pictures in a folder and its subfolders, sorted by path; nothing hidden (`._a.jpg`)."""
    pictures = (path for path in walk(folder) if path.suffix.lower() in SUFFIXES)
    # `walk` takes a link to a folder for a file.
    return [path for path in pictures if not path.is_dir()]


def pictures_hash(references: Sequence[str]) -> str:
    """Hash of the pictures' names and sizes in bytes (of the whole file for a member of a tar
    file), the same on every machine.

    The content is not read: for ImageNet, that would take longer than scoring.
    """
    lines = []
    for reference in references:
        path, name = split_reference(reference) or (reference, reference)
        path = local_path(path)
        size = os.path.getsize(path) if os.path.isfile(path) else -1
        lines.append(f"{name.rpartition('/')[2]} {size}")
    return text_hash("\n".join(lines))


class PictureNames:
    """Finds pictures by the names that tables give them.

    Args:
        paths: the pictures, such as `picture_files` of a folder.
        folder: folder that names are relative to.
        by_number: whether a name may state other folders than the file is in, and COCO's prefix or
            zeros before the number, which vary by release.
    """

    def __init__(
        self, paths: Iterable[str | Path], folder: Path | str, by_number: bool = False
    ) -> None:
        self.folder, self.by_number = folder, by_number
        self._named: dict[str, list[str]] = {}
        for path in map(str, paths):
            name = os.path.basename(path)
            keys = {name, os.path.splitext(name)[0], *([picture_key(name)] if by_number else [])}
            for key in keys:
                self._named.setdefault(key, []).append(path)

    def find(self, name: str, where: object = None) -> str | None:
        """Path of the picture of a name, which is the path in the folder, or its end, with or
        without suffix; None if there is no such.

        Raises UserError, with `where`, if the name fits several different pictures; copies are one
        picture.
        """
        last = picture_key(name) if self.by_number else name.rpartition("/")[2]
        candidates = self._named.get(last, [])
        if (exact := os.path.join(self.folder, name)) in candidates:
            return exact
        fitting = [path for path in candidates if _ends_with(path, name)]
        if not fitting and self.by_number:
            fitting = candidates
        if len(fitting) > 1 and len({_fingerprint(path) for path in fitting}) > 1:
            examples = " and ".join(sorted(fitting)[:2])
            what = f"{len(fitting):,} different pictures are named {name!r}, for example {examples}"
            hint = "Name it with its folder, or rename the others."
            raise UserError(where or self.folder, what, hint)
        return fitting[0] if fitting else None

    def only(self, name: str) -> str | None:
        """Path of the one picture of this name in any folder; None if there are none or several."""
        found = [path for path in self._named.get(name, []) if os.path.basename(path) == name]
        return found[0] if len(found) == 1 else None


def picture_key(name: str) -> str:
    """A picture's name without folders; for COCO's its number, since names vary by release."""
    last = name.rpartition("/")[2]
    number = _NUMBERED.fullmatch(last)
    return number[1] if number else last


def _ends_with(path: str, name: str) -> bool:
    """Whether a path ends in the name, comparing whole components, with or without suffix."""
    ending = f"/{name.removeprefix('./')}"
    return any(f"/{form}".endswith(ending) for form in (path, os.path.splitext(path)[0]))


def _fingerprint(path: str) -> str:
    """Hash of the content, equal for copies; the path itself if the file cannot be read."""
    try:
        return file_hash(path)
    except OSError:
        return path
