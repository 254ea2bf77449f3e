"""Limits of requests to the server."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from paraclip.image_search.serving.app import _RewordRequest, _SearchRequest
from paraclip.image_search.stores import picture_id
from paraclip.image_search.towers import LONGEST_QUERY

LONG = "日" * LONGEST_QUERY


@pytest.mark.parametrize(
    ("kind", "field", "valid", "invalid"),
    [
        (_SearchRequest, "q", ["", LONG], [LONG + "x", None]),
        (_SearchRequest, "second", [LONG], [LONG + "x"]),
        (_SearchRequest, "plus", [[], [LONG] * 8], [["x"] * 9, [LONG + "x"], "x"]),
        (_SearchRequest, "minus", [["x"] * 8], [["x"] * 9]),
        (_SearchRequest, "models", [["x" * 100] * 8], [["x"] * 9, ["x" * 101]]),
        (_SearchRequest, "k", [1, 1000], [0, 1001, 1.5]),
        (_SearchRequest, "like", [None, picture_id("é.png")],
         ["", "0" * 23, "0" * 25, "A" * 24, "0" * 24 + "\n", "../" + "0" * 21]),
        (_RewordRequest, "text", ["x", "日" * 500], ["", " \n", "日" * 501, None]),
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
