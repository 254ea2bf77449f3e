"""sentence-transformers: a folder of modules, which are a CLIP or the text tower of `mini`.

`CLIPModel` can be loaded by every version from 2.0 on (5.4 renamed the class and still finds it
under the old name); a plain Hugging Face CLIP folder can be loaded from 5.4 on.
Source: sentence-transformers 5.3.0 `models/CLIPModel.py`, `Pooling.py`, `Dense.py`, `Normalize.py`
and 6.2.0 `sentence_transformer/modules/clip_model.py`; `modules.json` names the classes.
"""

import json
from pathlib import Path

import torch

from paraclip.errors import UserError
from paraclip.exporting.config import ExportOptions
from paraclip.exporting.hugging_face import WANTED_BY, clip_model, write_hugging_face
from paraclip.exporting.source import Source
from paraclip.exporting.targets.system import Steps, System
from paraclip.files import write_text
from paraclip.models.mini import Mini
from paraclip.models.tensors import save_tensors


def _check(source: Source) -> None:
    if not isinstance(source.model, Mini):
        clip_model(source.model, WANTED_BY)


def write_sentence_transformers(source: Source, folder: Path, options: ExportOptions) -> None:
    """Write the folder.

    Raises:
        UserError: the model is neither `mini` nor a CLIP with CLIP's architecture.
    """
    if isinstance(source.model, Mini):
        names = _write_mini(source.model, folder)
    else:
        names = ["CLIPModel"]
        inner = folder / "0_CLIPModel"
        inner.mkdir()
        write_hugging_face(source, inner)
    modules = [
        {
            "idx": place, "name": str(place), "type": f"sentence_transformers.models.{name}",
            "path": "" if name == "Transformer" else f"{place}_{name}",
        }
        for place, name in enumerate(names)
    ]  # fmt: skip
    write_text(folder / "modules.json", json.dumps(modules, indent=1))


def _write_mini(model: Mini, folder: Path) -> list[str]:
    """Write the text tower as BERT, mean, optional linear head and norm; returns module names."""
    tower = model.text_tower
    if tower.transformer.config.model_type != "bert":
        what = f"its text tower is a {tower.transformer.config.model_type}"
        raise UserError(model.architecture.name, what, "Use --to onnx.")
    for name, content in model.text_files.items():
        write_text(folder / name, content)
    state = {k: v.detach().cpu().contiguous() for k, v in tower.transformer.state_dict().items()}
    # Without a pooler, which mean pooling does not use, loading warns of missing weights.
    state["pooler.dense.weight"] = torch.zeros(tower.width, tower.width)
    state["pooler.dense.bias"] = torch.zeros(tower.width)
    save_tensors(state, folder / "model.safetensors", {"format": "pt"})
    length = {"max_seq_length": tower.context_length, "do_lower_case": False}
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
    (folder / f"{names.index('Normalize')}_Normalize").mkdir()
    return names


def _steps(source: Source, folder: Path) -> Steps:
    return (
        f"Load it by SentenceTransformer({str(folder)!r}) where the base's name was.",
        "Nothing is cached. Vectors of pictures stay; embed stored texts again if you have any.",
        "To go back, load the base's name again.",
    )


SENTENCE_TRANSFORMERS = System(_check, write_sentence_transformers, _steps)
