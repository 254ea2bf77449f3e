"""SIGTERM and SIGHUP in long commands: one line, the exit code of the signal, and nothing left."""

import importlib
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_server import FakeServer

from forked import SERVER, Command
from paraclip.signals import end_as_ctrl_c_does, report_end
from postgres_server import wait_until

COUNT = 3000
"""Pictures and captions: more than a command is done with before the signal comes."""
Moment = Callable[[Path], bool]
RESUMES, AGAIN = ("; run the same command again to " + what for what in ("resume", "start over"))


def there(pattern: str) -> Moment:
    """A file or folder of the command's is there."""
    return lambda folder: any(folder.glob(pattern))


BASE, PAIRS = "--base base.safetensors", "paraphrased-retrieval --pairs pairs.csv"
LONG: dict[str, tuple[str, Moment, str]] = {  # words, when the signal comes, and how to go on
    "train": (
        f"triples.parquet {BASE} --images pictures --epochs 99999 --out {{out}}",
        there("out/metrics.jsonl"), RESUMES,
    ),
    "generate": (
        "captions.csv --backend openai --model some --base-url {url} --out {out}",
        there("out/answers.jsonl"), RESUMES,
    ),
    "index": (f"many {BASE} --index {{out}}", there("out/index.json"), RESUMES),
    "evaluate": (
        f"base=base.safetensors --benchmarks {PAIRS} --pool many --k 2 --out {{out}}",
        there("out/.lock"), RESUMES,
    ),
    "quickstart": (f"captions.csv {BASE} --out {{out}}", there("out/*"), RESUMES),
    "export": ("base.safetensors {out} --to onnx", there(".out.*.part"), AGAIN),
}  # fmt: skip


@pytest.fixture(scope="module")
def world(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs with which every command works for long."""
    folder = shutil.copytree(sound, tmp_path_factory.mktemp("world") / "here")
    (folder / "many").mkdir()
    for place in range(COUNT):
        os.link(folder / "pictures" / "0.png", folder / "many" / f"{place}.png")
    texts = "\n".join(f"a red disc {place},many/{place}.png" for place in range(COUNT))
    (folder / "captions.csv").write_text(f"caption,image\n{texts}\n")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda one: one.name)
@pytest.mark.parametrize("name", LONG)
def test_a_signal_ends_a_command_in_one_line(
    name: str, number: signal.Signals, world: Path, tmp_path: Path
) -> None:
    words, moment, how = LONG[name]
    out, temporary = tmp_path / "out", tmp_path / "temporary"
    temporary.mkdir()
    own = {"TMPDIR": str(temporary), "PARACLIP_CACHE": str(tmp_path / "cache")}
    with FakeServer() as server:
        server.delay = 0.05
        given = words.format(out=out, url=server.url).split()
        for _ in range(5):
            command = Command(name, *given, cwd=world, env={**own, "OMP_NUM_THREADS": "1"})
            wait_until(lambda one=command: moment(tmp_path) or one.process.exitcode is not None)
            os.kill(command.pid, number)
            done = command.wait()
            if name != "export" or not out.exists():
                break
            shutil.rmtree(out)  # that of a tiny model may be complete before the signal comes
    assert done.returncode == 128 + number, done.stderr
    assert done.stderr.splitlines()[-1] == f"paraclip: interrupted{how}."
    assert "Traceback" not in done.stderr
    left = [path.name for path in (*temporary.iterdir(), *tmp_path.rglob("*.part"))]
    assert not left


def _receive(handled: signal.Handlers, *numbers: int) -> None:
    """Be a process that gets signals; its exit code is the number that ended it."""
    signal.signal(signal.SIGINT, handled)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end_as_ctrl_c_does()
    try:
        for number in numbers:
            signal.raise_signal(number)
    except KeyboardInterrupt:
        signal.raise_signal(signal.SIGTERM)  # a second one stops no clean-up
        sys.exit(report_end())


@pytest.mark.parametrize(
    ("handled", "numbers", "code"),
    [
        (signal.default_int_handler, [signal.SIGTERM], 143),
        (signal.SIG_IGN, [signal.SIGTERM], 143),  # in the background of a script
        (signal.default_int_handler, [signal.SIGHUP], 0),  # under nohup
        (signal.SIG_IGN, [signal.SIGHUP, signal.SIGTERM], 143),
    ],
)
def test_ignored_signals_stay_ignored(
    handled: signal.Handlers, numbers: list[int], code: int
) -> None:
    process = SERVER.Process(target=_receive, args=(handled, *numbers))
    process.start()
    process.join()
    assert process.exitcode == code


def test_a_signal_waits_for_the_end_of_an_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A native package that an exception leaves in the middle of its import aborts the process."""
    (tmp_path / "native_of_test.py").write_text(
        "import signal\nsignal.raise_signal(signal.SIGTERM)\nended = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        end_as_ctrl_c_does()
        assert importlib.import_module("native_of_test").ended
        with pytest.raises(KeyboardInterrupt):
            threading.Event().wait(60)
    finally:
        signal.signal(signal.SIGTERM, before)
