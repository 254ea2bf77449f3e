"""Marks on results: the files, their limits, the route, and training on them."""

import json
import resource
import signal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from served import NAMES, NASTY, Site, made_index, made_service, served

from paraclip.data.triples import read_triples
from paraclip.errors import UserError
from paraclip.image_search.serving import app, feedback
from paraclip.image_search.serving.feedback import Feedback
from paraclip.image_search.stores import picture_id


def rows(file: Path) -> list[tuple[str, str]]:
    """Text and picture of each row."""
    return [
        (row["caption"], row["image"]) for row in map(json.loads, file.read_text().splitlines())
    ]


def test_marks_are_rows_of_triples_and_can_be_changed(tmp_path: Path) -> None:
    file, wrong = tmp_path / "new" / "marks.jsonl", tmp_path / "new" / "marks.wrong.jsonl"
    marks = Feedback(file)
    marks.mark(" a  red\ndisc ", "/p/é.png", True)
    marks.mark("a red disc", "/p/é.png", True)
    marks.mark("a red disc", "/p/b.png", False)
    assert rows(file) == [("a red disc", "/p/é.png")] and rows(wrong) == [
        ("a red disc", "/p/b.png")
    ]
    (row,) = read_triples(file).to_pylist()
    assert row["caption"] == row["paraphrase_1"] == row["paraphrase_2"] == "a red disc"
    assert (row["image"], row["image_id"], row["generator"]) == ("/p/é.png", "/p/é.png", "feedback")
    marks.mark("a red disc", "/p/é.png", False)
    marks.mark("a red disc", "/p/b.png", None)
    assert rows(file) == [] and rows(wrong) == [("a red disc", "/p/é.png")]
    marks.close()
    marks = Feedback(file)
    assert marks.verdict("a red disc", "/p/é.png") is False
    assert marks.verdict("a red disc", "/p/b.png") is None
    marks.close()


def test_a_last_line_without_its_end_is_a_mark(tmp_path: Path) -> None:
    file = tmp_path / "marks.jsonl"
    for text in ("one", "two"):
        marks = Feedback(file)
        marks.mark(text, "/a.png", True)
        marks.close()
        file.write_text(file.read_text().rstrip())
    assert rows(file) == [("one", "/a.png"), ("two", "/a.png")]


def test_a_mark_that_does_not_fit_on_the_disk_damages_no_other(tmp_path: Path) -> None:
    file = tmp_path / "marks.jsonl"
    marks = Feedback(file)
    marks.mark("one", "/a.png", True)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 20, unlimited[1]))
        with pytest.raises(UserError, match="largest allowed file size"):
            marks.mark("two", "/b.png", True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    marks.mark("three", "/c.png", True)
    marks.close()
    assert rows(file) == [("one", "/a.png"), ("three", "/c.png")]
    Feedback(file).close()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("marks.txt", None, "does not end in .jsonl"),
        ("marks.jsonl", b'{"id": "1", "caption": "a"}\n', "not written by ParaCLIP"),
        ("marks.jsonl", b"no newline", "not written by ParaCLIP"),
        ("marks.jsonl", b"\xff\n", "not written by ParaCLIP"),
        ("marks.jsonl", b"[1]\n", "not written by ParaCLIP"),
        ("marks.wrong.jsonl", b"{}\n", "not written by ParaCLIP"),
    ],
)
def test_a_file_of_others_is_refused_and_left(
    tmp_path: Path, name: str, content: bytes | None, reason: str
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=reason):
        Feedback(tmp_path / name.replace(".wrong", ""))
    assert (file.read_bytes() if file.exists() else None) == content


def test_two_servers_do_not_write_one_file(tmp_path: Path) -> None:
    marks = Feedback(tmp_path / "marks.jsonl")
    with pytest.raises(UserError, match="another run"):
        Feedback(tmp_path / "marks.jsonl")
    marks.close()
    Feedback(tmp_path / "marks.jsonl").close()


def test_the_number_of_marks_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback, "_MOST_ROWS", 2)
    marks = Feedback(tmp_path / "marks.jsonl")
    marks.mark("one", "/a.png", True)
    marks.mark("two", "/a.png", False)
    with pytest.raises(UserError, match="limit"):
        marks.mark("three", "/a.png", True)
    marks.mark("two", "/a.png", None)
    marks.mark("three", "/a.png", True)
    marks.close()


def post(site: Site, content: Any, **headers: str) -> int:
    """Status of a mark."""
    body = json.dumps(content).encode()
    return site.get("api/mark", body, **{"Content-Type": "application/json", **headers})[0]


def test_the_server_keeps_marks_of_its_own_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    store = made_index(tmp_path, str(tmp_path / "index"), ["../gone.png", "photo.heic"])
    mark = {"query": "red disc", "picture": picture_id(NAMES[4]), "right": True}
    with served(made_service(store)) as without:
        assert post(without, mark) in (404, 405) and not without.json("api/index")["feedback"]
    file = tmp_path / "marks.jsonl"
    with served(made_service(store), feedback=Feedback(file)) as site:
        assert site.json("api/index")["feedback"]
        assert post(site, mark, Origin="http://evil.example") == 403
        assert post(site, {**mark, "query": " "}) == post(site, {**mark, "right": "maybe"}) == 422
        assert post(site, {**mark, "query": "x" * 2001}) == 422
        assert post(site, {**mark, "picture": picture_id("../gone.png")}) == 404
        assert not file.exists()
        assert post(site, mark) == 200
        assert post(site, {**mark, "picture": picture_id(NASTY), "right": False}) == 200
        found = site.json("api/search?q=red+disc&k=31&judge=true&models=tuned")
        known = {hit["path"]: hit for hit in found["models"][0]["results"][0]}
        assert (known[NAMES[4]]["right"], known[NAMES[4]]["marked"]) == (True, True)
        assert (known[NASTY]["right"], known[NASTY]["marked"]) == (False, False)
        assert known[NAMES[5]]["marked"] is None
        long = {**mark, "query": "disc " * 130, "picture": picture_id("photo.heic")}
        assert post(site, long) == 200, "a kind that browsers do not display, and a long query"
        found = site.json(f"api/search?q={quote(long['query'])}&k=40&judge=true&models=tuned")
        (hit,) = (hit for hit in found["models"][0]["results"][0] if hit["path"] == "photo.heic")
        assert hit["marked"] is True
        assert site.get(f"api/picture/{hit['id']}")[1]["content-type"] == "image/jpeg"
        assert post(site, {**long, "right": None}) == 200
        monkeypatch.setattr(app, "_MARKS_AT_ONCE", 1)
        assert 429 in [post(site, mark) for _ in range(40)]
    assert rows(file) == [("red disc", str(tmp_path / "pictures" / NAMES[4]))]


@pytest.mark.slow
def test_training_learns_from_the_right_marks(
    tmp_path: Path, models: dict[str, str], pictures: Path
) -> None:
    from paraclip.cli import main

    marks = Feedback(tmp_path / "marks.jsonl")
    for name in ("disc-red.png", "disc-green.png", "disc-blue.png", "square-red.png"):
        marks.mark(f"my {name[:-4]}", str(pictures / name), True)
    marks.mark("my disc", str(pictures / "square-red.png"), False)
    marks.close()
    command = f"train {tmp_path}/marks.jsonl --out {tmp_path}/run --model {models['base']}"
    command += " --recipe paper --batch-size 4 --epochs 2 --device cpu"
    assert main(command.split()) == 0
    logged = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert any(json.loads(line).get("L1", 0) > 0 for line in logged)
