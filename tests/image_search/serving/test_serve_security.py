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

import pytest
from PIL import Image
from served import HOSTS, NAMES, NASTY, SCRIPT, Site, made_index, made_service, served
from starlette.requests import Request

from paraclip.cli import main
from paraclip.errors import UserError
from paraclip.image_search.config import ServeConfig
from paraclip.image_search.serving import guard, server
from paraclip.image_search.serving.guard import Limits, make_limits
from paraclip.image_search.serving.server import listen
from paraclip.image_search.serving.service import MOST_BYTES, _decode_upload, find_original
from paraclip.image_search.stores import picture_id
from postgres_server import wait_until

TOKEN = "0123456789abcdef0123456789abcdef"
LEAVING = ["../secret.png", "link.png", "folder/../../secret.png"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("secure")
    (folder / "secret.png").write_bytes(b"secret")
    (folder / "pictures").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARACLIP_CACHE", str(folder / "cache"))
        patch.setattr(guard, "_BODY_SECONDS", 1.0)
        patch.setattr(guard, "_SEND_SECONDS", 0.5)
        store = made_index(folder, str(folder / "index"), LEAVING)
        (folder / "pictures" / "link.png").unlink(missing_ok=True)
        (folder / "pictures" / "link.png").symlink_to(folder / "secret.png")
        with served(made_service(store)) as running:
            yield running


def limits_of(config: ServeConfig) -> Limits:
    return make_limits(config.host, config.token, config.allow_host)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.org"])
def test_another_address_than_loopback_needs_a_token(host: str) -> None:
    with pytest.raises(UserError, match="is not a loopback address"):
        limits_of(ServeConfig(host=host))
    assert limits_of(ServeConfig(host=host, token=TOKEN)).token == TOKEN


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_no_token_but_its_own_name(host: str) -> None:
    assert limits_of(ServeConfig(host=host)).hosts >= HOSTS


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("secret", "fewer than 16"),
        *((one, "characters other than") for one in ("correct horse battery", "a;b" * 8)),
        *((one, "characters other than") for one in ("пароль" * 4, "a" * 20 + "\n")),
    ],
)
def test_a_token_that_is_short_or_that_no_cookie_can_carry_is_refused(
    token: str, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARACLIP_TOKEN", token)
    assert main(["serve"]) == 2
    assert reason in capsys.readouterr().err


def test_any_accepted_token_fits_as_header_and_as_cookie() -> None:
    token = "AZaz09-._~+/==" * 2
    limits = limits_of(ServeConfig(token=token))
    checking = guard.Guard(None, limits)  # type: ignore[arg-type]
    header = (b"cookie", f"{guard._COOKIE}={token}".encode())
    request = Request({"type": "http", "headers": [header]})
    assert checking.fits(request.cookies[guard._COOKIE])


@pytest.mark.parametrize(
    ("given", "header"),
    [
        ("Photos.Example", "photos.example:8000"), ("photos.example:80", "photos.example"),
        ("FE80::1", "[fe80::1]:80"), ("[fe80::1]:80", "[fe80::1]"),
    ],
)  # fmt: skip
def test_an_allowed_host_is_compared_like_the_header(given: str, header: str) -> None:
    assert guard._without_port(header) in limits_of(ServeConfig(allow_host=(given,))).hosts


def test_a_taken_port_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port), "--store", str(tmp_path)]) == 2
    assert "cannot be opened" in capsys.readouterr().err
    for host in ("a..b", "a" * 64, "nowhere.invalid"):
        with pytest.raises(UserError, match="is not the address of a machine"):
            listen(host, 0)


def test_everything_but_health_needs_the_token(site: Site) -> None:
    with served(made_service(site.service.store), TOKEN) as closed:
        for path in ("", "page.js", "api/search?q=a", "api/index", "openapi.json"):
            assert closed.get(path)[0] == 401, path
        assert closed.get("healthz")[0] == 200
        assert closed.get("api/index", Authorization=f"Bearer {TOKEN}")[0] == 200
        assert closed.get("api/index", Authorization=f"Bearer {TOKEN[:-1]}")[0] == 401
        assert closed.get("api/index", Cookie=f"paraclip_token={TOKEN}")[0] == 200
        assert closed.get("api/index?token=wrong")[0] == 401
        assert closed.get("api/index", Cookie="=;;;=,")[0] == 401
        with socket.create_connection(("127.0.0.1", closed.port)) as raw:
            raw.sendall(f"GET /?q=a&token={TOKEN} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            answer = raw.recv(4096).decode()
        assert answer.startswith("HTTP/1.1 303") and "location: ?q=a\r\n" in answer
        assert "HttpOnly; SameSite=Strict" in answer
        for path in ("//evil.example/", "/%D0%B0", "/a%0d%0ab"):
            with socket.create_connection(("127.0.0.1", closed.port)) as raw:
                line = f"GET {path}?token={TOKEN} HTTP/1.1\r\nHost: localhost\r\n\r\n"
                raw.sendall(line.encode())
                answer = raw.recv(4096).decode()
            assert answer.startswith("HTTP/1.1 303") and "location: ?\r\n" in answer, path


def test_another_host_name_is_refused(site: Site) -> None:
    """A foreign page with a name that resolves to this machine must not read the pictures."""
    assert site.get("api/index", Host="evil.example")[0] == 400
    assert site.get("api/index", Host="localhost:1234")[0] == 200
    assert site.get("api/index", Host="[::1]:80")[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 422),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://proxy.example"}, 422),
        ({"Origin": "http://localhost:{port}"}, 422),
        ({"Origin": "http://localhost"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_the_page_of_another_server_can_post_nothing(
    site: Site, headers: dict[str, str], status: int
) -> None:
    headers = {name: value.format(port=site.port) for name, value in headers.items()}
    headers |= {"Host": f"localhost:{site.port}", "Content-Type": "text/plain"}
    assert site.get("api/search/picture", b"no picture", **headers)[0] == status
    if status == 403:
        assert site.get("api/reword", b"{}", **headers)[0] == 403


def test_every_response_has_the_headers(site: Site) -> None:
    for path in ("", "page.js", "api/search?q=a", "nowhere", "api/search", "healthz"):
        headers = site.get(path)[1]
        for name, value in guard._HEADERS.items():
            assert headers[name] == value, (path, name)
    assert "unsafe" not in guard._HEADERS["content-security-policy"]


@pytest.mark.parametrize("path", LEAVING)
def test_no_path_leaves_the_folder(site: Site, path: str) -> None:
    status, _, body = site.get(f"api/picture/{picture_id(path)}")
    assert b"secret" not in body
    assert status == 200, "the thumbnail stands in"
    assert find_original(site.service.current.facts.root, path) is None


def test_the_root_folder_is_told_on_this_machine_only(site: Site) -> None:
    with served(made_service(site.service.store)) as far:
        assert not far.json("api/index")["root"]
    with served(made_service(site.service.store), local=True) as near:
        assert near.json("api/index")["root"] == site.service.current.facts.root
    assert not limits_of(ServeConfig(allow_host=("photos.example",))).local
    assert limits_of(ServeConfig()).local
    assert not limits_of(ServeConfig(host="0.0.0.0", token=TOKEN)).local


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
    assert headers["x-content-type-options"] == "nosniff"
    (hit,) = json.loads(body)["models"][0]["results"][0]
    assert (hit["path"], hit["caption"]) == (NASTY, SCRIPT)


def test_a_picture_is_bounded_in_bytes(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.port), timeout=30) as raw:
        head = f"POST /api/search/picture HTTP/1.1\r\nContent-Length: {MOST_BYTES + 1}\r\n"
        raw.sendall(f"{head}Host: localhost\r\n\r\n".encode())
        assert raw.recv(4096).startswith(b"HTTP/1.1 413")
    with socket.create_connection(("127.0.0.1", site.port), timeout=30) as raw:
        head = "POST /api/search/picture HTTP/1.1\r\nHost: localhost\r\n"
        raw.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        try:
            for _ in range(20):
                raw.sendall(chunk)
            answer = raw.recv(4096)
        except OSError:
            answer = b"HTTP/1.1 413"
    assert answer.startswith(b"HTTP/1.1 413")


def test_a_picture_may_arrive_together_with_its_head(site: Site) -> None:
    body = b"no picture" + b"x" * 3 * server._MOST_HEAD
    head = "POST /api/search/picture HTTP/1.1\r\nHost: localhost\r\n"
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", site.port), timeout=30) as raw:
            raw.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            assert raw.recv(4096).startswith(b"HTTP/1.1 422")


def picture(kind: str, size: tuple[int, int]) -> bytes:
    stream = io.BytesIO()
    Image.new("1", size).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "is not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "is not a picture"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "picture"),
        (picture("PNG", (8000, 7000)), "more than 50 million pixels"),
        (picture("PNG", (9000, 10)), "too thin"),
        (picture("PNG", (400, 400))[:60], "picture"),
        (b"GIF89a" + b"\xff" * 10_000, "picture"),
    ],
)
def test_a_picture_is_verified_before_it_is_decoded(content: bytes, part: str) -> None:
    with pytest.raises(UserError, match=part):
        _decode_upload(content)


@pytest.mark.parametrize("length", [40_000, 1_000_000])
def test_a_query_of_a_million_characters_is_refused_at_once(site: Site, length: int) -> None:
    with socket.create_connection(("127.0.0.1", site.port), timeout=30) as raw:
        try:
            line = b"GET /api/search?q=" + b"a" * length + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
            raw.sendall(line)
            answer = raw.recv(4096)
        except OSError:  # closed while we were sending
            answer = b"HTTP/1.1 400"
    assert answer[:12] in (b"HTTP/1.1 414", b"HTTP/1.1 400") or answer == b""
    assert site.get("healthz")[0] == 200


def test_an_endless_head_is_refused(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.port), timeout=30) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        with pytest.raises(OSError):  # noqa: PT011 the kind depends on the moment
            for _ in range(10_000):
                raw.sendall(b"x-more: " + b"a" * 1000 + b"\r\n")
    assert site.get("healthz")[0] == 200


def test_two_hundred_slow_clients_hold_nobody_up(site: Site) -> None:
    with ExitStack() as stack:
        sockets = [stack.enter_context(upload(site, 1)) for _ in range(200)]
        assert site.json("api/search?q=disc")["models"], "others are served meanwhile"
        for one in sockets:
            assert one.recv(4096).startswith(b"HTTP/1.1 408")
            assert not one.recv(4096), "and closed"


def upload(site: Site, sent: int) -> socket.socket:
    """An upload of which only a part is sent."""
    raw = socket.create_connection(("127.0.0.1", site.port), timeout=30)
    head = f"POST /api/search/picture HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MOST_BYTES}"
    raw.sendall(f"{head}\r\n\r\n".encode() + b"x" * sent)
    return raw


def test_unfinished_uploads_are_bounded_together(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_MOST_HELD", 2**20)
    with upload(site, 600_000), upload(site, 600_000) as second:
        assert second.recv(4096).startswith(b"HTTP/1.1 503")
    wait_until(lambda: site.get("api/search/picture", b"x" * 600_000)[0] == 422)


def test_an_aborted_upload_is_no_error_of_the_server(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "paraclip.serve"):
        upload(site, 10_000).close()
        wait_until(lambda: "request" in caplog.messages)
    assert not [one for one in caplog.records if one.exc_info or one.levelname == "ERROR"]


@pytest.mark.parametrize("path", ["api/search?q=disc", f"api/picture/{picture_id(NAMES[5])}", ""])
def test_pipelined_requests_that_are_reset_are_no_errors_of_the_server(
    site: Site, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            raw = socket.create_connection(("127.0.0.1", site.port), timeout=30)
            raw.sendall(f"GET /{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 50)
            wait_until(lambda: "request" in caplog.messages)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raw.close()
            wait_until(lambda: not site.connections and not site.tasks)
    assert not [one for one in caplog.records if one.exc_info or one.levelname == "ERROR"]


def test_a_client_that_does_not_read_a_large_picture_is_given_up(site: Site) -> None:
    large = Path(site.service.current.facts.root) / NAMES[5]
    large.write_bytes(bytes(30 * 2**20))
    with socket.create_connection(("127.0.0.1", site.port)) as raw:
        line = f"GET /api/picture/{picture_id(NAMES[5])} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        raw.sendall(line.encode())
        wait_until(lambda: bool(site.tasks))
        wait_until(lambda: not site.tasks)
    assert len(site.get(f"api/picture/{picture_id(NAMES[5])}")[2]) == 30 * 2**20


def test_requests_above_the_limit_of_connections_are_refused_until_others_leave(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_MOST_CONNECTIONS", 8)
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
        "from paraclip.image_search.serving.server import _most_connections\n"
        "print(_most_connections(), *r.getrlimit(r.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["384", "1024", "1024"]


def test_logs_are_json_without_queries_or_tokens(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    from paraclip.image_search.serving.server import _JsonLines

    with caplog.at_level(logging.INFO, "paraclip.serve"):
        site.get(f"api/search?q=private+words&token={TOKEN}")
        wait_until(lambda: any(record.getMessage() == "request" for record in caplog.records))
    lines = [_JsonLines().format(record) for record in caplog.records]
    assert all(json.loads(line)["level"] for line in lines)
    assert not [line for line in lines if "private" in line or TOKEN in line]
    assert any(json.loads(line).get("path") == "/api/search" for line in lines)
