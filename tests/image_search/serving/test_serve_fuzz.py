"""Whatever is sent, the server answers without a 500 and without a hang."""

import string
import warnings
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served import Site

pytestmark = pytest.mark.slow

ANYTHING = st.text(max_size=300) | st.text(string.printable, max_size=300)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    q=ANYTHING, second=ANYTHING, plus=st.lists(ANYTHING, max_size=3),
    minus=st.lists(ANYTHING, max_size=3), k=st.integers(1, 100),
)  # fmt: skip
def test_any_text_is_a_query(
    site: Site, q: str, second: str, plus: list[str], minus: list[str], k: int
) -> None:
    pairs = [("q", q), ("second", second), ("k", str(k))]
    pairs += [("plus", one) for one in plus] + [("minus", one) for one in minus]
    query = urlencode([(name, value.encode("utf-8", "surrogatepass")) for name, value in pairs])
    status, _, body = site.get(f"api/search?{query}")
    assert status in (200, 414, 422), body
    if status == 200:
        assert body.startswith(b'{"k": ')


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.text(string.ascii_letters + string.digits + "/.%?&=_-+;:@", max_size=60))
def test_any_address_gets_an_answer(site: Site, path: str) -> None:
    assert site.get(path)[0] < 500


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=400), kind=st.sampled_from(["image/png", "text/plain", ""]))
def test_any_bytes_are_not_a_picture_or_are_one(site: Site, content: bytes, kind: str) -> None:
    headers = {"Content-Type": kind} if kind else {}
    assert site.get("api/search/picture", content, **headers)[0] in (413, 422)
    assert site.get("api/reword", content, **headers)[0] in (404, 422)


def test_the_description_holds_for_what_it_generates(site: Site) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    from schemathesis.checks import not_a_server_error

    schema = schemathesis.openapi.from_url(f"{site.url}openapi.json")
    tested = 0
    for operation in schema.get_all_operations():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of generators of JSON schema
            tested += fuzzed(operation.ok(), not_a_server_error, site.url)
    assert tested > 60


def fuzzed(operation: object, check: object, url: str) -> int:
    """Send generated requests to an operation; returns their number."""
    count = 0

    @settings(max_examples=15, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())  # type: ignore[attr-defined]
    def run(case: object) -> None:
        nonlocal count
        case.call_and_validate(base_url=url, checks=[check], timeout=30)  # type: ignore[attr-defined]
        count += 1

    run()
    return count
