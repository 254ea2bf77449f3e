"""The C allocator of the process: freed memory is kept for the next step.

torch allocates and frees the same large blocks in every step. By default glibc returns them to the
kernel, which clears each page again when it is touched next; on a virtual machine this can take
longer than the computation itself (`docs/guide/train.md`, Memory allocation).
"""

import ctypes
import os
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h
_LARGEST_KEPT = 1 << 30
"""Blocks of at most this many bytes come from the heap and are reused."""
_MOST_KEPT = (1 << 31) - 1
"""Free bytes at the end of the heap above which memory is returned to the kernel."""
_GROWTH = 64 << 20
"""Bytes by which the heap grows in addition to what is asked for."""
_CONFIGURING = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
"""How names of environment variables that configure or replace malloc begin."""


def keep_freed_memory() -> bool:
    """Let glibc reuse large freed blocks, up to 2 GiB, instead of returning them to the kernel.

    Does nothing with another C library, or where the environment configures malloc (`MALLOC_*`,
    `GLIBC_TUNABLES`, `LD_PRELOAD`).

    Returns:
        Whether the allocator was configured.
    """
    if sys.platform != "linux" or any(name.startswith(_CONFIGURING) for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    options = (
        (M_MMAP_THRESHOLD, _LARGEST_KEPT),
        (M_TRIM_THRESHOLD, _MOST_KEPT),
        (M_TOP_PAD, _GROWTH),
    )
    return all(mallopt(option, value) == 1 for option, value in options)
