"""`paraclip quickstart`."""

from collections.abc import Mapping
from pathlib import Path

import paraclip
from paraclip.commands.swap_check import lines_of
from paraclip.commands.train import print_summary
from paraclip.data.config import Columns
from paraclip.data.problems import Problems
from paraclip.errors import UserError, printable, require, without_password
from paraclip.files import text_hash
from paraclip.image_search.config import SERVER, STORE, ServeConfig
from paraclip.image_search.sources import picture_source
from paraclip.models.sources import check_model, packages_of
from paraclip.provenance import without_secrets
from paraclip.quickstart.config import QuickstartConfig
from paraclip.quickstart.page import Page, own_call, stamps_file
from paraclip.quickstart.stamps import read_stamps, stamps_folder
from paraclip.starter import SCENES
from paraclip.training.sources import Sources


def quickstart_command(config: QuickstartConfig) -> None:
    """Run the whole workflow; print what it finds, the recommended model and the files."""
    if config.source is None:
        require(packages_of(config.base) | (SERVER if config.serve else {}))
        check_model(config.base)
        page = _run_on_stamps(config)
    else:
        if without_password(config.source) != config.source:  # its index would hold it
            what = "has a password in it, which the index would store"
            raise UserError(without_secrets(config.source), what, "Copy the pictures to a folder.")
        named = packages_of(config.base, "minilm")  # S asks MiniLM
        require(named | (SERVER if config.serve else STORE))
        check_model(config.base)
        Sources(teachers=config.teacher).check(SCENES)
        picture_source(config.source, Columns())  # refuses one that there is not
        page = _run_on_own(config, config.source)
    if config.serve:
        open_page(page)


def _run_on_stamps(config: QuickstartConfig) -> Page:
    from paraclip.quickstart.results import recommend, table
    from paraclip.quickstart.run import checkpoint_of, run_on_stamps  # torch, only now

    report = run_on_stamps(config)
    label, reasons = recommend(report, config.base)
    print(f"\nbase is {printable(config.base)}.\n\n{table(report)}\n\n{reasons}\n")
    files = {
        "Contact sheet": config.folder / "report" / "contact_sheet.png",
        "Report": config.folder / "report" / "report.md",
    }
    # The control is for comparison alone.
    for model in (name for name in report.models if name not in ("base", "control")):
        files[f"Model {model}"] = checkpoint_of(config, model)
    _print_files(files)
    stamps = stamps_folder()
    source = stamps_file(read_stamps(stamps).captions, stamps)
    # One for each source: an index refuses the pictures of another.
    index = str(config.folder / f"index-{text_hash(source)[:8]}")
    tuned = str(files[f"Model {label}"]) if label else None
    page = Page(source, config.base, index, tuned)
    if not config.serve:
        _print_page(page, label or "base")
    return page


def _run_on_own(config: QuickstartConfig, source: str) -> Page:
    """Index, train, check, and add the recommended model to the index."""
    from paraclip.quickstart.own import (
        check_own,
        index_of,
        training_of,
        write_captions,
        write_examples,
    )
    from paraclip.quickstart.run import announce, checkpoint_of, train_again
    from paraclip.training.checkpoint import START_OVER

    check_own(config)
    announce(f"Indexing {without_secrets(source)}")
    index, out = index_of(config), config.folder / "tuned"
    try:
        done = paraclip.index(source, index, base=config.base, rebuild=config.fresh)
    except UserError as error:
        another = "--rebuild" in error.hint  # which this command does not have
        raise UserError(error.where, error.what, START_OVER) if another else error from None
    print(done.lines())
    announce("Training the text encoder")
    train_again(config.base, SCENES, out, fresh=config.fresh, **training_of(config))
    print_summary(checkpoint_of(config, "tuned"), Problems())
    announce("Checking the index with base, merged and tuned")
    report = paraclip.swap_check(index, config.base, out, queries=write_captions(config))
    print("\n".join(map(printable, lines_of(report))))
    use = report.recommendation.use
    models, tuned, files = "base", None, dict[str, Path]()
    if use != "base":
        announce(f"Adding {use} to the index")
        files = {f"Model {use}": checkpoint_of(config, use)}
        tuned = str(files[f"Model {use}"])
        models = f"base,{use}={tuned}"
        print(paraclip.index(source, index, base=config.base, tuned=tuned).lines())
    sheet = write_examples(config, models)
    if sheet is None:
        print("No everyday scene is close to these pictures, so there is no contact sheet.")
    else:
        files["Contact sheet"] = sheet
    verdict = "Keep your base: nothing is added to the index." if tuned is None else f"Use {use}."
    print(f"\n{verdict}")
    _print_files(files | {"Index": index})
    page = Page(source, config.base, str(index), tuned)
    if not config.serve:
        _print_page(page, use)
    if tuned is not None:
        system = ["swap", "SYSTEM", "--cache", "CACHE", "--tuned", tuned]
        folder = ["export", tuned, "exports/modules", "--to", "sentence-transformers"]
        call = own_call(system if report.kind == "open_clip" else folder)
        print(f"\nIn another program:\n  {call}")
    return page


def _print_files(files: Mapping[str, Path]) -> None:
    width = max(map(len, files)) + 1
    for name, path in files.items():
        print(printable(f"{name + ':':{width}} {path}"))


def _print_page(page: Page, use: str) -> None:
    models = "base" if use == "base" else f"base and {use}"
    print(f"\nSearch page with {models}:\n  {page.commands()}")


def open_page(page: Page) -> None:
    """Index the pictures and serve the page until interrupted."""
    # Here, because only this needs the extra `search`.
    from paraclip.commands.serve import serve_command

    summary = paraclip.index(page.source, page.index, base=page.base, tuned=page.tuned)
    print(summary.lines(), flush=True)
    serve_command(ServeConfig(index=page.index, port=0))  # any free port
