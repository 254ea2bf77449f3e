"""`paraclip index` and `paraclip search`."""

import json
import re
import shlex
import sys
from dataclasses import asdict
from itertools import combinations
from typing import Any
from urllib.parse import urlsplit

from paraclip.data.problems import Problems
from paraclip.errors import UserError, printable
from paraclip.files import is_signed, refuse_foreign, refuse_overwriting
from paraclip.models.names import absolute_name
from paraclip.search.config import EXACT_BELOW, STORE, IndexConfig, SearchConfig
from paraclip.search.engine import Engine, Query, chosen_models, overlap
from paraclip.search.onnx_tower import prepared_tower
from paraclip.search.records import full_path
from paraclip.search.snapshot import Hit, open_pool
from paraclip.search.stores.store import POSTGRES, Store, open_store
from paraclip.search.towers import open_tower

Found = dict[str, list[Hit]]
PASSWORD = re.compile(r"(?<=[?&])password=[^&]*&?")
LONGEST_SHOWN = 60  # characters of a caption in a table


def index_command(config: IndexConfig) -> None:
    """Bring an index up to date; print the counts and the broken pictures.

    Raises:
        UserError: the source, the model or the store cannot be used.
    """
    from paraclip.search.indexing.run import build_index

    if config.problems:
        refuse_foreign(config.problems, is_signed)
    problems = Problems(config.max_broken)
    try:
        summary = build_index(config, problems)
    finally:
        if config.problems:
            problems.write(config.problems)
    print(summary.lines())
    if summary.recall is not None:
        print(f"Approximate index: recall@10 is {summary.recall:.3f} of exact search.")
    if problems.count:
        print(problems.summary())
    for name in filter(None, (config.model, config.tuned)):
        prepared_tower(absolute_name(name))
    shown = "" if config.store == STORE else f" --store {shlex.quote(shown_address(config.store))}"
    print(f'Search it: paraclip search "words"{printable(shown)}')


def shown_address(store: str) -> str:
    """The address of a store, without the password that it may contain."""
    if not store.startswith(POSTGRES):
        return store
    password = urlsplit(store).password
    shown = store.replace(f":{password}@", "@", 1) if password else store
    return PASSWORD.sub("", shown).rstrip("?&")


def search_command(config: SearchConfig) -> None:
    """Search an index and print the results.

    Raises:
        UserError: the query is empty, or the index or a model cannot be used.
    """
    if config.sheet and config.image:
        refuse_overwriting(config.sheet, [config.image])
    store = open_store(config.store)
    facts, _, pool = open_pool(store, EXACT_BELOW)
    names = chosen_models(facts, config.models)
    towers = {
        label: open_tower(name, facts, store.where, config.device) for label, name in names.items()
    }
    query = Query(config.query or "", config.plus, config.minus)
    if config.image:
        query = with_picture(query, config.image, next(iter(towers.values())))
    results = Engine(towers, pool).search(query, config.k)
    show(config, query, results, facts.root)
    if not any(results.values()):
        hint = "Add some with `paraclip index`."
        raise UserError(store.where, "the index contains no pictures", hint)
    if config.sheet:
        from paraclip.search.sheet import write_sheet

        write_sheet(config.sheet, title(config), results, thumbnails(store, results))
        print(f"Wrote {printable(config.sheet)}", file=sys.stderr)
    if config.inline:
        from paraclip.search.inline import show_pictures

        show_pictures(results, thumbnails(store, results))


def with_picture(query: Query, image: str, tower: Any) -> Query:
    """The query with a picture, embedded by a tower that can embed pictures."""
    from dataclasses import replace

    from paraclip.search.towers import TorchTower

    if not isinstance(tower, TorchTower):
        tower = TorchTower(tower.name)
    return replace(query, picture=tower.embed_picture(image))


def thumbnails(store: Store, found: Found) -> dict[str, bytes]:
    """Thumbnails of all results by id."""
    ids = sorted({hit.id for hits in found.values() for hit in hits})
    rows = store.rows(ids, ("id", "thumbnail"))
    return dict(zip(rows["id"].to_pylist(), rows["thumbnail"].to_pylist(), strict=True))


def title(config: SearchConfig) -> str:
    """The query as text."""
    parts = [config.query or "", f"[{config.image}]" if config.image else ""]
    parts += [f"+ {word}" for word in config.plus] + [f"- {word}" for word in config.minus]
    return " ".join(filter(None, parts))


def show(config: SearchConfig, query: Query, found: Found, root: str) -> None:
    """Print the results as paths, JSON or a table."""
    if config.paths:
        for hit in next(iter(found.values())):
            print(printable(full_path(root, hit.path)))
    elif config.json:
        print(json.dumps(as_json(config, found, root), indent=1))
    elif len(found) == 1:
        (hits,) = found.values()
        for rank, hit in enumerate(hits, start=1):
            print(
                printable(f"{rank:>3}  {hit.score:.3f}  {hit.path}  {short(hit.caption)}".rstrip())
            )
    else:
        print(side_by_side(found))


def short(caption: str) -> str:
    """A caption, shortened if necessary."""
    return caption if len(caption) <= LONGEST_SHOWN else f"{caption[: LONGEST_SHOWN - 3]}..."


def as_json(config: SearchConfig, found: Found, root: str) -> dict[str, Any]:
    """All results as a JSON-serialisable dict."""
    return {
        "query": config.query,
        "image": config.image,
        "plus": list(config.plus),
        "minus": list(config.minus),
        "root": root,
        "models": {label: [asdict(hit) for hit in hits] for label, hits in found.items()},
        "overlap": [
            {"models": list(pair), **asdict(value)} for pair, value in overlaps(found).items()
        ],
    }


def overlaps(found: Found) -> dict[tuple[str, str], Any]:
    """Agreement of each pair of models."""
    ids = {label: [hit.id for hit in hits] for label, hits in found.items()}
    return {pair: overlap(ids[pair[0]], ids[pair[1]]) for pair in combinations(ids, 2)}


def side_by_side(found: Found) -> str:
    """Results of several models in columns; results common to all of them are marked."""
    sets = [{hit.id for hit in hits} for hits in found.values()]
    shared = set.intersection(*sets)
    columns = [
        [f"{'*' if hit.id in shared else ' '} {hit.score:.3f}  {hit.path}" for hit in hits]
        for hits in found.values()
    ]
    columns = [[printable(line) for line in lines] for lines in columns]
    width = max(len(line) for lines in columns for line in [*lines, *found]) if columns else 0
    lines = ["     " + "  ".join(printable(label).ljust(width) for label in found)]
    for rank in range(max(map(len, columns))):
        cells = [(lines[rank] if rank < len(lines) else "").ljust(width) for lines in columns]
        lines.append(f"{rank + 1:>3}  " + "  ".join(cells).rstrip())
    for (first, second), value in overlaps(found).items():
        agreed = f"AO@{value.depth} {value.ao:.1f}, JS@{value.depth} {value.js:.1f}"
        text = f"{first} and {second} share {value.shared} of {value.depth} (*): {agreed}"
        lines.append(printable(text))
    return "\n".join(line.rstrip() for line in lines)
