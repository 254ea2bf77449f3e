"""`swap` and `undo` are killed at any change of the cache: the old or the new file is in place.
A signal that can be handled leaves no temporary folder, either."""

import io
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path
from unittest.mock import patch

import pytest
from program_caches import contents, small_architectures, small_base, without_prepared
from test_swap import FILES, tag

from extent import KILLS
from forked import SERVER, Command
from paraclip.compute.onnx_session import weight_files
from paraclip.errors import UserError
from paraclip.models.checkpoint import save_model
from paraclip.models.openclip import OpenClip
from paraclip.swapping import run as run_module
from paraclip.swapping.run import swap, undo
from postgres_server import wait_until

pytestmark = pytest.mark.slow
CHANGES = {
    "open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.chown",
    "shutil.copyfile", "shutil.rmtree",
}  # fmt: skip
"""Events before which a process is killed, if they concern the cache."""


def kill_before(step: int, cache: Path, deed: Callable[[], object], count: Path) -> int:
    """Act in a forked process that SIGKILL ends before that change; returns its exit code.

    A run that ends by itself writes the number of its changes to a file.
    """
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    done = 0

    def watch(event: str, values: tuple[object, ...]) -> None:
        nonlocal done
        if event not in CHANGES or (event == "open" and not {*"wax+"} & {*str(values[1])}):
            return
        # a folder is removed through descriptors, which name no path
        if event in ("os.remove", "os.rmdir") or any(str(cache) in str(one) for one in values):
            if done == step:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1

    sys.addaudithook(watch)
    deed()
    count.write_text(str(done))
    os._exit(0)


def kill_everywhere(
    system: str, name: str, start: Path, new: Path, before: dict[str, str], after: dict[str, str]
) -> None:
    """Kill a swap or its undoing at several changes of copies of a cache, and run it again.

    The new files are those that were exported before, and no towers are compared: both take
    seconds, and the cache is changed only after that.
    """
    end = after if name == "swap" else before
    folder, count = start.with_name("folder"), start.with_name("count")
    tempfile.tempdir = str(start.parent)
    model = small_base(system, seed=1)
    deeds = {
        "swap": lambda: swap(system, folder, model, tag=tag(system)),
        "undo": lambda: undo(system, folder),
    }
    known = patch(
        "paraclip.exporting.layouts.write_layout",
        lambda *of: shutil.copytree(new, of[2], dirs_exist_ok=True),
    )
    unchecked = patch.object(run_module, "_check_graphs", lambda *_: [])
    with small_architectures(), known, unchecked:

        def run(step: int) -> int:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(start, folder, symlinks=True)
            return kill_before(step, folder, deeds[name], count)

        assert run(-1) == 0
        changes = int(count.read_text())
        for step in sorted({kill * (changes - 1) // max(1, KILLS - 1) for kill in range(KILLS)}):
            assert run(step) == -signal.SIGKILL
            assert_usable(folder, system, before, after)
            deeds[name]()
            assert all(contents(folder)[one] == end[one] for one in FILES[system])
            if name == "swap":
                undo(system, folder)
            assert contents(folder) == without_prepared(before), step


def assert_usable(folder: Path, system: str, before: dict[str, str], after: dict[str, str]) -> None:
    """Every file is the old or the new one, and what a program compares with it fits."""
    found, known = contents(folder), {**before, **after}
    for name in FILES[system]:
        assert found[name] in (before[name], after[name]), name
        graph = (folder / name).read_bytes()
        for weights in (one for one in known if one.startswith(name) and one.endswith(".data")):
            if Path(weights).name.encode() in graph:
                assert found[weights] == known[weights], weights
    for cpu in (Path(name).parent for name in found if "/cpu/" in name):
        assert {path.name for path in (folder / cpu).iterdir()} == {"model.onnx", "model.data"}
    for listing in folder.rglob("files_metadata.json"):
        for name, facts in json.loads(listing.read_text()).items():
            assert (listing.parent / name).stat().st_size == facts["size"]


@pytest.mark.parametrize("deed", ["swap", "undo"])
@pytest.mark.parametrize("kind", ["immich", "large", "fastembed", "hugging-face"])
def test_killed_anywhere(
    deed: str, kind: str, request: pytest.FixtureRequest, tuned: dict[str, OpenClip], tmp_path: Path
) -> None:
    system = "immich" if kind == "large" else kind
    found = request.getfixturevalue("large" if kind == "large" else "cache")
    base, start = found if kind == "large" else found(system), tmp_path / "start"
    if system == "hugging-face":
        shutil.rmtree(base / "models--laion--clip")
    before = contents(base)
    shutil.copytree(base, start, symlinks=True)
    swap(system, base, tuned[system], tag=tag(system))
    after = contents(base)
    new, file = tmp_path / "new", base / FILES[system][0]
    new.mkdir()
    for path in (file, *weight_files(file)):
        shutil.copy(path, new)
    if deed == "undo":
        for cpu in start.glob("clip/**/cpu"):  # as the program prepares its graphs again
            shutil.copytree(cpu, base / cpu.relative_to(start))
        start = base
    arguments = (system, deed, start, new, before, after)
    process = SERVER.Process(target=kill_everywhere, args=arguments)
    process.start()
    process.join(250)
    assert process.exitcode == 0


def test_a_signal_leaves_no_temporary_folder(
    cache: Callable[[str], Path], tuned: dict[str, OpenClip], tmp_path: Path
) -> None:
    folder, temporary = cache("immich"), tmp_path / "temporary"
    temporary.mkdir()
    save_model(tuned["immich"], tmp_path / "tuned.safetensors")
    before = contents(folder)
    command = Command(
        *("swap", "immich", "--cache", folder, "--tuned", tmp_path / "tuned.safetensors"),
        *("--tag", str(tag("immich"))), env={"TMPDIR": str(temporary)}, within=small_architectures,
    )  # fmt: skip
    wait_until(lambda: any(temporary.iterdir()) or not command.process.is_alive())
    os.kill(command.pid, signal.SIGTERM)
    done = command.wait()
    assert (done.returncode, "Traceback" in done.stderr) == (143, False), done.stderr
    assert done.stderr.splitlines()[-1].endswith("; run the same command again to finish it.")
    assert contents(folder) == before and not [*temporary.iterdir()]


# --- two runs change one cache at once: the base is never lost ---

SYSTEM = "hugging-face"


class Watched(io.StringIO):
    """A stream that reports its first text: that a run waits for another."""

    def __init__(self, waits: Event) -> None:
        super().__init__()
        self.waits = waits

    def write(self, text: str) -> int:
        self.waits.set()
        return len(text)


def act(seed: int, cache: Path, first: bool, stopped: Event, other: Event) -> None:
    """Swap to the model of a seed, or undo for 0; exit with 2 for an error.

    The first run stops before its first change, until the other one has ended or waits for it.
    """

    def stop(event: str, values: tuple[object, ...]) -> None:
        if first and event == "os.link" and not stopped.is_set():
            stopped.set()
            assert other.wait(200)

    sys.addaudithook(stop)
    try:
        with small_architectures():
            if not first:
                sys.stderr = Watched(other)
            if seed:
                swap(SYSTEM, cache, small_base(SYSTEM, seed=seed))
            else:
                undo(SYSTEM, cache)
    except UserError:
        sys.exit(2)
    finally:
        if not first:
            other.set()


@pytest.mark.parametrize(
    ("swapped", "seeds", "codes"),
    [
        pytest.param(0, (1, 2), [0, 2], id="two models"),
        pytest.param(0, (1, 1), [0, 0], id="one model twice"),
        pytest.param(1, (0, 2), [0, 0], id="undo and swap"),
        pytest.param(1, (0, 0), [0, 2], id="undo twice"),
        pytest.param(0, (1, 0), [0, 2], id="swap and undo"),
    ],
)
def test_two_runs_at_once_keep_the_base(
    swapped: int, seeds: tuple[int, int], codes: list[int], cache: Callable[[str], Path]
) -> None:
    """The second run gets the folder of the model in the cache that the first one gets."""
    hub = cache(SYSTEM)
    shutil.rmtree(hub / "models--laion--clip")
    before = contents(hub)
    if swapped:
        swap(SYSTEM, hub, small_base(SYSTEM, seed=swapped))
    stopped, other = SERVER.Event(), SERVER.Event()
    folders = (hub, hub / "models--openai--clip")
    runs = [
        SERVER.Process(target=act, args=(seed, folder, not number, stopped, other))
        for number, (seed, folder) in enumerate(zip(seeds, folders, strict=True))
    ]
    runs[0].start()
    assert stopped.wait(200)
    runs[1].start()
    for run in runs:
        run.join(200)
    assert [run.exitcode for run in runs] == codes
    if any(seeds):
        assert contents(hub)[FILES[SYSTEM][0]] != before[FILES[SYSTEM][0]]
        undo(SYSTEM, hub)
    assert contents(hub) == before
