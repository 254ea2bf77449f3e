"""Options of `paraclip doctor` and `paraclip cache`."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from paraclip.options import Checked


@dataclass(frozen=True)
class DoctorConfig(Checked):
    """Show the environment, devices, optional parts and caches, and how to install what is
    missing."""

    json: bool = False
    """Print everything as JSON."""


@dataclass(frozen=True)
class CacheConfig(Checked):
    """Show what the cache folder holds; with --prune, remove what was not used for long.

    Everything in it is made again when it is needed.
    """

    prune: bool = False
    """Remove files that were not used for --days, then the least recently used until the rest fits
    --most-gb. Files that were used within the hour stay."""

    days: Annotated[float, Ge(0)] = 30.0
    """Largest age since the last use, in days."""

    most_gb: Annotated[float, Ge(0)] | None = None
    """Largest size of the image features in GB. Default: no limit."""
