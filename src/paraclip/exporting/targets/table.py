"""All targets by name. A new one needs a module with a `System`, its line here and in `Target`."""

from paraclip.exporting.targets.fastembed import FASTEMBED
from paraclip.exporting.targets.immich import IMMICH
from paraclip.exporting.targets.open_clip import CLIP_RETRIEVAL, LANCEDB, OPEN_CLIP
from paraclip.exporting.targets.rclip import RCLIP
from paraclip.exporting.targets.sentence_transformers import SENTENCE_TRANSFORMERS
from paraclip.exporting.targets.system import System
from paraclip.exporting.targets.transformers_js import TRANSFORMERS_JS

TARGETS: dict[str, System] = {
    "immich": IMMICH,
    "rclip": RCLIP,
    "fastembed": FASTEMBED,
    "transformers-js": TRANSFORMERS_JS,
    "sentence-transformers": SENTENCE_TRANSFORMERS,
    "open-clip": OPEN_CLIP,
    "clip-retrieval": CLIP_RETRIEVAL,
    "lancedb": LANCEDB,
}
