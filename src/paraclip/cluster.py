"""The Ray cluster of a run: connect or start one, and refuse one that is too small."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from paraclip.errors import UserError, optional_import

_SPARE_CPUS = 2  # one for tasks that read and write, one for the filter of a resumed run
_OBJECT_STORE = 256 << 20  # bytes, for a cluster that is started here; blocks are small


def import_ray() -> Any:
    """The package `ray`; raises UserError without it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before the import
    optional_import("ray.data", "ray")
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
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # `watch` and errors are shorter
    connected = ray.is_initialized()
    if not connected:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "warning"}
        if not os.environ.get("RAY_ADDRESS"):
            # Logical CPUs: askers wait for servers most of the time.
            options |= {
                "address": "local", "num_cpus": max(os.cpu_count() or 1, workers + _SPARE_CPUS),
                "object_store_memory": _OBJECT_STORE, "include_dashboard": False,
            }  # fmt: skip
        try:
            ray.init(**options)
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
    """Refuse a cluster on which the run would wait for ever; Ray itself does not check.

    Every actor holds one logical CPU. A resumed run has one more actor, which filters what is done,
    and without a further CPU no task could read or write.
    """
    needed = workers + _SPARE_CPUS
    if cpus < needed:
        what = f"{workers} workers need {needed} logical CPUs and the cluster has {cpus:g}"
        most = int(cpus) - _SPARE_CPUS
        hint = "Add machines" if most < 1 else f"Give --ray-workers {most}, or add machines"
        raise UserError("--ray-workers", what, f"{hint}; `ray start --num-cpus` may name more.")
