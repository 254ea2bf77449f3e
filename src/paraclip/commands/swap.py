"""`paraclip swap`."""

import shlex

from paraclip.errors import UserError, printable
from paraclip.swapping.run import inspect_swap, swap, undo
from paraclip.systems import swapped
from paraclip.systems.config import SwapConfig
from paraclip.systems.system import IndexAddress


def swap_command(config: SwapConfig) -> None:
    """Swap, or undo it, and print what was done and what to restart; or say what is in place."""
    again = f"paraclip swap {config.system} --cache {shlex.quote(config.cache)}"
    if config.undo:
        done = undo(config.system, config.cache, dry_run=config.dry_run)
    elif config.tuned is None:
        _print_state(config, again)
        return
    else:
        from paraclip.indexes.reading import read_index  # numpy: --undo needs none

        index = read_index(IndexAddress(config.index, selectable=False)) if config.index else None
        done = swap(
            config.system, config.cache, config.tuned,
            tag=config.tag, index=index, dry_run=config.dry_run,
        )  # fmt: skip
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
