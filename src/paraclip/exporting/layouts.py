"""Writers of the formats that programs load, and which models are a CLIP.

Sources are in the modules of `systems`, which say what each program loads.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import open_clip
import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from open_clip.transformer import TextTransformer, VisionTransformer
from torch import Tensor

from paraclip.compute.onnx_session import TextGraph, weight_files
from paraclip.errors import UserError
from paraclip.exporting.source import PREPROCESSING, Drift, Source, check_drift, find_base, probes
from paraclip.files import write_text
from paraclip.models.checkpoint import provenance_of
from paraclip.models.encoder import DualEncoder
from paraclip.models.formats.clip_tokenizer import clip_tokenizer_files, tokenizer_files_of
from paraclip.models.formats.clips import PROVENANCE
from paraclip.models.formats.hugging_face import (
    CLASSES,
    TEXT_OPTIONS,
    VOCABULARY,
    config_of,
    preprocessor_config,
    to_hugging_face,
)
from paraclip.models.formats.onnx_graph import (
    quantise,
    run_text_graph,
    write_image_graph,
    write_text_graph,
)
from paraclip.models.formats.sentences import ACTIVATIONS
from paraclip.models.mini import BertEncoder
from paraclip.models.openclip import AS_TRANSFORMERS, OpenClip
from paraclip.models.tensors import save_tensors
from paraclip.provenance import publishable
from paraclip.systems import ExportOptions
from paraclip.systems.system import Layout, System

# Options of open_clip's towers that may have any value in a model of transformers.
_TEXT_SIZES = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}
_IMAGE_SIZES = {
    *("layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size"),
    "patch_dropout",  # used only in training
}
# Options that name a tokenizer, which is checked on its own.
_TOKENIZER = {"hf_tokenizer_name", "tokenizer_mode", "tokenizer_kwargs", "eos_id"}
_IMAGE_NAMES = ("pixel_values", "image_embeds")  # input and output, as in transformers


def write_layout(
    layout: Layout,
    source: Source,
    out: Path,
    options: ExportOptions,
    system: System | None = None,
) -> Drift | None:
    """Write what a program loads into an empty folder, or the one file of `--to weights`; returns
    the drift of 8-bit vectors, if any were written.

    Raises UserError if the program does not use the model's base, or cannot load the model.
    """
    if system is not None and layout.graph is not None:
        return _write_graph(layout, source, out, options, system)
    if layout.file:  # of a program that loads models by open_clip's names
        _of_open_clip(source)
        if source.architecture not in open_clip.list_models():
            what = f"{source.architecture} is not one of open_clip's own architectures"
            raise UserError(source.name, what, "This system loads models by such a name.")
        out /= layout.file
    writers: dict[str, Callable[[Source, Path, ExportOptions], None]] = {
        "weights": _write_weights,
        "open-clip": _write_open_clip,
        "hf": _write_clip,
        "sentence-transformers": _write_sentence_transformers,
        "onnx": _write_onnx,
    }
    writers[layout.format](source, out, options)
    return None


def _write_graph(
    layout: Layout, source: Source, folder: Path, options: ExportOptions, system: System
) -> Drift | None:
    """Write a text tower as a program calls it, with the tokenizer and `config.json` it reads."""
    (_, base), model, drift = find_base(source, system), source.model, None
    size, graph = model.architecture, layout.graph or TextGraph()
    if not layout.any_tower:
        _clip_of(model, system.name, image=False)
    path = folder / layout.file.format(base=base)
    path.parent.mkdir(parents=True, exist_ok=True)
    if layout.tokenizer is not None and _no_clip_text(model) is None:
        files = clip_tokenizer_files(size.context_length)
        if layout.config:
            config = json.dumps(layout.config, indent=1)
            # In quotes in the table, without them in the file.
            for name, number in (("context", size.context_length), ("width", size.embed_dim)):
                config = config.replace(f'"{{{name}}}"', str(number))
            files["config.json"] = config
        _write_files(folder / layout.tokenizer.format(base=base), files)
    if path.suffix == ".zip":
        _write_archive(model, path, graph)
    else:
        write_text_graph(model, path, graph)
    if options.int8:
        small = folder / layout.small
        quantise(path, small)
        # Both in onnxruntime, where the program computes them.
        shortened, floats = (run_text_graph(model, one, graph, probes()) for one in (small, path))
        drift = check_drift("--int8", shortened, floats)
    return drift


def _write_archive(model: DualEncoder, path: Path, graph: TextGraph) -> None:
    """Write a zip of the graph and of the tokenizer beside it."""
    written = path.with_suffix(".onnx")
    write_text_graph(model, written, graph)
    parts = [written, *weight_files(written)]
    with ZipFile(path, "w") as archive:
        for file in (*parts, path.with_name("tokenizer.json")):
            archive.write(file, file.name)
    for file in parts:
        file.unlink()


def _write_onnx(source: Source, folder: Path, options: ExportOptions) -> None:
    """Write `text_model.onnx` (and `image_model.onnx`), the tokenizer and `interface.json`."""
    model, plain = source.model, TextGraph()
    width, context = model.architecture.embed_dim, model.architecture.context_length
    write_text_graph(model, folder / "text_model.onnx", plain)
    # As the graph was exported: 1 would be a constant.
    length: Any = context if model.computed_length(1) == context else f"2 to {context}"
    prompt = model.text_tower.settings.prompt if isinstance(model, BertEncoder) else ""
    interface: dict[str, Any] = {
        "text": {
            "prompt": prompt,
            "input": plain.inputs, "dtype": plain.dtype, "shape": ["batch", length],
            "output": plain.outputs, "width": width, "unit_length": True,
            "weights": "float32",
        }
    }  # fmt: skip
    if options.image_tower:
        write_image_graph(model, folder / "image_model.onnx", _IMAGE_NAMES)
        side = model.image_size
        interface["image"] = {
            "input": _IMAGE_NAMES[0], "dtype": "float32", "shape": ["batch", 3, side, side],
            "output": _IMAGE_NAMES[1], "width": width, "unit_length": True,
            "preprocessing": model.spec.preprocessing if isinstance(model, OpenClip) else {},
        }  # fmt: skip
    if _no_clip_text(model) is None:
        files = clip_tokenizer_files(context)
    else:
        files = dict(model.header().get("text_files") or {})
        files.pop("config.json", None)  # of the BERT, which is in the graph
    _write_files(folder, {**files, "interface.json": interface})


def _write_weights(source: Source, path: Path, options: ExportOptions) -> None:
    """Write one file."""
    # The header states no architecture, because the tensors have the names of another program.
    header = {"exported_from": source.header.get("weights"), "half": options.half}
    metadata = {"format": "pt", "paraclip": json.dumps(header)}
    save_tensors(_weights(source.model, options.half), path, metadata)


def _weights(model: DualEncoder, half: bool) -> dict[str, Tensor]:
    """Weights as a file holds them, with open_clip's names for a model of open_clip and own names
    for `mini`."""
    towers = {}
    if isinstance(model, OpenClip):
        config = model.spec.config
        # open_clip itself keeps these text towers in a module, and others beside the image tower.
        custom = config.get("custom_text") or config["text_cfg"].get("hf_model_name")
        text = "text." if custom or "multimodal_cfg" in config else ""
        towers = {"image_tower.": "visual.", "text_tower.": text}
    tensors = {}
    for name, value in model.state_dict().items():
        tower, dot, rest = name.partition(".")
        # Numbers of positions stay integers.
        value = value.half() if half and value.is_floating_point() else value
        tensors[towers.get(tower + dot, tower + dot) + rest] = value
    return tensors


def _write_open_clip(source: Source, folder: Path, options: ExportOptions) -> None:
    """Write configuration and weights, and the files of a Hugging Face text tower, if any."""
    model = _of_open_clip(source)
    if model.spec.config["text_cfg"].get("tokenizer_mode") == AS_TRANSFORMERS:
        what = (
            "is a model of transformers, whose tokenizer and sizes open_clip's files cannot state"
        )
        raise UserError(source.name, what, "Use --to hf or --to onnx.")
    settings = model.spec.preprocessing
    provenance = provenance_of(model, publishable(source.header))
    provenance["architecture"] = model.architecture.name  # a folder's own name says nothing
    if options.half:
        del provenance["weights"]  # their hash, before they are shortened
    config = {
        "model_cfg": {**model.spec.config, "quick_gelu": model.architecture.quick_gelu},
        # Without the size, which is that of the image tower.
        "preprocess_cfg": {name: settings[name] for name in PREPROCESSING if name in settings},
        PROVENANCE: provenance,  # which open_clip ignores
    }
    _write_files(folder, {"open_clip_config.json": config, **(model.spec.text_files or {})})
    save_tensors(
        _weights(model, options.half), folder / "open_clip_model.safetensors", {"format": "pt"}
    )


def _of_open_clip(source: Source) -> OpenClip:
    """The model; raises UserError if open_clip cannot build it."""
    if not isinstance(source.model, OpenClip):
        name = source.model.architecture.name
        what = f"{name} is not a model of open_clip"
        raise UserError(source.name, what, "Use --to sentence-transformers or --to onnx.")
    return source.model


def _write_clip(source: Source, folder: Path, options: ExportOptions) -> None:
    """Write a folder of transformers: configuration, weights, tokenizer, preprocessing."""
    clip, kind = _of_transformers(source.model)
    text, context = clip.spec.config["text_cfg"], clip.architecture.context_length
    if kind == "clip":
        tokenizer = clip_tokenizer_files(context)
    elif text.get("tokenizer_mode") == AS_TRANSFORMERS:
        tokenizer = dict(clip.spec.text_files or {})
    else:
        # The default of open_clip's `HFTokenizer`.
        clean = (text.get("tokenizer_kwargs") or {}).get("clean", "whitespace")
        tokenizer = tokenizer_files_of(clip.tokenizer.tokenizer, context, clean)
    files = {
        **tokenizer,
        "config.json": config_of(clip, kind, options.half),
        "preprocessor_config.json": preprocessor_config(clip, kind),
    }
    _write_files(folder, files)
    tensors = to_hugging_face(clip.state_dict())
    if options.half:
        tensors = {name: value.half() for name, value in tensors.items()}
    save_tensors(tensors, folder / "model.safetensors", {"format": "pt"})


def _write_sentence_transformers(source: Source, folder: Path, options: ExportOptions) -> None:
    """Write a folder of modules."""
    if isinstance(source.model, BertEncoder):
        names = _write_bert(source.model, folder)
    else:
        names = ["CLIPModel"]
        _clip_of(source.model, "sentence-transformers")
        inner = folder / "0_CLIPModel"  # the form of its own folders: place and module
        inner.mkdir()
        _write_clip(source, inner, options)
    modules = [
        {
            "idx": place, "name": str(place), "type": f"sentence_transformers.models.{name}",
            "path": "" if name == "Transformer" else f"{place}_{name}",
        }
        for place, name in enumerate(names)
    ]  # fmt: skip
    _write_files(folder, {"modules.json": modules})


def _write_bert(model: BertEncoder, folder: Path) -> list[str]:
    """Write the text tower as BERT, pooling, linear head and norm; returns the modules."""
    tower, settings = model.text_tower, model.text_tower.settings
    state = tower.transformer.state_dict()
    if tower.transformer.config.model_type == "bert":
        # Without a pooler, which the pooling does not use, loading warns of missing weights.
        state["pooler.dense.weight"] = torch.zeros(tower.width, tower.width)
        state["pooler.dense.bias"] = torch.zeros(tower.width)
    save_tensors(state, folder / "model.safetensors", {"format": "pt"})
    # Its tokenizer lowers texts, if any does.
    length = {"max_seq_length": tower.context_length, "do_lower_case": False}
    pooling = {  # keys of versions before 6, which version 6 reads as well
        "word_embedding_dimension": tower.width,
        "pooling_mode_mean_tokens": settings.pooling == "mean",
        "pooling_mode_cls_token": settings.pooling == "cls",
    }
    files: dict[str, object] = {
        **model.text_files,
        "sentence_bert_config.json": length,
        "1_Pooling/config.json": pooling,
    }
    if settings.prompts:
        files["config_sentence_transformers.json"] = {"prompts": dict(settings.prompts)}
    names = ["Transformer", "Pooling", *(["Normalize"] if settings.normalised else [])]
    # Empty without a head.
    if head := {f"linear.{k}": v for k, v in tower.head.state_dict().items()}:
        files["2_Dense/config.json"] = {
            "in_features": tower.width, "out_features": model.architecture.embed_dim,
            "bias": settings.bias, "activation_function": ACTIVATIONS[settings.tanh],
        }  # fmt: skip
        save_tensors(head, folder / "2_Dense" / "model.safetensors", {"format": "pt"})
        names.insert(2, "Dense")  # before `Normalize`
    _write_files(folder, files)
    if settings.normalised:  # it has no files, but `modules.json` names its folder
        (folder / f"{names.index('Normalize')}_Normalize").mkdir()
    return names


def _clip_of(model: DualEncoder, wanted_by: str, image: bool = True) -> OpenClip:
    """The model; raises UserError, with the reason, if a tower or the tokenizer is not CLIP's.

    Without `image`, the image tower may be any.
    """
    reason = _no_clip_text(model)
    if isinstance(model, OpenClip) and reason is None:
        reason = _no_clip_image(model) if image else None
        if reason is None:
            return model
    other = ", or --to open-clip" if isinstance(model, OpenClip) else ""
    hint = f"Use --to onnx, which keeps any encoder{other}."
    raise UserError(model.architecture.name, f"{reason}, which {wanted_by} needs", hint)


def _of_transformers(model: DualEncoder) -> tuple[OpenClip, str]:
    """The model and its `model_type` in transformers; raises UserError if it has none."""
    text = model.spec.config["text_cfg"] if isinstance(model, OpenClip) else {}
    # CLIP itself reads at the largest id ("argmax"), the default of open_clip.
    kinds = {TEXT_OPTIONS[kind]["pool_type"]: kind for kind in ("metaclip_2", "siglip")}
    kind = kinds.get(text.get("pool_type", ""), "clip")
    if not isinstance(model, OpenClip) or kind == "clip":
        return _clip_of(model, "Hugging Face's CLIP"), kind
    sizes = {*_TEXT_SIZES, *_TOKENIZER, *(("act_kwargs",) if kind == "siglip" else ())}
    reason = _no_clip_image(model) if kind == "metaclip_2" else _no_siglip_image(model)
    if option := _unusual(text, asdict(CLIPTextCfg()) | TEXT_OPTIONS[kind], sizes):
        reason = f"its text encoder has the option {option}"
    # Other options change the ids in ways that its files cannot state.
    if not text.get("hf_tokenizer_name") or set(text.get("tokenizer_kwargs") or {}) - {"clean"}:
        reason = "its tokenizer has no form in transformers"
    if reason:
        hint = "Use --to open-clip or --to onnx, which keep any encoder."
        raise UserError(model.architecture.name, f"{reason}, unlike {CLASSES[kind]}", hint)
    return model, kind


def _no_siglip_image(model: OpenClip) -> str | None:
    """The reason why an image tower is not SigLIP's, or None."""
    vision = model.spec.config["vision_cfg"]
    name = str(vision.get("timm_model_name"))
    is_siglip = "_siglip_" in name and vision.get("timm_pool") == "map"  # of any size and patch
    fits = is_siglip and vision.get("timm_proj") == "none"
    return None if fits else f"its image encoder is {name}"


def _no_clip_text(model: DualEncoder) -> str | None:
    """The reason why a text tower is not CLIP's, or None."""
    if not isinstance(model, OpenClip):
        return "its text encoder is a BERT and not CLIP's transformer"
    text = model.spec.config["text_cfg"]
    if text.get("hf_model_name"):
        return f"its text encoder is {text['hf_model_name']} and not CLIP's transformer"
    if text.get("hf_tokenizer_name") or text.get("tokenizer_kwargs"):
        return "its tokenizer is not CLIP's"
    if not isinstance(model.text_tower, TextTransformer) or not model.architecture.causal_text:
        return "its text encoder does not read to the end token like CLIP's transformer"
    if text.get("vocab_size", VOCABULARY) != VOCABULARY:
        return f"its vocabulary has {text['vocab_size']} tokens and not the {VOCABULARY} of CLIP's"
    if option := _unusual(text, asdict(CLIPTextCfg()), _TEXT_SIZES):
        return f"its text encoder has the option {option} and is not CLIP's transformer"
    return None


def _no_clip_image(model: OpenClip) -> str | None:
    """The reason why an image tower is not CLIP's vision transformer, or None."""
    vision = model.spec.config["vision_cfg"]
    if name := vision.get("timm_model_name"):
        return f"its image encoder is timm's {name} and not CLIP's vision transformer"
    # Without timm, open_clip has these two.
    if not isinstance(model.image_tower, VisionTransformer):
        return "its image encoder is a ResNet and not CLIP's vision transformer"
    if option := _unusual(vision, asdict(CLIPVisionCfg()), _IMAGE_SIZES):
        return f"its image encoder has the option {option} and is not CLIP's vision transformer"
    if "multimodal_cfg" in model.spec.config:
        return "it has a decoder (CoCa) and is not CLIP"
    return None


def _unusual(config: dict[str, Any], defaults: dict[str, Any], sizes: set[str]) -> str | None:
    """The first option that differs from its default and is not a size."""
    # A configuration may state its defaults.
    others = sorted(name for name in config if name not in sizes)
    return next((name for name in others if config[name] != defaults.get(name)), None)


def _write_files(folder: Path, files: Mapping[str, object]) -> None:
    """Write small files by name: texts as they are, other values as JSON."""
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content, indent=1)
        write_text(folder / name, text)
