"""Folders of sentence-transformers: a BERT, its pooling, a linear head, and whether vectors are
normalised.

Source: sentence-transformers 6.2: `modules.json` (`base/model.py`), `sentence_bert_config.json`
(`base/modules/transformer.py`), `base/modules/dense.py`, `sentence_transformer/modules/pooling.py`;
keys of older versions are read, too.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from paraclip.data.untrusted_json import parse_json, read_json_object
from paraclip.errors import UserError
from paraclip.files import read_bounded
from paraclip.models.encoder import DualEncoder
from paraclip.models.formats.untrusted import build_errors, check_numbers, check_text_files, lay_out
from paraclip.models.mini import SentenceModel, SentenceSettings
from paraclip.models.sources import TextFiles, read_text_files
from paraclip.models.tensors import check_fit, fill_weights

MODULES = "modules.json"
_RETRY = "Download it again."
_FIX = "Name a model of a transformer, mean or cls pooling and at most one dense layer."
_ORDER = ("Transformer", "Pooling", "Dense", "Normalize")  # in which the modules are applied
_POOLING = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
"""Keys of sentence-transformers before 6."""
ACTIVATIONS = ("torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Tanh")
"""Of a dense layer: without and with tanh."""
_UNUSED = re.compile(r"pooler\.|embeddings\.position_ids$|cls\.|lm_head\.|vocab_")
"""Weights of a BERT beside its encoder: the head of the first token, positions as older versions of
transformers stored them, and the heads that predict words."""


def describe_sentences(
    folder: Path, name: str, read_weights: Callable[[Path], dict[str, Tensor]]
) -> Callable[[], DualEncoder]:
    """How to build the text encoder in a folder with `modules.json`, which is checked before;
    `read_weights` reads the one file of weights in a folder.

    Raises UserError for a folder that is broken, or has other modules.
    """
    path = folder / MODULES
    with build_errors(path, "is not a model of sentence-transformers", _FIX):
        listed = parse_json(read_bounded(path).decode())
        # Class names of any module path; none is imported.
        kinds = [str(one["type"]).rpartition(".")[2] for one in listed]
        folders = dict(zip(kinds, (str(one["path"]) for one in listed), strict=True))
        known = [kind for kind in _ORDER if kind in folders]
        if kinds != known or kinds[:2] != list(_ORDER[:2]):
            raise UserError(path, f"has the modules {', '.join(kinds)}", _FIX)
        if other := [one for one in folders.values() if "/" in one or "\\" in one or one == ".."]:
            raise UserError(path, f"names {other[0]!r}, which is not in its folder", _RETRY)
        texts = read_text_files(folder / folders["Transformer"])
        check_text_files(texts)
        settings = _settings_of(folder, folders, texts)
        check_numbers(settings.embed_dim or 0)
        if "tokenizer.json" not in texts:
            raise UserError(folder, "has no tokenizer.json", "Save it by a newer transformers.")
    return partial(_build, folder, folders, texts, settings, name, read_weights)


def _settings_of(folder: Path, folders: dict[str, str], texts: TextFiles) -> SentenceSettings:
    """What the modules state; raises UserError for what has no counterpart here."""

    def read(path: Path) -> dict[str, Any]:
        return read_json_object(path, _RETRY) if path.is_file() else {}

    own = folder / folders["Transformer"]
    texts_read = read(own / "sentence_bert_config.json")
    pooling = read(folder / folders["Pooling"] / "config.json")
    dense = read(folder / folders["Dense"] / "config.json") if "Dense" in folders else {}
    # One name or several in version 6, a flag for each before.
    modes = pooling.get("pooling_mode") or [
        _POOLING.get(key, key)
        for key in pooling
        if key.startswith("pooling_mode_") and pooling[key]
    ]
    mode = str(modes[0] if isinstance(modes, list) and len(modes) == 1 else modes)
    # With tanh, as in sentence-transformers, if the file does not say.
    activation = dense.get("activation_function", ACTIVATIONS[True])
    whole = read(folder / "config_sentence_transformers.json")
    prompts = {str(key): str(text) for key, text in (whole.get("prompts") or {}).items() if text}
    for wrong, what in (
        (mode not in ("mean", "cls"), f"pools by {mode}"),
        (activation not in ACTIVATIONS, f"has the activation {activation}"),
        (texts_read.get("do_lower_case"), "lowers texts before its tokenizer"),
        (prompts and pooling.get("include_prompt") is False, "pools without its prompt"),
    ):
        if wrong:
            raise UserError(folder, what, _FIX)
    # As in sentence-transformers: the limit of the module, else the tokenizer's.
    longest = texts_read.get("max_seq_length") or read(own / "tokenizer_config.json").get(
        "model_max_length", SentenceSettings.context_length
    )
    return SentenceSettings(
        context_length=int(min(longest, 8192)),  # transformers writes 1e30 for no limit
        pooling=mode,
        embed_dim=dense.get("out_features"),
        bias=bool(dense.get("bias", True)),
        tanh=bool(dense) and activation == ACTIVATIONS[True],
        normalised="Normalize" in folders,
        prompts=prompts,
    )


def _build(
    folder: Path,
    folders: dict[str, str],
    texts: TextFiles,
    settings: SentenceSettings,
    name: str,
    read_weights: Callable[[Path], dict[str, Tensor]],
) -> SentenceModel:
    """The model with its weights; nothing is allocated for those of another architecture."""
    stored = read_weights(folder / folders["Transformer"])
    head = read_weights(folder / folders["Dense"]) if "Dense" in folders else {}
    with build_errors(folder):
        empty = lay_out(lambda: SentenceModel(texts, settings, name), len(stored))
        tower: Any = empty.text_tower
        # Files of a whole model name its weights `bert.encoder...`.
        prefix = f"{tower.transformer.base_model_prefix}."
        state = {key.removeprefix(prefix): value for key, value in stored.items()}
        found = {
            **{f"transformer.{key}": one for key, one in state.items() if not _UNUSED.match(key)},
            **{f"head.{key.removeprefix('linear.')}": value for key, value in head.items()},
        }
        with build_errors(folder, "has weights that do not fit its configuration", _RETRY):
            check_fit({key: list(value.shape) for key, value in found.items()}, tower)
        model = SentenceModel(texts, settings, name)
        fill_weights(model.text_tower, found.__getitem__, folder)
        return model.eval()
