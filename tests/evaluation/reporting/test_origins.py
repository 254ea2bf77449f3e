"""Whether the results of two reports pair."""

from pathlib import Path

import pytest

from paraclip.evaluation.reporting.report import Report, Section
from paraclip.evaluation.reporting.stored import differences_in_origin

DAMAGED = "1 of 60 pictures left out: {}.png: is damaged"


@pytest.mark.parametrize(("other", "pairs"), [("a", True), ("b", False)])
def test_reports_that_skipped_different_pictures_are_not_paired(other: str, pairs: bool) -> None:
    sections = [
        Section("retrieval", "60 pictures", {}, [], [DAMAGED.format(name), "a remark on " + name])
        for name in ("a", other)
    ]
    origins = [(Path(f"{n}.json"), Report({}, [], {}), one, "m") for n, one in enumerate(sections)]
    warnings, same = differences_in_origin("retrieval", origins)
    expected = "retrieval: 0.json and 1.json have left out other items; nothing is paired"
    assert same == pairs and warnings == ([] if pairs else [expected])
