"""The documentation builds as a site without a warning."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from paraclip import __version__

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent


@pytest.mark.skipif(find_spec("material") is None, reason="the extra docs is not installed")
def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT / "src"), "NO_MKDOCS_2_WARNING": "1",
        "PARACLIP_REPOSITORY": "https://code.example/owner/name",
    }  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    commands = (tmp_path / "commands" / "index.html").read_text("utf-8")
    assert "--ray-workers" in commands and "\x1b" not in commands
    reference = (tmp_path / "api" / "index.html").read_text("utf-8")
    assert 'id="paraclip.commands.search.SearchOptions.cutoff"' in reference
    assert not re.search(r'id="[\w.]+\._', reference), "no private name is shown"
    for page in ("index.html", "guide/tutorial/index.html", "results/index.html"):
        text = (tmp_path / page).read_text("utf-8")
        assert "fonts.googleapis.com" not in text, "nothing is loaded from elsewhere"
    place = f"https://code.example/owner/name/blob/v{__version__}/study/README.md"
    assert place in text, "files that are not in the site are those of the repository"
