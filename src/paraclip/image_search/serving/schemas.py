"""Request and response schemas of the HTTP interface."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from paraclip.image_search.engine import Overlap
from paraclip.image_search.snapshot import Hit
from paraclip.image_search.towers import LONGEST_QUERY

Words = Annotated[str, StringConstraints(max_length=LONGEST_QUERY)]
PictureId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{24}$")]
MOST_RESULTS = 100
MOST_PARTS = 8


class SearchRequest(BaseModel):
    """A query: words, words to add or subtract, a picture of the index, or a combination."""

    model_config = {"extra": "forbid"}

    q: Words = Field("", description="What the pictures show, in words.")
    second: Words = Field("", description="The same in other words, to compare the results.")
    plus: list[Words] = Field([], max_length=MOST_PARTS, description="Words to add.")
    minus: list[Words] = Field([], max_length=MOST_PARTS, description="Words to subtract.")
    like: PictureId | None = Field(None, description="A picture of the index, by its id.")
    models: list[Annotated[str, StringConstraints(max_length=100)]] = Field(
        [], max_length=8, description="Labels of models; all by default."
    )
    k: int = Field(10, ge=1, le=MOST_RESULTS, description="Results per model and wording.")


class RewordRequest(BaseModel):
    """A query to be reworded."""

    model_config = {"extra": "forbid"}

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class Rewordings(BaseModel):
    """Other wordings of a query."""

    rewordings: list[str]


class ModelResults(BaseModel):
    """Results of one model."""

    label: str
    results: list[list[Hit]] = Field(description="Results for each wording.")
    agreement: Overlap | None = Field(description="Agreement of the two wordings.")


@dataclass(frozen=True)
class Between(Overlap):
    """Agreement of two models for one wording."""

    models: list[str]
    wording: int


class SearchResponse(BaseModel):
    """Results of all models and wordings."""

    k: int
    pictures: int = Field(description="Number of pictures searched.")
    models: list[ModelResults]
    between: list[Between]


class IndexOut(BaseModel):
    """Facts about the index and the models."""

    name: str
    pictures: int
    models: list[str]
    rewording: bool = Field(description="Whether /api/reword is available.")
    fault: str | None = Field(description="Why the store cannot be reached at present.")


class Health(BaseModel):
    """State of the server."""

    status: Literal["ok", "store unavailable"]
    pictures: int


class Problem(BaseModel):
    """An error that the client can fix."""

    detail: str
