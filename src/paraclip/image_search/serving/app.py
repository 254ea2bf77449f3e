"""The application: routes over a service, with their schemas."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from pydantic import BaseModel, Field, StringConstraints
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.staticfiles import StaticFiles

from paraclip.compute.micro_batch import Overloaded
from paraclip.errors import UserError
from paraclip.image_search import engine
from paraclip.image_search.engine import Overlap
from paraclip.image_search.everyday import (
    count_scenes,
    counts_table,
    draw_examples,
    everyday_pairs,
)
from paraclip.image_search.serving.captions import Wanted
from paraclip.image_search.serving.service import KINDS, Service, Version, find_original
from paraclip.image_search.snapshot import Hit
from paraclip.image_search.towers import LONGEST_QUERY
from paraclip.store import StoreUnavailable
from paraclip.version import __version__

if TYPE_CHECKING:  # it brings what only `--llm` needs
    from paraclip.image_search.serving.rewording import Reworder

_LOG = logging.getLogger("paraclip.serve")
_Words = Annotated[str, StringConstraints(max_length=LONGEST_QUERY)]
_PictureId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{24}$")]
_MOST_RESULTS = 1000
_MOST_PARTS = 8
_EXAMPLES = 4
_RANDOM_PICTURES = 12  # that the page shows before a search


class _SearchRequest(BaseModel):
    """A query: words, words to add or subtract, a picture of the index, or a combination."""

    model_config = {"extra": "forbid"}

    q: _Words = Field("", description="What the pictures show, in words.")
    second: _Words = Field("", description="The same in other words, to compare the results.")
    plus: list[_Words] = Field([], max_length=_MOST_PARTS, description="Words to add.")
    minus: list[_Words] = Field([], max_length=_MOST_PARTS, description="Words to subtract.")
    like: _PictureId | None = Field(None, description="A picture, indexed or sent, by its id.")
    models: list[Annotated[str, StringConstraints(max_length=100)]] = Field(
        [], max_length=8, description="Labels of models; all by default."
    )
    k: int = Field(10, ge=1, le=_MOST_RESULTS, description="Results per model and wording.")
    judge: bool = Field(False, description="Also say which results are right, where known.")


class _RewordRequest(BaseModel):
    """A query to be reworded."""

    model_config = {"extra": "forbid"}

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class _Rewordings(BaseModel):
    """Other wordings of a query."""

    rewordings: list[str]


class _Example(BaseModel):
    """A scene that the index holds, in two wordings."""

    q: str
    second: str
    picture: str = Field(description="Id of what the first model finds for both together.")
    shared: dict[str, int] = Field(description="Pictures that both find, of ten, by model.")


class _Examples(BaseModel):
    """Queries to try, and what two wordings of all of them find."""

    asked: int = Field(description="Number of everyday scenes.")
    held: int = Field(description="Those for which the first model finds a close picture.")
    table: list[list[str]] = Field(description="Header and rows of figures of these, by model.")
    queries: list[_Example]


class _RandomPictures(BaseModel):
    """Random pictures."""

    pictures: list[Hit]


@dataclass(frozen=True)
class _Result(Hit):
    """A result; what is known of it if `judge` is set.

    Args:
        right: whether its caption says that it is right; None if captions do not tell.
    """

    right: bool | None = None


class _ModelResults(BaseModel):
    """Results of one model."""

    label: str
    results: list[list[_Result]] = Field(description="Results for each wording.")
    agreement: Overlap | None = Field(description="Agreement of the two wordings.")


@dataclass(frozen=True)
class _Between(Overlap):
    """Agreement of two models for one wording."""

    models: list[str]
    wording: int


class _SearchResponse(BaseModel):
    """Results of all models and wordings."""

    k: int
    pictures: int = Field(description="Number of pictures searched.")
    models: list[_ModelResults]
    between: list[_Between]
    like: str | None = Field(None, description="Id of the picture that was sent, for `like`.")


class _IndexOut(BaseModel):
    """Facts about the index and the models."""

    name: str
    pictures: int
    models: list[str]
    rewording: bool = Field(description="Whether /api/reword is available.")
    root: str = Field(description="Folder of the pictures, told to this machine only.")
    fault: str | None = Field(description="Why the store cannot be reached at present.")


class _Health(BaseModel):
    """State of the server."""

    status: Literal["ok", "store unavailable"]
    pictures: int


class _Problem(BaseModel):
    """An error that the client can fix."""

    detail: str


_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": _Problem} for status in (400, 401, 403, 404, 408, 413, 414, 422, 503)
}
_REFUSED = (
    *(StoreUnavailable, UserError, Overloaded, RequestValidationError, ClientDisconnect),
    HTTPException,
)
_NAMES = {"q": "The query (q)", "second": "The second wording (second)", "text": "The query (text)"}
"""Fields as the page calls them, and others by their own name."""
_FAULTS = {
    "string_too_long": "has more than {max_length:,} characters",
    "string_too_short": "is empty",
    "string_pattern_mismatch": "is not the id of a picture",
    "too_long": "is given more than {max_length} times",
    "greater_than_equal": "is less than {ge}",
    "less_than_equal": "is more than {le:,}",
    "extra_forbidden": "means nothing here",
    "missing": "is missing",
    "json_invalid": "is not JSON",
}
"""What is wrong with a field, by pydantic's name of the fault."""
_PAGE, _MISSING = (Path(__file__).with_name(name) for name in ("page", "missing.html"))
_PICTURE_BODY = {
    "requestBody": {
        "required": True,
        "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
    }
}


def make_app(service: Service, local: bool, reworder: "Reworder | None") -> FastAPI:
    """The application; a `reworder` suggests rewordings, and `local` tells the pictures' folder."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        following = asyncio.create_task(service.follow())
        _LOG.info("ready", extra={"fields": {"pictures": len(service.current.pool)}})
        yield
        following.cancel()
        if reworder:
            await reworder.close()
        service.close()
        _LOG.info("stopped")

    app = FastAPI(
        title="ParaCLIP search", version=__version__, lifespan=lifespan,
        docs_url=None, redoc_url=None, responses=_PROBLEMS,  # those load scripts from elsewhere
        exception_handlers=dict.fromkeys(_REFUSED, _refused),
        description="Search pictures with words; models side by side over one index.",
    )  # fmt: skip
    _add_search(app, service)
    _add_pictures(app, service)
    _add_suggestions(app, service, reworder)

    @app.get("/api/index", response_model=_IndexOut)
    async def index() -> Any:
        """Facts about the index and the models."""
        facts = service.current.facts
        return {
            "name": PurePath(facts.source).name, "pictures": len(service.current.pool),
            "models": list(service.towers), "rewording": reworder is not None,
            "root": facts.root if local else "", "fault": service.fault,
        }  # fmt: skip

    # Last, since it takes every path that no route before it has.
    app.mount("/", StaticFiles(directory=_PAGE, html=True))
    return app


def refusal(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error as JSON."""
    return JSONResponse({"detail": detail}, status, headers)


async def _refused(request: Request, error: Exception) -> Response:
    """Errors of users and of the store as JSON with one sentence; a page where a page was asked."""
    match error:
        case StoreUnavailable():
            return refusal(503, f"The index {error.what}.")
        case UserError():
            return refusal(422, str(error))
        case Overloaded():
            return refusal(503, "Too many requests are waiting.", {"retry-after": "1"})
        case RequestValidationError():
            return refusal(422, _sentence(error.errors()[0]))
        case HTTPException(status_code=404) if "text/html" in request.headers.get("accept", ""):
            # Relative, since a proxy may serve the page below another address.
            home = "../" * (request.scope["path"].count("/") - 1) or "./"
            return HTMLResponse(_MISSING.read_text("utf-8").replace("HOME/", home), 404)
        case HTTPException(status_code=404):
            return refusal(404, "There is nothing at this address.")
        case HTTPException(status_code=405):
            return refusal(405, "This address takes another method.", dict(error.headers or {}))
        case HTTPException():
            return refusal(error.status_code, error.detail, dict(error.headers or {}))
    return refusal(400, "The client left.")  # nobody reads it


def _sentence(fault: Mapping[str, Any]) -> str:
    """What is wrong with a request, of one of pydantic's errors."""
    # The first part is where the field is: "query" or "body".
    parts = [str(part) for part in fault["loc"][1:] if not isinstance(part, int)]
    place = ".".join(parts) if fault["type"] != "json_invalid" else ""
    what = _FAULTS.get(fault["type"], "is not of the kind that this address takes")
    name = _NAMES.get(place, place or "The request")
    return f"{name[:200]} {what.format(**fault.get('ctx', {}))}."


def _add_search(app: FastAPI, service: Service) -> None:
    """Add searches with words, with a picture of the index, and with an uploaded picture."""

    @app.get("/api/search", response_model=_SearchResponse)
    async def search(asked: Annotated[_SearchRequest, Query()]) -> Response:
        """Search with words or a picture of the index; with `second`, compare two wordings."""
        picture = await service.picture_vector(asked.like) if asked.like else None
        if asked.like and picture is None:
            return refusal(404, "There is no such picture; sent ones are kept for a while only.")
        plus, minus = tuple(asked.plus), tuple(asked.minus)
        queries = [engine.Query(asked.q, plus, minus, picture)]
        if asked.second.strip():
            queries.append(engine.Query(asked.second, plus, minus, picture))
        if not {*asked.models} <= {*service.towers}:
            return refusal(404, "There is no model with that label.")
        version = service.current  # once: it may be replaced during an `await`
        answer = await _answer(service, version, queries, asked.models, asked.k)
        if asked.judge:
            await _judge(service, version, queries, answer)
        # Not the answer itself, each of whose results FastAPI would validate.
        return Response(json.dumps(answer), media_type="application/json")

    @app.post("/api/search/picture", response_model=_SearchResponse, openapi_extra=_PICTURE_BODY)
    async def search_picture(
        request: Request, k: Annotated[int, Query(ge=1, le=_MOST_RESULTS)] = 10
    ) -> Any:
        """Search with an uploaded picture: the request body is its file, at most 10 MiB."""
        sent = await service.keep_upload(await request.body())  # `Guard` limits its size
        query = engine.Query(picture=await service.picture_vector(sent))
        label = next(iter(service.towers))
        answer = await _answer(service, service.current, [query], [label], k)
        return JSONResponse({**answer, "like": sent})


async def _answer(
    service: Service, version: Version, queries: list[engine.Query], labels: list[str], k: int
) -> dict[str, Any]:
    """The response to a search, as `_SearchResponse`."""
    chosen = list(dict.fromkeys(labels)) or list(service.towers)
    by_model = await service.search(version, queries, chosen, k)
    return {
        "k": k,
        "pictures": len(version.pool),
        "models": [
            {
                "label": label,
                "results": [
                    # much faster than `asdict`
                    [{**vars(hit), "score": round(hit.score, 5)} for hit in hits]
                    for hits in results
                ],
                "agreement": _agreement(*results) if len(results) == 2 else None,
            }
            for label, results in zip(chosen, by_model, strict=True)
        ],
        "between": [
            {
                "models": [chosen[one], chosen[other]],
                "wording": wording,
                **_agreement(by_model[one][wording], by_model[other][wording]),
            }
            for one, other in combinations(range(len(chosen)), 2)
            for wording in range(len(queries))
        ],
    }


async def _judge(
    service: Service, version: Version, queries: list[engine.Query], answer: dict[str, Any]
) -> None:
    """Add `right` to the results of an answer."""
    # Captions say nothing about sums and pictures.
    wanted = Wanted([query.text for query in queries] if queries[0].is_text else [])
    known = (await service.caption_words(version)).has_right(wanted)
    hits = [hit for model in answer["models"] for found in model["results"] for hit in found]
    right = [wanted.fits(hit["caption"]) for hit in hits]
    for hit, fits in zip(hits, right, strict=True):
        hit["right"] = fits if known or any(right) else None


def _agreement(first: list[Hit], second: list[Hit]) -> dict[str, Any]:
    """Agreement of two rankings."""
    return asdict(engine.measure_overlap([hit.id for hit in first], [hit.id for hit in second]))


def _add_pictures(app: FastAPI, service: Service) -> None:
    """Add thumbnails from the index, and the pictures themselves."""

    @app.get("/api/thumbnail/{picture}", response_class=Response)
    async def thumbnail(picture: _PictureId) -> Response:
        """The thumbnail of a picture, JPEG."""
        content = await service.thumbnail(picture)
        if content is None:
            return refusal(404, "The index has no such picture.")
        headers = {"cache-control": "private, max-age=3600"}
        return Response(content, media_type="image/jpeg", headers=headers)

    @app.get("/api/picture/{picture}", response_class=Response)
    async def whole(picture: _PictureId) -> Response:
        """The picture itself, if it is a file that browsers display; otherwise its thumbnail."""
        row = await service.row(picture, ("path",))
        if row is None:
            return refusal(404, "The index has no such picture.")
        file = find_original(service.current.facts.root, row["path"])
        kind = KINDS.get(file.suffix.lower()) if file else None
        if file is None or kind is None:
            return await thumbnail(picture)
        return FileResponse(file, media_type=kind, headers={"content-disposition": "inline"})


def _add_suggestions(app: FastAPI, service: Service, reworder: "Reworder | None") -> None:
    """Add examples, suggestions of a language model, and health."""

    @app.get("/api/examples", response_model=_Examples)
    async def examples() -> Any:
        """Queries to try, others each time; the first call asks all models for all scenes."""
        held, label = await service.held_scenes(), list(service.towers)[-1]
        queries = [
            {
                "q": one.wordings[0], "second": one.wordings[1], "picture": one.picture,
                "shared": {label: one.shared(label) for label in one.found},
            }
            for one in draw_examples(held, label, _EXAMPLES)
        ]  # fmt: skip
        table = counts_table(count_scenes(held))
        return {
            "asked": len(everyday_pairs()), "held": len(held), "table": table, "queries": queries,
        }  # fmt: skip

    @app.get("/api/random", response_model=_RandomPictures)
    async def random_pictures() -> Any:
        """Random pictures; others each time."""
        pool = service.current.pool
        pictures = await service.reads(lambda: pool.sample(_RANDOM_PICTURES))
        return {"pictures": [vars(hit) for hit in pictures]}

    @app.post("/api/reword", response_model=_Rewordings)
    async def reword(asked: _RewordRequest, request: Request) -> Any:
        """Other wordings of a query, from a language model."""
        if reworder is None:
            return refusal(404, "This server has no language model (see `serve --llm`).")
        try:
            return {"rewordings": await reworder.suggest(asked.text, request.is_disconnected)}
        except UserError as error:  # the model failed; the request is valid
            # The hint names options of commands, which a reader of the page does not have.
            _LOG.warning("no rewording", extra={"fields": {"reason": str(error)}})
            return refusal(503, f"{error.where}: {error.what}.")

    @app.get("/healthz", response_model=_Health)
    async def health() -> Response:
        """200 while the store can be reached, else 503; searches still work in this case."""
        status = "store unavailable" if service.fault else "ok"
        body = {"status": status, "pictures": len(service.current.pool)}
        return JSONResponse(body, 503 if service.fault else 200)
