import json
import pickle
import zipfile
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from safetensors.torch import save_file

from mangled import mangled
from paraclip.errors import UserError
from paraclip.models.checkpoint import save_model
from paraclip.models.formats import clips
from paraclip.models.formats.hugging_face import to_hugging_face
from paraclip.models.loading import load_model
from paraclip.models.openclip import build_clip
from paraclip.models.sources import absolute_name
from tiny import TINY_CLIP, tiny_clip

TEXTS = ["a red disc", "paper"]


@pytest.fixture
def named(tmp_path_factory, monkeypatch):
    """open_clip knows `tiny` and `tiny-quickgelu`, until the test ends."""
    folder = tmp_path_factory.mktemp("configs")
    (folder / "tiny.json").write_text(json.dumps(TINY_CLIP))
    (folder / "tiny-quickgelu.json").write_text(json.dumps({**TINY_CLIP, "quick_gelu": True}))
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [folder])
    configs = {name: json.loads((folder / f"{name}.json").read_text()) for name in NAMES}
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", configs)


NAMES = ("tiny", "tiny-quickgelu")


def published(monkeypatch, **tags):
    """open_clip publishes these weights of `tiny`."""
    monkeypatch.setattr(open_clip.pretrained, "_PRETRAINED", {"tiny": tags})


def state(clip) -> dict[str, torch.Tensor]:
    """Weights with open_clip's names."""
    torch.manual_seed(0)
    return build_clip(clip.spec).state_dict()


def same(model, clip) -> bool:
    ids = clip.tokenize(TEXTS).ids
    return torch.equal(model.encode_tokens(ids), clip.encode_tokens(ids))


@pytest.mark.parametrize("layout", ["plain", "wrapped", "module", "open_clip", "hf"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_local_weights_in_their_usual_layouts(named, clip, tmp_path, layout, suffix):
    found = state(clip)
    if layout == "open_clip":  # whose text tower is not a separate module
        found = {name.removeprefix("text."): value for name, value in found.items()}
    if layout == "hf":
        found = to_hugging_face(clip.state_dict())
    if layout == "module":
        found = {f"module.{name}": value for name, value in found.items()}
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(found, path)
    else:
        torch.save({"epoch": 3, "state_dict": found} if layout == "wrapped" else found, path)
    assert same(load_model(f"tiny:{path}", "cpu"), clip)


def test_the_name_decides_the_activation_and_a_guess_is_reported(named, clip, tmp_path, capsys):
    path = tmp_path / "weights.safetensors"
    save_file(state(clip), path)
    assert not load_model(f"tiny:{path}", "cpu").architecture.quick_gelu
    assert f"use tiny-quickgelu:{path}" in capsys.readouterr().err
    quick = load_model(f"tiny-quickgelu:{path}", "cpu")
    assert quick.architecture.quick_gelu
    assert quick.architecture.name == "tiny-quickgelu"
    assert capsys.readouterr().err == ""


def test_a_published_file_is_known_by_its_name(named, clip, tmp_path, monkeypatch, capsys):
    published(
        monkeypatch,
        quick={"url": "https://example.org/tiny-quick-123.pt", "quick_gelu": True},
        plain={"url": "https://example.org/tiny-plain-123.pt"},
    )
    for name in ("quick", "plain"):
        torch.save(state(clip), tmp_path / f"tiny-{name}-123.pt")
        found = load_model(f"tiny:{tmp_path}/tiny-{name}-123.pt", "cpu").architecture
        assert found.quick_gelu is (name == "quick")
        assert found.name == ("tiny-quickgelu" if name == "quick" else "tiny")
    assert capsys.readouterr().err == ""
    with pytest.raises(UserError, match="was trained without QuickGELU"):
        load_model(f"tiny-quickgelu:{tmp_path}/tiny-plain-123.pt")


def test_a_tag_decides_the_activation_and_the_preprocessing(named, clip, tmp_path, monkeypatch):
    save_file(state(clip), tmp_path / "fetched.safetensors")
    tag = {"quick_gelu": True, "mean": (0.1, 0.2, 0.3), "file": f"{tmp_path}/fetched.safetensors"}
    published(monkeypatch, openai=tag)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    model = load_model("tiny:openai", "cpu")
    assert model.architecture.quick_gelu
    assert model.spec.preprocessing["mean"] == (0.1, 0.2, 0.3)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("minni", "Did you mean mini"),
        ("tiny:opnai", "Did you mean openai"),
        ("tiny:~no-such-user/weights.pt", "there is no such file"),
        ("local-dir:/nowhere", "there is no such folder"),
        ("/", "no open_clip_config.json"),
        ("a" * 5000, "too long"),
    ],
)
def test_unknown_names_get_the_nearest_as_hint(named, monkeypatch, name, words):
    published(monkeypatch, openai={"url": "https://example.org/a.pt"})
    with pytest.raises(UserError, match=words):
        load_model(name)


@pytest.mark.parametrize(
    ("other", "more", "less", "words"),
    [
        ({"embed_dim": 24}, {}, None, r"does not fit tiny \(visual.proj is \[32, 24\]"),
        ({}, {"more": torch.zeros(1)}, None, "it has an extra more"),
        ({}, {}, "visual.proj", "it has no visual.proj"),
        ({}, {"visual.proj": torch.ones(32, 16).char()}, None, "visual.proj has the type int8"),
        ({}, {"visual.proj": torch.ones(32, 16) / 0}, None, "visual.proj .* not finite"),
    ],
)
def test_the_first_difference_from_another_architecture_is_named(
    named, tmp_path, other, more, less, words
):
    found = {**state(tiny_clip(**other)), **more}
    found.pop(less, None)
    save_file(found, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=words):
        load_model(f"tiny:{tmp_path}/other.safetensors")


def test_a_checkpoint_of_ours_is_refused_under_another_name(named, tmp_path):
    path = save_model(tiny_clip(), tmp_path / "ours.safetensors")
    assert load_model(f"tiny:{path}", "cpu").architecture.name == "tiny"
    with pytest.raises(UserError, match="is a checkpoint of tiny, not of tiny-quickgelu"):
        load_model(f"tiny-quickgelu:{path}")


class Evil:
    def __reduce__(self):
        return (open, ("/tmp/never-written", "w"))


@pytest.mark.parametrize(
    "content", [3, {}, {"a": 1}, {"a": Evil()}], ids=["number", "nothing", "of numbers", "code"]
)
def test_what_is_not_a_dictionary_of_tensors_is_refused_and_not_run(named, tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    (tmp_path / "a.bin").write_bytes(pickle.dumps(content))
    for name in ("a.pt", "a.bin"):
        with pytest.raises(UserError, match=r"holds|not a readable file"):
            load_model(f"tiny:{tmp_path / name}")


@pytest.mark.parametrize("kind", ["zip", "pickle", "safetensors"])
@given(data=some.data())
def test_a_mangled_file_is_one_line_that_names_it(kind, data):
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.safetensors" if kind == "safetensors" else "a.pt")
        if kind == "safetensors":
            save_file({"a": torch.zeros(2)}, path)
        else:
            torch.save({"a": torch.zeros(2)}, path, _use_new_zipfile_serialization=kind == "zip")
        path.write_bytes(data.draw(mangled(path.read_bytes())))
        found = None
        try:
            clips._read_state(path)
        except UserError as error:
            found = error
        assert found is None or found.where == str(path)


def test_a_torchscript_program_is_refused_unless_openai_published_it(
    named, clip, tmp_path, monkeypatch
):
    path = tmp_path / "script.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/constants.pkl", b"code" * 2**20)
    with pytest.raises(UserError, match="is a TorchScript program"):
        load_model(f"tiny:{path}")
    digest = sha256(path.read_bytes()).hexdigest()
    address = f"https://openaipublic.azureedge.net/clip/models/{digest}/tiny.pt"
    published(monkeypatch, openai={"url": address, "quick_gelu": True})
    found = {**state(clip), "context_length": torch.tensor(12)}
    script = torch.nn.Module()
    monkeypatch.setattr(script, "state_dict", lambda: found, raising=False)
    monkeypatch.setattr(clips.torch.jit, "load", lambda name, map_location: script)
    assert load_model(f"tiny:{path}", "cpu").architecture.quick_gelu


def test_weights_without_the_right_to_read_them_are_one_line(tmp_path, monkeypatch):
    def refused(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    path = save_model(tiny_clip(), tmp_path / "model.safetensors")
    monkeypatch.setattr(type(path), "open", refused)
    with pytest.raises(UserError, match=r"model\.safetensors: may not be read"):
        load_model(str(path), "cpu")
    monkeypatch.setattr(type(path), "is_file", refused)  # so does a folder above it
    with pytest.raises(UserError, match=r"model\.pt: may not be read"):
        load_model(str(tmp_path / "model.pt"), "cpu")


def test_a_folder_with_both_layouts_is_read_in_that_of_its_configuration(tmp_path):
    model = tiny_clip()
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY_CLIP}))
    torch.save(build_clip(model.spec).state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    save_file(to_hugging_face(model.state_dict()), tmp_path / "model.safetensors")
    assert load_model(str(tmp_path), "cpu").architecture.embed_dim == 16


@pytest.mark.parametrize("start", ["", "local-dir:", "ViT-B-32:", "ViT-B-32:openai:"])
def test_a_name_finds_its_file_from_another_folder(start, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.pt", "openai", "mini", "owner/name"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    assert absolute_name(f"{start}a.pt") == f"{start}{tmp_path / 'a.pt'}"
    for name in ("mini", "ViT-B-32:openai", "hf-hub:owner/name", "none.pt", "ViT-B-32:none.pt"):
        assert absolute_name(name) == name
