"""Functions that start an event loop, and a clear error in a notebook, where one is running."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from paraclip.errors import UserError

P = ParamSpec("P")
T = TypeVar("T")


def refuse_event_loop(hint: str) -> None:
    """Raise UserError with the hint if an event loop is already running."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UserError("generate", "an event loop is running here, as in a notebook", hint)


def without_event_loop(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Turn a coroutine function into an ordinary one with the same arguments.

    It raises UserError if an event loop is already running.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        refuse_event_loop("Use `await generate_async(...)` with the same arguments.")
        return asyncio.run(function(*args, **kwargs))

    return run
