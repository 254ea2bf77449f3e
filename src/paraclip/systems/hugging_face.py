"""transformers, and the hub's cache, from which it and open_clip load a CLIP.

Source:
- transformers `models/clip/modeling_clip.py`: the text vector is read at the first `eos_token_id`,
  an id that is read from the configuration from version 4.31 on.
- huggingface_hub 2.4.0 `file_download.py`: CACHE/models--OWNER--NAME/snapshots/COMMIT/FILE links to
  a blob; a FILE that exists for a commit is loaded as it is.
"""

from paraclip.systems.open_clip import OPEN_CLIP_FOLDER
from paraclip.systems.system import Cache, Layout, System

CLIP_FOLDER = Layout("hf", ("Load it by transformers.CLIPModel.from_pretrained({folder!r}).",))
HUGGING_FACE = System(
    "hugging-face",
    cache=Cache(
        {"model.safetensors": CLIP_FOLDER, "open_clip_model.safetensors": OPEN_CLIP_FOLDER},
        ("models--*/snapshots/*/**", "snapshots/*/**"),
        "Restart the programs that load it. A new commit on the hub brings the base back: name the"
        " revision, or set HF_HUB_OFFLINE=1.",
    ),
)
