"""SIGTERM and SIGHUP end a command as Ctrl-C does: what it began is undone, and one line says how
to go on."""

import os
import signal
import sys
import threading
import time
from types import FrameType

_TOGETHER = 1.0  # seconds; a terminal that closes sends several signals
_last: tuple[int, float] = (signal.SIGINT, -_TOGETHER)  # that came, and when


class _Ended(KeyboardInterrupt):
    """Python ends a process by SIGINT if a plain one passes `exec` of a string, even if caught."""


def end_as_ctrl_c_does() -> None:
    """Handle both signals, unless they are ignored, as under nohup, or have a handler."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    global _last
    if _is_importing(frame):  # an exception within a native package's import aborts the process
        later = threading.Timer(0.05, os.kill, (os.getpid(), number))
        later.daemon = True
        later.start()
        return
    now, (_, before) = time.monotonic(), _last
    _last = number, now
    if now - before < _TOGETHER:
        return  # it would stop the clean-up
    interrupt = signal.getsignal(signal.SIGINT)
    if callable(interrupt) and interrupt is not signal.default_int_handler:
        interrupt(signal.SIGINT, frame)  # of a server or an event loop, which finish their work
    else:  # also where SIGINT is ignored, as in the background of a script
        raise _Ended


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_globals.get("__name__") == "importlib._bootstrap":
            return True
        frame = frame.f_back
    return False


def report_end(how_to_go_on: str = "") -> int:
    """Print that the command was interrupted; returns the exit code that shells have for it."""
    print(f"\nparaclip: interrupted{how_to_go_on}.", file=sys.stderr)
    return 128 + _last[0]
