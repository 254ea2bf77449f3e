"""`swap`: its options, the functions, and what the command prints."""

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from paraclip.commands.packages import require_packages
from paraclip.errors import UserError, printable
from paraclip.options import Checked, PathName, takes
from paraclip.systems import swapped
from paraclip.systems.system import IndexAddress

if TYPE_CHECKING:  # `paraclip swap --help` needs no torch
    from paraclip.models.encoder import Model
    from paraclip.swapping.run import Swapped

    System = str
else:  # the names of the table, for help and checks
    System = Literal[tuple(swapped())]


@dataclass(frozen=True, kw_only=True)
class SwapOptions(Checked):
    """What is checked before a swap."""

    tag: str | None = None
    """Pretrained tag of the base in open_clip, such as `openai`, for a checkpoint that does not
    record it."""

    index: PathName | None = None
    """Also check that the vectors of this index come from the model's image encoder; as for
    `paraclip swap-check --index`."""

    dry_run: bool = False
    """Check everything and print what would be done, but change nothing."""


@dataclass(frozen=True, kw_only=True)
class SwapConfig(SwapOptions):
    """Put a tuned text encoder in the place of the base's in the model cache of another program, or
    take it out again. The base's file is kept beside it; vectors of pictures stay valid."""

    system: Annotated[tyro.conf.Positional[System], tyro.conf.arg(metavar="SYSTEM")]
    """Program whose model cache it is: immich, rclip, librephotos, fastembed, weaviate, or
    hugging-face for programs that load a CLIP from the hub's cache."""

    cache: str
    """The program's cache: immich's volume model-cache (/cache in the container), rclip's data
    folder (~/.local/share/rclip), LibrePhotos' data_models, fastembed's FASTEMBED_CACHE_PATH, the
    folder models of Weaviate's multi2vec-clip, or the hub's cache (~/.cache/huggingface/hub) or the
    folder of one model in it."""

    tuned: str | None = None
    """The tuned model (.safetensors), the folder of its run, or any model as for `paraclip train
    --base`. Without it, the command says whether an earlier swap is still in place, and fails if
    not."""

    undo: bool = False
    """Restore the base's files."""


@takes(SwapOptions)
def swap(system: str, cache: Path | str, tuned: "Model", options: SwapOptions) -> "Swapped":
    """Put a tuned text encoder in the place of the base's in another program's model cache.

    The base's files are kept beside the new ones, and `undo_swap` restores them.

    Args:
        system: the program, as for `paraclip swap`, such as immich, rclip or weaviate.
        cache: its model cache.
        tuned: the tuned model.
        options: those below.

    Returns:
        The files that were replaced, where the base's are kept, and what was checked.

    Raises:
        UserError: the program is unknown, its cache does not hold the base, or the image tower,
            the activation or the preprocessing is not the model's.

    Example:
        >>> done = swap("immich", "/path/to/model-cache", tuned, dry_run=True)  # doctest: +SKIP
    """
    chosen = asdict(options)
    return _swap(SwapConfig(system=system, cache=str(cache), **chosen), tuned)  # checks the name


def inspect_swap(system: str, cache: Path | str) -> "Swapped":
    """Whether what `swap` put into a cache is still in place; nothing is changed.

    Args:
        system: the program, as for `swap`.
        cache: its model cache.

    Returns:
        The files that are in place; `left` says which are not.

    Raises:
        UserError: the program is unknown, or nothing is swapped there.
    """
    from paraclip.swapping import run

    SwapConfig(system=system, cache=str(cache))
    return run.inspect_swap(system, cache)


def undo_swap(system: str, cache: Path | str, *, dry_run: bool = False) -> "Swapped":
    """Restore the files that `swap` replaced in a cache, byte for byte.

    A file that has changed since is left as it is.

    Args:
        system: the program, as for `swap`.
        cache: its model cache.
        dry_run: whether to check everything, but change nothing.

    Returns:
        The files that were restored, and what was left because the program has changed it.

    Raises:
        UserError: the program is unknown, nothing was swapped, or a kept file is gone or damaged.
    """
    from paraclip.swapping import run

    SwapConfig(system=system, cache=str(cache))
    return run.undo(system, cache, dry_run=dry_run)


def _swap(config: SwapConfig, tuned: "Model") -> "Swapped":
    require_packages("swap", config, [tuned], [config.index])
    from paraclip.indexes import read_index  # numpy: --undo needs none
    from paraclip.swapping import run

    place = None if config.index is None else IndexAddress(str(config.index), selectable=False)
    index = None if place is None else read_index(place)
    return run.swap(
        config.system, config.cache, tuned, tag=config.tag, index=index, dry_run=config.dry_run
    )


def swap_command(config: SwapConfig) -> None:
    """Swap, or undo it, and print what was done and what to restart; or say what is in place."""
    again = f"paraclip swap {config.system} --cache {shlex.quote(config.cache)}"
    if config.undo:
        done = undo_swap(config.system, config.cache, dry_run=config.dry_run)
    elif config.tuned is None:
        _print_state(config, again)
        return
    else:
        done = _swap(config, config.tuned)
    lines = [*done.checked]
    if config.dry_run:
        lines.append("Nothing was changed. Without --dry-run:")
    lines += [f"{'Restored' if config.undo else 'Replaced'} {path}" for path in done.files]
    lines += [f"Kept the base's file as {path}" for path in done.kept]
    lines += [f"Removed what was made from it: {path}" for path in done.cleared]
    lines += done.left
    if not done.files and not config.undo:
        lines.append("The model is in place already.")
    lines.append(swapped()[config.system].cache.restart)
    if done.kept and not config.dry_run:
        lines.append(f"Whether it is still in place, after an update of {config.system}: {again}")
        lines.append(f"To go back: {again} --undo")
    for line in lines:
        print(printable(line))


def _print_state(config: SwapConfig, again: str) -> None:
    """Print which files are in place; raises UserError if one is not."""
    state = inspect_swap(config.system, config.cache)
    for line in (*(f"In place: {path}" for path in state.files), *state.left):
        print(printable(line))
    if state.left:
        what, hint = "is not swapped, or not as a whole", f"Swap again: {again} --tuned MODEL"
        raise UserError(config.cache, what, hint)
