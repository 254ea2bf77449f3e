"""The page about the starter set: what its command writes, from the texts that ship."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import starter
from benchmarks.machine import RESULTS


@pytest.mark.slow
def test_the_page_shows_what_the_command_writes(tmp_path: Path) -> None:
    starter.main(["--out", str(tmp_path)])
    for name in ("starter.md", "starter_samples.md"):
        made, shown = ((folder / name).read_text() for folder in (tmp_path, RESULTS))
        assert made.rpartition("\n\n")[0] == shown.rpartition("\n\n")[0], "all but the date"


ROWS = [
    {
        "id": "one", "domain": "d", "caption": "a </script> & b", "paraphrase_1": "p",
        "paraphrase_2": "q", "contrast": {"kind": "colour", "text": "c"},
        "wordings": [{"kind": "short", "text": "s"}, {"lang": "de", "text": "t"}],
    }
]  # fmt: skip


def test_every_text_is_on_the_searchable_page_and_none_ends_its_script(tmp_path: Path) -> None:
    starter.write_page(ROWS, tmp_path / "starter.html")
    text = (tmp_path / "starter.html").read_text()
    found = re.findall(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
    assert [json.loads(one) for one in found] == [ROWS]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("Vintage Gas Pump Red Globe", True),
        ("wood chair | SHOP", True),
        ("A beach in Maui.", False),
    ],
)
def test_alt_texts_are_known_by_their_capitals_and_separators(caption: str, expected: bool) -> None:
    assert starter.is_alt_text(caption) == expected
