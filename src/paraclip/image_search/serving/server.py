"""uvicorn with its own limits, the listening socket and the log."""

import json
import logging
import resource
import socket
import sys
from datetime import UTC, datetime

import uvicorn

from paraclip.errors import UserError
from paraclip.image_search.serving.app import make_app
from paraclip.image_search.serving.guard import Limits
from paraclip.image_search.serving.rewording import Reworder
from paraclip.image_search.serving.service import Service

_MOST_CONNECTIONS = 2000
_OTHER_FILES = 256  # files of the index, and connections that are being accepted
_BACKLOG = 128
_STOP_SECONDS = 10
_MOST_HEAD = 65_536  # maximum size of the request line and the headers in bytes


def make_server(
    service: Service, limits: Limits, reworder: Reworder | None = None
) -> uvicorn.Server:
    """uvicorn's server with all limits."""
    settings = uvicorn.Config(
        make_app(service, limits, reworder), lifespan="on", ws="none", log_config=None,
        access_log=False, proxy_headers=False, server_header=False,
        http="h11",  # httptools has no limit for heads
        h11_max_incomplete_event_size=_MOST_HEAD, backlog=_BACKLOG,
        limit_concurrency=_most_connections(), timeout_graceful_shutdown=_STOP_SECONDS,
    )  # fmt: skip
    return uvicorn.Server(settings)


def _most_connections() -> int:
    """Raise the soft limit of open files if needed; returns how many connections it allows.

    A connection may need two files: itself, and the picture that it sends.
    """
    wanted = 2 * _MOST_CONNECTIONS + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    allowed = wanted if soft == resource.RLIM_INFINITY else soft
    return max(min(_MOST_CONNECTIONS, (allowed - _OTHER_FILES) // 2), 8)


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket; raises UserError if the port is taken or the address unknown."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except (OSError, UnicodeError) as error:  # UnicodeError: an empty or a very long part
        hint = "Check the name, or omit --host."
        raise UserError(f"--host {host}", "is not the address of a machine", hint) from error
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        hint = "Choose another --port; 0 selects a free one."
        raise UserError(f"{host}:{port}", f"cannot be opened ({error.strerror})", hint) from error


class _JsonLines(logging.Formatter):
    """Time, level, event, and the fields of the record."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line of JSON."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_as_json() -> None:
    """Write the logs of the server, and of uvicorn, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    for name in ("paraclip.serve", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)
