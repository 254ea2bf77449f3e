"""`push`: its options, and the command, which publishes a model on the Hugging Face hub."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import tyro

from paraclip.commands.packages import require_packages
from paraclip.errors import UserError, printable
from paraclip.files import read_bounded
from paraclip.models.sources import HUB, check_model, check_repository
from paraclip.options import Checked
from paraclip.output_folder import OutputFolder
from paraclip.systems import ExportOptions

_CARD = "README.md"


@dataclass(frozen=True, kw_only=True)
class PushConfig(Checked):
    """Publish a model on the Hugging Face hub, with its card. Without --yes, nothing is sent."""

    repository: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="OWNER/NAME")]
    """Repository on the hub. One that does not exist yet is created as private."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """The folder of an export, which is sent as it is, so that you may edit its README.md before;
    or a checkpoint or the folder of a run, which is exported for open_clip first."""

    yes: bool = False
    """Send it, with the token of `hf auth login`."""


def push_command(config: PushConfig) -> None:
    """Print what would be sent, or send it and print how it is named."""
    check_repository(config.repository)
    address = f"https://huggingface.co/{config.repository}"
    with _folder_to_send(config.model) as folder:
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        sizes = {path.relative_to(folder): path.stat().st_size for path in files}
        for path, size in sizes.items():
            if not _hidden(path):
                print(printable(f"{size / 1e6:12,.3f} MB  {path.as_posix()}"))
        print(f"The metadata of {_CARD}:")
        card = read_bounded(folder / _CARD).decode("utf-8", "replace")
        for line in card.partition("---\n")[2].partition("---\n")[0].splitlines():
            print(printable(f"  {line}"))
        if not config.yes:
            print(f"Nothing was sent. With --yes, to {address}")
            return
        _send(folder, config.repository, [str(path) for path in sizes if _hidden(path)])
    print(f"Sent to {address}; its page makes it public.")
    print(f"Wherever ParaCLIP takes a model: {HUB}{config.repository}")


def _hidden(path: Path) -> bool:
    """Whether a file is not sent: ParaCLIP's record, and what else begins with a dot."""
    return any(part.startswith(".") for part in path.parts)


@contextmanager
def _folder_to_send(model: str) -> Iterator[Path]:
    """The folder of an export with its card, or a temporary one, written now."""
    from paraclip.exporting.run import EXPORT, export_model

    folder = Path(model)
    card = folder / _CARD
    if card.is_file() and OutputFolder(folder, EXPORT).lists(card):
        yield folder
        return
    require_packages("push", ExportOptions(), [model])
    check_model(model)
    with TemporaryDirectory(prefix="paraclip-push-") as name:
        yield export_model(model, Path(name, "model"), ExportOptions()).path


def _send(folder: Path, repository: str, hidden: list[str]) -> None:
    """Send the files in one commit; raises UserError for what the hub or the network refuses."""
    from huggingface_hub import HfApi

    from paraclip.models.formats.published import failure_of

    hub = HfApi()
    try:
        hub.create_repo(repository, private=True, exist_ok=True)
        hub.upload_folder(
            repo_id=repository, folder_path=folder, ignore_patterns=hidden,
            commit_message="Upload a model tuned by ParaCLIP",
        )  # fmt: skip
    except Exception as error:  # the hub's client, httpx and the OS each have their own
        reason, hint = failure_of(error)
        if "denies" in reason:
            hint = "Log in with `hf auth login` and a token that may write there."
        what = f"it could not be sent: {reason}"
        raise UserError(f"{HUB}{repository}", what, hint or "Run again later.") from error
