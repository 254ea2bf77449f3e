"""The client with the oldest supported `openai`, which is built on httpx; newer ones are not.

`make test` installs it in a separate folder in the environment.
"""

import os
import subprocess
import sys
from pathlib import Path

import openai
import pytest

HERE = Path(__file__).parent
OLDEST = Path(sys.prefix) / "openai-oldest"


@pytest.mark.slow
@pytest.mark.skipif(not OLDEST.is_dir(), reason=f"the oldest openai is not in {OLDEST.name}")
def test_the_clients_tests_pass_with_the_oldest_openai() -> None:
    paths = [str(OLDEST), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    asked = "import openai; print(openai.__version__)"
    known = subprocess.run(
        [sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=True
    )
    assert known.stdout.startswith("2.") and not openai.__version__.startswith("2.")
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-x"),
        str(HERE / "test_backends.py"),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
