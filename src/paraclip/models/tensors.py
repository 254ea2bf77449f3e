"""Hash of tensors, and safetensors files written completely or not at all."""

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from paraclip.errors import UserError
from paraclip.files import atomic_path
from paraclip.models.row_store import StoredRows

_OS_ERROR = re.compile(r"os error (\d+)")  # safetensors states the number only in its message
_MODE = 0o644  # safetensors creates files that only their owner can read
_ROWS_AT_ONCE = 16_384
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def hash_tensors(tensors: Mapping[str, Tensor] | Mapping[str, Tensor | StoredRows]) -> str:
    """First 16 hex digits of the SHA-256 over names, types, shapes and bits of tensors."""
    digest = sha256()
    for name in sorted(tensors):
        value = tensors[name]
        # Type and shape, too: without them, the same bits could be other tensors.
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        # Rows in a file may be larger than memory.
        parts = value.split(_ROWS_AT_ONCE) if isinstance(value, StoredRows) else [value]
        for part in parts:
            # As bytes: NumPy has no bfloat16, and -0.0 is not 0.0.
            bits = part.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(bits.numpy().data)
    return digest.hexdigest()[:16]


def count_bytes(module: nn.Module) -> int:
    """Bytes that the weights of a model or a part of it take, in memory and in a file."""
    return sum(value.numel() * value.element_size() for value in module.state_dict().values())


def read_shapes(path: Path) -> dict[str, list[int]]:
    """Shapes of the tensors in a safetensors file, by name."""
    with safe_open(path, "pt") as stored:
        # A slice has its shape before its weights are read.
        return {name: list(stored.get_slice(name).get_shape()) for name in list(stored.keys())}


def check_fit(shapes: Mapping[str, list[int]], model: nn.Module) -> None:
    """Raise ValueError unless a file, by the shapes of its tensors, has all those of a model, which
    may be laid out without memory, and no other."""
    ours = {name: list(value.shape) for name, value in model.state_dict().items()}
    for name, shape in ours.items():
        if name not in shapes:
            raise ValueError(f"it has no {name}")
        if shapes[name] != shape:
            raise ValueError(f"{name} is {shapes[name]}, not {shape}")
    if extra := next((name for name in shapes if name not in ours), None):
        raise ValueError(f"it has an extra {extra}")


def fill_weights(model: nn.Module, stored: Callable[[str], Tensor], path: Path | str) -> None:
    """Copy the tensors of a file, by their names in the model, one at a time.

    Raises UserError for one that is not of floats where the model has floats, as in quantised
    weights, or has numbers that are not finite.
    """
    for name, ours in model.state_dict().items():
        value, floats = stored(name), ours.is_floating_point()
        if floats != (value.dtype in _FLOATS):
            hint = "Save it as floats; quantised weights cannot be read."
            kind = str(value.dtype).removeprefix("torch.")
            raise UserError(path, f"its {name} has the type {kind}", hint)
        ours.copy_(value)
        if floats and not ours.isfinite().all():
            hint = "Train, write or download it again."
            raise UserError(path, f"its {name} has numbers that are not finite", hint)


def save_tensors(
    tensors: Mapping[str, Tensor],
    path: Path,
    metadata: dict[str, str],
    replacing: Callable[[Path], AbstractContextManager[Path]] = atomic_path,
) -> None:
    """Write a safetensors file completely or not at all, with `replacing` of an `OutputFolder`."""
    stored = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with replacing(path) as temporary:
        try:
            save_file(stored, temporary, metadata)
        except SafetensorError as error:
            if (number := _OS_ERROR.search(str(error))) is None:
                raise
            # With its number, so that `disk_errors` can say that the disk is full.
            raise OSError(int(number[1]), str(error)) from error
        temporary.chmod(_MODE)
