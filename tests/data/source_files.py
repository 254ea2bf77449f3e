"""Creates small captions files and shards for tests."""

import io
import json
import tarfile
from pathlib import Path

from paraclip.data.captions import Caption
from paraclip.data.config import Columns
from paraclip.data.problems import Problems
from paraclip.data.reading import read_captions


def put(path: Path, content: str | bytes) -> str:
    """Write a file and its parent folders; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def json_lines(path: Path, rows: list[dict]) -> str:
    """A JSONL file."""
    return put(path, "".join(json.dumps(row) + "\n" for row in rows))


def shard(path: Path, members: dict[str, bytes]) -> str:
    """A tar file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return str(path)


def read(source: str, columns: Columns | None = None, share: float = 0.0) -> list[Caption]:
    """All captions; broken rows are tolerated only up to `share`."""
    return list(read_captions(source, columns, Problems(share)))


def texts(source: str, columns: Columns | None = None) -> list[str]:
    """The texts of all captions."""
    return [row.caption for row in read(source, columns)]


def lenient(source: str, columns: Columns | None = None) -> tuple[list[str], Problems]:
    """The texts of all valid captions, and the problems."""
    problems = Problems(1.0)
    return [row.caption for row in read_captions(source, columns, problems)], problems
