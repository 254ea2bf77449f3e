"""`index`: its options, the function, and what the command prints."""

import json
from dataclasses import KW_ONLY, asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from paraclip.commands.packages import require_packages
from paraclip.data.captions import ColumnOptions, Columns
from paraclip.errors import UserError
from paraclip.models.sources import absolute_name, check_device, check_model
from paraclip.options import Checked, PathName, takes
from paraclip.progress import suggest

if TYPE_CHECKING:  # `paraclip index --help` needs neither torch nor pyarrow
    from paraclip.image_search.build import IndexSummary

INDEX = "runs/index"


class OfIndex(Checked):
    """Options of a command on an index, which is a folder."""

    index: PathName

    def __post_init__(self) -> None:
        super().__post_init__()
        if "://" in str(self.index):
            what = "is an address, and ParaCLIP keeps an index of its own in a folder"
            hint = "Name a folder; `swap-check` and `train --bank` read vectors in PostgreSQL."
            raise UserError("--index", what, hint)


@dataclass(frozen=True)
class IndexOptions(OfIndex):
    """What is indexed, where, and by which models."""

    source: Annotated[tyro.conf.Positional[PathName], tyro.conf.arg(metavar="PICTURES")]
    """Folder of pictures (captions in a .txt of the same name are kept, but not needed), captions
    file, or WebDataset shards. Run it again after changes: only what is new or changed is read."""

    index: PathName = INDEX
    """Folder of the index, a table of LanceDB."""

    _: KW_ONLY

    base: PathName = "mini"
    """Base model, as in `paraclip evaluate`. Its image encoder computes the vectors."""

    tuned: PathName | None = None
    """Model tuned from the base, or the folder of its run; `search` and `serve` show it next to the
    base. It must have the same image encoder."""

    columns: ColumnOptions = Columns()  # noqa: RUF009 frozen
    """Names of the columns of a captions file."""

    device: str = "auto"
    """Device: auto, cpu, cuda, cuda:1 or mps."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the image encoder; the same in every run on an index."""

    rebuild: bool = False
    """Replace an existing index, also of another image encoder or source. The new one is built next
    to it and takes its place at the end."""


@dataclass(frozen=True, kw_only=True)
class IndexConfig(IndexOptions):
    """Index the pictures of a folder, a captions file or shards for `search` and `serve`."""

    json: bool = False
    """Print the counts and the broken pictures (at most 1,000) as JSON, and nothing else."""


@takes(IndexOptions)
def index(options: IndexOptions) -> "IndexSummary":
    """Index the pictures of a source, or bring their index up to date.

    Args:
        options: those below, such as `base=...`, `tuned=...` or `rebuild=True`.

    Returns:
        How many pictures were added, changed, moved, removed and broken.

    Raises:
        UserError: the source, a model or the index cannot be used, or the index is another one's.
    """
    return _index(options)


def index_command(config: IndexConfig) -> None:
    """Bring an index up to date; print the counts and the broken pictures."""
    summary = _index(config)
    from paraclip.image_search.towers import prepared_tower

    # Written now, so that the first search need not wait for torch.
    for name in _models(config):
        prepared_tower(absolute_name(name))
    if config.json:
        broken = [{"where": where, "what": what} for where, what in summary.problems.listed]
        content = {"store": config.index, **asdict(summary), "problems": broken}
        print(json.dumps(content, indent=1))
        return
    print(summary.lines())
    named = [] if config.index == INDEX else ["--index", config.index]  # the default need not be
    suggest("search", "a dog on a beach", *named)


def _models(options: IndexOptions) -> list[str]:
    """The names of base and, if there is one, of tuned."""
    return [str(one) for one in (options.base, options.tuned) if one is not None]


def _index(options: IndexOptions) -> "IndexSummary":
    """Check what is missing, and bring an index up to date."""
    check_device(options.device)
    base, *tuned = _models(options)
    require_packages("index", options, (base, *tuned))
    for name in (base, *tuned):
        check_model(name)
    from paraclip.data.captions import Problems
    from paraclip.image_search.sources import picture_source

    picture_source(str(options.source), options.columns)  # refuses one that there is not
    from paraclip.image_search.build import build_index  # torch, only now

    problems = Problems(1.0)  # no share of broken pictures stops an index
    return build_index(
        str(options.source), str(options.index), base, problems,
        tuned=tuned[0] if tuned else None, columns=options.columns, device=options.device,
        precision=options.precision, rebuild=options.rebuild,
    )  # fmt: skip
