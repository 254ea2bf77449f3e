"""A folder of sentence-transformers' modules: a CLIP, or the text tower of `mini`.

`CLIPModel` can be loaded by every version from 2.0 on (5.4 renamed the class and still finds it
under the old name); a plain Hugging Face CLIP folder can be loaded from 5.4 on.
Source: sentence-transformers `models/CLIPModel.py`, `Pooling.py`, `Dense.py`, `Normalize.py`.
"""

import json
from pathlib import Path

from paraclip.errors import UserError
from paraclip.exporting.hugging_face import write_hugging_face
from paraclip.exporting.source import Source
from paraclip.files import write_text
from paraclip.models.mini import Mini
from paraclip.models.tensors import save_tensors

MODULES = "sentence_transformers.models"
LENGTH = {"do_lower_case": False}


def write_sentence_transformers(source: Source, folder: Path) -> None:
    """Write the folder.

    Raises:
        UserError: the model is neither `mini` nor a CLIP with CLIP's architecture.
    """
    if isinstance(source.model, Mini):
        names = write_mini(source.model, folder)
    else:
        names = ["CLIPModel"]
        inner = folder / "0_CLIPModel"
        inner.mkdir()
        write_hugging_face(source, inner)
    modules = [
        {"idx": place, "name": str(place), "path": path_of(place, name), "type": type_of(name)}
        for place, name in enumerate(names)
    ]
    write_text(folder / "modules.json", json.dumps(modules, indent=1))


def path_of(place: int, name: str) -> str:
    """The folder of a module; a BERT is in the root."""
    return "" if name == "Transformer" else f"{place}_{name}"


def type_of(name: str) -> str:
    """The class of a module."""
    return f"{MODULES}.{name}"


def write_mini(model: Mini, folder: Path) -> list[str]:
    """Write the text tower as BERT, mean, optional linear head and norm; returns module names."""
    tower = model.text_tower
    if tower.transformer.config.model_type != "bert":
        what = f"its text tower is a {tower.transformer.config.model_type}"
        raise UserError(model.architecture.name, what, "Use --to onnx.")
    for name, content in model.text_files.items():
        write_text(folder / name, content)
    state = {k: v.detach().cpu().contiguous() for k, v in tower.transformer.state_dict().items()}
    save_tensors(state, folder / "model.safetensors", {"format": "pt"})
    length = {"max_seq_length": tower.context_length, **LENGTH}
    write_text(folder / "sentence_bert_config.json", json.dumps(length))
    pooling = {"word_embedding_dimension": tower.width, "pooling_mode_mean_tokens": True}
    write_text(folder / "1_Pooling" / "config.json", json.dumps(pooling, indent=1))
    names = ["Transformer", "Pooling", "Normalize"]
    if head := {f"linear.{k}": v.detach().cpu() for k, v in tower.head.state_dict().items()}:
        dense = {
            "in_features": tower.width, "out_features": model.architecture.embed_dim,
            "bias": True, "activation_function": "torch.nn.modules.linear.Identity",
        }  # fmt: skip
        write_text(folder / "2_Dense" / "config.json", json.dumps(dense, indent=1))
        save_tensors(head, folder / "2_Dense" / "model.safetensors", {"format": "pt"})
        names.insert(2, "Dense")
    (folder / path_of(names.index("Normalize"), "Normalize")).mkdir()
    return names
