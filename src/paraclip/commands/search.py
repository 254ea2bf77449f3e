"""`search`: its options, the function, and what the command prints."""

import json
import sys
from collections.abc import Mapping
from dataclasses import KW_ONLY, asdict, dataclass
from itertools import combinations
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from annotated_types import Ge, Le

from paraclip.commands.index import INDEX, OfIndex
from paraclip.commands.packages import require_packages
from paraclip.errors import UserError, printable
from paraclip.files import refuse_overwriting
from paraclip.options import PathName, takes

if TYPE_CHECKING:  # `paraclip search --help` needs no numpy
    from paraclip.image_search.engine import ModelHits, Overlap
    from paraclip.image_search.snapshot import Hit
    from paraclip.store import IndexFacts

LONGEST_SHOWN = 60  # characters of a caption in a table


@dataclass(frozen=True)
class SearchOptions(OfIndex):
    """What is searched for, where, and by which models."""

    query: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[QUERY]")] = ""
    """Query: a description of the pictures to find."""

    index: PathName = INDEX
    """Folder of the index to search."""

    _: KW_ONLY

    image: PathName | None = None
    """Picture to use as the query, alone or together with words."""

    plus: tuple[str, ...] = ()
    """Texts whose vectors are added to the query vector."""

    minus: tuple[str, ...] = ()
    """Texts whose vectors are subtracted from the query vector."""

    models: str | None = None
    """Comma-separated models to show side by side with their overlap: labels of the index
    (base,tuned), or LABEL=MODEL. Default: tuned if the index has one, else base."""

    k: Annotated[int, Ge(1), Le(1000)] = 10
    """Number of results per model."""

    cutoff: Annotated[float, Ge(-1), Le(1)] | Literal["auto"] | None = None
    """Mark results that are not close (~): their similarity is at most this number or, with auto,
    no better than what queries about other things get from this index."""


@dataclass(frozen=True, kw_only=True)
class SearchConfig(SearchOptions):
    """Search an index with words or a picture."""

    paths: bool = False
    """Print only the paths, one per line, for pipes. With several models, those of the first; with
    --cutoff, only close ones."""

    json: bool = False
    """Print everything as JSON."""

    sheet: str | None = None
    """Also write the results as one picture (.png, .jpg)."""


@takes(SearchOptions)
def search(options: SearchOptions) -> "dict[str, list[Hit]]":
    """Search an index with words, a picture, or both.

    Args:
        options: those below, such as `image="cat.jpg"` or `models="base,tuned"`.

    Returns:
        The results by label of the model, best first, each with path, caption, score, and with
        `cutoff="auto"` whether it is close: better than what unrelated queries get.

    Raises:
        UserError: the query is empty, or the index or a model cannot be used.

    Example:
        >>> for label, hits in search("a child eating pizza", k=5).items():  # doctest: +SKIP
        ...     print(label, [hit.path for hit in hits])
    """
    require_packages("search", options)
    return {label: answer.hits for label, answer in _search(options)[0].items()}


def search_command(config: SearchConfig) -> None:
    """Search an index and print the results."""
    require_packages("search", config)
    from paraclip.store import Store, full_path

    if config.sheet:
        from paraclip.image_search.sheet import check_sheet, thumbnails_of, write_sheet

        # All before the search, which may load a model.
        refuse_overwriting(config.sheet, [config.image] if config.image else [])
        check_sheet(config.sheet)
    answers, facts = _search(config)
    results = {label: answer.hits for label, answer in answers.items()}
    store = Store(str(config.index))
    if config.paths:
        # Of the first model alone: other programs read a path a line.
        for hit in filter(attrgetter("close"), next(iter(results.values()))):
            print(printable(full_path(facts.root, hit.path)))
    elif config.json:
        content = {
            "query": config.query,
            "image": config.image,
            "plus": list(config.plus),
            "minus": list(config.minus),
            "root": facts.root,
            "cutoff": {label: answer.cutoff for label, answer in answers.items()},
            "models": {label: [asdict(hit) for hit in hits] for label, hits in results.items()},
            "overlap": [
                {"models": pair, **asdict(one)} for pair, one in _overlaps(results).items()
            ],
        }
        print(json.dumps(content, indent=1))
    elif len(results) == 1:
        (hits,) = results.values()
        if _nothing_close(hits):
            print("Nothing close:")
        for rank, hit in enumerate(hits, start=1):
            caption = hit.caption
            if len(caption) > LONGEST_SHOWN:
                caption = f"{caption[: LONGEST_SHOWN - 3]}..."
            place = f"{rank:>3} {' ' if hit.close else '~'}{hit.score:.3f}"
            print(printable(f"{place}  {hit.path}  {caption}".rstrip()))
    else:
        print(_side_by_side(results))
    if config.cutoff is not None and not (config.paths or config.json) and any(results.values()):
        print(printable(_cutoff_line(answers)))
    if not any(results.values()):
        hint = "Add some with `paraclip index`."
        raise UserError(store.where, "the index contains no pictures", hint)
    if config.sheet:
        picture = [f"[{config.image}]"] if config.image else []
        more = [f"+ {word}" for word in config.plus] + [f"- {word}" for word in config.minus]
        title = " ".join(filter(None, [config.query, *picture, *more]))
        groups = [(title, results)]
        write_sheet(config.sheet, [groups], thumbnails_of(groups, store))
        # Standard output may be JSON or paths.
        print(f"Wrote {printable(config.sheet)}", file=sys.stderr)


def _search(options: SearchOptions) -> "tuple[dict[str, ModelHits], IndexFacts]":
    from paraclip.image_search.engine import search_index

    image = None if options.image is None else str(options.image)
    return search_index(
        options.query, str(options.index), image=image,
        plus=options.plus, minus=options.minus, models=options.models, k=options.k,
        cutoff=options.cutoff,
    )  # fmt: skip


def _cutoff_line(answers: "Mapping[str, ModelHits]") -> str:
    """The cut-off of each model."""
    known = [
        f"{answer.cutoff:.3f} ({label})"
        for label, answer in answers.items()
        if answer.cutoff is not None
    ]
    if not known:
        return "All count as close: only a query of words alone has an automatic cut-off."
    return f"Close: above {', '.join(known)}."


def _nothing_close(hits: "list[Hit]") -> bool:
    """Whether there are results, but no close one."""
    return bool(hits) and not any(hit.close for hit in hits)


def _overlaps(results: "Mapping[str, list[Hit]]") -> "dict[tuple[str, str], Overlap]":
    """Agreement of each pair of models."""
    from paraclip.image_search.engine import measure_overlap

    ids = {label: [hit.id for hit in hits] for label, hits in results.items()}
    return {pair: measure_overlap(ids[pair[0]], ids[pair[1]]) for pair in combinations(ids, 2)}


def _side_by_side(results: "Mapping[str, list[Hit]]") -> str:
    """Results of several models in columns; results common to all of them are marked."""
    shared = set.intersection(*({hit.id for hit in hits} for hits in results.values()))
    columns = [
        [
            printable(
                f"{'*' if hit.id in shared else ' '}{' ' if hit.close else '~'}{hit.score:.3f}"
                f"  {hit.path}"
            )
            for hit in hits
        ]
        for hits in results.values()
    ]
    # Labels are in the same columns.
    width = max(len(line) for lines in columns for line in [*lines, *results])
    lines = ["     " + "  ".join(printable(label).ljust(width) for label in results)]
    for rank in range(max(map(len, columns))):
        cells = [(lines[rank] if rank < len(lines) else "").ljust(width) for lines in columns]
        lines.append(f"{rank + 1:>3}  " + "  ".join(cells).rstrip())
    lines += [
        printable(f"{label}: nothing close (~)")
        for label, hits in results.items()
        if _nothing_close(hits)
    ]
    for (first, second), value in _overlaps(results).items():
        agreed = f"AO@{value.depth} {value.ao:.1f}, JS@{value.depth} {value.js:.1f}"
        text = f"{first} and {second} share {value.shared} of {value.depth} (*): {agreed}"
        lines.append(printable(text))
    return "\n".join(line.rstrip() for line in lines)
