"""The captions and prompts for all systems; needs only the standard library."""

import json
import sys
from pathlib import Path

SYSTEM_1 = (
    "Paraphrase the caption of a picture in plain, concise language and keep its meaning. "
    "Answer with the paraphrase only."
)
SYSTEM_2 = (
    "Paraphrase the caption of a picture with other words and another structure, keep its meaning "
    "and avoid the words already used. Answer with the paraphrase only."
)


def options() -> tuple[str, Path, Path, int]:
    """Address of the server, file of captions, output folder, questions in flight."""
    url, captions, out, concurrency = sys.argv[1:5]
    Path(out).mkdir(parents=True, exist_ok=True)
    return url, Path(captions), Path(out), int(concurrency)


def rows(path: Path):
    """Captions with their ids, one at a time."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
