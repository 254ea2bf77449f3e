"""The Ray cluster of a run: connect or start one, refuse one that is too small, and use it."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from paraclip.errors import UserError, optional_import

_OBJECT_STORE = 256 << 20  # bytes, for a cluster that is started here; items are small
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def import_ray() -> Any:
    """The package `ray`; raises UserError without it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # on by default; before the import
    return optional_import("ray", "ray")


@contextmanager
def cluster(workers: int) -> Iterator[Any]:
    """The package `ray`, connected while the block runs.

    RAY_ADDRESS names a cluster. Without it, a local cluster is started, and stopped at the end of
    the block. A cluster to which the program is already connected is used and not stopped.

    Args:
        workers: number of actors that the run needs.

    Raises:
        UserError: Ray is not installed, no cluster responds, or it has too few logical CPUs.
    """
    ray = import_ray()
    connected = ray.is_initialized()
    if not connected:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "warning"}
        if not os.environ.get("RAY_ADDRESS"):
            # "local": Ray would connect to a cluster of another program here. Logical CPUs: most
            # workers wait for servers most of the time.
            options |= {
                "address": "local", "num_cpus": max(os.cpu_count() or 1, workers),
                "object_store_memory": _OBJECT_STORE, "include_dashboard": False,
            }  # fmt: skip
        try:
            handler = signal.getsignal(signal.SIGTERM)
            ray.init(**options)
            if callable(handler) and signal.getsignal(signal.SIGTERM) is not handler:
                # Ray's own would end the process with another code, and say nothing.
                signal.signal(signal.SIGTERM, handler)
        except (ConnectionError, RuntimeError, ValueError) as error:
            hint = "Start it with `ray start --head`, or unset RAY_ADDRESS."
            raise UserError("RAY_ADDRESS", f"no cluster answers ({error})", hint) from error
    try:
        _check_cpus(ray.cluster_resources().get("CPU", 0.0), workers)
        yield ray
    finally:
        if not connected:
            ray.shutdown()


def _check_cpus(cpus: float, workers: int) -> None:
    """Refuse a cluster on which workers would wait for ever; Ray itself does not check.

    Every actor holds one logical CPU.
    """
    if cpus < workers:
        what = f"{workers} workers need {workers} logical CPUs and the cluster has {cpus:g}"
        hint = "Add machines" if cpus < 1 else f"Give --ray-workers {int(cpus)}, or add machines"
        raise UserError("--ray-workers", what, f"{hint}; `ray start --num-cpus` may name more.")


class _Worker:
    """An actor that calls a function, which it makes itself."""

    def __init__(self, make: Callable[[], Callable[[Any], Any]]) -> None:
        self._call = make()

    def work(self, item: Any) -> Any:
        """The result of an item, or the UserError; Ray passes on only the text of exceptions."""
        try:
            return self._call(item)
        except UserError as error:
            return error


def spread(
    ray: Any,
    make: Callable[[], Callable[[_Item], _Result]],
    items: Iterable[_Item],
    workers: int,
) -> Iterator[_Result]:
    """The results of all items, in the order in which they are ready.

    If a worker or its machine is lost, another worker repeats its items.

    Args:
        ray: from `cluster`.
        make: makes, in each worker, the function from items to results; all are pickled.
        items: read as workers become free.
        workers: number of processes.

    Raises:
        UserError: a worker raised it, or failed for another reason.
    """
    # Restarted and repeated without a limit: a long run may lose many machines.
    actor = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=-1)(_Worker)
    actors = [actor.remote(make) for _ in range(workers)]
    free, running, waiting = [*actors], dict[Any, Any](), iter(items)

    def start() -> None:
        for item in islice(waiting, len(free)):
            worker = free.pop()
            running[worker.work.remote(item)] = worker

    try:
        start()
        while running:
            [done], _ = ray.wait([*running], num_returns=1)
            free.append(running.pop(done))
            start()  # before the caller uses the result, for which no worker waits then
            result = ray.get(done)
            if isinstance(result, UserError):
                raise result
            yield result
    except ray.exceptions.RayError as error:
        last = str(error).strip().splitlines()[-1][:300]  # before it is the worker's traceback
        hint = "Everything that a run reads and writes must be reachable from every machine."
        raise UserError("--ray-workers", f"a worker failed ({last})", hint) from error
    finally:
        for one in actors:
            ray.kill(one)
