"""open_clip: `local-dir:FOLDER`, or a name and a file of weights.

Source, open_clip 3.3.0 `factory.py`, `create_model`: `local-dir:FOLDER` reads `model_cfg` and
`preprocess_cfg` of `open_clip_config.json` and the weights of `open_clip_model.safetensors`; or a
name and `pretrained=FILE`.
"""

from paraclip.systems.system import Layout, System

OPEN_CLIP_FOLDER = Layout(
    "open-clip",
    (
        "Load it by open_clip.create_model_and_transforms({local!r}) and"
        " open_clip.get_tokenizer({local!r}).",
        "Nothing is cached. Vectors of pictures stay; embed stored texts again if you have any.",
        "To go back, load the base by its name and tag again.",
    ),
)
OPEN_CLIP = System("open-clip", OPEN_CLIP_FOLDER)
