"""`paraclip quickstart`."""

import paraclip
from paraclip.data.reading import find_files
from paraclip.errors import printable, require
from paraclip.files import text_hash
from paraclip.image_search.config import SERVER, ServeConfig
from paraclip.models.sources import check_model, packages_of
from paraclip.paraphrase.backends import backend_packages, llm_options
from paraclip.paraphrase.filters.judge import PACKAGES
from paraclip.quickstart.config import QuickstartConfig
from paraclip.quickstart.page import Page, stamps_file
from paraclip.quickstart.stamps import read_stamps, stamps_folder
from paraclip.stores.opening import store_packages


def quickstart_command(config: QuickstartConfig) -> None:
    """Run the whole workflow; print the table, the recommended model and the files."""
    serving = SERVER | store_packages(str(config.folder)) if config.serve else {}
    generating = (
        PACKAGES | backend_packages(llm_options(config.llm)) if config.llm != "none" else {}
    )
    require(packages_of(config.base) | generating | serving)
    check_model(config.base)
    if config.source is not None:
        find_files(config.source)  # refuses one that there is not
    from paraclip.quickstart.results import recommend, table
    from paraclip.quickstart.run import checkpoint_of, run_quickstart  # torch, only now

    report = run_quickstart(config)
    label, reasons = recommend(report, config.base)
    print(f"\nbase is {printable(config.base)}.\n\n{table(report)}\n\n{reasons}\n")
    # A test on the user's own captions, if their paraphrases passed the filters.
    own = config.folder / "report_easier" / "contact_sheet.png"
    files = {
        **({"Your captions": own} if config.source and own.is_file() else {}),
        "Contact sheet": config.folder / "report" / "contact_sheet.png",
        "Examples": config.folder / "report" / "browser.html",
        "Report": config.folder / "report" / "report.md",
    }
    # The control is for comparison alone.
    for model in (name for name in report.models if name not in ("base", "control")):
        files[f"Model {model}"] = checkpoint_of(config, model)
    width = max(map(len, files)) + 1
    for name, path in files.items():
        print(printable(f"{name + ':':{width}} {path}"))
    source = config.source
    if source is None:
        stamps = stamps_folder()
        source = stamps_file(read_stamps(stamps).captions, stamps)
    # One for each source: an index refuses the pictures of another.
    index = str(config.folder / f"index-{text_hash(source)[:8]}")
    page = Page(source, config.base, index, str(files[f"Model {label}"]) if label else None)
    if config.serve:
        open_page(page)
    else:
        models = f"base and {label}" if label else "base"
        print(f"\nSearch page with {models}:\n  {page.commands()}")


def open_page(page: Page) -> None:
    """Index the pictures and serve the page until interrupted."""
    # Here, because only this needs the extra `search`.
    from paraclip.commands.serve import serve_command

    summary = paraclip.index(page.source, page.index, base=page.base, tuned=page.tuned)
    print(summary.lines(), flush=True)
    serve_command(ServeConfig(index=page.index, port=0))  # any free port
