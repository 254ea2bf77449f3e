"""OpenAI's files and batches API in front of `FakeServer`: slow, failing in part, expiring."""

import json
import re
import threading
from collections import Counter
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fake_server import FakeServer, response

Line = dict[str, Any]


class FakeBatchServer(FakeServer):
    """A `FakeServer` whose `behave` also answers the requests of a batch, in reverse order.

    A number from `behave` is the status of a request in the error file. `asked` and `answered`
    count the requests of batches too.

    Attributes:
        looks: the number of polls before a batch ends.
        ends: the status at which the n-th batch (from 1) ends; others are completed.
        share: the answered part of the requests of an expired or cancelled batch.
        errors: the error with which the n-th batch is refused.
        lost: the number of creations that succeed but drop the connection.
        batches, files: all of them by id.
        page: the number of batches per page of a list.
    """

    def __init__(self) -> None:
        super().__init__()
        self.looks, self.share, self.lost, self.page = 1, 0.5, 0, 2
        self.ends: dict[int, str] = {}
        self.errors: dict[int, dict[str, str]] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.calls: Counter[str] = Counter()
        self.usage = {"prompt_tokens": 100, "completion_tokens": 10}
        self._batch_lock = threading.Lock()

    def upload(self, content_type: str, body: bytes) -> dict[str, Any]:
        """Keep the file in a multipart form."""
        head = f"Content-Type: {content_type}\r\n\r\n".encode()
        parts = BytesParser().parsebytes(head + body).get_payload()
        named = {part.get_param("name", header="content-disposition"): part for part in parts}
        assert named["purpose"].get_payload(decode=True) == b"batch"
        return {"id": self.keep(named["file"].get_payload(decode=True)), "object": "file"}

    def keep(self, content: bytes) -> str:
        """Store a file; returns its id."""
        name = f"file-{len(self.files) + 1}"
        self.files[name] = content
        return name

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        """A new batch; its requests are answered when it ends."""
        assert body["completion_window"] == "24h" and body["input_file_id"] in self.files
        name = f"batch_{len(self.batches) + 1}"
        lines = [json.loads(line) for line in self.files[body["input_file_id"]].splitlines()]
        assert {line["url"] for line in lines} == {body["endpoint"]}
        assert len({line["body"]["model"] for line in lines}) == 1
        assert len({line["custom_id"] for line in lines}) == len(lines)
        self.batches[name] = {
            "id": name, "object": "batch", "status": "validating", "metadata": body["metadata"],
            "lines": lines, "looks": 0, "number": len(self.batches) + 1,
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
        }  # fmt: skip
        return self.batches[name]

    def look(self, batch: dict[str, Any]) -> None:
        """Advance a batch by one step when it is polled."""
        batch["looks"] += 1
        if batch["number"] in self.errors:
            batch["status"], batch["errors"] = "failed", {"data": [self.errors[batch["number"]]]}
        elif batch["status"] in ("validating", "in_progress"):
            batch["status"] = "in_progress"
            if batch["looks"] > self.looks:
                self.end(batch, self.ends.get(batch["number"], "completed"))

    def end(self, batch: dict[str, Any], status: str) -> None:
        """Answer the requests of a batch, or a part of them."""
        lines: list[Line] = batch["lines"]
        count = len(lines) if status == "completed" else int(len(lines) * self.share)
        done = [self.answer(line) for line in lines[:count]]
        done += [self.expired(line) for line in lines[count:]] if status == "expired" else []
        good = [line for line in done if (line["response"] or {}).get("status_code") == 200]
        bad = [line for line in done if line not in good]
        batch["status"] = status
        batch["request_counts"] |= {"completed": len(good), "failed": len(bad)}
        for name, part in (("output_file_id", good), ("error_file_id", bad)):
            content = b"".join(json.dumps(line).encode() + b"\n" for line in reversed(part))
            batch[name] = self.keep(content) if part else None

    def answer(self, line: Line) -> Line:
        """A line of a result file."""
        reply, prompt, count = self.reply(line["body"])
        error = isinstance(reply, int)
        if error:
            body: Any = {"error": {"message": "told to fail"}}
        elif isinstance(reply, bytes):
            body = json.loads(reply)
        else:
            texts = [reply] * count if isinstance(reply, str) else reply
            body = json.loads(response(texts, "prompt" in line["body"])) | {"usage": self.usage}
            self.answered[prompt] += 1
        status = reply if error else 200
        return {
            "id": "x", "custom_id": line["custom_id"], "error": None,
            "response": {"status_code": status, "request_id": "r", "body": body},
        }  # fmt: skip

    @staticmethod
    def expired(line: Line) -> Line:
        """A line of an error file after the time is over."""
        error = {"code": "batch_expired", "message": "could not be executed in time"}
        return {"id": "x", "custom_id": line["custom_id"], "response": None, "error": error}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake, plain = self, super()._handler()

        class Handler(plain):  # type: ignore[misc, valid-type]
            def do_GET(self) -> None:
                path = urlsplit(self.path)
                found = re.fullmatch(r"/v1/(batches|files)(?:/([^/]+))?(/content)?", path.path)
                if found is None:
                    super().do_GET()
                elif not self.refused():
                    with fake._batch_lock:
                        fake.calls[f"GET {found[1]}{'' if found[2] else ' list'}"] += 1
                        self.show(found[1], found[2], parse_qs(path.query))

            def show(self, kind: str, name: str | None, query: dict[str, list[str]]) -> None:
                if kind == "files":
                    self.send(200, fake.files[name or ""])
                elif name is None:
                    self.send_json(self.listed(query.get("after", [""])[0]))
                elif name not in fake.batches:
                    self.send(404, b'{"error": {"message": "No such batch"}}')
                else:
                    fake.look(fake.batches[name])
                    self.send_json(self.shown(fake.batches[name]))

            def listed(self, after: str) -> dict[str, Any]:
                newest = list(fake.batches)[::-1]
                start = newest.index(after) + 1 if after else 0
                page = [self.shown(fake.batches[one]) for one in newest[start : start + fake.page]]
                more = start + fake.page < len(newest)
                return {"object": "list", "data": page, "has_more": more}

            def do_POST(self) -> None:
                if self.path not in ("/v1/files", "/v1/batches"):
                    super().do_POST()
                    return
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.refused():
                    return
                with fake._batch_lock:
                    fake.calls[f"POST {self.path[4:]}"] += 1
                    if self.path == "/v1/files":
                        self.send_json(fake.upload(self.headers["Content-Type"], body))
                        return
                    batch = fake.create(json.loads(body))
                    if fake.lost:
                        fake.lost -= 1
                        self.close_connection = True
                        return
                    self.send_json(self.shown(batch))

            def shown(self, batch: dict[str, Any]) -> dict[str, Any]:
                return {name: value for name, value in batch.items() if name != "lines"}

            def send_json(self, content: dict[str, Any]) -> None:
                self.send(200, json.dumps(content).encode())

        return Handler
