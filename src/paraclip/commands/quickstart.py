"""`paraclip quickstart`: index, train, check and show, a script on the public API. Each stage has
its own folder, and resumes."""

import json
import os
import random
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

import paraclip
from paraclip.commands.packages import require_packages
from paraclip.commands.serve import ServeConfig, serve_command
from paraclip.commands.swap_check import lines_of
from paraclip.commands.train import print_summary
from paraclip.data.captions import Columns
from paraclip.errors import UserError, printable, without_password
from paraclip.models.sources import LAST, MERGED, check_model
from paraclip.options import Checked, Count, Seed
from paraclip.output_folder import OutputFolder
from paraclip.provenance import without_secrets
from paraclip.starter import SCENES
from paraclip.training.config import RunOptions

if TYPE_CHECKING:  # `paraclip quickstart --help` needs neither torch nor numpy
    from paraclip.models.encoder import DualEncoder

_MOST_CAPTIONS = 10_000  # that are searched for
_CAPTIONS, _SHEET = "captions.jsonl", "contact_sheet.png"


@dataclass(frozen=True)
class QuickstartConfig(Checked):
    """The whole workflow: from pictures to a tuned text encoder, and what it finds among them."""

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="PICTURES")]
    """Folder of pictures, captions file or shards, as for `paraclip index`; captions are not
    needed."""

    out: str | None = None
    """Output folder; a second run reuses its content. Default: runs/quickstart-NAME, where NAME is
    the name of your source."""

    base: str = "mini"
    """Base model, as in `paraclip train`, such as ViT-B-32:weights.safetensors. A real CLIP is
    larger than the built-in model: a GPU, which is used if there is one, saves most of the time."""

    teacher: Annotated[tuple[str, ...], tyro.conf.arg(metavar="MODEL[=SHARE] ...")] = ()
    """Models that teach beside the base, as in `paraclip train`: CLIPs that know more, such as
    ViT-B-16-SigLIP:webli. Default: base alone."""

    epochs: Count | None = None
    """Epochs. Default: that of `paraclip train`."""

    seed: Seed = 0
    """Random seed of the scenes, the order of the data and the examples."""

    fresh: bool = False
    """Run every stage from scratch, even if the folder holds another run. Cached image features are
    reused."""

    serve: bool = False
    """Finally, open the search page, with base and the recommended model. Needs the extra
    `search`."""

    @property
    def folder(self) -> Path:
        """The output folder."""
        if self.out is not None:
            return Path(self.out)
        source = Path(self.source).resolve()
        name = source.name if os.path.isdir(source) else source.stem
        return Path("runs", f"quickstart-{name}")

    @property
    def index(self) -> Path:
        """The index of the pictures."""
        return self.folder / "index"

    @property
    def tuned(self) -> Path:
        """The folder of the training run."""
        return self.folder / "tuned"

    @property
    def training(self) -> dict[str, Any]:
        """Options of `paraclip.train`."""
        epochs = {} if self.epochs is None else {"epochs": self.epochs}
        teachers = ("base", *self.teacher) if self.teacher else ()
        return {"bank": str(self.index), "teacher": teachers, "seed": self.seed, **epochs}


def quickstart_command(config: QuickstartConfig) -> None:
    """Run the whole workflow; print what it finds, the recommended model and the files."""
    from paraclip.image_search.sources import picture_source
    from paraclip.training.sources import check_sources

    if without_password(config.source) != config.source:  # its index would hold it
        what = "has a password in it, which the index would store"
        raise UserError(without_secrets(config.source), what, "Copy the pictures to a folder.")
    require_packages("quickstart", config, (config.base, *config.teacher))
    check_model(config.base)
    check_sources(SCENES, RunOptions(teacher=config.teacher))
    picture_source(config.source, Columns())  # refuses one that there is not
    _check(config)
    index_pictures(config)
    announce("Training the text encoder")
    train_again(config.base, SCENES, config.tuned, fresh=config.fresh, **config.training)
    print_summary(config.tuned / LAST)
    show_recommended(config, _write_captions(config))


def announce(stage: str) -> None:
    """Print which stage starts."""
    print(f"\n== {printable(stage)}", flush=True)


def index_pictures(config: QuickstartConfig) -> None:
    """Index the pictures with base."""
    from paraclip.training.checkpoint import START_OVER  # torch, only now

    announce(f"Indexing {without_secrets(config.source)}")
    try:
        done = paraclip.index(config.source, config.index, base=config.base, rebuild=config.fresh)
    except UserError as error:
        another = "--rebuild" in error.hint  # which this command does not have
        raise UserError(error.where, error.what, START_OVER) if another else error from None
    print(done.lines())


def train_again(
    base: "DualEncoder | str", triples: Path | str, out: Path, *, fresh: bool, **options: Any
) -> "DualEncoder":
    """Train, from scratch if the folder has a run on other data or with other options."""
    from paraclip.training.checkpoint import AnotherRun

    try:
        return paraclip.train(base, triples, out, fresh=fresh, **options)
    except AnotherRun:
        print(f"The pictures, captions or options have changed: {out.name} starts from scratch")
        return paraclip.train(base, triples, out, fresh=True, **options)


def show_recommended(config: QuickstartConfig, queries: Path | None) -> None:
    """Check the index with the trained models, add the recommended one, print the files and the
    commands that use it, and serve the page if that is asked for."""
    announce("Checking the index with base, merged and tuned")
    sheet = config.folder / _SHEET if _has_files(config.index) else None
    report = paraclip.swap_check(
        config.index, config.base, config.tuned, queries=queries, sheet=sheet
    )
    print("\n".join(map(printable, lines_of(report))))
    use, model = report.recommendation.use, None
    files = {} if sheet is None else {"Contact sheet": sheet}
    if use != "base":
        announce(f"Adding {use} to the index")
        files[f"Model {use}"] = config.tuned / (LAST if use == "tuned" else MERGED)
        model = str(files[f"Model {use}"])
        print(paraclip.index(config.source, config.index, base=config.base, tuned=model).lines())
    verdict = "Keep your base: nothing is added to the index." if model is None else f"Use {use}."
    print(f"\n{verdict}")
    print_files(files | {"Index": config.index})
    shown = "base" if use == "base" else f"base and {use}"
    print(f"\nSearch page with {shown}:\n  {_own_call(['serve', '--index', str(config.index)])}")
    if model is not None:
        system = ["swap", "SYSTEM", "--cache", "CACHE", "--tuned", model]
        folder = ["export", model, "exports/modules", "--to", "sentence-transformers"]
        call = _own_call(system if report.kind == "open_clip" else folder)
        print(f"\nIn another program:\n  {call}")
    if config.serve:
        serve_command(ServeConfig(index=str(config.index), port=0))  # any free port


def print_files(files: Mapping[str, Path]) -> None:
    """Print where files are, a line each."""
    width = max(map(len, files)) + 1
    for name, path in files.items():
        print(printable(f"{name + ':':{width}} {path}"))


def _check(config: QuickstartConfig) -> None:
    """Raise UserError, before the first long stage, for what a later one would lack."""
    from paraclip.image_search.sheet import check_sheet
    from paraclip.training.checkpoint import AnotherRun
    from paraclip.training.prepare import check_base
    from paraclip.training.train import check_training

    check_sheet(str(config.folder / _SHEET))
    data = OutputFolder(config.folder / "data", "quickstart")
    data.refuse_foreign(data.path / _CAPTIONS)
    base = paraclip.load_model(config.base)
    check_base(base)
    options = RunOptions(out=str(config.tuned), **config.training)
    with suppress(AnotherRun):  # starts from scratch
        check_training(options, config.tuned, config.fresh, base)


def _write_captions(config: QuickstartConfig) -> Path | None:
    """Write the captions that the index has of picture files, at most 10,000 of them; None if there
    are none."""
    from paraclip.store import Store, existing_facts, full_path

    store = Store(config.index)
    root, rows = existing_facts(store).root, list[dict[str, str]]()
    for part in store.batches(("path", "caption")):
        rows += [
            {"image": os.path.abspath(file), "caption": row["caption"]}
            for row in part.to_pylist()
            if row["caption"] and os.path.isfile(file := full_path(root, row["path"]))
        ]
    if not rows:
        return None
    chosen = random.Random(config.seed).sample(rows, min(len(rows), _MOST_CAPTIONS))
    data = OutputFolder(config.folder / "data", "quickstart")
    data.write(data.path / _CAPTIONS, "".join(f"{json.dumps(row)}\n" for row in chosen))
    return data.path / _CAPTIONS


def _has_files(index: Path) -> bool:
    """Whether pictures of an index are files, not members of shards or at URLs."""
    from paraclip.store import Store, existing_facts, full_path

    store = Store(index)
    root, part = existing_facts(store).root, next(store.batches(("path",)))
    return any(os.path.isfile(full_path(root, path)) for path in part["path"].to_pylist())


def _own_call(words: Sequence[str]) -> str:
    """A command of ParaCLIP as it is called in the user's shell."""
    return printable(shlex.join([*_own_program(), *words]))


def _own_program() -> list[str]:
    """The words that call ParaCLIP in the user's shell."""
    program = shutil.which("paraclip")
    if program is not None and Path(program).parent == Path(sys.executable).parent:
        return ["paraclip"]
    script = Path(sys.executable).with_name("paraclip")
    if not script.is_file():
        return [sys.executable, "-m", "paraclip"]
    here = Path.cwd()
    return [str(script.relative_to(here) if script.is_relative_to(here) else script)]
