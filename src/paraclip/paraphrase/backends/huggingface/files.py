"""Location, identity and loading of a model's files."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paraclip.errors import UserError
from paraclip.files import check_input
from paraclip.models.formats.published import download_failure
from paraclip.models.hub import offline_where_unreachable
from paraclip.provenance import without_secrets

REPOSITORY = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")
PATTERNS = ("*.json", "*.jinja", "*.model", "*.txt", "*.safetensors")
SLICES, SLICE = 64, 1 << 16  # slices of each file for the fingerprint; bytes
MOST_LAYERS = 1000
NEW_NAME = (4, 56)  # version of transformers from which `torch_dtype` is called `dtype`
FOLDER_HINT = "Give a folder with config.json, weights and tokenizer, a .gguf file, or OWNER/NAME."


@dataclass(frozen=True)
class ModelFiles:
    """A model on disk.

    Args:
        name: name for the provenance: that on the hub, or of the folder or file.
        folder: folder of the files.
        gguf: name of the GGUF file in the folder, or None.
    """

    name: str
    folder: Path
    gguf: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Options for `from_pretrained`: no download, and no code from the folder is run."""
        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        return options | ({"gguf_file": self.gguf} if self.gguf else {})

    def fingerprint(self) -> str:
        """16 hex digits from the sizes of all weights and tokenizer files, and slices of them.

        Hashing a whole large model takes minutes; fine-tuning changes weights everywhere.
        """
        paths = [self.folder / self.gguf] if self.gguf else sorted(self.folder.iterdir())
        digest = hashlib.sha256()
        for path in paths:
            if path.is_file() and any(path.match(one) for one in (*PATTERNS, "*.gguf")):
                digest.update(f"{path.name} {path.stat().st_size}\n".encode())
                for part in slices(path):
                    digest.update(part)
        return digest.hexdigest()[:16]


def slices(path: Path) -> list[bytes]:
    """Evenly spaced parts of a file; a small file as a whole."""
    size = path.stat().st_size
    step = max(SLICE, size // SLICES)
    parts = []
    with path.open("rb") as file:
        for offset in range(0, size, step):
            file.seek(offset)
            parts.append(file.read(SLICE))
    return parts


def find_files(model: str) -> ModelFiles:
    """Find the files of a folder, a GGUF file, or a name on the hub (downloaded if needed).

    Raises:
        UserError: there are no such files, or the hub cannot be reached.
    """
    path = Path(os.path.expanduser(model))  # Path.expanduser raises for an unknown user
    check_input(path, FOLDER_HINT)
    if path.is_file():
        if path.suffix != ".gguf":
            raise UserError(model, "is not a GGUF file", FOLDER_HINT)
        return ModelFiles(path.stem, path.parent, path.name)
    if path.is_dir():
        if (path / "config.json").is_file():
            return ModelFiles(path.resolve().name, path)
        raise UserError(model, "there is no config.json", FOLDER_HINT)
    if not REPOSITORY.fullmatch(model):
        raise UserError(without_secrets(model), "there is no such folder or file", FOLDER_HINT)
    return ModelFiles(model, downloaded(model))


def downloaded(name: str) -> Path:
    """The folder of a model from the hub; cached files are not downloaded again."""
    from huggingface_hub import snapshot_download

    try:
        with offline_where_unreachable():
            return Path(snapshot_download(name, allow_patterns=list(PATTERNS)))
    except Exception as error:  # the hub's client, httpx and the OS each have their own
        reason, hint = download_failure(error)
        what = f"there is no such folder, and https://huggingface.co/{name} is out of reach"
        by_hand = "Download the model on another machine, and give its folder with --model."
        raise UserError(name, f"{what}: {reason}", hint or by_hand) from error


def load_tokenizer(files: ModelFiles) -> Any:
    """Load the tokenizer, with padding on the left for generation.

    Raises:
        UserError: the tokenizer is missing or damaged.
    """
    from transformers import AutoTokenizer

    tokenizer = loaded(AutoTokenizer, files, "tokenizer")
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise UserError(files.folder, "the tokenizer has no token that can pad", FOLDER_HINT)
    return tokenizer


def load_model(files: ModelFiles, dtype: str, device: Any) -> Any:
    """Load the model onto a device, for inference.

    Args:
        files: the model's files.
        dtype: name of a torch dtype, or "auto": float32 on a CPU, else that of the checkpoint.
        device: a torch device.

    Raises:
        UserError: it is not a causal language model, damaged, or needs other versions or packages.
    """
    import torch
    import transformers

    version = tuple(map(int, transformers.__version__.split(".")[:2]))
    kind: Any = getattr(torch, dtype, "auto")
    if dtype == "auto" and device.type == "cpu":
        kind = torch.float32
    options: dict[str, Any] = {"dtype" if version >= NEW_NAME else "torch_dtype": kind}
    if files.gguf is None:
        options["use_safetensors"] = True  # nothing is unpickled
    options["config"] = loaded(transformers.AutoConfig, files, "configuration")
    check_layers(files, options["config"].to_dict())
    kind = transformers.AutoModelForCausalLM
    model, info = loaded(kind, files, "model", output_loading_info=True, **options)
    if missing := sorted(info["missing_keys"]):
        what = f"the weights lack {len(missing):,} tensors, the first is {missing[0]}"
        raise UserError(files.folder, what, "Check that weights and config.json belong together.")
    try:
        return model.to(device).eval()
    except (RuntimeError, AssertionError) as error:  # also a missing driver, or too little memory
        hint = "Give another --device or --dtype."
        raise UserError(files.folder, f"does not fit on {device} ({error})", hint) from error


def check_layers(files: ModelFiles, config: dict[str, Any]) -> None:
    """Raise UserError for more layers than a model can have; building them would not end."""
    for name, value in config.items():
        if isinstance(value, dict):
            check_layers(files, value)
        elif "layer" in str(name) and type(value) is int and value > MOST_LAYERS:
            raise UserError(files.folder, f"{name} is {value:,}", FOLDER_HINT)


def loaded(kind: Any, files: ModelFiles, part: str, **options: Any) -> Any:
    """Load a part of a model or raise UserError; `transformers` raises many kinds of errors."""
    try:
        return kind.from_pretrained(files.folder, **files.options, **options)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        what = f"its {part} cannot be loaded ({reason})"
        raise UserError(files.folder, what, FOLDER_HINT) from error
