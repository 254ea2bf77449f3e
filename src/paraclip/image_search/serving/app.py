"""The application: routes over a service, behind the guard."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from itertools import combinations
from pathlib import Path, PurePath
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import ClientDisconnect
from starlette.staticfiles import StaticFiles

from paraclip.errors import UserError
from paraclip.image_search import engine
from paraclip.image_search.serving.guard import Guard, Limits, Metrics
from paraclip.image_search.serving.rewording import Reworder
from paraclip.image_search.serving.schemas import (
    Health,
    IndexOut,
    PictureId,
    Problem,
    Rewordings,
    RewordRequest,
    SearchRequest,
    SearchResponse,
)
from paraclip.image_search.serving.service import Service, find_original
from paraclip.image_search.snapshot import Hit
from paraclip.image_search.stores.store import StoreUnavailable
from paraclip.micro_batch import Overloaded
from paraclip.version import __version__

LOG = logging.getLogger("paraclip.serve")
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem} for status in (400, 401, 403, 404, 413, 414, 422, 429, 503)
}


def make_app(service: Service, limits: Limits, reworder: Reworder | None = None) -> Guard:
    """The ASGI application.

    Args:
        service: the search.
        limits: limits on requests.
        reworder: suggests rewordings, or None.
    """
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        following = asyncio.create_task(service.follow())
        LOG.info("ready", extra={"fields": {"pictures": len(service.pool)}})
        yield
        following.cancel()
        if reworder:
            await reworder.close()
        service.close()
        LOG.info("stopped")

    app = FastAPI(
        title="ParaCLIP search", version=__version__, lifespan=lifespan,
        docs_url=None, redoc_url=None, responses=PROBLEMS,
        description="Search pictures with words; models side by side over one index.",
    )  # fmt: skip
    add_errors(app)
    add_search(app, service)
    add_pictures(app, service)
    add_rewording(app, reworder)
    add_state(app, service, reworder is not None, metrics)
    app.mount("/", StaticFiles(directory=Path(__file__).with_name("page"), html=True))
    return Guard(app, limits, metrics)


def problem(status: int, detail: str) -> JSONResponse:
    """An error as JSON."""
    return JSONResponse({"detail": detail}, status)


def add_errors(app: FastAPI) -> None:
    """Return errors of users and of the store as JSON with one sentence."""

    @app.exception_handler(StoreUnavailable)
    async def unavailable(_: Request, error: StoreUnavailable) -> Response:
        return problem(503, f"The index {error.what}.")

    @app.exception_handler(UserError)
    async def refused(_: Request, error: UserError) -> Response:
        return problem(422, str(error))

    @app.exception_handler(Overloaded)
    async def overloaded(_: Request, error: Overloaded) -> Response:
        response = problem(503, "Too many requests are waiting.")
        response.headers["retry-after"] = "1"
        return response

    @app.exception_handler(ClientDisconnect)
    async def left(_: Request, error: ClientDisconnect) -> Response:
        return problem(400, "The client left.")  # nobody reads it

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:]) or "request"
        return problem(422, f"{place}: {first['msg']}"[:300])


def add_search(app: FastAPI, service: Service) -> None:
    """Add searches with words, with a picture of the index, and with an uploaded picture."""

    @app.get("/api/search", response_model=SearchResponse)
    async def search(asked: Annotated[SearchRequest, Query()]) -> Response:
        """Search with words or a picture of the index; with `second`, compare two wordings."""
        picture = await service.picture_vector(asked.like) if asked.like else None
        if asked.like and picture is None:
            return problem(404, "The index has no such picture.")
        plus, minus = tuple(asked.plus), tuple(asked.minus)
        queries = [engine.Query(asked.q, plus, minus, picture)]
        if asked.second.strip():
            queries.append(engine.Query(asked.second, plus, minus, picture))
        return await answer(service, queries, asked.models, asked.k)

    @app.post("/api/search/picture", response_model=SearchResponse, openapi_extra=PICTURE_BODY)
    async def search_picture(request: Request, k: Annotated[int, Query(ge=1, le=100)] = 10) -> Any:
        """Search with an uploaded picture: the request body is its file, at most 10 MiB."""
        vector = await service.pictures(await request.body())
        label = next(iter(service.towers))
        return await answer(service, [engine.Query(picture=vector)], [label], k)


PICTURE_BODY = {
    "requestBody": {
        "required": True,
        "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
    }
}


async def answer(
    service: Service, queries: list[engine.Query], labels: list[str], k: int
) -> Response:
    """The response to a search."""
    unknown = [label for label in labels if label not in service.towers]
    if unknown:
        return problem(404, "There is no model with that label.")
    chosen = list(dict.fromkeys(labels)) or list(service.towers)
    by_model = await service.search(queries, chosen, k)
    body = {
        "k": k,
        "pictures": len(service.pool),
        "models": [
            {
                "label": label,
                "results": [
                    [  # faster than `asdict`
                        {
                            "id": hit.id,
                            "path": hit.path,
                            "caption": hit.caption,
                            "score": round(hit.score, 5),
                        }
                        for hit in hits
                    ]
                    for hits in results
                ],
                "agreement": agreement(*results) if len(results) == 2 else None,
            }
            for label, results in zip(chosen, by_model, strict=True)
        ],
        "between": [
            {
                "models": [chosen[one], chosen[other]],
                "wording": wording,
                **agreement(by_model[one][wording], by_model[other][wording]),
            }
            for one, other in combinations(range(len(chosen)), 2)
            for wording in range(len(queries))
        ],
    }
    return Response(json.dumps(body), media_type="application/json")


def agreement(first: list[Hit], second: list[Hit]) -> dict[str, Any]:
    """Agreement of two rankings."""
    return asdict(engine.measure_overlap([hit.id for hit in first], [hit.id for hit in second]))


def add_pictures(app: FastAPI, service: Service) -> None:
    """Add thumbnails from the index, and the pictures themselves."""

    @app.get("/api/thumbnail/{picture}", response_class=Response)
    async def thumbnail(picture: PictureId) -> Response:
        """The thumbnail of a picture, JPEG."""
        content = await service.thumbnail(picture)
        if content is None:
            return problem(404, "The index has no such picture.")
        headers = {"cache-control": "private, max-age=3600"}
        return Response(content, media_type="image/jpeg", headers=headers)

    @app.get("/api/picture/{picture}", response_class=Response)
    async def whole(picture: PictureId) -> Response:
        """The picture itself, if it is a file in the indexed folder; otherwise its thumbnail."""
        row = await service.row(picture, ("path",))
        if row is None:
            return problem(404, "The index has no such picture.")
        file: tuple[Path, str] | None = find_original(service.facts.root, row["path"])
        if file is None:
            return await thumbnail(picture)
        path, kind = file
        return FileResponse(path, media_type=kind, headers={"content-disposition": "inline"})


def add_rewording(app: FastAPI, reworder: Reworder | None) -> None:
    """Add suggestions of a language model."""

    @app.post("/api/reword", response_model=Rewordings)
    async def reword(asked: RewordRequest, request: Request) -> Any:
        """Other wordings of a query, from a language model."""
        if reworder is None:
            return problem(404, "This server has no language model (see --llm).")
        try:
            return {"rewordings": await reworder.suggest(asked.text, request.is_disconnected)}
        except UserError as error:  # the model failed; the request is valid
            return problem(503, str(error))


def add_state(app: FastAPI, service: Service, rewords: bool, metrics: Metrics) -> None:
    """Add facts about the index, health and metrics."""

    @app.get("/api/index", response_model=IndexOut)
    async def index() -> Any:
        """Facts about the index and the models."""
        name = PurePath(service.facts.source).name
        return {
            "name": name, "pictures": len(service.pool), "models": list(service.towers),
            "rewording": rewords, "fault": service.fault,
        }  # fmt: skip

    @app.get("/healthz", response_model=Health)
    async def health() -> Response:
        """200 while the store can be reached, else 503; searches still work in this case."""
        good = service.fault is None
        body = {"status": "ok" if good else "store unavailable", "pictures": len(service.pool)}
        return JSONResponse(body, 200 if good else 503)

    @app.get("/metrics", response_class=Response)
    async def exposition() -> Response:
        """Metrics for Prometheus."""
        metrics.pictures.set(len(service.pool))
        metrics.store_up.set(service.fault is None)
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)
