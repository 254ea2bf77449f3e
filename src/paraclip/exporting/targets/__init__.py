"""Systems that run CLIP: one module each, with references to the code that loads the files."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paraclip.exporting.targets.system import System

TARGETS = {
    "immich": "immich:IMMICH",
    "rclip": "rclip:RCLIP",
    "fastembed": "fastembed:FASTEMBED",
    "transformers-js": "transformers_js:TRANSFORMERS_JS",
    "sentence-transformers": "sentence_transformers:SENTENCE_TRANSFORMERS",
    "open-clip": "open_clip:OPEN_CLIP",
    "clip-retrieval": "open_clip:CLIP_RETRIEVAL",
    "lancedb": "open_clip:LANCEDB",
}
"""Module and name of each target's `System`; a new target needs its line here."""


def load_target(name: str) -> "System":
    """Import a target; the options need only the names."""
    module, attribute = TARGETS[name].split(":")
    system: System = getattr(import_module(f"{__name__}.{module}"), attribute)
    return system
