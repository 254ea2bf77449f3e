"""`paraclip` and `python -m paraclip`: Ctrl-C prints one line even while modules are imported."""

import io
import os
import sys
from typing import Any


class _LossyFile(io.FileIO):
    """A file that loses what it cannot write: a full disk below standard error stops no command."""

    def write(self, content: Any, /) -> int:
        """The number of bytes written or lost."""
        try:
            return super().write(content)
        except OSError:
            return len(content)


def _open_streams() -> None:
    """Open the standard streams that are closed, so that no other file gets their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 stays open
    sys.__stderr__ = sys.stderr  # type: ignore[assignment,misc] # its end would close it
    raw = io.BufferedWriter(_LossyFile(2, "w", closefd=False))
    sys.stderr = io.TextIOWrapper(raw, sys.stderr.encoding, "backslashreplace", line_buffering=True)


def main() -> int:
    """Entry point of the `paraclip` script; returns the exit code."""
    try:
        _open_streams()
        from paraclip.cli import main as run

        return run()
    except KeyboardInterrupt:
        print("\nparaclip: interrupted.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
