"""sentence-transformers: a folder of modules, which are a CLIP or the text tower of `mini`.

`CLIPModel` can be loaded by every version from 2.0 on (5.4 renamed the class and still finds it
under the old name); a plain Hugging Face CLIP folder can be loaded from 5.4 on.

Source: sentence-transformers 5.3.0 `models/CLIPModel.py`, `Pooling.py`, `Dense.py`, `Normalize.py`
and 6.2.0 `sentence_transformer/modules/clip_model.py`; `modules.json` names the classes.
"""

from paraclip.systems.system import Layout, System

MODULES = Layout(
    "sentence-transformers",
    (
        "Load it by SentenceTransformer({folder!r}) where the base's name was.",
        "Nothing is cached. Vectors of pictures stay; embed stored texts again if you have any.",
        "To go back, load the base's name again.",
    ),
)
SENTENCE_TRANSFORMERS = System("sentence-transformers", MODULES)
