"""OpenAI's files and batches API: upload, submit, poll, download."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard

import openai

from paraclip.errors import UserError
from paraclip.files import atomic_path
from paraclip.paraphrase.backends import AnswerError
from paraclip.paraphrase.backends.client import BoundedClient, http, parsed
from paraclip.paraphrase.backends.openai_server import OpenAIBackend, may_pass, pause_of
from paraclip.paraphrase.backends.pace import pause_before
from paraclip.paraphrase.config import GenerateConfig

TRANSFER = 60  # time limit of uploads and downloads, as a multiple of --timeout
MOST_DOWNLOAD = 64 << 20  # bytes, in addition to those per request
MOST_OF_REQUEST = 64 << 10  # bytes
PAGE = 100  # batches per page of a list
MOST_PAGES = 50  # pages of the newest batches that are searched for a lost one
NONCE = "paraclip_file"  # key in a batch's metadata
ENDS = ("completed", "failed", "expired", "cancelled")
GOING_ON = ("validating", "in_progress", "finalizing", "cancelling")
NO_ROOM = "token_limit_exceeded"
IDENTIFIER = re.compile(r"[A-Za-z0-9_.:-]{1,200}")  # becomes part of URLs
RESUMES = "Check the server; the same command resumes."
CHECK = "Check OPENAI_API_KEY and --base-url."


@dataclass(frozen=True)
class Seen:
    """A batch as reported by the server; every field is validated.

    Args:
        batch_id: id on the server.
        status: one of the states in OpenAI's reference.
        answered, failed: numbers of requests.
        files: ids of the result and error files that exist.
        problem: reason why the server refused the whole batch.
    """

    batch_id: str
    status: str
    answered: int
    failed: int
    files: tuple[str, ...]
    problem: str

    @property
    def ended(self) -> bool:
        """Whether its state is final."""
        return self.status in ENDS


class BatchServer(OpenAIBackend):
    """Client of a server with OpenAI's batches; requests are repeated as in `OpenAIBackend`.

    Raises:
        UserError: the key is missing, the server refuses or is down, or has no batch API.
    """

    def __init__(self, config: GenerateConfig) -> None:
        super().__init__(config)
        self.seconds = TRANSFER * config.timeout
        options: dict[str, Any] = {
            "base_url": self.base_url, "api_key": self._key or "none", "max_retries": 0,
        }  # fmt: skip
        self._uploads = openai.AsyncOpenAI(
            **options, timeout=self.seconds, http_client=BoundedClient(self.seconds)
        )
        self._downloads = openai.AsyncOpenAI(
            **options,
            timeout=config.timeout,
            http_client=openai.DefaultAsyncHttpxClient(follow_redirects=False),
        )

    async def upload(self, path: Path) -> str:
        """Upload a file of requests; returns its id."""

        async def send() -> Any:
            with path.open("rb") as file:
                files = self._uploads.files.with_raw_response
                return parsed((await files.create(file=(path.name, file), purpose="batch")).content)

        return self._text(await self._repeated(send), "id")

    async def submit(self, file_id: str, endpoint: str, nonce: str) -> str:
        """Submit a batch; returns its id.

        If the response is lost, the request may still have been carried out; the batch is
        therefore looked up before the request is repeated.
        """
        known = None

        async def send() -> Any:
            nonlocal known
            if known is not None and (found := await self.find(nonce)):
                return {"id": found}
            known = False
            created = await self._client.batches.with_raw_response.create(
                input_file_id=file_id, endpoint=endpoint,  # type: ignore[arg-type]
                completion_window="24h", metadata={NONCE: nonce},
            )  # fmt: skip
            return parsed(created.content)

        return self._text(await self._repeated(send), "id")

    async def find(self, nonce: str) -> str | None:
        """The id of the batch with a nonce among the account's newest batches, or None."""
        after: str | None = None
        for _ in range(MOST_PAGES):
            page = await self._repeated(partial(self._page, after))
            batches = page.get("data")
            batches = batches if isinstance(batches, list) else []
            batches = [one for one in batches if isinstance(one, dict)]
            for batch in batches:
                metadata = batch.get("metadata")
                if isinstance(metadata, dict) and metadata.get(NONCE) == nonce:
                    return self._text(batch, "id")
            if page.get("has_more") is not True or not batches:
                return None
            after = self._text(batches[-1], "id")
        return None

    async def _page(self, after: str | None) -> Any:
        listing = self._client.batches.with_raw_response
        options: dict[str, Any] = {} if after is None else {"after": after}
        return parsed((await listing.list(limit=PAGE, **options)).content)

    async def look(self, batch_id: str) -> Seen:
        """The current state of a batch."""

        async def send() -> Any:
            batches = self._client.batches.with_raw_response
            return parsed((await batches.retrieve(batch_id)).content)

        batch = await self._repeated(send)
        counts = batch.get("request_counts")
        counts = counts if isinstance(counts, dict) else {}
        files = [batch.get(name) for name in ("output_file_id", "error_file_id")]
        status = self._text(batch, "status")
        if status not in (*ENDS, *GOING_ON):
            what = f"batch {batch_id} has the unknown status {status!r}"
            raise UserError(self.shown_url, what, CHECK)
        return Seen(
            batch_id,
            status,
            number(counts.get("completed")),
            number(counts.get("failed")),
            tuple(file for file in files if is_identifier(file)),
            self._problem(batch),
        )

    def _problem(self, batch: dict[str, Any]) -> str:
        """The first error of a refused batch."""
        errors = batch.get("errors")
        data = errors.get("data") if isinstance(errors, dict) else None
        first = data[0] if isinstance(data, list) and data else None
        if not isinstance(first, dict):
            return ""
        return self.safe(f"{first.get('code')}: {first.get('message')}")

    async def download(self, file_id: str, path: Path, requests: int) -> None:
        """Download a file of answers to this number of requests to a path."""
        most = MOST_DOWNLOAD + requests * MOST_OF_REQUEST

        async def receive() -> dict[str, Any]:
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                size = 0
                async for chunk in self._content(file_id):
                    size += len(chunk)
                    if size > most:
                        what = f"is larger than {most >> 20} MiB"
                        raise UserError(self.shown_url, f"file {self.safe(file_id)} {what}", CHECK)
                    file.write(chunk)
            return {}

        await self._repeated(receive)

    async def _content(self, file_id: str) -> AsyncIterator[bytes]:
        files = self._downloads.files.with_streaming_response
        async with files.content(file_id) as response:
            async for chunk in response.iter_bytes(1 << 16):
                yield chunk

    async def _repeated(self, send: Callable[[], Awaitable[Any]]) -> dict[str, Any]:
        """The JSON object that a request returns; repeats it while the error may be temporary.

        Raises:
            UserError: it failed too often, or would fail again.
        """
        attempt = 0
        while True:
            attempt += 1
            pause: float | None = None
            try:
                async with asyncio.timeout(self.seconds):
                    content = await send()
                if isinstance(content, dict):
                    return content
                problem = "the answer is not a JSON object"
            except (ValueError, TimeoutError) as error:
                problem = str(error) or "it took too long"
            except openai.OpenAIError as error:
                if attempt > self.config.max_retries or not may_pass(error):
                    raise self._refusal(error) from error
                problem, pause = str(error), pause_of(error)
            except http.HTTPError as error:  # while a download is being read
                problem = f"{type(error).__name__}: {error}"
            if attempt > self.config.max_retries:
                raise UserError(self.shown_url, self.safe(problem), RESUMES)
            await asyncio.sleep(max(pause or 0.0, pause_before(attempt)))  # it may request 0

    def _refusal(self, error: openai.OpenAIError) -> UserError:
        if isinstance(error, openai.NotFoundError):
            what = f"has no batches, or not this one ({self.safe(str(error))})"
            return UserError(self.shown_url, what, CHECK)
        if isinstance(error, openai.PermissionDeniedError):  # there is no question that it refuses
            return self._wrong_key()
        final = self.final(error)
        if isinstance(final, AnswerError):
            return UserError(self.shown_url, str(final), RESUMES)
        return final

    def _text(self, content: dict[str, Any], name: str) -> str:
        """An identifier or a word in a response of the server."""
        value = content.get(name)
        if isinstance(value, str) and IDENTIFIER.fullmatch(value):
            return value
        what = f"its answer has no {name}, so it is not a server with OpenAI's batches"
        raise UserError(self.shown_url, what, "Check --base-url, or leave out --batch-api.")

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.gather(super().close(), self._uploads.close(), self._downloads.close())


def is_identifier(value: object) -> TypeGuard[str]:
    """Whether a value may be the id of a file."""
    return isinstance(value, str) and IDENTIFIER.fullmatch(value) is not None


def number(value: object) -> int:
    """A count in a response of the server, or 0."""
    return value if type(value) is int and 0 <= value < 10**9 else 0
