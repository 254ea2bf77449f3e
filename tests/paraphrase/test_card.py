"""The dataset card of a run: counts, licence and sample rows, which cannot break it."""

from pathlib import Path

import pytest
import yaml
from fake_server import FakeServer
from generating import captions, fake_config, generated

from paraclip.data.triples import TEXTS
from paraclip.paraphrase.backends import BUILTIN_LICENCE
from paraclip.paraphrase.config import Outputs
from paraclip.paraphrase.cost import Meter
from paraclip.paraphrase.outputs import Summary, writing
from paraclip.paraphrase.steps import KeptTriple


def test_every_run_has_a_card(tmp_path: Path) -> None:
    with FakeServer() as server:
        generated(captions(8), fake_config(server.url, tmp_path, licence="MIT"))
    _, metadata, text = (tmp_path / "README.md").read_text().split("---\n", 2)
    found = yaml.safe_load(metadata)
    assert found["size_categories"] == "n<1K"
    assert found["configs"][0]["data_files"] == "triples.parquet"
    for shown in ("fake temperature=1.0", "MIT", "| kept | 8 |", "A baker carries"):
        assert shown in text.replace("\\", ""), shown


@pytest.mark.parametrize(
    ("kept", "size"),
    [(0, "n<1K"), (1000, "1K<n<10K"), (5 * 10**6, "1M<n<10M"), (10**9, "1B<n<10B")],
)
def test_a_card_names_its_size_and_cannot_be_broken_by_its_rows(
    tmp_path: Path, kept: int, size: str
) -> None:
    summary = Summary(captions=kept, kept=kept, generator="x | [y](http://z)")
    row = dict.fromkeys(("id", "image_id", *TEXTS), "a|b\n# head <img> \x1b[0m")
    outputs = Outputs(tmp_path, {"filter_limits": {}, "licence": BUILTIN_LICENCE})
    with writing(outputs, summary, Meter()) as writers:
        writers.write(KeptTriple(row))
    card = (tmp_path / "README.md").read_text()
    assert "<img" not in card and "\x1b" not in card and "\n# head" not in card
    assert BUILTIN_LICENCE in card and "a\\|b" in card and "\\[y\\](http" in card
    assert f"size_categories: {size}" in card
