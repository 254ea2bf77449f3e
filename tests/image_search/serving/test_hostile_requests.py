"""Each row of the table in docs/guide/security.md about `paraclip serve`."""

import io
import json
import logging
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image
from served import LEAVING, NAMES, NASTY, SCRIPT, Site, made_service, served

from paraclip.cli import main
from paraclip.errors import UserError
from paraclip.image_search.serving import server
from paraclip.image_search.serving.server import listen, make_limits
from paraclip.image_search.serving.service import MOST_BYTES, find_original
from paraclip.store import picture_id
from postgres_server import wait_until

TOKEN = "AZaz09-._~+/==" * 2


@pytest.fixture(scope="module")
def closed(site: Site) -> Iterator[Site]:
    """A server that needs a token."""
    with served(made_service(site.service.store), TOKEN) as running:
        yield running


@pytest.mark.parametrize(
    ("host", "token", "reason"),
    [
        *((host, None, "") for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost")),
        *((host, TOKEN, "") for host in ("127.0.0.1", "0.0.0.0", "example.org")),
        *(
            (host, None, "is not a loopback address")
            for host in ("0.0.0.0", "192.0.2.1", "::", "example.org")
        ),
        ("127.0.0.1", "secret", "fewer than 16"),
        *(
            ("127.0.0.1", token, "characters other than")
            for token in ("correct horse battery", "a;b" * 8, "пароль" * 4, "a" * 20 + "\n")
        ),
    ],
)
def test_a_server_for_others_needs_a_token_that_a_cookie_can_carry(
    host: str, token: str | None, reason: str
) -> None:
    if not reason:
        assert make_limits(host, token, ()).token == token
        return
    with pytest.raises(UserError, match=reason):
        make_limits(host, token, ())


def test_a_taken_port_and_an_unknown_machine_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port), "--index", str(tmp_path)]) == 2
    assert "cannot be opened" in capsys.readouterr().err
    for host in ("a..b", "a" * 64, "nowhere.invalid"):
        with pytest.raises(UserError, match="is not the address of a machine"):
            listen(host, 0)


def head(line: str, *headers: str) -> bytes:
    """The head of a request, for `localhost` unless a header says otherwise."""
    given = [line + " HTTP/1.1", *headers]
    if not any(one.startswith("Host:") for one in headers):
        given.append("Host: localhost")
    return "\r\n".join([*given, "", ""]).encode()


def post(path: str, body: bytes, *headers: str) -> bytes:
    return head(f"POST {path}", *headers, f"Content-Length: {len(body)}") + body


def picture(kind: str, size: tuple[int, int]) -> bytes:
    stream = io.BytesIO()
    Image.new("1", size).save(stream, kind)
    return stream.getvalue()


def ask(site: Site, sent: bytes) -> bytes:
    """The start of the answer; what a server answers that closes while we send is lost."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=60) as raw:
        try:
            raw.sendall(sent)
            return raw.recv(4096)
        except OSError:
            return b"HTTP/1.1 closed"


UPLOAD, LONG = "/api/search/picture", "/api/search?q="
CHUNK = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
PICTURES = {
    b"": b"is not a picture",
    b"<svg xmlns='http://www.w3.org/2000/svg'/>": b"is not a picture",
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n": b"is not a picture",
    b"\x89PNG\r\n\x1a\n" + b"\0" * 100: b"picture: ",
    picture("PNG", (8000, 7000)): b"more than 50 million pixels",
    picture("PNG", (9000, 10)): b"too thin",
    picture("PNG", (400, 400))[:60]: b"picture: ",
    b"GIF89a" + b"\xff" * 10_000: b"picture: ",
}
REQUESTS = {
    "another host": (head("GET /api/index", "Host: evil.example"), "400"),
    "a host with a port": (head("GET /api/index", "Host: localhost:1234"), "200"),
    "a host of IPv6": (head("GET /api/index", "Host: [::1]:80"), "200"),
    "no browser": (post(UPLOAD, b"x"), "422"),
    "our own page": (post(UPLOAD, b"x", "Origin: http://localhost"), "422"),
    "our own page behind a proxy": (
        post(UPLOAD, b"x", "Sec-Fetch-Site: same-origin", "Origin: https://proxy.example"), "422"),
    **{
        f"{what} to {path}": (post(path, b"{}", what, "Content-Type: text/plain"), "403")
        for path in (UPLOAD, "/api/reword")
        for what in ("Origin: http://localhost:1", "Origin: http://evil.example", "Origin: null",
                     "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site")
    },
    "many megabytes, declared": (
        head(f"POST {UPLOAD}", f"Content-Length: {MOST_BYTES + 1}"), "413"),
    "many megabytes, in chunks": (
        head(f"POST {UPLOAD}", "Transfer-Encoding: chunked") + CHUNK * 20, "413 closed"),
    "a body with its head": (post(UPLOAD, b"no picture" + b"x" * 200_000), "422"),
    "a query of 40,000 letters": (head("GET " + LONG + "a" * 40_000), "414 400 closed"),
    "a query of a million letters": (head("GET " + LONG + "a" * 10**6), "414 400 closed"),
    "a head without an end": (
        head("GET /")[:-2] + (b"x-more: " + b"a" * 1000 + b"\r\n") * 10_000, "400 431 closed"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "part"), PICTURES.items())
def test_a_picture_is_verified_before_it_is_decoded(
    site: Site, content: bytes, part: bytes
) -> None:
    status, _, body = site.get(UPLOAD, content)
    assert status == 422 and part in body


@pytest.mark.parametrize("name", REQUESTS)
def test_a_hostile_request_is_refused(site: Site, name: str) -> None:
    sent, statuses = REQUESTS[name]
    answer = ask(site, sent)
    assert answer[9:].split(maxsplit=1)[0].decode() in statuses.split(), answer
    assert site.get("healthz")[0] == 200


NO_PORTS = (":1/healthz?", "/healthz?", ":1/healthz#", "@evil.example", ":1:2", ":x", " b", "\\")
"""Ends of a Host header; before 1.0.1, starlette took the path of a request from the first."""
BEARER, COOKIE = f"Authorization: Bearer {TOKEN}", f"Cookie: paraclip_token={TOKEN}"
IN_URL = f"token={quote(TOKEN, safe='')}"


@pytest.mark.parametrize(
    ("path", "header", "expected"),
    [
        *(
            (path, "X: y", b" 401 ")
            for path in ("/", "/page.js", LONG + "a", "/api/index", "/openapi.json")
        ),
        ("/healthz", "X: y", b" 200 "),
        *((LONG + "a", f"Host: localhost{end}", b" 400 ") for end in NO_PORTS),
        ("/api/index", BEARER, b" 200 "),
        ("/api/index", COOKIE, b" 200 "),
        ("/api/index", BEARER[:-1], b" 401 "),
        ("/api/index", "Cookie: =;;;=,", b" 401 "),
        ("/api/index?token=wrong", "X: y", b" 401 "),
        # `//host` in the location would leave the server.
        *(
            (f"{path}?{IN_URL}", "X: y", b"\r\nlocation: ?\r\n")
            for path in ("//evil.example/", "/%D0%B0", "/a%0d%0ab")
        ),
        (f"/?q=a&{IN_URL}", "X: y", b"\r\nlocation: ?q=a\r\n"),
        (f"/?q=a&{IN_URL}", "X: y", b"HttpOnly; SameSite=Strict"),
    ],
)
def test_everything_but_health_needs_the_token(
    closed: Site, path: str, header: str, expected: bytes
) -> None:
    assert expected in ask(closed, head(f"GET {path}", header))


@pytest.mark.parametrize(
    ("given", "header"),
    [
        ("Photos.Example", "photos.example:8000"), ("photos.example:80", "photos.example"),
        ("FE80::1", "[fe80::1]:80"), ("[fe80::1]:80", "[fe80::1]"),
    ],
)  # fmt: skip
def test_an_allowed_host_may_be_named_and_is_not_told_the_folder(
    site: Site, given: str, header: str
) -> None:
    assert site.json("api/index")["root"] == site.service.current.facts.root
    with served(made_service(site.service.store), allow_host=(given,)) as far:
        assert far.json("api/index", Host=header)["root"] == ""


def test_every_response_has_the_headers(site: Site) -> None:
    for path in ("", "page.js", "api/search?q=a", "nowhere", "api/search", "healthz"):
        headers = site.get(path)[1]
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy, path
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["referrer-policy"] == "no-referrer", path


@pytest.mark.parametrize("path", LEAVING)
def test_no_path_leaves_the_folder(site: Site, path: str) -> None:
    status, _, body = site.get(f"api/picture/{picture_id(path)}")
    assert status == 200 and body[:2] == b"\xff\xd8", "the thumbnail stands in"


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "http://a/b.png", "0.tar::a.png", "a\0.png", "page.html", "", "."]
)
def test_only_pictures_in_the_folder_are_sent(tmp_path: Path, path: str) -> None:
    (tmp_path / "page.html").write_text("<script>")
    assert find_original(str(tmp_path), path) is None
    assert find_original("", path) is None


def test_names_and_captions_come_as_json_that_no_browser_takes_for_a_page(site: Site) -> None:
    status, headers, body = site.get(f"api/search?like={picture_id(NASTY)}&models=base&k=1")
    assert status == 200 and headers["content-type"] == "application/json"
    (hit,) = json.loads(body)["models"][0]["results"][0]
    assert (hit["path"], hit["caption"]) == (NASTY, SCRIPT)


def upload(site: Site, sent: int) -> socket.socket:
    """An upload of which only a part is sent."""
    raw = socket.create_connection(("127.0.0.1", site.port), timeout=30)
    raw.sendall(head(f"POST {UPLOAD}", f"Content-Length: {MOST_BYTES}") + b"x" * sent)
    return raw


def test_two_hundred_slow_clients_hold_nobody_up(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "BODY_SECONDS", 1.0)
    with ExitStack() as stack:
        sockets = [stack.enter_context(upload(site, 1)) for _ in range(200)]
        assert site.json("api/search?q=disc")["models"], "others are served meanwhile"
        for one in sockets:
            assert one.recv(4096).startswith(b"HTTP/1.1 408")
            assert not one.recv(4096), "and closed"


def test_unfinished_uploads_are_bounded_together(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST_HELD", 2**20)
    with upload(site, 600_000), upload(site, 600_000) as second:
        assert second.recv(4096).startswith(b"HTTP/1.1 503")
    wait_until(lambda: site.get("api/search/picture", b"x" * 600_000)[0] == 422)


@pytest.mark.parametrize(
    ("sent", "times"),
    [
        (head(f"POST {UPLOAD}", "Content-Length: 20000") + b"x" * 10_000, 1),
        *(
            (head(f"GET {path}") * 50, 5)
            for path in ("/api/search?q=disc", f"/api/picture/{picture_id(NAMES[6])}", "/")
        ),
    ],
)
def test_a_client_that_leaves_is_no_error_of_the_server(
    site: Site, caplog: pytest.LogCaptureFixture, sent: bytes, times: int
) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(times):
            raw = socket.create_connection(("127.0.0.1", site.port), timeout=30)
            raw.sendall(sent)
            if times > 1:
                wait_until(lambda: "request" in caplog.messages)
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raw.close()
            wait_until(lambda: "request" in caplog.messages)  # it was accepted
            wait_until(lambda: not site.connections and not site.tasks)
    assert not [one for one in caplog.records if one.exc_info or one.levelname == "ERROR"]


def test_a_client_that_does_not_read_a_large_picture_is_given_up(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SEND_SECONDS", 0.5)
    large, name = Path(site.service.current.facts.root) / NAMES[5], picture_id(NAMES[5])
    large.write_bytes(bytes(30 * 2**20))
    with socket.create_connection(("127.0.0.1", site.port)) as raw:
        raw.sendall(head(f"GET /api/picture/{name}"))
        wait_until(lambda: bool(site.tasks))
        wait_until(lambda: not site.tasks)
    monkeypatch.undo()
    assert len(site.get(f"api/picture/{name}")[2]) == 30 * 2**20


def test_requests_above_the_limit_of_connections_are_refused_until_others_leave(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 8)
    with served(made_service(site.service.store)) as small:
        place = ("127.0.0.1", small.port)
        with ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(socket.create_connection(place))
            wait_until(lambda: len(small.connections) == 20)
            assert small.get("healthz")[0] == 503
        wait_until(lambda: small.get("healthz")[0] == 200)


def test_the_number_of_connections_fits_the_limit_of_open_files() -> None:
    code = (
        "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (300, 1024))\n"
        "from paraclip.image_search.serving.server import ServerLimits, make_server\n"
        "server = make_server(None, ServerLimits())\n"
        "print(server.config.limit_concurrency, *r.getrlimit(r.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["384", "1024", "1024"]


@pytest.fixture
def loggers() -> Iterator[None]:
    yield
    for name in ("paraclip.serve", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.NOTSET)


@pytest.mark.usefixtures("loggers")
def test_logs_are_json_without_queries_or_tokens(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    lines: list[str] = []

    def logged() -> bool:
        lines.extend(capsys.readouterr().err.splitlines())
        return any(json.loads(line).get("path") == "/api/search" for line in lines)

    server.log_to_stderr()
    ask(site, head(f"GET {LONG}private+words&{IN_URL}"))
    wait_until(logged)
    assert not [line for line in lines if "private" in line or TOKEN in line or IN_URL in line]


@pytest.mark.usefixtures("loggers")
def test_a_terminal_shows_what_went_wrong_in_words_and_nothing_else(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    server.log_to_stderr()
    for level in (logging.INFO, logging.WARNING):
        fields = {"method": "GET", "path": f"/{level}", "status": 500}
        logging.getLogger("paraclip.serve").log(level, "request", extra={"fields": fields})
    assert capsys.readouterr().err.split() == ["paraclip:", "request", "GET", "/30", "500"]
