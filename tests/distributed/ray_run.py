"""A distributed run, killed by a test: `python ray_run.py URL OUT CAPTIONS`."""

import sys
from pathlib import Path

from generating import generated_from_source

from paraclip.commands.generate import GenerateConfig
from paraclip.paraphrase import parts

IN_FLIGHT = 8
LEAST = 16  # captions of a part


def ray_config(url: str | tuple[str, ...], out: Path, captions: str) -> GenerateConfig:
    """Options of all distributed runs of the tests."""
    urls = (url,) if isinstance(url, str) else url
    return GenerateConfig(
        captions, str(out), backend="openai", base_url=urls, model="fake",
        ray_workers=2, concurrency=IN_FLIGHT,
    )  # fmt: skip


if __name__ == "__main__":
    parts.LEAST_CAPTIONS = LEAST
    generated_from_source(ray_config(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
