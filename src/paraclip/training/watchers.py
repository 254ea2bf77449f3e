"""Who is told a run's figures: files, tensorboard, trackio, wandb, behind one small Protocol."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from paraclip.errors import UserError, nearest
from paraclip.training.metrics_log import JsonLines, TensorBoard

PROJECT = "paraclip"


class Watcher(Protocol):
    """Whoever is told each step's figures."""

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """The figures after a step, by name."""
        ...

    def close(self) -> None:
        """Nothing more comes; the run ended or was stopped."""
        ...


@dataclass(frozen=True)
class Watched:
    """The run that is watched.

    Args:
        folder: of the run; its name is the run's name.
        after: the step that it goes on from.
        key: the same for a run that goes on as for the one that was stopped.
        settings: JSON-able, shown beside the curves.
    """

    folder: Path
    after: int
    key: str
    settings: Mapping[str, Any]


class Tracker:
    """trackio or wandb: two modules with the same three functions.

    Args:
        module: imported only when it is asked for.
        run: what is watched.
        more: options of its `init`.
    """

    def __init__(self, module: ModuleType, run: Watched, more: Mapping[str, Any]) -> None:
        self.module = module
        settings = dict(run.settings)
        self.module.init(project=PROJECT, config=settings, resume="allow", **more)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """One point a figure."""
        self.module.log(dict(figures), step=step)

    def close(self) -> None:
        """Send what is still to be sent."""
        self.module.finish()


def trackio(run: Watched) -> Watcher:
    """trackio, on this machine (`trackio show --project paraclip`)."""
    name = f"{run.folder.name}-{run.key}"
    return Tracker(needed("trackio"), run, {"name": name, "embed": False})


def wandb(run: Watched) -> Watcher:
    """wandb; with WANDB_MODE=offline nothing leaves this machine."""
    own = {"id": run.key, "name": run.folder.name, "dir": str(run.folder)}
    return Tracker(needed("wandb"), run, own)


def needed(name: str) -> ModuleType:
    """A module that may not be there.

    Raises:
        UserError: it is not.
    """
    check_trackers([name])
    return import_module(name)


WATCHERS: dict[str, Callable[[Watched], Watcher]] = {
    "jsonl": lambda run: JsonLines(run.folder, run.after),
    "tensorboard": lambda run: TensorBoard(run.folder, run.after),
    "trackio": trackio,
    "wandb": wandb,
}
OF_OTHERS = ("trackio", "wandb")


def check_trackers(names: Sequence[str]) -> None:
    """Refuse what is unknown or not installed, before anything is computed.

    Raises:
        UserError: naming it and how to install it.
    """
    for name in names:
        if name not in WATCHERS:
            raise UserError("--track", f"{name!r} is unknown", nearest(name, list(WATCHERS)))
        if name in OF_OTHERS and find_spec(name) is None:
            raise UserError(f"--track {name}", "it is not installed", f"pip install {name}")


class Watchers:
    """All watchers of a run as one; closed at the end, also where the run fails.

    Args:
        names: of `WATCHERS`, each once.
        run: what is watched.

    Raises:
        UserError: one is not installed.
    """

    def __init__(self, names: Sequence[str], run: Watched) -> None:
        self.closing = ExitStack()
        self.every: list[Watcher] = []
        with ExitStack() as opened:
            for name in dict.fromkeys(names):
                watcher = WATCHERS[name](run)
                opened.callback(watcher.close)
                self.every.append(watcher)
            self.closing = opened.pop_all()

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """Tell all of them."""
        for watcher in self.every:
            watcher.write(step, figures)

    def close(self) -> None:
        """Close all of them, whichever fails."""
        self.closing.close()

    def __enter__(self) -> "Watchers":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
