"""Limits of requests to the server, and its metrics."""

from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel, ValidationError

from paraclip.image_search.serving.guard import BUCKETS, Metrics
from paraclip.image_search.serving.schemas import RewordRequest, SearchRequest
from paraclip.image_search.stores.store import picture_id
from paraclip.image_search.towers import LONGEST_QUERY

LONG = "日" * LONGEST_QUERY


@pytest.mark.parametrize(
    ("kind", "field", "valid", "invalid"),
    [
        (SearchRequest, "q", ["", LONG], [LONG + "x", None]),
        (SearchRequest, "second", [LONG], [LONG + "x"]),
        (SearchRequest, "plus", [[], [LONG] * 8], [["x"] * 9, [LONG + "x"], "x"]),
        (SearchRequest, "minus", [["x"] * 8], [["x"] * 9]),
        (SearchRequest, "models", [["x" * 100] * 8], [["x"] * 9, ["x" * 101]]),
        (SearchRequest, "k", [1, 100], [0, 101, 1.5]),
        (SearchRequest, "like", [None, picture_id("é.png")],
         ["", "0" * 23, "0" * 25, "A" * 24, "0" * 24 + "\n", "../" + "0" * 21]),
        (RewordRequest, "text", ["x", "日" * 500], ["", " \n", "日" * 501, None]),
    ],
)  # fmt: skip
def test_fields_are_limited(
    kind: type[BaseModel], field: str, valid: list[Any], invalid: list[Any]
) -> None:
    for value in valid:
        assert getattr(kind(**{field: value}), field) == value
    for value in invalid:
        with pytest.raises(ValidationError) as caught:
            kind(**{field: value})
        assert caught.value.errors()[0]["loc"][0] == field
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        kind(**{field: valid[-1], "other": 1})


def samples(metrics: Metrics, pictures: int = 0, up: bool = True) -> dict[tuple[str, ...], float]:
    """Values by name and labels in the order of their names, without times of creation."""
    metrics.pictures.set(pictures)
    metrics.store_up.set(up)
    text = generate_latest(metrics.registry).decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_metrics_count_requests_and_show_the_present_state() -> None:
    one, other = Metrics(), Metrics()
    for status, seconds in ((200, 0.03), (200, 0.05), (422, 99.0)):
        one.observe("/api/search", status, seconds)
    one.refused.labels("rate").inc()
    found = samples(one, 31, False)
    assert found["paraclip_requests_total", "/api/search", "200"] == 2
    assert found["paraclip_requests_total", "/api/search", "422"] == 1
    assert found["paraclip_request_seconds_sum", "/api/search"] == pytest.approx(99.08)
    name = "paraclip_request_seconds_bucket"
    counts = [found[name, f"{bound}", "/api/search"] for bound in (*BUCKETS, "+Inf")]
    assert counts == [0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 3]
    assert found["paraclip_refused_total", "rate"] == 1
    assert (found["paraclip_pictures",], found["paraclip_store_up",]) == (31, 0)
    assert samples(one, 5)["paraclip_pictures",] == 5 and samples(one)["paraclip_store_up",] == 1
    assert set(samples(other)) == {("paraclip_pictures",), ("paraclip_store_up",)}
