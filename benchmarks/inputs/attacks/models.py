"""Bad models: checkpoints, folders of open_clip and names that do not load."""

import json
import random
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.inputs.attacks.cases import DAMAGE, LISTED, PLACES, Case, command

TINY: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
HUGE = 1 << 40


def cases(sound: Path) -> Iterator[Case]:
    """Checkpoints, configurations and names."""
    tiny = sound / "tiny.safetensors"
    for what, content in LISTED.items():
        yield Case("models: checkpoints", what, partial(load_content, content))
        yield Case("models: folders", what, partial(load_folder, content, tiny))
    for what, make in PLACES.items():
        yield Case("models: checkpoints", what, partial(load_place, make))
    for what, change in DAMAGE.items():
        yield Case("models: checkpoints", what, partial(load_damaged, what, change, tiny))
    for what, header in HEADERS.items():
        yield Case("models: checkpoints", what, partial(load_header, header))
    for keys, value in CHANGES:
        shown = f"{'.'.join(keys)} {value!r:.40}"
        yield Case("models: folders", shown, partial(load_config, keys, value, tiny))
        yield Case("models: headers", shown, partial(load_changed, keys, value, tiny))
    for name in NAMES:
        yield Case("models: names", repr(name), partial(load, name))


def load(name: str, folder: Path) -> int:
    """Load a model by name, and export it."""
    return command("merge", name, name, "--out", folder / "out.safetensors")


def load_content(content: bytes, folder: Path) -> int:
    """A checkpoint with these bytes."""
    (folder / "a.safetensors").write_bytes(content)
    return load(str(folder / "a.safetensors"), folder)


def load_place(make: Any, folder: Path) -> int:
    """A checkpoint that is not a regular file."""
    make(folder / "a.safetensors")
    return load(str(folder / "a.safetensors"), folder)


def load_damaged(what: str, change: Any, tiny: Path, folder: Path) -> int:
    """A damaged checkpoint."""
    return load_content(change(tiny.read_bytes(), random.Random(what)), folder)


def load_header(header: object, folder: Path) -> int:
    """A checkpoint with another safetensors header."""
    text = json.dumps(header).encode()
    return load_content(struct.pack("<Q", len(text)) + text + bytes(64), folder)


def load_folder(content: bytes, tiny: Path, folder: Path) -> int:
    """A folder of open_clip with this configuration."""
    (folder / "model").mkdir()
    (folder / "model" / "open_clip_config.json").write_bytes(content)
    (folder / "model" / "model.safetensors").symlink_to(tiny)
    return load(f"local-dir:{folder / 'model'}", folder)


def changed(found: dict[str, Any], keys: tuple[str, ...], value: object) -> dict[str, Any]:
    """The configuration with one value changed."""
    first, *rest = keys
    inner = changed(found.get(first) or {}, tuple(rest), value) if rest else value
    return {**found, first: inner}


def load_config(keys: tuple[str, ...], value: object, tiny: Path, folder: Path) -> int:
    """A folder whose configuration has one bad value."""
    found = {"model_cfg": changed(TINY, keys, value), "preprocess_cfg": {}}
    return load_folder(json.dumps(found).encode(), tiny, folder)


def load_changed(keys: tuple[str, ...], value: object, tiny: Path, folder: Path) -> int:
    """A checkpoint of ParaCLIP whose header has one bad value."""
    content = tiny.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    outer = json.loads(content[8 : 8 + size])
    inner = json.loads(outer["__metadata__"]["paraclip"])
    inner["open_clip"]["config"] = changed(inner["open_clip"]["config"], keys, value)
    outer["__metadata__"]["paraclip"] = json.dumps(inner)
    text = json.dumps(outer).encode()
    return load_content(struct.pack("<Q", len(text)) + text + content[8 + size :], folder)


def write_model(path: Path) -> None:
    """A tiny model with random weights, as a checkpoint."""
    from paraclip.models.checkpoint import save_model
    from paraclip.models.openclip import ClipSpec, OpenClip, build_clip

    spec = ClipSpec("tiny", TINY, {})
    save_model(OpenClip(spec, build_clip(spec)), path)


def ours(**facts: object) -> dict[str, object]:
    """A safetensors header that contains a header of ParaCLIP."""
    return {"__metadata__": {"paraclip": json.dumps(facts)}}


FORMAT = "paraclip-model-1"
KIND = {"kind": "open_clip", "name": "tiny"}
HEADERS: dict[str, object] = {
    "a list": [], "nothing": {}, "metadata that is a list": {"__metadata__": []},
    "a tensor of a huge shape": {"w": {"dtype": "F32", "shape": [HUGE], "data_offsets": [0, 64]}},
    "a tensor out of the file": {"w": {"dtype": "F32", "shape": [16], "data_offsets": [HUGE, 0]}},
    "an unknown type": {"w": {"dtype": "X", "shape": [1], "data_offsets": [0, 4]}},
    "ours is a list": {"__metadata__": {"paraclip": "[]"}},
    "ours is deep": {"__metadata__": {"paraclip": "[" * 100_000}},
    "ours without a format": ours(architecture=KIND),
    "ours of a later format": ours(architecture=KIND, format="paraclip-model-9"),
    "ours with a format of another type": ours(architecture=KIND, format=[]),
    "an architecture that is null": ours(architecture=None, format=FORMAT),
    "an architecture that is a list": ours(architecture=[], format=FORMAT),
    "an architecture that is a text": ours(architecture="mini", format=FORMAT),
    "a kind that is a list": ours(architecture={"kind": []}, format=FORMAT),
    "an unknown kind": ours(architecture={"kind": "x"}, format=FORMAT),
    "mini without more": ours(architecture={"kind": "mini"}, format=FORMAT),
    "open_clip without more": ours(architecture=KIND, format=FORMAT),
    "open_clip that is null": ours(architecture=KIND, format=FORMAT, open_clip=None),
    "a configuration that is null": ours(
        architecture=KIND, format=FORMAT, open_clip={"config": None, "preprocessing": None}),
    "text files that are a list": ours(architecture=KIND, format=FORMAT, text_files=[3],
        open_clip={"config": TINY, "preprocessing": {}}),
    "a text file that leaves its folder": ours(
        architecture=KIND, format=FORMAT, text_files={"../../x": "y"},
        open_clip={"config": TINY, "preprocessing": {}}),
    "preprocessing of the wrong type": ours(
        architecture=KIND, format=FORMAT,
        open_clip={"config": TINY, "preprocessing": {"mean": "x", "interpolation": 3}}),
}  # fmt: skip
CHANGES: list[tuple[tuple[str, ...], object]] = [
    *(((part,), value) for part in TINY for value in (None, [], "x", -1, HUGE)),
    *((("text_cfg", name), value) for name in ("width", "layers", "heads", "context_length")
      for value in (None, 0, -1, HUGE)),
    *((("vision_cfg", name), value) for name in ("width", "image_size", "patch_size", "layers")
      for value in (None, 0, -1, HUGE, [1, 2, 3])),
    (("vision_cfg", "timm_model_name"), "hf_hub:someone/something"),
    (("vision_cfg", "timm_model_name"), "nothing_like_it"),
    (("text_cfg", "hf_model_name"), "someone/something"),
    (("text_cfg", "hf_model_name"), "../../etc"), (("text_cfg", "hf_tokenizer_name"), "a/b"),
    (("text_cfg", "tokenizer_kwargs"), {"x": 1}), (("text_cfg", "unknown"), 1),
    (("unknown",), 1), (("multimodal_cfg",), {}), (("custom_text",), "x"),
]  # fmt: skip
"""Invalid values for a configuration."""
NAMES = [
    "",
    " ",
    ":",
    "x",
    "x:y",
    "ViT-B-32",
    "ViT-B-32:",
    "ViT-B-32:none",
    "ViT-B-32:/dev/zero",
    "ViT-B-32:nowhere.pt",
    "local-dir:",
    "local-dir:/nowhere",
    "/",
    "/dev/zero",
    "/dev/null",
    "..",
    "a\0b",
    "\udcff",
    "hf-hub:someone/something",
    "http://127.0.0.1:1/a.safetensors",
    "a" * 5000,
    "nowhere.safetensors",
    "nowhere.pt",
    "ViT-B-32:openai.bin",
    "\x1b[31m",
]
