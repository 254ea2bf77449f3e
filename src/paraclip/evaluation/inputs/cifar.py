"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) for zero-shot classification.

Only the *binary* version is read: the version for Python is pickled, and a pickle can run any code.
A row is one label byte (CIFAR-100: two, coarse and fine) and 32 x 32 pixels, first red, then green,
then blue. The test pictures are written once to a tar file of PPM pictures in ParaCLIP's cache
folder and read from there like other pictures.
"""

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paraclip.errors import UserError
from paraclip.evaluation.benchmarks.zero_shot import Labelled, ZeroShot
from paraclip.evaluation.scoring.vectors import Arithmetic
from paraclip.files import atomic_path, cache_folder, file_hash

SIDE = 32
PIXELS = 3 * SIDE * SIDE
LARGEST_LIST = 2**16  # bytes of a file of class names


@dataclass(frozen=True)
class Layout:
    """Files and sizes of one of the two sets."""

    folder: str  # folder of the unpacked archive
    test: str  # name of the file with the test pictures
    names: str  # name of the file with the class names
    label_bytes: int  # number of bytes before the pixels of a row; the last is the label
    classes: int  # number of classes
    rows: int = 10_000  # number of test pictures


LAYOUTS = {
    "cifar10": Layout("cifar-10-batches-bin", "test_batch.bin", "batches.meta.txt", 1, 10),
    "cifar100": Layout("cifar-100-binary", "test.bin", "fine_label_names.txt", 2, 100),
}
NEEDS = {name: (layout.folder,) for name, layout in LAYOUTS.items()}
GET = {
    name: f"Get the binary version (not the one for Python, which is pickled) from "
    f"https://www.cs.toronto.edu/~kriz/cifar.html and unpack it, so that {layout.folder}/ is in "
    "the data folder."
    for name, layout in LAYOUTS.items()
}

KINDS = ("", "blurry ", "black and white ", "low contrast ", "high contrast ", "bad ", "good ")
TEMPLATES = tuple(
    template
    for article in ("a", "the")
    for template in (
        *(f"a {kind}photo of {article} {{}}." for kind in KINDS),
        f"a photo of {article} small {{}}.",
        f"a photo of {article} big {{}}.",
    )
)
"""CLIP's 18 templates for both sets (data/prompts.md of https://github.com/openai/CLIP)."""


def load_cifar10(data: Path, how: Arithmetic) -> ZeroShot:
    """Load the 10,000 test pictures of CIFAR-10."""
    return load_cifar("cifar10", data, how)


def load_cifar100(data: Path, how: Arithmetic) -> ZeroShot:
    """Load the 10,000 test pictures of CIFAR-100 with 100 fine classes; see `load_cifar10`."""
    return load_cifar("cifar100", data, how)


def load_cifar(name: str, data: Path, how: Arithmetic) -> ZeroShot:
    """Load the test pictures of CIFAR-10 or CIFAR-100."""
    layout = LAYOUTS[name]
    file = data / layout.folder / layout.test
    names = data / layout.folder / layout.names
    for path in (file, names):
        if not path.is_file():
            raise UserError(path, "is missing", GET[name])
    rows, classes = read_rows(file, layout, GET[name]), read_names(names, layout, GET[name])
    labels = rows[:, layout.label_bytes - 1]
    if labels.max() >= layout.classes:
        raise UserError(file, f"contains a class {labels.max()} of {layout.classes}", GET[name])
    packed = cache_folder() / "cifar" / f"{name}-{file_hash(file)}.tar"
    if not packed.exists():
        write_tar(rows[:, layout.label_bytes :], packed)
    pictures = Labelled(
        name=f"test pictures of {layout.folder}",
        references=tuple(f"tar://{row:05d}.ppm::{packed}" for row in range(len(rows))),
        labels=tuple(map(int, labels)),
        classes=classes,
        templates=TEMPLATES,
        made_of="OpenAI's for CIFAR",
    )
    return ZeroShot(name, pictures, how)


def read_rows(file: Path, layout: Layout, get: str) -> NDArray[np.uint8]:
    """Read rows [pictures, label bytes + pixels] after checking the size of the file."""
    width = layout.label_bytes + PIXELS
    size, right = file.stat().st_size, layout.rows * width
    if size != right:
        raise UserError(file, f"contains {size:,} bytes, not {right:,}: it is incomplete", get)
    return np.fromfile(file, np.uint8).reshape(layout.rows, width)


def read_names(file: Path, layout: Layout, get: str) -> tuple[str, ...]:
    """Read the class names, one per line, with spaces instead of underscores."""
    with file.open("rb") as stream:
        lines = stream.read(LARGEST_LIST).decode("ascii", "replace").split("\n")
    names = tuple(line.strip().replace("_", " ") for line in lines if line.strip())
    if len(names) != layout.classes:
        raise UserError(file, f"names {len(names)} classes, not {layout.classes}", get)
    return names


def write_tar(pixels: NDArray[np.uint8], path: Path) -> None:
    """Write pictures [pictures, 3 x 32 x 32] as PPM files into a tar file."""
    header = f"P6 {SIDE} {SIDE} 255\n".encode()
    pictures = pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    with atomic_path(path) as temporary, tarfile.open(temporary, "w") as archive:
        for row, picture in enumerate(pictures):
            content = header + picture.tobytes()
            entry = tarfile.TarInfo(f"{row:05d}.ppm")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
