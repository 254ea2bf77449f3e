"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): zero-shot classification of small pictures.

Only the *binary* version is read: the version for Python is pickled, and a pickle can run any code.
A row is one label byte (CIFAR-100: two, coarse and fine) and 32 x 32 pixels, first red, then green,
then blue. The test pictures are written once to a tar file of PPM pictures in ParaCLIP's cache
folder and read from there like other pictures. Formula and limitations: README.md.
"""

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Arithmetic, find_source
from paraclip.evaluation.benchmarks.zero_shot import Labelled, ZeroShot
from paraclip.files import atomic_path, cache_folder, file_hash, read_bounded

_SIDE = 32  # pixels of the pictures
_PIXELS = 3 * _SIDE * _SIDE
_LARGEST_LIST = 2**20  # bytes of a file of class names


@dataclass(frozen=True)
class _Cifar:
    """Files and sizes of CIFAR-10 or CIFAR-100."""

    name: str  # name of the benchmark
    folder: str  # folder of the unpacked archive
    test: str  # name of the file with the test pictures
    names: str  # name of the file with the class names
    label_bytes: int  # number of bytes before the pixels of a row; the last is the label
    classes: int  # number of classes
    rows: int = 10_000  # number of test pictures

    @property
    def get(self) -> str:
        """How to get the data."""
        return (
            "Get the binary version (not the one for Python, which is pickled) from "
            f"https://www.cs.toronto.edu/~kriz/cifar.html and unpack it, so that {self.folder}/ is "
            "in the data folder."
        )


CIFAR10 = _Cifar("cifar10", "cifar-10-batches-bin", "test_batch.bin", "batches.meta.txt", 1, 10)
CIFAR100 = _Cifar("cifar100", "cifar-100-binary", "test.bin", "fine_label_names.txt", 2, 100)
_KINDS = ("", "blurry ", "black and white ", "low contrast ", "high contrast ", "bad ", "good ")
_CIFAR_TEMPLATES = tuple(
    template
    for article in ("a", "the")
    for template in (
        *(f"a {kind}photo of {article} {{}}." for kind in _KINDS),
        f"a photo of {article} small {{}}.",
        f"a photo of {article} big {{}}.",
    )
)
"""CLIP's 18 templates for both sets (data/prompts.md of https://github.com/openai/CLIP)."""


def load_cifar(layout: _Cifar, data: Path | None, how: Arithmetic) -> ZeroShot:
    """Load the test pictures of CIFAR-10 or CIFAR-100, after a check of the files' sizes."""
    folder = find_source(data, layout.folder, layout.get)
    file, list_of_names = folder / layout.test, folder / layout.names
    for path in (file, list_of_names):
        if not path.is_file():
            raise UserError(path, "is missing", layout.get)
    width = layout.label_bytes + _PIXELS
    size, right = file.stat().st_size, layout.rows * width
    if size != right:
        what = f"contains {size:,} bytes, not {right:,}: it is incomplete"
        raise UserError(file, what, layout.get)
    rows = np.fromfile(file, np.uint8).reshape(layout.rows, width)
    labels = rows[:, layout.label_bytes - 1]
    if labels.max() >= layout.classes:
        raise UserError(file, f"contains a class {labels.max()} of {layout.classes}", layout.get)
    lines = read_bounded(list_of_names, _LARGEST_LIST).decode("ascii", "replace").split("\n")
    names = tuple(line.strip().replace("_", " ") for line in lines if line.strip())
    if len(names) != layout.classes:
        what = f"names {len(names)} classes, not {layout.classes}"
        raise UserError(list_of_names, what, layout.get)
    packed = cache_folder() / "cifar" / f"{layout.name}-{file_hash(file)}.tar"
    if not packed.exists():
        _write_tar(rows[:, layout.label_bytes :], packed)
    name = f"test pictures of {layout.folder}"
    references = tuple(f"tar://{row:05d}.ppm::{packed}" for row in range(len(rows)))
    labelled = tuple(map(int, labels))
    shown = Labelled(name, references, labelled, names, _CIFAR_TEMPLATES, "OpenAI's for CIFAR")
    return ZeroShot(layout.name, shown, how)


def _write_tar(pixels: NDArray[np.uint8], path: Path) -> None:
    """Write pictures [pictures, 3 x 32 x 32] as PPM files into a tar file."""
    header = f"P6 {_SIDE} {_SIDE} 255\n".encode()
    pictures = pixels.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
    with atomic_path(path) as temporary, tarfile.open(temporary, "w") as archive:
        for row, picture in enumerate(pictures):
            content = header + picture.tobytes()
            entry = tarfile.TarInfo(f"{row:05d}.ppm")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
