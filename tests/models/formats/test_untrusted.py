"""Untrusted model files: false sizes allocate nothing, and no hub is queried."""

import copy
import json
import socket
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from paraclip.errors import UserError
from paraclip.models.checkpoint import load_checkpoint, read_header, save_model
from paraclip.models.formats.untrusted import check_config, check_preprocessing
from paraclip.models.loading import load_model
from paraclip.models.openclip import build_clip
from paraclip.models.sources import TextFiles, read_text_files
from tiny import ROBERTA, TINY_CLIP, roberta_clip, word_files

HUGE = 2**31


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Any name that is looked up, and any connection, fails the test."""

    def refuse(*rest, **options):
        raise AssertionError(f"asked the network for {rest}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(autouse=True)
def little_memory(monkeypatch):
    """Tensors of more than 64 MiB fail the test."""
    real = torch.empty

    def bounded(*size, **options):
        made = real(*size, **options)
        assert made.is_meta or made.nbytes <= 2**26, "allocated too much"
        return made

    monkeypatch.setattr(torch, "empty", bounded)


def changed(part: str, **fields) -> dict:
    config = copy.deepcopy(TINY_CLIP)
    (config[part] if part else config).update(fields)
    return config


def forged(model, folder, part: str, changes: dict):
    """A checkpoint whose header has other values in a part."""
    path = folder / "model.safetensors"
    path.unlink(missing_ok=True)  # of an earlier call, and changed since
    save_model(model, path)
    header = read_header(path)
    header[part].update(changes)
    save_file(load_file(path), path, {"paraclip": json.dumps(header)})
    return path


def folder_of(model, path, config: dict, files: TextFiles | None = None, **others) -> str:
    """A folder of open_clip with another configuration and other text files."""
    path.mkdir(exist_ok=True)
    content = {
        "open_clip_config.json": json.dumps({"model_cfg": config, **others}),
        **(files or {}),
    }
    for name, text in content.items():
        (path / name).write_text(text)
    torch.save(build_clip(model.spec).state_dict(), path / "weights.pt")
    return str(path)


LIES = [
    changed("", embed_dim=HUGE),
    changed("", embed_dim=2**20),
    changed("", embed_dim=-5),
    changed("", embed_dim="16"),
    changed("", vision_cfg="ViT"),
    changed("", text_cfg=None),
    changed("vision_cfg", layers=10**6),
    changed("vision_cfg", layers=10**7, width=10**6),
    changed("vision_cfg", image_size=10**6),
    changed("vision_cfg", image_size=4096, patch_size=1, pos_embed_type="sin_cos_2d"),
    changed("vision_cfg", patch_size=0),
    changed("vision_cfg", width=float("inf")),
    changed("vision_cfg", unknown=1),
    changed("text_cfg", context_length=10**6),
    changed("text_cfg", vocab_size=10**7),
    changed("text_cfg", layers=10**6),
    changed("text_cfg", tokenizer_kwargs={"bpe_path": "/etc/passwd"}),
    changed("vision_cfg", timm_model_name="hf-hub:someone/tower", timm_model_pretrained=True),
    changed("vision_cfg", timm_model_name="no_such_model"),
    changed("vision_cfg", timm_model_name="local-dir:/"),
    changed("text_cfg", hf_model_name=5),
    changed("text_cfg", hf_model_name="x" * 300),
    changed("text_cfg", hf_tokenizer_name=["x"]),
    changed("text_cfg", hf_tokenizer_name="\ud800"),
]


@pytest.mark.parametrize("config", LIES)
def test_a_false_configuration_is_one_line(clip, tmp_path, config):
    with pytest.raises(UserError):
        load_model(folder_of(clip, tmp_path / "theirs", config), "cpu")
    with pytest.raises(UserError, match=r"model\.safetensors"):
        load_checkpoint(forged(clip, tmp_path, "open_clip", {"config": config}))


@pytest.mark.parametrize(
    "settings",
    [
        {"mean": [0.5, 0.5]},
        {"mean": "x"},
        {"mean": [1e300] * 3},
        {"std": [0, 0, 0]},
        {"std": float("nan")},
        {"mode": "L"},
        {"resize_mode": "longest", "fill_color": "x"},
        {"resize_mode": "longest", "fill_color": [1, 2]},
    ],
)
def test_false_preprocessing_is_reported_before_the_first_picture(clip, tmp_path, settings):
    with pytest.raises(UserError, match=r"open_clip_config\.json: (is not an open_clip|holds NaN)"):
        load_model(folder_of(clip, tmp_path / "a", TINY_CLIP, preprocess_cfg=settings), "cpu")
    with pytest.raises(UserError, match=r"model\.safetensors: .*pictures"):
        load_checkpoint(forged(clip, tmp_path, "open_clip", {"preprocessing": settings}))


def test_preprocessing_that_open_clip_accepts_is_accepted():
    for settings in ({}, {"mean": 0.5, "std": None, "other": 1}, {"resize_mode": "longest"}):
        check_preprocessing(settings)


@pytest.mark.parametrize(
    "lie",
    [
        {"hidden_size": HUGE},
        {"vocab_size": 10**7},
        {"num_hidden_layers": 10**6},
        {"model_type": "timm_wrapper", "architecture": "hf-hub:someone/tower"},
        {"model_type": "no_such_kind"},
    ],
)
def test_a_text_tower_with_a_false_configuration_is_one_line(mini, tmp_path, lie):
    for model in (mini, roberta_clip()):
        config = json.dumps({**json.loads(model.header()["text_files"]["config.json"]), **lie})
        path = forged(model, tmp_path, "text_files", {"config.json": config})
        with pytest.raises(UserError, match=r"model\.safetensors"):
            load_checkpoint(path)


def test_a_tower_named_by_a_folder_is_not_downloaded(tmp_path):
    with pytest.raises(UserError, match=r"there is no tokenizer_config.json of someone/tower"):
        load_model(folder_of(roberta_clip(), tmp_path, ROBERTA), "cpu")


@pytest.mark.parametrize("name", ["vocab.txt", "tokenizer_config.json"])
def test_text_files_in_another_encoding_are_named(tmp_path, name):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).write_bytes("café".encode("latin-1"))
    with pytest.raises(UserError, match=f"{name}: is not UTF-8"):
        read_text_files(tmp_path)


def tokenizer(words: TextFiles, **parts: dict) -> str:
    content = json.loads(words["tokenizer.json"])
    for part, changes in parts.items():
        content[part].update(changes)
    return json.dumps(content)


PANIC = {"single": [{"SpecialToken": {"id": "nobody", "type_id": 0}}]}  # in Rust, when it reads
BROKEN = [
    ("tokenizer.json", "{", "tokenizer.json is not JSON"),
    ("tokenizer.json", "[" * 10**5, "tokenizer.json is nested"),
    ("tokenizer.json", "{}", "tokenizer.json"),
    ("tokenizer.json", {"post_processor": PANIC}, "tokenizer.json.*: no entry"),
    ("tokenizer.json", {"model": {"unk_token": "nobody"}}, "tokenizer.json.*UNK"),
    ("config.json", "[]", "config.json is not a JSON object"),
]


@pytest.mark.parametrize(("name", "content", "reason"), BROKEN)
def test_a_broken_file_of_a_tokenizer_is_named(tmp_path, mini, name, content, reason):
    for model in (roberta_clip(), mini):
        words = model.header()["text_files"]
        broken = content if isinstance(content, str) else tokenizer(words, **content)
        path = forged(model, tmp_path, "text_files", {name: broken})
        with pytest.raises(UserError, match=rf"model\.safetensors: describes .*\(its {reason}"):
            load_checkpoint(path)
        if model is not mini:
            place = folder_of(model, tmp_path / "theirs", ROBERTA, {**words, name: broken})
            with pytest.raises(UserError, match=rf"describes .*\(its .*{reason}"):
                load_model(place, "cpu")


def test_a_tokenizer_without_padding_is_named(tmp_path):
    files = {**word_files("roberta"), "tokenizer_config.json": '{"pad_token": null}'}
    with pytest.raises(UserError, match=r"describes .*tokenizer_config.json: .*pad"):
        load_model(folder_of(roberta_clip(), tmp_path, ROBERTA, files), "cpu")


def test_a_tokenizer_with_more_tokens_than_the_model_is_one_line(mini, tmp_path):
    vocabulary = json.loads(mini.text_files["tokenizer.json"])["model"]["vocab"] | {"zebra": 10**6}
    broken = tokenizer(mini.text_files, model={"vocab": vocabulary})
    with pytest.raises(UserError, match=r"has a token 1,000,000"):
        load_checkpoint(forged(mini, tmp_path, "text_files", {"tokenizer.json": broken}))


def test_pointers_to_code_on_a_hub_are_dropped(tmp_path):
    files = word_files("roberta")
    for name, kind in (("config.json", "AutoModel"), ("tokenizer_config.json", "AutoTokenizer")):
        content = {**json.loads(files[name]), "auto_map": {kind: "someone/tower--code.Model"}}
        files[name] = json.dumps(content)
    path = save_model(roberta_clip(files), tmp_path / "model.safetensors")
    assert load_checkpoint(path).tokenize(["a red disc"]).ids.shape == (1, 5)


def test_a_file_that_would_grow_is_refused(tmp_path):
    torch.save({"a": torch.zeros(1).expand(2**40)}, tmp_path / "views.pt")
    torch.save({"a": torch.zeros(2**20)}, tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))
    for name, words in (("views", "more weights than it holds"), ("bomb", "compressed")):
        with pytest.raises(UserError, match=words):
            load_model(f"ViT-B-32:{tmp_path}/{name}.pt", "cpu")


def test_open_clips_own_configurations_are_all_accepted():
    import open_clip

    for name in open_clip.list_models():
        check_config(open_clip.get_model_config(name))
