"""Caches of other programs with a tiny CLIP, laid out as the programs' own sources lay them out."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import onnx
import open_clip

from paraclip.exporting.layouts import write_layout
from paraclip.exporting.source import Source, find_base
from paraclip.models.formats.clip_tokenizer import clip_tokenizer_files
from paraclip.models.formats.onnx_graph import write_image_graph
from paraclip.models.formats.published import preprocessing_of
from paraclip.models.openclip import OpenClip
from paraclip.systems import ExportOptions, swapped
from tiny import SMALL_CLIP, retuned, small_clip

_READS_PADDING = {**SMALL_CLIP["text_cfg"], "no_causal_mask": True}
CONFIGS: dict[str, dict[str, Any]] = {
    "ViT-B-32-quickgelu": {**SMALL_CLIP, "quick_gelu": True},
    "ViT-B-32-256": SMALL_CLIP,
    "MobileCLIP-S2": {**SMALL_CLIP, "text_cfg": _READS_PADDING},
    "ViT-B-16-SigLIP2": {
        **SMALL_CLIP, "text_cfg": {**_READS_PADDING, "context_length": 64, "pool_type": "last"},
    },
}  # fmt: skip
_OTHER_BASES = {
    "rclip": ("ViT-B-32-256", "datacomp_s34b_b86k"),
    "librephotos MobileCLIP": ("MobileCLIP-S2", "datacompdr"),
    "fastembed SigLIP": ("ViT-B-16-SigLIP2", "webli"),
}
KINDS = (*swapped(), *(kind for kind in _OTHER_BASES if kind not in swapped()))
"""The programs, and again with a base that lies elsewhere."""
TEXT, VISION = (f"models--Qdrant--clip-ViT-B-32-{part}" for part in ("text", "vision"))
SIGLIP = "models--onnx-community--siglip2-base-patch16-224-ONNX"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def small_architectures() -> Iterator[None]:
    """Make open_clip call a tiny CLIP by the names that the programs use."""
    with patch.dict(open_clip.factory._MODEL_CONFIGS, CONFIGS):
        yield


def base_of(kind: str) -> tuple[str, str]:
    """open_clip's name and tag of a program's base."""
    return _OTHER_BASES.get(kind, ("ViT-B-32-quickgelu", "openai"))


def small_base(kind: str, seed: int = 0) -> OpenClip:
    """The base of a program, tiny; other seeds give other text towers, as tuning does."""
    name, tag = base_of(kind)
    model = small_clip(name, **CONFIGS[name])
    model.spec.preprocessing.update(preprocessing_of(open_clip.get_pretrained_cfg(name, tag)))
    return retuned(model, seed, 0.02 * seed).eval()


def write_text_file(kind: str, model: OpenClip, folder: Path, name: str) -> Path:
    """The file of the text encoder as a program loads it, with others of the export beside it."""
    folder.mkdir(parents=True)
    source = Source(model, {}, "model", base_of(kind)[1])
    system, _ = find_base(source, swapped()[kind.split()[0]])
    write_layout(system.cache.files[name], source, folder, ExportOptions(), system)
    return next(path for path in folder.rglob(name) if path.is_file())


def write_cache(kind: str, base: OpenClip, folder: Path) -> Path:
    """Write the cache of a program after it downloaded and used the base."""
    writers: dict[str, Callable[[OpenClip, Path], None]] = {
        "immich": _write_immich, "rclip": _write_rclip, "fastembed": _write_fastembed,
        "librephotos": _write_librephotos, "librephotos MobileCLIP": _write_mobileclip,
        "fastembed SigLIP": _write_siglip,
        "hugging-face": _write_hub, "weaviate": _write_weaviate,
    }  # fmt: skip
    writers[kind](base, folder)
    return folder


def _write_immich(base: OpenClip, folder: Path) -> None:
    """CACHE/clip/NAME/textual of old versions and with MACHINE_LEARNING_MODEL_REVISION=main, and
    CACHE/clip/NAME/v2/textual; each with graphs that immich prepared."""
    model = folder / "clip" / "ViT-B-32__openai"
    exported = write_text_file("immich", base, folder.with_name("immich-base"), "model.onnx")
    for root in (model, model / "v2"):
        for part in ("textual", "visual"):
            (root / part).mkdir(parents=True)
        (root / "config.json").write_text('{"text_cfg": {"context_length": 77}}')
        for file in exported.parent.iterdir():
            (root / "textual" / file.name).write_bytes(file.read_bytes())
        for name, inside in (("cpu", "model.onnx"), ("cpu", "model.data"), ("openvino", "a.blob")):
            (root / "textual" / name).mkdir(exist_ok=True)
            (root / "textual" / name / inside).write_bytes(b"prepared from the base")
    for name in ("model.rw-0123456789ab.onnx", "model.lock"):  # not with the revision `main`
        (model / "v2" / "textual" / name).write_bytes(b"")
        write_image_graph(base, root / "visual" / "model.onnx", ("image", "embedding"))


def _write_librephotos(base: OpenClip, folder: Path) -> None:
    """The folder `data_models`."""
    file = write_text_file("librephotos", base, folder, "text_model.onnx")
    write_image_graph(base, file.with_name("vision_model.onnx"), ("pixel_values", "image_embeds"))


def _write_mobileclip(base: OpenClip, folder: Path) -> None:
    """The folder `data_models`, with the vectors of the tags that LibrePhotos computed."""
    file = write_text_file("librephotos MobileCLIP", base, folder, "text_model.onnx")
    write_image_graph(base, file.with_name("vision_model.onnx"), ("pixel_values", "image_embeds"))
    file.with_name("tag_embeddings.npy").write_bytes(b"prepared from the base")


def _write_rclip(base: OpenClip, folder: Path) -> None:
    """The data folder of rclip."""
    file = write_text_file("rclip", base, folder, "textual.onnx")
    write_image_graph(base, file.with_name("visual.onnx"), ("input", "output"))
    for name in ("LICENSE", "OPENAI-CLIP-MIT.txt", "README.md", "THIRD_PARTY_NOTICES.md"):
        (folder / name).write_text(name)
    bpe = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / bpe.name).write_bytes(bpe.read_bytes())


def _write_fastembed(base: OpenClip, folder: Path) -> None:
    """A cache of the hub with fastembed's list of sizes."""
    exported = write_text_file("fastembed", base, folder.with_name("fastembed-base"), "model.onnx")
    write_snapshot(folder / TEXT, exported.parent)
    _write_sizes(folder / TEXT)
    vision = folder.with_name("fastembed-vision")
    vision.mkdir()
    write_image_graph(base, vision / "model.onnx", ("pixel_values", "image_embeds"))
    write_snapshot(folder / VISION, vision)


def _write_siglip(base: OpenClip, folder: Path) -> None:
    """The same of a repository with both towers in a folder, and a tokenizer that pads with 0."""
    name = "fastembed SigLIP"
    exported = write_text_file(name, base, folder.with_name("siglip-base"), "text_model.onnx")
    names = ("pixel_values", "pooler_output")
    write_image_graph(base, exported.with_name("vision_model.onnx"), names)
    _add_states(exported.with_name("vision_model.onnx"))
    files = {**clip_tokenizer_files(64), "config.json": {"pad_token_id": 0}}
    files["tokenizer.json"] = json.loads(str(files["tokenizer.json"])) | {"padding": None}
    files["tokenizer_config.json"] = {"model_max_length": 64, "pad_token": "!"}
    for one, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (exported.parents[1] / one).write_text(text)
    write_snapshot(folder / SIGLIP, exported.parents[1])
    _write_sizes(folder / SIGLIP)


def _add_states(path: Path) -> None:
    """Make the pixels the first output of a graph, as other graphs return states of patches."""
    model = onnx.load(path)
    states = onnx.helper.make_tensor_value_info("last_hidden_state", 1, ["a", "b", "c", "d"])
    model.graph.node.append(
        onnx.helper.make_node("Identity", [model.graph.input[0].name], [states.name])
    )
    outputs = [states, *model.graph.output]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    onnx.save(model, path)


def _write_sizes(repository: Path) -> None:
    """fastembed's list of the files of a snapshot."""
    sizes = {
        file.relative_to(repository).as_posix(): {"size": file.stat().st_size, "blob_id": "b"}
        for file in sorted((repository / "snapshots" / COMMIT).rglob("*"))
        if file.is_file()
    }
    (repository / "files_metadata.json").write_text(json.dumps(sizes))


def _write_hub(base: OpenClip, folder: Path) -> None:
    """A cache of the hub with the base as transformers and as open_clip load it."""
    for name in swapped()["hugging-face"].cache.files:
        exported = write_text_file("hugging-face", base, folder.with_name(f"hub-{name}"), name)
        exported.with_name("README.md").write_text(name)
        write_snapshot(folder / f"models--someone--{name}", exported.parent)
    (folder / "models--someone--model.safetensors").rename(folder / "models--openai--clip")
    (folder / "models--someone--open_clip_model.safetensors").rename(folder / "models--laion--clip")


def _write_weaviate(base: OpenClip, folder: Path) -> None:
    """The folder `models` of multi2vec-clip: one model for texts, one for pictures."""
    kind = "sentence_transformers.models.CLIPModel"
    modules = [{"idx": 0, "name": "0", "path": "", "type": kind}]
    for part in ("text", "clip"):
        write_text_file("weaviate", base, folder / part, "model.safetensors")
        (folder / part / "modules.json").write_text(json.dumps(modules))


def write_snapshot(repository: Path, files: Path) -> None:
    """Blobs named by their hash, and links to them in the snapshot of a commit."""
    snapshot = repository / "snapshots" / COMMIT
    for part in (snapshot, repository / "blobs", repository / "refs"):
        part.mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    for file in (path for path in files.rglob("*") if path.is_file()):
        blob = repository / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        blob.write_bytes(file.read_bytes())
        link = snapshot / file.relative_to(files)
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))


def contents(folder: Path) -> dict[str, str]:
    """What each path below a folder is: a link with its target, or a file with its hash."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def without_prepared(found: dict[str, str]) -> dict[str, str]:
    """What is left of a cache when graphs that the program prepared are removed."""
    return {name: one for name, one in found.items() if not is_prepared(name)}


def is_prepared(name: str) -> bool:
    return any(part in name for part in ("/cpu/", "/openvino/", "/model.rw-", "/tag_"))
