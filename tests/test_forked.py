"""The server of commands for tests behaves like `paraclip` itself."""

import os
import signal
from pathlib import Path

from forked import Command, paraclip


def test_output_exit_code_folder_and_environment_are_those_of_a_process(tmp_path: Path) -> None:
    done = paraclip("--version")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("paraclip ")
    done = paraclip("merge", "base.safetensors", "tuned.safetensors", cwd=tmp_path)
    assert done.returncode == 2 and "base.safetensors" in done.stderr and not done.stdout
    cache = tmp_path / "cache"
    assert str(cache) in paraclip("doctor", env={"PARACLIP_CACHE": str(cache)}).stdout


def test_a_killed_command_has_the_exit_code_of_its_signal() -> None:
    command = Command("doctor")
    os.kill(command.pid, signal.SIGKILL)
    assert command.wait().returncode == -signal.SIGKILL
