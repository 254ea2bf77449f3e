"""`paraclip index --ray-workers` writes what it writes without Ray, from WebDataset shards."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from paraclip.data.problems import Problems
from paraclip.image_search.build import IndexSummary, build_index
from paraclip.models.checkpoint import save_model
from paraclip.stores.opening import open_store
from tiny import draw, tiny_clip

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

pytest.importorskip("lancedb")
COLOURS = ("red", "green", "blue", "black")


def write_shard(path: Path, shape: str, first: int) -> None:
    """Four pictures with captions and one that is broken."""
    with tarfile.open(path, "w") as shard:
        for number, colour in enumerate(COLOURS, start=first):
            side = 20 + number
            picture = draw(path.with_suffix(".png"), shape, colour, (side, side))
            shard.add(picture, f"{number:04}.png")
            add(shard, f"{number:04}.txt", f"a {colour} {shape}".encode())
        add(shard, f"{first + 900:04}.jpg", b"no picture")


def add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    shard.addfile(entry, io.BytesIO(content))


def indexed(
    shards: Path, store: Path, model: Path, **options: object
) -> tuple[IndexSummary, Problems]:
    problems = Problems(1.0)
    source = str(shards / "*.tar")
    summary = build_index(source, str(store), str(model), problems, device="cpu", **options)  # type: ignore[arg-type]
    return summary, problems


def rows(store: Path) -> pa.Table:
    opened = open_store(str(store))
    table = opened.rows(sorted(opened.state()["id"].to_pylist()))
    return table.drop_columns(["time"]).sort_by("id")


def facts(summary: IndexSummary) -> dict[str, object]:
    return {name: value for name, value in vars(summary).items() if name != "seconds"}


def test_the_table_is_that_of_the_other_engine(
    small_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARACLIP_QUIET", "1")
    shards, model = tmp_path / "shards", tmp_path / "base.safetensors"
    shards.mkdir()
    save_model(tiny_clip(), model)
    write_shard(shards / "0.tar", "disc", 0)
    write_shard(shards / "1.tar", "square", 10)
    for change in (lambda: None, lambda: write_shard(shards / "2.tar", "disc", 20)):
        change()
        plain, listed = indexed(shards, tmp_path / "plain", model)
        ray, listed_too = indexed(shards, tmp_path / "ray", model, ray_workers=2)
        assert facts(ray) == facts(plain) and ray.broken and ray.embedded
        assert sorted(listed_too.listed) == sorted(listed.listed)
        first, second = rows(tmp_path / "plain"), rows(tmp_path / "ray")
        assert first.drop_columns(["vector"]).equals(second.drop_columns(["vector"]))
        np.testing.assert_allclose(
            np.stack(first["vector"].to_pylist()), np.stack(second["vector"].to_pylist()), atol=1e-6
        )
    assert ray.embedded == 4 and ray.unchanged == 8
