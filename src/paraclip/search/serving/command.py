"""`paraclip serve`."""

import ipaddress
import os
import re
import resource
import socket

import uvicorn

from paraclip.errors import UserError, printable
from paraclip.search.config import ServeConfig
from paraclip.search.engine import chosen_models
from paraclip.search.onnx_tower import prepared_tower
from paraclip.search.serving.app import Server, make_app
from paraclip.search.serving.guard import Limits, without_port
from paraclip.search.serving.logs import log_as_json
from paraclip.search.serving.protocol import BoundedProtocol
from paraclip.search.serving.rewording import Reworder, rewording_config
from paraclip.search.serving.service import Service
from paraclip.search.serving.uploads import MOST_BYTES
from paraclip.search.snapshot import open_pool
from paraclip.search.stores.store import open_store
from paraclip.search.towers import open_tower

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
MOST_CONNECTIONS = 2000
OTHER_FILES = 256  # files of the index, and connections that are being accepted
BACKLOG = 128
STOP_SECONDS = 10
SHORTEST_TOKEN = 16
TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
"""Characters of a bearer token (RFC 6750), which a cookie can carry as well."""


def serve_command(config: ServeConfig) -> None:
    """Serve until interrupted; raises KeyboardInterrupt after current requests are answered.

    Raises:
        UserError: the index or a model cannot be used, the port is taken, or the address is not
            loopback and there is no token.
    """
    limits = limits_of(config)
    listener = listen(config.host, config.port)
    with listener:
        server = Server(service_of(config), limits, reworder_of(config))
        if config.log:
            log_as_json()
        url = address(config.host, listener.getsockname()[1])
        print(f"Open {url} in a browser; stop with Ctrl-C.", flush=True)
        make_server(server).run([listener])


class StoppableServer(uvicorn.Server):
    """A server that does not wait for the language model when it is stopped."""

    reworder: Reworder | None = None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop the language model, then answer what was accepted."""
        if self.reworder is not None:
            self.reworder.stop()
        await super().shutdown(sockets)


def make_server(server: Server) -> StoppableServer:
    """uvicorn's server with all limits."""
    settings = uvicorn.Config(
        make_app(server), http=BoundedProtocol, log_config=None, access_log=False,
        proxy_headers=False, server_header=False, limit_concurrency=most_connections(),
        backlog=BACKLOG, timeout_graceful_shutdown=STOP_SECONDS, lifespan="on",
    )  # fmt: skip
    made = StoppableServer(settings)
    made.reworder = server.reworder
    return made


def most_connections() -> int:
    """Raise the soft limit of open files if needed; returns how many connections it allows.

    A connection may need two files: itself, and the picture that it sends.
    """
    wanted = 2 * MOST_CONNECTIONS + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    free = wanted if soft == resource.RLIM_INFINITY else soft
    return max(min(MOST_CONNECTIONS, (free - OTHER_FILES) // 2), 8)


def service_of(config: ServeConfig) -> Service:
    """The service for an index, with all its models."""
    store = open_store(config.store)
    facts, version, pool = open_pool(store, config.exact_below)
    names = facts.models if config.models is None else chosen_models(facts, config.models)
    for name in names.values():
        prepared_tower(name)
    towers = {label: open_tower(name, facts, store.where) for label, name in names.items()}
    return Service(store, facts, version, pool, towers, config.exact_below)


def limits_of(config: ServeConfig) -> Limits:
    """The limits for visitors.

    Raises:
        UserError: the address is not loopback and there is no token, or the token is invalid.
    """
    token = config.token or os.environ.get("PARACLIP_TOKEN") or None
    check_token(token)
    if not is_loopback(config.host):
        if token is None:
            what = "is not a loopback address, and the server would be open to everyone there"
            hint = "Set PARACLIP_TOKEN or --token, or omit --host."
            raise UserError(f"--host {config.host}", what, hint)
        return Limits(frozenset(), token, config.per_second, config.burst, MOST_BYTES)
    hosts = frozenset({*LOOPBACK, config.host, *map(host_of, config.allow_host)})
    return Limits(hosts, token, config.per_second, config.burst, MOST_BYTES)


def host_of(name: str) -> str:
    """A host name as `without_port` returns it: in lower case, an IPv6 address in brackets."""
    is_bare_ipv6 = name.count(":") > 1 and "[" not in name
    return f"[{name.lower()}]" if is_bare_ipv6 else without_port(name)


def check_token(token: str | None) -> None:
    """Raise UserError for a token that is short, or that a header or a cookie cannot carry."""
    hint = "Make one: openssl rand -hex 16"
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise UserError("--token", f"has fewer than {SHORTEST_TOKEN} characters", hint)
    if token is not None and not TOKEN.fullmatch(token):
        what = "has characters other than ASCII letters, digits and -._~+/="
        raise UserError("--token", what, hint)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket; raises UserError if the port is taken or the address unknown."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except (OSError, UnicodeError) as error:  # UnicodeError: an empty or a very long part
        hint = "Check the name, or omit --host."
        raise UserError(f"--host {host}", "is not the address of a machine", hint) from error
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        hint = "Choose another --port; 0 selects a free one."
        raise UserError(f"{host}:{port}", f"cannot be opened ({error.strerror})", hint) from error


def address(host: str, port: int) -> str:
    """The address for a browser on this machine."""
    name = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, host)
    return f"http://{f'[{name}]' if ':' in name else printable(name)}:{port}/"


def reworder_of(config: ServeConfig) -> Reworder | None:
    """The language model that suggests rewordings; None without one."""
    if config.llm == "none":
        return None
    return Reworder(rewording_config(config.llm, config.llm_model, config.base_url))
