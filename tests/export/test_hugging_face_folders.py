"""Input formats: Hugging Face CLIP folders, the hub's cache, and refused inputs."""

import json
import re
import shutil
import string
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from export_models import ours
from safetensors.torch import load_file, save_file

from paraclip.api import export
from paraclip.cli import main
from paraclip.errors import UserError
from paraclip.models.checkpoint import load_checkpoint, save_model
from paraclip.models.features import encode_texts
from paraclip.models.loading import load_model
from paraclip.models.openclip import OpenClip, build_clip
from tiny import make_triples, retuned, write_triples


@pytest.fixture(scope="module")
def exported(quick_clip, tmp_path_factory):
    return export(quick_clip, tmp_path_factory.mktemp("exported") / "theirs", to="hf")


@pytest.fixture
def folder(exported, tmp_path):
    """A Hugging Face folder of the tiny CLIP."""
    return shutil.copytree(exported, tmp_path / "theirs")


def edited(folder, name, **changes):
    path = folder / name
    content = json.loads(path.read_text())
    for key, value in changes.items():
        part, _, inner = key.partition("__")
        if inner:
            content[part][inner] = value
        else:
            content[part] = value
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("quick", [True, False])
def test_a_folder_is_a_model(request, quick, tmp_path) -> None:
    model = request.getfixturevalue("quick_clip" if quick else "plain_clip")
    folder = export(model, tmp_path / "theirs", to="hf")
    for name in ("model.fp16.safetensors", "pytorch_model.bin", "a.bin"):
        (folder / name).touch()  # of several files of weights, the full precision is read
    found = load_model(str(folder), "cpu")
    assert found.architecture.quick_gelu is quick and found.architecture.name == "theirs"
    np.testing.assert_array_equal(ours(found), ours(model))
    assert found.image_key() == model.image_key()
    again = export(found, tmp_path / "again", to="hf")
    assert json.loads((again / "config.json").read_text()) == json.loads(
        (folder / "config.json").read_text()
    )


def test_what_transformers_saves_is_a_model(quick_clip, folder, tmp_path) -> None:
    from transformers import CLIPModel, CLIPProcessor

    saved = tmp_path / "saved"
    CLIPModel.from_pretrained(folder).save_pretrained(saved)
    CLIPProcessor.from_pretrained(folder).save_pretrained(saved)
    found = load_model(f"local-dir:{saved}", "cpu")
    np.testing.assert_array_equal(ours(found), ours(quick_clip))
    assert found.image_key() == quick_clip.image_key()


def test_older_configurations_and_weights(quick_clip, folder) -> None:
    edited(folder, "config.json", text_config__eos_token_id=2)
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    torch.save(state, folder / "pytorch_model.bin")
    np.testing.assert_array_equal(ours(load_model(str(folder), "cpu")), ours(quick_clip))


@pytest.mark.parametrize(
    ("file", "changes", "reason"),
    [
        ("config.json", {"text_config__hidden_act": "relu"}, "has the activations 'relu'"),
        ("config.json", {"vision_config__hidden_act": "gelu"}, "activations 'quick_gelu' and"),
        ("config.json", {"text_config__layer_norm_eps": 1e-6}, "layer_norm_eps"),
        ("config.json", {"text_config__vocab_size": 30000}, "has 30000 tokens"),
        ("config.json", {"text_config__eos_token_id": 7}, "reads texts at token 7"),
        ("config.json", {"text_config__hidden_size": 10**12}, "impossibly large"),
        ("config.json", {"text_config": "x"}, "is not a configuration of CLIP"),
        ("config.json", {"text_config__num_hidden_layers": 3}, "does not fit"),
        ("config.json", {"vision_config__patch_size": 0}, "theirs"),
        ("config.json", {"model_type": "bert"}, "no open_clip_config.json, and no config.json"),
        ("config.json", {"model_type": "siglip2"}, "NaFlex"),
        ("config.json", {"model_type": ["clip"]}, "no open_clip_config.json, and no config.json"),
        ("preprocessor_config.json", {"resample": 0}, "filter 0, which open_clip lacks"),
        ("preprocessor_config.json", {"size": {"shortest_edge": 64}}, "to 64 and crops to 32"),
        ("preprocessor_config.json", {"size": 64, "crop_size": 32}, "to 64 and crops to 32"),
        ("preprocessor_config.json", {"do_normalize": False}, "sets do_normalize to false"),
    ],
)
def test_what_is_not_a_clip_is_refused(folder, file, changes, reason) -> None:
    edited(folder, file, **changes)
    with pytest.raises(UserError, match=reason):
        load_model(str(folder), "cpu")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("logit_scale", torch.tensor(4), "logit_scale has the type int64"),
        ("logit_scale", torch.tensor(4.0).to(torch.float8_e5m2), "has the type float8_e5m2"),
        ("logit_scale", torch.tensor(torch.nan), "logit_scale .* not finite"),
        ("logit_scale", torch.tensor(1e300, dtype=torch.float64), "logit_scale .* not finite"),
        ("logit_scale.SCB", torch.ones(1), "an extra logit_scale.SCB"),
        ("text_projection", torch.ones(1), r"an extra text_projection\)"),  # of open_clip
    ],
)
def test_weights_that_are_quantised_left_over_or_not_finite_are_refused(
    folder, name, value, reason
) -> None:
    path = folder / "model.safetensors"
    save_file({**load_file(path), name: value}, path)
    with pytest.raises(UserError, match=reason):
        load_model(str(folder), "cpu")


@pytest.mark.parametrize(
    "changes",
    [
        {"resample": [1]}, {"size": None}, {"image_mean": 0.5}, {"image_std": None},
        {"image_std": [0, 0, 0]},
    ],
)  # fmt: skip
def test_preprocessing_that_cannot_be_used_is_refused(folder, changes) -> None:
    edited(folder, "preprocessor_config.json", **changes)
    with pytest.raises(UserError, match=r"preprocessor_config\.json: is not a configuration"):
        load_model(str(folder), "cpu")
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text('{"image_processor": "x"}')
    with pytest.raises(UserError, match=r"processor_config\.json: is not a configuration"):
        load_model(str(folder), "cpu")


def test_broken_json_and_shards(folder) -> None:
    shard = folder / "model-00001-of-00002.safetensors"
    (folder / "model.safetensors").rename(shard)
    with pytest.raises(UserError, match="over several files"):
        load_model(str(folder), "cpu")
    shard.unlink()
    with pytest.raises(UserError, match="holds no weights"):
        load_model(str(folder), "cpu")
    (folder / "config.json").write_text("[" * 10_000)
    with pytest.raises(UserError, match="is nested deeper"):
        load_model(str(folder), "cpu")


def test_nothing_in_a_folder_reaches_the_network(folder, monkeypatch) -> None:
    import socket

    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    names = {"_name_or_path": "someone/else", "auto_map": {"AutoModel": "someone/else--code.M"}}
    edited(folder, "config.json", **names, text_config___name_or_path="someone/else")
    load_model(str(folder), "cpu")


# --- SigLIP and MetaCLIP 2 ---

WORDS = [
    "a red disc",
    "A RED, disc! (two)",
    "Two \u201cdogs\u201d &amp; _cats_",
    "\u039f\u0394\u039f\u03a3 \u03a3",
    " \u043a\u0440\u0430\u0441\u043d\u044b\u0439 \t \U0001f642\u3000\u732b",
    "",
    "red " * 90,
]
TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
IMAGE = {**TEXT, "image_size": 32, "patch_size": 8, "num_attention_heads": 4}


def write_tokenizer(folder, kind: str, context: int) -> int:
    """Files of a tokenizer that knows letters and two words; returns the size of its vocabulary."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    letters = (
        "abcdefghijklmnopqrstuvwxyzAR\u03bf\u03b4\u03c2\u03c3\u03a3\u043a\u0440\u0430\u0441,!_"
    )
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    pieces = [*special, "\u2581", *letters, "re", "red", "\u2581red"]
    if kind == "GemmaTokenizer":
        merges = [("r", "e"), ("re", "d"), ("\u2581", "red")]
        vocabulary = {piece: number for number, piece in enumerate(pieces)}
        tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>"))
    else:
        tokenizer = Tokenizer(models.Unigram([(piece, -len(piece) / 9) for piece in pieces], 3))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    start = "<bos> " if kind == "XLMRobertaTokenizer" else ""
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start}$A <eos>", special_tokens=[("<eos>", 1), ("<bos>", 2)]
    )
    names = {f"{word[1:-1]}_token": word for word in special}
    settings = {"tokenizer_class": kind, "model_max_length": context, "padding_side": "right"}
    (folder / "tokenizer.json").write_text(tokenizer.to_str())
    (folder / "tokenizer_config.json").write_text(json.dumps({**names, **settings}))
    return len(pieces)


def saved(folder, tokenizer: str, activation: str = "gelu_pytorch_tanh"):
    """A folder that transformers wrote, with random weights."""
    import transformers

    folder.mkdir()
    meta = tokenizer == "XLMRobertaTokenizer"
    context = 77 if meta else 64
    text = {**TEXT, "vocab_size": write_tokenizer(folder, tokenizer, context)}
    text |= {"num_attention_heads": 2, "max_position_embeddings": context}
    text |= {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
    torch.manual_seed(0)
    if meta:
        shared = {"projection_dim": 24}
        config = transformers.MetaClip2Config(
            text_config=text | shared, vision_config=IMAGE | shared, **shared
        )
        model = transformers.MetaClip2Model(config)
        pictures = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32)
    else:
        image = {**IMAGE, "hidden_size": 48, "hidden_act": activation}
        model = transformers.SiglipModel(
            transformers.SiglipConfig(
                text_config=text | {"projection_size": 48, "hidden_act": activation},
                vision_config=image,
            )
        )
        pictures = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    pictures.save_pretrained(folder)
    return folder


def assert_as_transformers(model, folder, texts: list[str] = WORDS) -> None:
    """Ids and vectors of texts, and vectors of pictures, are those of a folder in transformers."""
    from transformers import AutoModel, AutoTokenizer

    theirs, tokenizer = (
        AutoModel.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    ids = tokenizer(
        texts, padding="max_length", truncation=True, return_tensors="pt",
        max_length=model.architecture.context_length,
    ).input_ids  # fmt: skip
    assert torch.equal(model.tokenizer(texts), ids)
    pixels = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        for found, expected in (
            (encode_texts(model, texts), theirs.get_text_features(input_ids=ids)),
            (model.project_images(model.embed_pixels(pixels)), theirs.get_image_features(pixels)),
        ):
            expected = torch.nn.functional.normalize(expected.pooler_output, dim=-1)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    for name in ("logit_scale", "logit_bias"):
        ours, other = (one.state_dict().get(name) for one in (model, theirs))
        assert (ours is None) == (other is None)
        assert ours is None or torch.equal(ours.flatten(), other.flatten())


@pytest.mark.parametrize(
    ("tokenizer", "activation"),
    [
        ("T5Tokenizer", "gelu_pytorch_tanh"), ("GemmaTokenizer", "gelu"),
        ("XLMRobertaTokenizer", "quick_gelu"),
    ],
)  # fmt: skip
def test_a_siglip_or_metaclip_2_is_read_and_written(tokenizer, activation, tmp_path) -> None:
    folder = saved(tmp_path / "theirs", tokenizer, activation)
    model = load_model(str(folder), "cpu")
    assert_as_transformers(model, folder)
    tuned = retuned(load_checkpoint(save_model(model, tmp_path / "model.safetensors")))
    again = export(tuned, tmp_path / "again", to="hf")
    assert_as_transformers(tuned, again)
    assert load_model(str(again), "cpu").image_key() == model.image_key()
    with pytest.raises(UserError, match="--to hf"):
        export(tuned, tmp_path / "other", to="open-clip")


@pytest.mark.slow
def test_commands_take_a_siglip_folder(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path / "siglip", "T5Tokenizer")
    make_triples(12, tmp_path / "pictures")
    rows = make_triples(12).to_pylist()
    for row in rows:
        (tmp_path / "pictures" / f"{row['image_id']}.txt").write_text(row["caption"])
    write_triples(tmp_path / "triples.parquet", rows)

    def run(words: str) -> str:
        assert main(words.split()) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    assert "11 added" in run("index pictures --base siglip --index index")
    learn = "--epochs 1 --batch-size 6 --loss-weight S=0 --out run"
    train = f"train triples.parquet --base siglip --images pictures --bank index {learn}"
    assert "12 rows, and a bank of 11 pictures." in run(train)
    base, tuned = (load_model(one, "cpu") for one in ("siglip", "run/last.safetensors"))
    assert tuned.image_key() == base.image_key()
    texts = ["red dog", "dog"]
    assert not torch.equal(encode_texts(base, texts), encode_texts(tuned, texts))
    scored = "--benchmarks image-text-retrieval --captions pictures --out report"
    run(f"evaluate base=siglip tuned=run/last.safetensors {scored}")
    assert {"base", "tuned"} <= set(json.loads(Path("report/report.json").read_text())["models"])
    checked = run("swap-check --index index --base siglip --tuned run --queries pictures")
    assert "the index stays valid" in checked and "of 11 captions" in checked
    again = "index pictures --index index --base siglip --tuned run/last.safetensors"
    assert "11 unchanged" in run(again)
    assert "share" in run("search dog --index index --models base,tuned")


def test_siglips_own_tokenizer_needs_no_sentencepiece(tmp_path) -> None:
    from tokenizers import Tokenizer

    folder = saved(tmp_path / "theirs", "SiglipTokenizer")
    model = load_model(str(folder), "cpu")
    plain = Tokenizer.from_file(str(folder / "tokenizer.json"))
    plain.enable_truncation(64)
    plain.enable_padding(length=64, pad_token="<pad>")
    bare = str.maketrans("", "", string.punctuation)  # `canonicalize_text` of transformers
    texts = [re.sub(r"\s+", " ", one.lower().translate(bare)).strip() for one in WORDS]
    expected = [encoding.ids for encoding in plain.encode_batch(texts)]
    assert model.tokenizer(WORDS).tolist() == expected
    assert_as_transformers(model, export(model, tmp_path / "again", to="hf"))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        load_model(str(folder), "cpu")


@pytest.mark.parametrize("clean", ["canonicalize", "lower", "whitespace"])
def test_a_siglip_of_open_clip_is_written_with_its_cleaning(clean, tmp_path) -> None:
    read = load_model(str(saved(tmp_path / "theirs", "T5Tokenizer", "gelu")), "cpu")
    config = deepcopy(read.spec.config)
    config["text_cfg"] |= {"tokenizer_mode": None, "tokenizer_kwargs": {"clean": clean}}
    model = OpenClip(replace(read.spec, config=config), build_clip(read.spec))
    assert not torch.equal(model.tokenizer(["&amp;"]), read.tokenizer(["&amp;"]))
    assert_as_transformers(model, export(model, tmp_path / "ours", to="hf"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"text_config__hidden_act": "relu"}, "has the activation 'relu'"),
        ({"text_config__projection_size": 20}, "no common space"),
        ({"vision_config__vision_use_head": False}, "no common space"),
        ({"vision_config__layer_norm_eps": 1e-5}, "layer_norm_eps other than 1e-06"),
        ({"vision_config__num_hidden_layers": 3}, "does not fit"),
        ({"vision_config__image_size": 10**9}, "impossibly large"),
    ],
)  # fmt: skip
def test_what_is_not_a_siglip_is_refused(changes, reason, tmp_path) -> None:
    folder = saved(tmp_path / "theirs", "T5Tokenizer")
    edited(folder, "config.json", **changes)
    with pytest.raises(UserError, match=reason):
        load_model(str(folder), "cpu")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of the hub, and no server."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:0")
    return tmp_path / "hub"


def cached(hub, repository: str):
    """Folder of a snapshot in the cache, in the layout of the hub's client."""
    place = hub / f"models--{repository.replace('/', '--')}"
    revision = "0" * 40
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(revision)
    return place / "snapshots" / revision


@pytest.mark.parametrize("to", ["hf", "open-clip"])
def test_a_repository_in_the_cache(hub, to, quick_clip) -> None:
    snapshot = cached(hub, "someone/tuned")
    export(quick_clip, snapshot, to=to)
    if to == "open-clip":  # the hub's repositories of open_clip hold both kinds of weights
        save_file({"x": torch.zeros(1)}, snapshot / "model.safetensors")
    found = load_model("hf-hub:someone/tuned", "cpu")
    assert found.architecture.name == {"hf": "tuned", "open-clip": "small"}[to]  # stated by ours
    assert found.image_key() == quick_clip.image_key()
    np.testing.assert_array_equal(ours(found), ours(quick_clip))


def test_without_network_one_line_reports_what_to_do(hub) -> None:
    with pytest.raises(UserError, match=r"hf-hub:a/b: it could not be .*local-dir:FOLDER"):
        load_model("hf-hub:a/b", "cpu")
    for name in ("hf-hub:a", "hf-hub:../..", "hf-hub:a/b/c"):
        with pytest.raises(UserError, match="is not OWNER/NAME"):
            load_model(name, "cpu")
