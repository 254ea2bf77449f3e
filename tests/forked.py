"""Runs `paraclip` in a process of its own without waiting for its imports.

A server imports torch and the package once; each command is a fork of it, with its own folder,
environment, signals and exit code. What only a fresh interpreter shows (encodings of streams, the
imports themselves) needs `python -m paraclip`.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from multiprocessing.process import BaseProcess
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "paraclip.api",
        "paraclip.cli",
        "paraclip.training.train",
        "open_clip",
        "openai",
        "pandas",
        "pytest",
    ]
)


class Command:
    """A running `paraclip`; `pid` for signals, `wait` for its exit code and output.

    Args:
        words: arguments of `paraclip`.
        cwd: its folder; that of the test by default.
        env: environment variables in addition to those of the test.
        within: what it runs in, a function of a module.
    """

    def __init__(
        self, *words: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None,
        within: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:  # fmt: skip
        self.words = tuple(map(str, words))
        self.folder = tempfile.TemporaryDirectory()
        self.out, self.err = Path(self.folder.name, "out"), Path(self.folder.name, "err")
        arguments = (
            self.words, str(cwd or Path.cwd()), {**os.environ, **(env or {})},
            str(self.out), str(self.err), within,
        )  # fmt: skip
        self.process: BaseProcess = SERVER.Process(target=_run, args=arguments)
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid
        return self.process.pid

    def wait(self, timeout: float = 120) -> "subprocess.CompletedProcess[str]":
        """Return the exit code (negative for a signal) and output; kill it after the timeout."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
            raise subprocess.TimeoutExpired(self.words, timeout)
        texts = [path.read_text("utf-8") if path.exists() else "" for path in (self.out, self.err)]
        self.folder.cleanup()
        return subprocess.CompletedProcess(self.words, self.process.exitcode, *texts)


def paraclip(
    *words: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None,
    timeout: float = 120,
) -> "subprocess.CompletedProcess[str]":  # fmt: skip
    """Run `paraclip WORDS` to its end; see `Command`."""
    return Command(*words, cwd=cwd, env=env).wait(timeout)


def _run(
    words: tuple[str, ...], cwd: str, env: dict[str, str], out: str, err: str,
    within: Callable[[], AbstractContextManager[None]],
) -> None:  # fmt: skip
    """Be the command: in the forked process."""
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None  # the server's
    os.chdir(cwd)
    for number, path in enumerate((os.devnull, out, err)):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(path, flags, 0o600), number)
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, encoding="utf-8")  # noqa: SIM115 open until the process ends
        for number, mode in enumerate(("r", "w", "w"))
    )
    sys.argv = ["paraclip", *words]
    from paraclip.__main__ import main

    with within():
        sys.exit(main())


def peak_memory(work: Callable[..., object], *arguments: object) -> int:
    """Python's largest memory in bytes while `work` runs, in a process where no other thread is.

    It runs twice, and the second time counts: what is set up once does not.
    """
    with ProcessPoolExecutor(1, mp_context=SERVER) as alone:
        return alone.submit(_peak_memory, work, arguments).result()


def _peak_memory(work: Callable[..., object], arguments: tuple[object, ...]) -> int:
    work(*arguments)
    tracemalloc.start()
    work(*arguments)
    return tracemalloc.get_traced_memory()[1]
