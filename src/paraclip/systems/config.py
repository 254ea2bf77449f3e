"""Options of `export`, `swap` and `swap-check`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from annotated_types import Ge, Le

from paraclip.options import Checked
from paraclip.systems import FORMATS, exported, swapped

if TYPE_CHECKING:
    Format = str
    Exported = str
    Swapped = str
else:  # the names of the table, for help and checks
    Format, Exported, Swapped = (
        Literal[tuple(names)] for names in (FORMATS, exported(), swapped())
    )


@dataclass(frozen=True)
class ExportOptions(Checked):
    """How a model is written; shared by the command and `paraclip.export`."""

    to: Format | None = None
    """Format: `weights` (open_clip's names in one file, the default for OUT.safetensors),
    `open-clip` (a `local-dir:` folder, the default for a folder), `hf` (a Hugging Face CLIP
    folder), `sentence-transformers` (a folder of modules), or `onnx`."""

    target: Annotated[Exported | None, tyro.conf.arg(name="for")] = None
    """System to write for: uses the layout that it loads, checks its base and prints the steps."""

    base: str | None = None
    """The base, as for `paraclip train --base`. Its image tower must equal the checkpoint's bit
    for bit, or the export is refused."""

    tag: str | None = None
    """Pretrained tag of the base in open_clip, such as `openai`, for a checkpoint that does not
    record it. Some systems name their folders after it."""

    half: bool = False
    """Write 16-bit floats (weights, open-clip, hf) at half the size. The drift of the text vectors
    is measured and printed; a model whose vectors change too much is refused."""

    int8: bool = False
    """Also write 8-bit weights (transformers-js, whose browsers load them by default) at about a
    quarter of the size. The drift of the text vectors is measured and printed; a model whose
    vectors change too much is refused."""

    image_tower: bool = False
    """Also write the image tower (onnx)."""


@dataclass(frozen=True, kw_only=True)
class ExportConfig(ExportOptions):
    """Write a model in the layout that another system loads, with a model card."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CHECKPOINT")]
    """Checkpoint to export (.safetensors), the folder of a run, or any model as for `paraclip train
    --base`."""

    out: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="OUT")]
    """Folder to write, or a .safetensors file for `--to weights`. An earlier export there is
    replaced, unless it was changed or holds other files."""


@dataclass(frozen=True, kw_only=True)
class SwapConfig(Checked):
    """Put a tuned text encoder in the place of the base's in the model cache of another program, or
    take it out again. The base's file is kept beside it; vectors of pictures stay valid."""

    system: Annotated[tyro.conf.Positional[Swapped], tyro.conf.arg(metavar="SYSTEM")]
    """Program whose model cache it is: immich, rclip, librephotos, fastembed, weaviate, or
    hugging-face for programs that load a CLIP from the hub's cache."""

    cache: str
    """The program's cache: immich's volume model-cache (/cache in the container), rclip's data
    folder (~/.local/share/rclip), LibrePhotos' data_models, fastembed's FASTEMBED_CACHE_PATH, the
    folder models of Weaviate's multi2vec-clip, or the hub's cache (~/.cache/huggingface/hub) or the
    folder of one model in it."""

    tuned: str | None = None
    """The tuned model (.safetensors), the folder of its run, or any model as for `paraclip train
    --base`. Without it, the command says whether an earlier swap is still in place, and fails if
    not."""

    tag: str | None = None
    """Pretrained tag of the base in open_clip, such as `openai`, for a checkpoint that does not
    record it."""

    index: str | None = None
    """Also check that the vectors of this index come from the model's image tower; as for
    `paraclip swap-check --index`."""

    undo: bool = False
    """Restore the base's files."""

    dry_run: bool = False
    """Check everything and print what would be done, but change nothing."""


@dataclass(frozen=True, kw_only=True)
class SwapCheckConfig(Checked):
    """Check an index before its text encoder is replaced: do its vectors come from the base's image
    tower, how much do your queries change, and which model should you use?"""

    index: str
    """Vectors of the pictures: .npy, .parquet (or a folder of them), a folder of clip-retrieval, a
    LanceDB folder, rclip's db.sqlite3 or its folder, postgresql://... for pgvector, immich and
    LibrePhotos, or the --index of `paraclip index`."""

    base: str
    """The model that made the index, as for `paraclip train --base`."""

    tuned: str
    """The tuned model that would answer queries, or the folder of its run, for tuned and merged:
    one of them is recommended, or base."""

    merged: str | None = None
    """Model merged from base and the tuned one, if --tuned is not the folder of a run."""

    queries: str | None = None
    """Text file with one query per line; other wordings of a query may follow on the same line,
    separated by tabs. Or captions of pictures of the index, as `generate` reads them (.csv, .jsonl,
    a folder): the report then says how often the right picture is found."""

    pictures: str | None = None
    """Folder in which pictures are looked up by file name, if the paths in the index do not lead to
    them."""

    paths: str | None = None
    """Text file with the path of each row's picture, for an index that contains none (.npy)."""

    table: str | None = None
    """Table of a LanceDB folder or a database, if there are several."""

    column: str | None = None
    """Column of the vectors, or LibrePhotos' model, if there are several."""

    k: Annotated[int, Ge(1), Le(1000)] = 10
    """Number of results to compare per query."""

    cutoff: Annotated[float, Ge(-1), Le(1)] | None = None
    """Your cut-off on the cosine similarity with the base (of a distance, 1 - distance). The report
    gives the one that lets the same number of results through with the tuned model; without
    --queries, for everyday scenes that no run learns."""

    json: bool = False
    """Print the report as JSON, and nothing else."""

    device: str = "auto"
    """Device: auto, cpu, cuda, cuda:1 or mps."""
