"""The public API: what each command does, as a function that returns its result and prints nothing.

Keyword options are those of the command of the same name (`paraclip train --help`), with `_` for
`-`: `train(base, triples, out="runs/tuned", text_temperature=0.1)`. A class `...Keywords` has their
types; one that is left out has the command's default.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import signature
from pathlib import Path
from types import UnionType
from typing import (
    Any,
    Literal,
    ParamSpec,
    TypedDict,
    TypeVar,
    Union,
    Unpack,
    get_args,
    get_origin,
    get_type_hints,
)

from torch import Tensor

from paraclip.data.config import Columns
from paraclip.data.images import Picture, is_picture
from paraclip.data.problems import Problems
from paraclip.data.reading import read_captions
from paraclip.data.rows import InMemory
from paraclip.errors import UserError, nearest
from paraclip.evaluation.compare import compare
from paraclip.evaluation.config import EvaluateConfig
from paraclip.evaluation.registry import evaluate_configured
from paraclip.evaluation.report import Report
from paraclip.exporting.run import export_model
from paraclip.image_search.build import IndexSummary, build_index
from paraclip.image_search.config import INDEX, IndexConfig, SearchConfig
from paraclip.image_search.engine import search_index
from paraclip.image_search.snapshot import Hit
from paraclip.indexes.reading import read_index
from paraclip.merging import merge
from paraclip.models import features
from paraclip.models.encoder import DualEncoder
from paraclip.models.loading import load_model, loaded_model
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.generation import generate_from_source
from paraclip.starter.scenes import scenes
from paraclip.swapping.checking import SwapReport
from paraclip.swapping.checking import swap_check as check_index
from paraclip.swapping.run import Swapped, undo
from paraclip.swapping.run import inspect_swap as inspect_cache
from paraclip.swapping.run import swap as swap_encoder
from paraclip.systems.config import (
    ExportConfig,
    Exported,
    ExportOptions,
    Format,
    SwapCheckConfig,
    SwapConfig,
)
from paraclip.systems.system import IndexAddress
from paraclip.training.config import Precision, Recipe, TextName, TrainConfig
from paraclip.training.prepare import prepare_run
from paraclip.training.train import train as train_data

__all__ = (
    "Columns", "UserError", "compare", "encode_images", "encode_texts", "evaluate", "export",
    "generate", "index", "inspect_swap", "load_model", "merge", "read_captions", "scenes", "search",
    "swap", "swap_check", "train", "undo_swap",
)  # fmt: skip

_P = ParamSpec("_P")
_R = TypeVar("_R")
Model = DualEncoder | Path | str
"""A model, or a name that `load_model` accepts: `mini`, `ViT-B-32:file`, a checkpoint."""


class GenerateKeywords(TypedDict, total=False):
    """Options of `paraclip generate`."""

    columns: Columns
    max_broken: float  # largest share of the rows, 0 to 1
    first: int | None  # number of captions
    backend: str  # of the language model
    model: str | None  # its name in the backend
    base_url: str | tuple[str, ...]  # of one server, or of several equal ones
    kinds: str  # further wordings to ask for, with commas
    candidates: int | None  # answers to a question, of which the best is kept
    temperature: float | None
    concurrency: int | None
    per_minute: tuple[float, float] | None  # at most these requests and tokens
    prices: tuple[float, float] | None  # dollars per million tokens of prompts and of answers
    max_cost: float | None  # dollars, earlier runs included
    to_file: Path | str | None  # folder for the open questions, in place of a server
    from_file: Path | str | None  # such a folder with answers in it
    limits: Literal["strong", "checked"]  # of the filters
    licence: str | None  # of the answers, for the provenance
    fresh: bool
    part: str | None  # of a large run, such as `3/100`
    ray_workers: int | None


class TrainKeywords(TypedDict, total=False):
    """Options of `paraclip train`."""

    # folder of the pictures, for triples with image_id only or an index from another machine
    images: Path | str | None
    starter: bool  # also train on the starter set
    bank: Path | str | None  # pictures whose rankings are learned: a folder, or an index
    teacher: Path | str | Sequence[Path | str]  # models that rank them, MODEL or MODEL=SHARE
    texts: Path | str | Sequence[Path | str]  # sources of texts without pictures
    languages: str | Sequence[str]  # of further wordings
    fresh: bool  # from scratch, in a folder that holds another run
    epochs: int
    batch_size: int  # rows, each other's negatives
    learning_rate: float | None  # at its peak; None: with R what short runs find, else 1e-5
    seed: int
    micro_batch: int | None  # texts with a graph at a time (GradCache)
    dropout: float | None  # None: the model's own
    precision: Precision
    recipe: Recipe | None  # preset of the losses
    weights: tuple[float, float, float] | None  # of L1, L2 and L3
    image_loss_on: tuple[TextName, ...] | None  # texts that L1 pairs with the picture
    text_temperature: float | None  # of L2 and L3
    ranking: float | None  # weight of R
    sentence_teacher: float | None  # weight of S
    image_learning_rate: float | None  # also trains the image tower, which voids an index
    control: bool  # L1 on the original captions alone


class EvaluateKeywords(TypedDict, total=False):
    """Options of `paraclip evaluate`."""

    benchmarks: str  # names, with commas
    data: Path | str | None  # folder of the benchmarks' data
    pairs: Path | str | None  # captions with paraphrases
    columns: tuple[str, ...]  # of the two wordings in `pairs`
    pool: Path | str | None  # pictures to search
    wordings: Path | str | None  # reworded captions of the pictures in `pool`
    captions: Path | str | None  # with their pictures, for image-text-retrieval
    images: Path | str | None  # folder that names of pictures refer to
    images_by_class: Path | str | None  # folder with a subfolder for each class
    k: tuple[int, ...]  # numbers of results
    out: Path | str | None
    resamples: int | None  # of the bootstrap
    precision: Literal["fp32", "bf16"]
    max_broken: float
    device: str


class ExportKeywords(TypedDict, total=False):
    """Options of `paraclip export`; `target` is its `--for`."""

    to: Format | None
    target: Exported | None
    base: Path | str | None
    tag: str | None  # of the base in open_clip
    half: bool  # 16-bit weights
    int8: bool  # 8-bit weights as well
    image_tower: bool


class IndexKeywords(TypedDict, total=False):
    """Options of `paraclip index`."""

    base: Path | str
    tuned: Path | str | None
    columns: Columns
    device: str
    precision: Literal["fp32", "bf16"]
    rebuild: bool


class SearchKeywords(TypedDict, total=False):
    """Options of `paraclip search`."""

    image: Path | str | None  # to search by
    plus: tuple[str, ...]  # words whose vectors are added
    minus: tuple[str, ...]  # words whose vectors are subtracted
    models: str | None  # labels, with commas
    k: int
    cutoff: float | Literal["auto"] | None  # similarity above which a result is close
    device: str


class SwapCheckKeywords(TypedDict, total=False):
    """Options of `paraclip swap-check`."""

    queries: Path | str | None  # one a line, or captions of pictures of the index
    pictures: Path | str | None  # folder of pictures, if the paths in the index lead nowhere
    paths: Path | str | None  # of the pictures of an `.npy` index, one a line
    table: str | None  # of a database, if there are several
    column: str | None  # of the vectors, if there are several
    k: int
    cutoff: float | None  # your cut-off on the similarity with the base
    device: str


def _config(options: type[_R], **given: Any) -> _R:
    """The checked options of a command, from values as a program has them."""
    hints = get_type_hints(options)
    return options(**{name: _as_option(value, hints[name]) for name, value in given.items()})


def _as_option(value: Any, hint: Any) -> Any:
    """A value in the type of an option, which is checked strictly: a path as text, several texts as
    a tuple or with commas, and one as a tuple of one."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if isinstance(value, Path):
        value = str(value)
    elif isinstance(value, list | tuple):
        parts = tuple(str(one) if isinstance(one, Path) else one for one in value)
        return ",".join(map(str, parts)) if str in kinds else parts
    several = any(get_origin(kind) is tuple for kind in kinds)
    return (value,) if several and value is not None else value


def _options_of(config: type) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """A function that takes the options of a command, and no others."""

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        name = function.__name__
        known = [*signature(function).parameters]
        if known[-1] == "options":
            (keywords,) = get_args(function.__annotations__[known.pop()])
            known += keywords.__annotations__

        @wraps(function)
        def call(*arguments: _P.args, **options: _P.kwargs) -> _R:
            for given in (one for one in options if one not in known):
                if given in get_type_hints(config):
                    command = name.replace("_", "-")
                    what = f"is an option of the command `paraclip {command}` alone"
                    raise UserError(given, what, "Leave it out.")
                raise UserError(given, f"is not an option of {name}", nearest(given, known))
            return function(*arguments, **options)

        return call

    return decorate


@_options_of(GenerateConfig)
def generate(source: Path | str, out: Path | str, **options: Unpack[GenerateKeywords]) -> Path:
    """Paraphrase captions in two steps with a large language model.

    Args:
        source: folder of pictures, each with a `.txt` of the same name, or a captions file.
        out: folder for the triples, the log of answers and the summary; a stopped run resumes.
        options: options of `paraclip generate`, such as `model="gpt-4o-mini"` or
            `columns=Columns(caption="text")`.

    Returns:
        The triples, a Parquet file.

    Raises:
        UserError: the captions cannot be read, the server fails, or no caption got an answer.

    Example:
        >>> generate("my_pictures", "runs/triples", model="gpt-4o-mini")  # doctest: +SKIP
    """
    config = _config(GenerateConfig, source=source, out=out, **options)
    generation = generate_from_source(
        config.captions, config.llm, Judge(config.filter_limits), config.outputs,
        to_file=config.to_file, from_file=config.from_file, part=config.one_part,
        ray_workers=config.ray_workers,
    )  # fmt: skip
    generation.check()
    return Path(generation.triples)


@_options_of(TrainConfig)
def train(
    base: Model,
    triples: Path | str | InMemory,
    out: Path | str,
    **options: Unpack[TrainKeywords],
) -> DualEncoder:
    """Fine-tune the text encoder on triples; the image encoder is not changed.

    Args:
        base: the model to tune; one that is passed is not changed.
        triples: `scenes` for the everyday scenes that ship with ParaCLIP (`starter` for the older
            set), a file written by `generate`, the paper's JSON lines, or the rows themselves: a
            list of dictionaries with `caption`, `paraphrase_1` and `paraphrase_2`, a
            `pyarrow.Table`, a data frame or a `datasets.Dataset`.
        out: folder of the checkpoints; a stopped run resumes, a finished one is not repeated.
        options: options of `paraclip train`, such as `bank="my_pictures"`, `epochs=2` or
            `control=True`.

    Returns:
        The tuned model, on the device of the base. Its image vectors are those of the base.

    Raises:
        UserError: the triples cannot be used, or `out` belongs to another run.

    Example:
        >>> tuned = train("mini", "scenes", "runs/tuned", bank="my_pictures")  # doctest: +SKIP

    Source: paper, section 3.
    """
    config = _config(
        TrainConfig, out=out, base=_name_of(base), **options,
        triples=triples if isinstance(triples, Path | str) else "rows in memory",
    )  # fmt: skip
    data = prepare_run(config, triples, base if isinstance(base, DualEncoder) else str(base))
    checkpoint = train_data(data, config, Path(out), fresh=config.fresh)
    return load_model(str(checkpoint), str(data.model.device))


@_options_of(EvaluateConfig)
def evaluate(models: Mapping[str, Model], **options: Unpack[EvaluateKeywords]) -> Report:
    """Score models side by side, with 95 % intervals and paired differences.

    Args:
        models: models by label; all are compared with `base` (else the first) and `control`.
        options: options of `paraclip evaluate`, such as `benchmarks="sts"`, `pairs`, `pool`, `out`.

    Returns:
        The report; `report.table()` is the table that the command prints.

    Raises:
        UserError: a model or the data of a named benchmark is missing or broken.
    """
    return evaluate_configured(models, _config(EvaluateConfig, models=tuple(models), **options))


@_options_of(ExportConfig)
def export(model: Model, out: Path | str, **options: Unpack[ExportKeywords]) -> Path:
    """Write a model in the layout that another system loads, with a model card.

    Args:
        model: a model, the path of a checkpoint, or a model's name.
        out: folder to write, or a `.safetensors` file for bare weights with open_clip's names.
        options: options of `paraclip export`, such as `to="hf"` (a format), `target="immich"` (a
            system, `--for`), `half`, `int8`.

    Returns:
        What was written.

    Raises:
        UserError: the output exists, the checkpoint is damaged or its image tower was trained, or
            the model does not fit the format or the system.
    """
    return export_model(model, out, _config(ExportOptions, **options)).path


@_options_of(IndexConfig)
def index(
    source: Path | str, index: Path | str = INDEX, **options: Unpack[IndexKeywords]
) -> IndexSummary:
    """Index the pictures of a source, or bring their index up to date.

    Args:
        source: folder of pictures, captions file, or WebDataset shards.
        index: folder of the index.
        options: options of `paraclip index`, such as `base=...`, `tuned=...` or `rebuild=True`.

    Returns:
        How many pictures were added, changed, moved, removed and broken.

    Raises:
        UserError: the source, a model or the index cannot be used, or the index is another one's.
    """
    config = _config(IndexConfig, source=source, index=index, **options)
    return build_index(problems=Problems(1.0), **config.arguments())


@_options_of(SearchConfig)
def search(
    query: str = "", index: Path | str = INDEX, **options: Unpack[SearchKeywords]
) -> dict[str, list[Hit]]:
    """Search an index with words, a picture, or both.

    Args:
        query: description of the pictures to find.
        index: folder of the index.
        options: options of `paraclip search`, such as `image="cat.jpg"` or `models="base,tuned"`.
            Without `models`, the index's tuned model answers, or its base if it has none.

    Returns:
        The results by label of the model, best first, each with path, caption, score, and with
        `cutoff="auto"` whether it is close: better than what unrelated queries get.

    Raises:
        UserError: the query is empty, or the index or a model cannot be used.

    Example:
        >>> for label, hits in search("a child eating pizza", k=5).items():  # doctest: +SKIP
        ...     print(label, [hit.path for hit in hits])
    """
    config = _config(SearchConfig, query=query, index=index, **options)
    answers, _ = search_index(**config.arguments())
    return {label: answer.hits for label, answer in answers.items()}


@_options_of(SwapCheckConfig)
def swap_check(
    index: Path | str,
    base: Model,
    tuned: Model,
    *,
    merged: Model | None = None,
    **options: Unpack[SwapCheckKeywords],
) -> SwapReport:
    """Check an index before its text encoder is replaced.

    Args:
        index: vectors of pictures, as for `paraclip swap-check`.
        base: the model that made the index.
        tuned: the model that would embed the queries, or the folder of its run.
        merged: `tuned` merged with base, which may be recommended instead.
        options: options of the command, such as `queries="queries.txt"` or `pictures="photos"`.

    Returns:
        The origin of the vectors, how the results of the queries change, and which model to use.

    Raises:
        UserError: the models have different image towers, or the index cannot be read.
    """
    config = _config(
        SwapCheckConfig, index=index, base=_name_of(base), tuned=_name_of(tuned), **options
    )
    return check_index(base, tuned, config, merged)


@_options_of(SwapConfig)
def swap(
    system: str,
    cache: Path | str,
    tuned: Model,
    *,
    tag: str | None = None,
    index: Path | str | None = None,
    dry_run: bool = False,
) -> Swapped:
    """Put a tuned text encoder in the place of the base's in another program's model cache.

    The base's files are kept beside the new ones, and `undo_swap` restores them.

    Args:
        system: the program, as for `paraclip swap`, such as immich, rclip or weaviate.
        cache: its model cache.
        tuned: the tuned model.
        tag: open_clip's pretrained tag of the base, for a checkpoint that does not record it.
        index: vectors that must come from the model's image tower, as for `swap_check`.
        dry_run: whether to check everything, but change nothing.

    Returns:
        The files that were replaced, where the base's are kept, and what was checked.

    Raises:
        UserError: the program is unknown, its cache does not hold the base, or the image tower,
            the activation or the preprocessing is not the model's.

    Example:
        >>> done = swap("immich", "/path/to/model-cache", tuned, dry_run=True)  # doctest: +SKIP
    """
    config = _config(SwapConfig, system=system, cache=cache, index=index)
    vectors = read_index(IndexAddress(config.index, selectable=False)) if config.index else None
    return swap_encoder(system, cache, tuned, tag=tag, index=vectors, dry_run=dry_run)


def inspect_swap(system: str, cache: Path | str) -> Swapped:
    """Whether what `swap` put into a cache is still in place; nothing is changed.

    Args:
        system: the program, as for `swap`.
        cache: its model cache.

    Returns:
        The files that are in place; `left` says which are not.

    Raises:
        UserError: the program is unknown, or nothing is swapped there.
    """
    _config(SwapConfig, system=system, cache=cache)
    return inspect_cache(system, cache)


def undo_swap(system: str, cache: Path | str, *, dry_run: bool = False) -> Swapped:
    """Restore the files that `swap` replaced in a cache, byte for byte.

    A file that has changed since is left as it is.

    Args:
        system: the program, as for `swap`.
        cache: its model cache.
        dry_run: whether to check everything, but change nothing.

    Returns:
        The files that were restored, and what was left because the program has changed it.

    Raises:
        UserError: the program is unknown, nothing was swapped, or a kept file is gone or damaged.
    """
    _config(SwapConfig, system=system, cache=cache)
    return undo(system, cache, dry_run=dry_run)


def _name_of(model: Model) -> str:
    return model.architecture.name if isinstance(model, DualEncoder) else str(model)


def encode_texts(model: Model, texts: str | Sequence[str]) -> Tensor:
    """Vectors of texts, such as queries for an index of the model's pictures.

    Args:
        model: the text encoder; one that is passed is put in evaluation mode.
        texts: texts, or one; each is cut to the model's context.

    Returns:
        Unit vectors, float32 [texts, width] on the CPU, in the order of the texts; of one text,
        its vector [width].

    Raises:
        UserError: the model cannot be loaded.

    Example:
        >>> encode_texts("mini", ["a dog", "one dog"]).shape  # doctest: +SKIP
        torch.Size([2, 384])
    """
    if isinstance(texts, str):
        return features.encode_texts(loaded_model(model), [texts])[0]
    return features.encode_texts(loaded_model(model), texts)


def encode_images(model: Model, pictures: Picture | Sequence[Picture]) -> Tensor:
    """Vectors of pictures, such as an index of your own.

    Args:
        model: the image encoder; one that is passed is put in evaluation mode.
        pictures: pictures, or one: paths, URLs, Pillow's pictures, or arrays of 8-bit colours
            [height, width, 3].

    Returns:
        Unit vectors, float32 [pictures, width] on the CPU, in the order of the pictures; of one
        picture, its vector [width].

    Raises:
        UserError: the model cannot be loaded or reads no pictures, or a picture is missing or
            broken.
    """
    given: Any = [pictures] if (one := is_picture(pictures)) else pictures
    vectors = features.encode_pictures(loaded_model(model), given)
    return vectors[0] if one else vectors
