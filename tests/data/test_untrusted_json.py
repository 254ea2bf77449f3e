"""JSON from untrusted sources."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip.data.untrusted_json import (
    BadJson,
    parse_json,
    parse_json_object,
    read_json_object,
)
from paraclip.errors import UserError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=9,
)  # fmt: skip


@given(VALUES, st.booleans())
def test_sound_json_is_read_as_the_standard_library_does(value: object, escaped: bool) -> None:
    text = json.dumps(value, ensure_ascii=escaped)
    assert parse_json(text) == parse_json(text.encode()) == value


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"{", "is not JSON"),
        (b"[1] [2]", "is not JSON"),
        (b"", "is not JSON"),
        (b"\xff", "is not UTF-8"),
        ("\ud800", "is not UTF-8"),
        (b'{"a": "\\uD83d dog"}', "half of a surrogate pair"),
        (b'{"\\udc00": 1}', "half of a surrogate pair"),
        (b"[NaN]", "holds NaN"),
        (b"[-Infinity]", "holds -Infinity"),
        (b"1e999", "too large"),
        (b"1" * 400, "a number of 400 digits"),
        (b"1" * 9_999, "a number of 9,999 digits"),
        (b"[" * 100_000, "nested deeper"),
        (b"[" * 300 + b"]" * 300, "nested deeper"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "nested deeper"),
    ],
)
def test_what_is_refused(content: bytes | str, what: str) -> None:
    with pytest.raises(BadJson, match=what):
        parse_json(content)


def test_the_limits_themselves_are_accepted() -> None:
    deep = "[" * 100 + "]" * 100
    assert json.dumps(parse_json(deep)) == deep
    assert parse_json(b'"\\ud83d\\ude00"') == "\N{GRINNING FACE}"
    assert parse_json(b"12", most=2) == 12
    with pytest.raises(BadJson, match="more than"):
        parse_json(b"123", most=2)
    assert parse_json(b"[[2, 3], {}]", most_values=5) == [[2, 3], {}]
    with pytest.raises(BadJson, match="more than 4 values"):
        parse_json(b"[[2, 3], {}]", most_values=4)


def test_brackets_in_texts_are_not_levels_and_no_text_takes_long() -> None:
    text = "[" * 500 + '\\"'
    assert parse_json(json.dumps({text: [text] * 9})) == {text: [text] * 9}
    for content in ("[" * 200 + '"' + '\\"' * 500_000, "[]" * 500_000, '"' * 1_000_001):
        with pytest.raises(BadJson):
            parse_json(content)


def test_a_file_is_named_in_the_error(tmp_path: Path) -> None:
    assert parse_json_object(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
    path = tmp_path / "a.json"
    for content, what in ((None, "no such file"), ("[]", "not a JSON object"), ("{", "is not")):
        if content is not None:
            path.write_text(content)
        with pytest.raises(UserError, match=what) as caught:
            read_json_object(path, "Make it again.")
        assert (caught.value.where, caught.value.hint) == (str(path), "Make it again.")
    path.write_text('{"a": 1}')
    assert read_json_object(path, "") == {"a": 1}
    with pytest.raises(UserError, match="cannot be read"):
        read_json_object(tmp_path, "")
