"""`paraclip index`."""

import json
from dataclasses import asdict

from paraclip.data.problems import Problems
from paraclip.errors import require
from paraclip.image_search.config import INDEX, STORE, IndexConfig
from paraclip.image_search.sources import picture_source
from paraclip.image_search.towers import prepared_tower
from paraclip.models.sources import absolute_name, check_device, check_model, packages_of
from paraclip.progress import suggest


def index_command(config: IndexConfig) -> None:
    """Bring an index up to date; print the counts and the broken pictures."""
    check_device(config.device)
    require(packages_of(config.base) | STORE)
    arguments = config.arguments()
    names = list(filter(None, (config.base, arguments["tuned"])))
    for name in names:
        check_model(name)
    picture_source(config.source, config.columns)  # refuses one that there is not
    from paraclip.image_search.build import build_index  # torch, only now

    problems = Problems(1.0)  # no share of broken pictures stops an index
    summary = build_index(problems=problems, **arguments)
    # Written now, so that the first search need not wait for torch.
    for name in names:
        prepared_tower(absolute_name(name))
    if config.json:
        broken = [{"where": where, "what": what} for where, what in problems.listed]
        content = {"store": config.index, **asdict(summary), "problems": broken}
        print(json.dumps(content, indent=1))
        return
    print(summary.lines())
    if summary.recall is not None:
        print(f"Approximate index: recall@10 is {summary.recall:.3f} of exact search.")
    if problems.count:
        print(problems.summary())
    named = [] if config.index == INDEX else ["--index", config.index]  # the default need not be
    suggest("search", "a dog on a beach", *named)
