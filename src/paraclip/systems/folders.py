"""Programs that load a folder of a CLIP: open_clip, transformers, sentence-transformers, Weaviate.

Source:
- open_clip 3.3.0 `factory.py`, `create_model`: `local-dir:FOLDER` reads `model_cfg` and
  `preprocess_cfg` of `open_clip_config.json` and the weights of `open_clip_model.safetensors`; or a
  name and `pretrained=FILE`.
- transformers `models/clip/modeling_clip.py`: the text vector is read at the first `eos_token_id`,
  an id that is read from the configuration from version 4.31 on.
- huggingface_hub 2.4.0 `file_download.py`: CACHE/models--OWNER--NAME/snapshots/COMMIT/FILE links to
  a blob; a FILE that exists for a commit is loaded as it is.
- sentence-transformers 5.3.0 `models/CLIPModel.py`, `Pooling.py`, `Dense.py`, `Normalize.py` and
  6.2.0 `sentence_transformer/modules/clip_model.py`: `modules.json` names the classes. `CLIPModel`
  is loaded by every version from 2.0 on (5.4 renamed the class and still finds it under the old
  name), a plain Hugging Face folder from 5.4 on.
- weaviate/multi2vec-clip-inference at 1d91296, `clip.py`: texts are embedded by
  SentenceTransformer('./models/text') (line 58) or, if `./models/openai_clip` exists (line 395), by
  CLIPModel.from_pretrained of it (line 116). `download.py` saves them there at the image's build,
  in the working folder /app (`Dockerfile`), with sentence-transformers 3.2.1 (`requirements.txt`),
  whose `save` writes a CLIP into the folder itself; older versions wrote it into `0_CLIPModel`.
"""

from paraclip.systems.system import Cache, Layout, System

OPEN_CLIP_FOLDER = Layout(
    "open-clip",
    (
        "Load it by open_clip.create_model_and_transforms({local!r}) and"
        " open_clip.get_tokenizer({local!r}).",
        "Nothing is cached. Vectors of pictures stay; embed stored texts again if you have any.",
        "To go back, load the base by its name and tag again.",
    ),
)
CLIP_FOLDER = Layout("hf", ("Load it by transformers.CLIPModel.from_pretrained({folder!r}).",))
MODULES = Layout(
    "sentence-transformers",
    (
        "Load it by SentenceTransformer({folder!r}) where the base's name was.",
        "Nothing is cached. Vectors of pictures stay; embed stored texts again if you have any.",
        "To go back, load the base's name again.",
    ),
)
OPEN_CLIP = System("open-clip", OPEN_CLIP_FOLDER)
HUGGING_FACE = System(
    "hugging-face",
    cache=Cache(
        {"model.safetensors": CLIP_FOLDER, "open_clip_model.safetensors": OPEN_CLIP_FOLDER},
        ("models--*/snapshots/*/**", "snapshots/*/**"),
        "Restart the programs that load it. A new commit on the hub brings the base back: name the"
        " revision, or set HF_HUB_OFFLINE=1.",
    ),
)
SENTENCE_TRANSFORMERS = System("sentence-transformers", MODULES)
WEAVIATE = System(
    "weaviate",
    Layout(
        "sentence-transformers",
        (
            "Mount {folder} in the container of multi2vec-clip as /app/models/text (docker run -v"
            " FOLDER:/app/models/text:ro), or copy it there in an image of your own.",
            "Start the container again. Vectors of pictures stay; objects whose vectors also hold"
            " texts (textFields) must be imported again.",
            "To go back, start the container without the mount.",
        ),
    ),
    cache=Cache(
        {"model.safetensors": CLIP_FOLDER},
        ("text", "text/0_CLIPModel", "openai_clip"),
        "Start the inference container again; vectors of pictures stay.",
    ),
)
