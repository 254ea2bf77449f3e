"""Caches of other programs with a tiny CLIP, laid out as the programs' own sources lay them out."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import open_clip

from paraclip.exporting.layouts import write_layout
from paraclip.exporting.source import Source
from paraclip.models.formats.onnx_graph import write_image_graph
from paraclip.models.openclip import OpenClip
from paraclip.systems import SWAPPED, SYSTEMS
from paraclip.systems.config import ExportOptions
from tiny import SMALL_CLIP, retuned, small_clip

CONFIGS = {"ViT-B-32-quickgelu": {**SMALL_CLIP, "quick_gelu": True}, "ViT-B-32-256": SMALL_CLIP}
TAGS = {"rclip": "datacomp_s34b_b86k"}  # of the other systems: openai
TEXT, VISION = (f"models--Qdrant--clip-ViT-B-32-{part}" for part in ("text", "vision"))
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def small_architectures() -> Iterator[None]:
    """Make open_clip call a tiny CLIP by the names that the programs use."""
    with patch.dict(open_clip.factory._MODEL_CONFIGS, CONFIGS):
        yield


def small_base(system: str, seed: int = 0) -> OpenClip:
    """The base of a system, tiny; other seeds give other text towers, as tuning does."""
    name = "ViT-B-32-256" if system == "rclip" else "ViT-B-32-quickgelu"
    return retuned(small_clip(name, **CONFIGS[name]), seed, 0.02 * seed).eval()


def write_text_file(system: str, model: OpenClip, folder: Path, name: str) -> Path:
    """The file of the text encoder as the system loads it, with others of the export beside it."""
    folder.mkdir(parents=True)
    source = Source(model, {}, "model", TAGS.get(system, "openai"))
    layout = SWAPPED[system].files[name]
    write_layout(layout, source, folder, ExportOptions(), SYSTEMS[system])
    return next(path for path in folder.rglob(name) if path.is_file())


def write_cache(system: str, base: OpenClip, folder: Path) -> Path:
    """Write the cache of a system after it downloaded and used the base."""
    writers: dict[str, Callable[[OpenClip, Path], None]] = {
        "immich": _write_immich, "rclip": _write_rclip, "fastembed": _write_fastembed,
        "librephotos": _write_librephotos,
        "hugging-face": _write_hub, "weaviate": _write_weaviate,
    }  # fmt: skip
    writers[system](base, folder)
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
    sizes = {
        f"snapshots/{COMMIT}/{file.name}": {"size": file.stat().st_size, "blob_id": "b"}
        for file in sorted(exported.parent.iterdir())
    }
    (folder / TEXT / "files_metadata.json").write_text(json.dumps(sizes))
    vision = folder.with_name("fastembed-vision")
    vision.mkdir()
    write_image_graph(base, vision / "model.onnx", ("pixel_values", "image_embeds"))
    write_snapshot(folder / VISION, vision)


def _write_hub(base: OpenClip, folder: Path) -> None:
    """A cache of the hub with the base as transformers and as open_clip load it."""
    for name in SWAPPED["hugging-face"].files:
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
    for file in files.iterdir():
        blob = repository / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        blob.write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))


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
    return any(part in name for part in ("/cpu/", "/openvino/", "/model.rw-"))
