"""`paraclip` and `python -m paraclip`: a signal leads to one line even during imports."""

import io
import os
import sys
from typing import Any

from paraclip.signals import end_as_ctrl_c_does, report_end


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
        end_as_ctrl_c_does()
        _open_streams()
        from paraclip.cli import main as run

        return run()
    except KeyboardInterrupt:
        return report_end()


if __name__ == "__main__":
    sys.exit(main())
