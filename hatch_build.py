"""Addresses in the metadata of a release: hatchling calls this hook for every build.

The environment variable PARACLIP_REPOSITORY holds the address of the repository, which a workflow
knows and the source does not. PyPI shows a README without its folder, so links and pictures have
to lead to that repository, at the tag of the version; badges and the address to clone are added.
Without the variable, none of this is changed.
"""

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_VARIABLE = "PARACLIP_REPOSITORY"
_IN_A_CLONE = "# in a clone of this repository"
_ADDRESS = re.compile(r"https://[\w.-]+(:\d+)?(/[\w.-]+)+")


class Addresses(MetadataHookInterface):
    """Sets `urls` and `readme`."""

    def update(self, metadata: dict[str, Any]) -> None:
        readme = Path(self.root, "README.md").read_text(encoding="utf-8")
        urls = dict(self.config["urls"])
        repository = os.environ.get(_VARIABLE)
        if repository:
            if not _ADDRESS.fullmatch(repository):
                raise ValueError(f"{_VARIABLE}: {repository!r} is not https://HOST/OWNER/NAME")
            tag = f"v{metadata['version']}"
            urls |= {
                "Repository": repository,
                "Documentation": f"{repository}/tree/{tag}/docs",
                "Issues": f"{repository}/issues",
                "Changelog": f"{repository}/blob/{tag}/CHANGELOG.md",
            }
            readme = absolute_links(with_address(readme, repository), repository, tag)
        metadata["urls"] = urls
        metadata["readme"] = {"content-type": "text/markdown", "text": readme}


def with_address(readme: str, repository: str) -> str:
    """The README with badges below its title, and with the command that clones the repository."""
    workflows = {name: f"{repository}/actions/workflows/{name}.yml" for name in ("ci", "release")}
    badges = [f"[![{name}]({page}/badge.svg)]({page})" for name, page in workflows.items()]
    title, _, rest = readme.partition("\n")
    folder = repository.rpartition("/")[2]
    rest = rest.replace(_IN_A_CLONE, f"git clone {repository} && cd {folder}", 1)
    return "\n".join([title, "", " ".join(badges), rest])


def absolute_links(text: str, repository: str, tag: str) -> str:
    """Markdown whose relative links and pictures lead to the repository's files at a tag."""
    text = re.sub(r"(!\[[^\]]*\]\()(?!https?:)", rf"\g<1>{repository}/raw/{tag}/", text)
    return re.sub(r"(\]\()(?!https?:|#)", rf"\g<1>{repository}/blob/{tag}/", text)
