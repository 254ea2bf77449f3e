"""Options of `paraclip doctor` and `paraclip cache`."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from paraclip.options import Checked


@dataclass(frozen=True)
class DoctorConfig(Checked):
    """Show the environment, devices, optional parts and caches, and how to install what is
    missing."""

    json: bool = False
    """Print everything as JSON."""


@dataclass(frozen=True)
class CacheConfig(Checked):
    """Show what the cache folder contains; with --prune, remove files that were not used recently.

    Everything in the cache is computed again when it is needed.
    """

    prune: bool = False
    """Remove files that were not used for --days, then the least recently used ones until the image
    features fit --most-gb. Files used within the last hour are kept."""

    days: Annotated[float, Ge(0)] = 30.0
    """Days since the last use after which a file is removed."""

    most_gb: Annotated[float, Ge(0), Le(1e9)] | None = None
    """Maximum size of the image features, in GB. Default: no limit."""
