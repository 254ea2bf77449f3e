"""The HTTP interface: results, agreement, batches, caches, health."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from served import COUNT, NAMES, FirstAxis, HashTower, Site

from paraclip.compute.micro_batch import Overloaded
from paraclip.evaluation.metrics import average_overlap, jaccard
from paraclip.image_search.engine import measure_overlap
from paraclip.image_search.serving import app, service
from paraclip.image_search.snapshot import open_pool
from paraclip.store import Store, picture_id
from tiny import jpeg


def ids(hits: list[dict[str, Any]]) -> list[str]:
    return [hit["id"] for hit in hits]


def test_both_models_answer_in_order(site: Site) -> None:
    found = site.json("api/search?q=a+red+disc&k=7")
    assert [model["label"] for model in found["models"]] == ["base", "tuned"]
    assert found["pictures"] == COUNT
    for model in found["models"]:
        (hits,) = model["results"]
        scores = [hit["score"] for hit in hits]
        assert len(hits) == 7 and scores == sorted(scores, reverse=True)
        assert model["agreement"] is None
    vector = HashTower("tuned").embed(["a red disc"])[0]
    expected = site.service.current.pool.nearest(vector[None], 7)[0]
    assert ids(found["models"][1]["results"][0]) == [hit.id for hit in expected]


def test_a_second_wording_gives_agreement_as_the_benchmarks_count_it(site: Site) -> None:
    found = site.json("api/search?q=red+disc+small&second=small+disc+red&k=10")
    base, tuned = found["models"]
    assert tuned["agreement"] == {"depth": 10, "ao": 100.0, "js": 100.0, "shared": 10}
    first, second = (ids(hits) for hits in base["results"])
    numbers = {one: number for number, one in enumerate(dict.fromkeys(first + second))}
    ranks = [np.array([[numbers[one] for one in found]]) for found in (first, second)]
    assert base["agreement"]["ao"] == pytest.approx(100 * average_overlap(*ranks)[0])
    assert base["agreement"]["js"] == pytest.approx(100 * jaccard(*ranks)[0])
    assert len(found["between"]) == 2 and found["between"][0]["models"] == ["base", "tuned"]


def test_plus_minus_and_a_picture_of_the_index(site: Site) -> None:
    plain = site.json("api/search?q=disc&models=tuned")
    moved = site.json("api/search?q=disc&plus=red&minus=paper&models=tuned")
    assert plain["models"][0]["results"] != moved["models"][0]["results"]
    one = picture_id(NAMES[3])
    like = site.json(f"api/search?like={one}&models=base")
    assert like["models"][0]["results"][0][0].items() >= {
        "id": one, "path": NAMES[3], "caption": f"picture {NAMES[3]}", "score": 1.0,
    }.items()  # fmt: skip


def right(found: dict[str, Any]) -> list[bool | None]:
    """What is known of each result of the first model and wording."""
    return [hit["right"] for hit in found["models"][0]["results"][0]]


def test_captions_say_which_results_are_right(site: Site) -> None:
    """A caption with every content word of one of the wordings; nobody knows where none has."""
    found = site.json("api/search?q=the+pictures+03&second=nothing&k=40&judge=true")
    (one,) = [hit for hit in found["models"][0]["results"][1] if hit["path"] == NAMES[3]]
    assert one["right"] and right(found).count(True) == 1 and right(found).count(False) == COUNT - 1
    assert set(right(site.json("api/search?q=a+purple+submarine&judge=true"))) == {None}
    assert set(right(site.json("api/search?q=the&judge=true"))) == {None}
    assert set(right(site.json("api/search?q=picture&minus=paper&judge=true"))) == {None}
    assert "right" not in site.json("api/search?q=picture")["models"][0]["results"][0][0]


def test_wrong_results_are_known_where_another_picture_is_right(site: Site) -> None:
    first = site.json("api/search?q=picture+07&k=1&judge=true&models=tuned")
    (hit,) = first["models"][0]["results"][0]
    assert hit["right"] is (hit["path"] == NAMES[7])


def test_results_above_the_cutoff_of_their_model_are_close(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    (hits,) = site.json("api/search?q=disc&models=tuned")["models"][0]["results"]
    cutoffs = {"base": 2.0, "tuned": (hits[2]["score"] + hits[3]["score"]) / 2}
    monkeypatch.setattr(site.service, "current", replace(site.service.current, cutoffs=cutoffs))
    base, tuned = site.json("api/search?q=disc&plus=&minus=+")["models"]  # empty parts
    assert [hit["close"] for hit in base["results"][0]] == [False] * 10
    assert [hit["close"] for hit in tuned["results"][0]] == [True] * 3 + [False] * 7
    like = site.json(f"api/search?like={picture_id(NAMES[3])}")
    assert all(hit["close"] for hit in like["models"][0]["results"][0]), "on another scale"


async def refused(_: object) -> None:
    """A queue in which too many wait."""
    raise Overloaded


def test_examples_are_scenes_of_the_index_in_two_wordings_and_what_models_find_for_all(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [("picture three", "three picture"), ("a bus", "bus a"), ("picture seven", "two")]
    for module in (app, service):
        monkeypatch.setattr(module, "everyday_pairs", lambda: pairs)
    texts = ["picture three", "picture seven two", *["none of these"] * (COUNT - 2)]
    pool = replace(site.service.current.pool, vectors=HashTower("tuned").embed(texts))
    towers = {"base": HashTower("base"), "tuned": HashTower("tuned")}
    current = replace(site.service.current, pool=pool, cutoffs={"base": 0.8})
    served = service.Service(site.service.store, current, towers)
    for name in ("towers", "texts", "current"):
        monkeypatch.setattr(site.service, name, getattr(served, name))
    found = site.json("api/examples")
    assert (found["asked"], found["held"]) == (3, 2)
    head, first, *_ = found["table"]
    assert head == ["", "base", "tuned"] and first[1] == first[2]
    three, seven = pool.rows["id"].to_pylist()[:2]
    by_words = {one["q"]: one for one in found["queries"]}
    assert {q: one["picture"] for q, one in by_words.items()} == {
        "picture three": three, "picture seven": seven,
    }  # fmt: skip
    assert by_words["picture three"]["shared"] == {"base": 10, "tuned": 10}
    asked = [one.batches.copy() for one in towers.values()]
    assert site.json("api/examples").items() >= {"asked": 3, "held": 2}.items()
    assert asked == [one.batches for one in towers.values()], "asked once for a version"
    monkeypatch.setattr(site.service, "current", replace(current, pool=replace(pool)))
    with monkeypatch.context() as full:
        full.setattr(site.service, "searches", refused)
        assert site.get("api/examples")[0] == 503
    assert site.json("api/examples")["held"] == 2, "a fault is not kept"


def test_random_pictures_are_others_each_time(site: Site) -> None:
    found, again = site.json("api/random"), site.json("api/random")
    assert found != again and len(found["pictures"]) == 12


def test_pictures_of_a_table_that_is_not_in_memory(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "EXACT_BELOW", 1)
    pool = open_pool(site.service.store)[2]
    found = pool.sample(5)
    assert pool.captions is None and 0 < len({hit.id for hit in found}) == len(found) <= 5


def test_an_uploaded_picture_is_searched_again_by_its_id(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.service, "image_tower", FirstAxis())
    sent = site.json("api/search/picture?k=40", jpeg(1))
    again = site.json(f"api/search?like={sent['like']}&models=base&k=40")
    assert ids(again["models"][0]["results"][0]) == ids(sent["models"][0]["results"][0])
    status, headers, body = site.get(f"api/thumbnail/{sent['like']}")
    assert (status, headers["content-type"]) == (200, "image/jpeg") and body[:2] == b"\xff\xd8"
    kept = site.service.uploads.values[sent["like"]]
    for number in range(site.service.uploads.most):
        site.service.uploads.put(str(number), kept)
    assert len(site.service.uploads.values) == site.service.uploads.most
    assert site.get(f"api/search?like={sent['like']}")[0] == 404


def test_pictures_and_thumbnails(site: Site) -> None:
    status, headers, body = site.get(f"api/thumbnail/{picture_id(NAMES[2])}")
    assert (status, headers["content-type"], body) == (200, "image/jpeg", jpeg(2))
    status, headers, body = site.get(f"api/picture/{picture_id(NAMES[2])}")
    assert (status, headers["content-type"], body) == (200, "image/png", jpeg(2))
    assert site.get(f"api/picture/{'0' * 24}")[0] == 404
    assert site.get(f"api/thumbnail/{'0' * 24}")[0] == 404


@pytest.mark.parametrize(
    ("path", "status", "part"),
    [
        ("api/search", 422, "it is empty"),
        ("api/search?q=+", 422, "it is empty"),
        ("api/search?q=a&minus=a", 422, "cancel each other"),
        ("api/search?q=a&k=0", 422, "k is less than 1."),
        ("api/search?q=a&k=1001", 422, "k is more than 1,000."),
        ("api/search?q=a&k=x", 422, "k is not of the kind"),
        ("api/search?q=a&models=nope", 404, "no model"),
        ("api/search?q=a&nope=1", 422, "nope means nothing"),
        (f"api/search?like={'0' * 24}", 404, "no such picture"),
        ("api/search?like=..", 422, "like is not the id"),
        ("api/search?q=" + "a" * 2001, 422, "The query (q) has more than 2,000"),
        ("api/search?q=a&second=" + "a" * 2001, 422, "second"),
        ("api/search?" + "plus=x&" * 9, 422, "plus is given more than 8 times"),
        ("api/search?q=a&minus=" + "a" * 2001, 422, "minus"),
        ("api/search?q=a&" + "models=x&" * 9, 422, "models"),
        ("api/search?q=a&models=" + "x" * 101, 422, "models"),
        (f"api/search?like={'A' * 24}", 422, "like"),
        (f"api/search?like={'0' * 24}%0A", 422, "like"),
        ("api/thumbnail/..%2f..%2fetc", 404, "nothing at this address"),
        ("nowhere", 404, "nothing at this address"),
        ("api/reword", 404, "nothing at this address"),
    ],
)
def test_a_bad_request_is_a_sentence(site: Site, path: str, status: int, part: str) -> None:
    got, _, body = site.get(path)
    assert got == status
    assert part in json.loads(body)["detail"] and "should" not in json.loads(body)["detail"]


@pytest.mark.parametrize(("path", "home"), [("nowhere", "./"), ("photos/of/us", "../../")])
def test_a_browser_gets_a_page_at_a_wrong_address(site: Site, path: str, home: str) -> None:
    status, headers, body = site.get(path, accept="text/html,*/*;q=0.8")
    assert status == 404 and headers["content-type"].startswith("text/html")
    assert f'href="{home}"' in body.decode() and f'href="{home}page.css"' in body.decode()


def test_the_longest_request_is_answered(site: Site) -> None:
    longest = quote("日" * 1_000)
    parts = "".join(f"&{name}=disc" for name in ("plus", "minus") for _ in range(8))
    found = site.json(f"api/search?q={longest}&second={longest}&k=1000{parts}")
    assert len(found["models"][0]["results"][1]) == COUNT


def test_requests_at_the_same_time_share_batches(site: Site) -> None:
    tower = site.service.towers["tuned"]
    assert isinstance(tower, HashTower)
    tower.batches.clear()
    queries = [f"disc {number}" for number in range(60)]
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda q: site.json(f"api/search?q={quote(q)}"), queries))
    assert sum(tower.batches) == 60
    for query, one in zip(queries, found, strict=True):
        vector = HashTower("tuned").embed([query])
        expected = site.service.current.pool.nearest(vector, 10)[0]
        assert ids(one["models"][1]["results"][0]) == [hit.id for hit in expected]
    site.json("api/search?q=disc+1")
    assert sum(tower.batches) == 60, "a known query needs no model"


def test_health_and_index(site: Site) -> None:
    assert site.json("healthz") == {"status": "ok", "pictures": COUNT}
    assert site.json("api/index")["models"] == ["base", "tuned"]


def test_the_description_names_every_route(site: Site) -> None:
    described = site.json("openapi.json")
    assert set(described["paths"]) == {
        "/api/search", "/api/search/picture", "/api/thumbnail/{picture}", "/api/picture/{picture}",
        "/api/reword", "/api/index", "/api/examples", "/api/random", "/healthz",
    }  # fmt: skip


def test_overlap_of_short_and_empty_rankings() -> None:
    assert measure_overlap([], ["a"]).depth == 0
    assert measure_overlap(["a"], ["a", "b"]).ao == 100
    assert measure_overlap(["a", "b"], ["b", "a"]).ao == 50
