import json

import pytest
import torch
from huggingface_hub import ModelCard, ModelCardData
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from paraclip.errors import UserError
from paraclip.merging import merge
from paraclip.models.card import model_card
from paraclip.models.checkpoint import load_checkpoint, read_header, save_model
from paraclip.models.loading import load_model
from paraclip.models.sources import absolute_name, model_files
from paraclip.output_folder import RECORD
from tiny import tiny_clip


@pytest.mark.parametrize("kind", ["mini", "clip"])
def test_a_saved_model_loads_bit_for_bit(request, kind, tmp_path):
    model = request.getfixturevalue(kind)
    again = load_checkpoint(save_model(model, tmp_path / "model.safetensors"))
    assert again.architecture == model.architecture
    ours, theirs = model.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    ids = model.tokenize(["a red disc", "paper"]).ids
    assert torch.equal(again.tokenize(["a red disc", "paper"]).ids, ids)
    assert torch.equal(again.encode_tokens(ids), model.encode_tokens(ids))
    assert again.image_key() == model.image_key()
    assert not again.training


def test_the_header_states_provenance_and_a_hash_of_the_weights(clip, tmp_path):
    header = read_header(save_model(clip, tmp_path / "a.safetensors", {"base": "b", "steps": 3}))
    assert (header["architecture"]["name"], header["base"], header["steps"]) == ("tiny", "b", 3)
    assert header["logit_scale"] == pytest.approx(float(clip.logit_scale.detach()))
    same = read_header(save_model(clip, tmp_path / "b.safetensors"))["weights"]
    assert same == header["weights"] and len(same) == 16
    other = tiny_clip()
    with torch.no_grad():
        other.logit_scale.add_(1e-3)
    assert read_header(save_model(other, tmp_path / "c.safetensors"))["weights"] != same


def test_a_card_is_next_to_the_checkpoint_and_its_values_are_not_html(mini, tmp_path):
    nasty, shown = "<img src=x>\n# head", "&lt;img src=x&gt; # head"
    extra = {"training": {"facts": {"generator": "SmolLM2 with adapter", "licence": "Apache-2.0"}}}
    save_model(mini, tmp_path / "tuned.safetensors", {"base": nasty, **extra})
    card = (tmp_path / "tuned.md").read_text()
    for line in ("# tuned", f"- base: {shown}", "- generator: SmolLM2 with adapter", "## Terms"):
        assert line in card
    assert "- licence: Apache-2.0" in card and "- data: not recorded" in card
    assert "<img" not in card.split("## Terms")[0]


def test_the_card_finds_what_training_recorded_and_leaves_the_tokenizer_out(mini):
    training = {"identity": {"base": "8c1f"}, "facts": {"generators": ["a", "b"], "base": "mini"}}
    header = {"architecture": mini.architecture.as_dict(), "text_files": {"tokenizer.json": "xyz"}}
    card = model_card("a", {**header, "training": training})
    lines = card.split("## Terms")[0].splitlines()
    found = [line for line in lines if line.startswith(("- base", "- generator"))]
    assert found == ["- base: mini", "- generator: a", "- generator: b"] and "xyz" not in card


@pytest.mark.parametrize(
    ("base", "found"),
    [
        ("mini", ["sentence-transformers/all-MiniLM-L6-v2"]),
        ("ViT-B-32:laion2b_s34b_b79k", ["laion/CLIP-ViT-B-32-laion2B-s34B-b79K"]),
        ("hf-hub:someone/clip", ["someone/clip"]),
        ("ViT-B-32:openai:mine.safetensors", None),  # the file may be another's
        ("ViT-B-32:mine.safetensors", None),
        ("runs/tuned/last.safetensors", None),
    ],
)
def test_the_hubs_parser_reads_the_base_the_languages_and_the_data(mini, base, found):
    taught = {"taught_by": "c", "made_from": {"base": "ViT-B-16:openai"}}
    facts = {
        "base": base, "teachers": {"1": taught}, "source": "hf://datasets/someone/captions/a.csv",
    }  # fmt: skip
    header = {
        "architecture": mini.architecture.as_dict(),
        "training": {"config": {"languages": "en,de"}, "facts": facts},
    }
    card = ModelCard(model_card("a", header))
    assert isinstance(card.data, ModelCardData) and card.text.startswith("# a\n")
    data = card.data.to_dict()
    assert data.get("base_model") == found
    assert data.get("base_model_relation") == ("finetune" if found else None)
    assert data["language"] == ["de", "en"] and data["datasets"] == ["someone/captions"]
    assert (data["license"], data["library_name"]) == ("other", "paraclip")


def test_a_card_of_nothing_known_claims_nothing(mini):
    data = ModelCard(model_card("a", {"architecture": mini.architecture.as_dict()})).data
    known = {"library_name", "license", "license_name", "pipeline_tag", "tags"}
    assert set(data.to_dict()) == known


TOO_DEEP = json.loads("[" * 700 + "]" * 700)


@pytest.mark.parametrize(
    ("header", "tensors", "words"),
    [
        (None, {}, r"ViT-B-32:.*model\.safetensors"),  # of another program
        ({"format": "paraclip-model-9"}, {}, "this version reads"),
        ({"text_files": 3}, {}, "cannot be built"),
        ({"architecture": {"kind": "open_clip"}}, {}, "it lacks"),
        ({"architecture": {"kind": "open_clip", "name": 5}}, {}, "name is not text"),
        ({"note": TOO_DEEP}, {}, "its header .* nested deeper than 100"),
        ({}, {"image_tower.class_embedding": torch.zeros(3)}, "do not fit its header"),
        ({}, {"image_tower.class_embedding": torch.zeros(1)}, "do not fit its header"),  # broadcast
        ({}, {"logit_scale": None}, "do not fit its header"),
        ({}, {"logit_scale": torch.tensor(0.0)}, "do not have the hash that its header states"),
        ({}, {"logit_scale": torch.tensor(1)}, "logit_scale has the type int64"),
        ({}, {"logit_scale": torch.tensor(torch.inf)}, "logit_scale .* not finite"),
    ],
)
def test_a_header_or_weights_that_are_not_as_written_are_refused(
    clip, tmp_path, header, tensors, words
):
    path = save_model(clip, tmp_path / "model.safetensors")
    written = None if header is None else {"paraclip": json.dumps({**read_header(path), **header})}
    kept = {name: one for name, one in {**load_file(path), **tensors}.items() if one is not None}
    save_file(kept, path, written)
    with pytest.raises(UserError, match=words):
        load_checkpoint(path)


def test_a_torn_or_missing_file_is_refused(clip, tmp_path):
    path = save_model(clip, tmp_path / "model.safetensors")
    path.write_bytes(path.read_bytes()[:-1000])
    for file, words in ((path, "not a complete safetensors file"), (tmp_path / "none", "no such")):
        with pytest.raises(UserError, match=words):
            load_checkpoint(file)


def test_terms_are_handed_on_from_checkpoint_to_checkpoint(mini, tmp_path):
    facts = {"facts": {"generator": "some LLM", "licence": "its terms", "source": "my pictures"}}
    tuned = load_checkpoint(save_model(mini, tmp_path / "tuned.safetensors", {"training": facts}))
    merged = merge(mini, tuned, 0.5)
    save_model(merged, tmp_path / "merged.safetensors", {"merged": {"base": "mini"}})
    again = load_checkpoint(tmp_path / "merged.safetensors")
    save_model(again, tmp_path / "again.safetensors")
    for name in ("merged", "again"):
        card = (tmp_path / f"{name}.md").read_text()
        for line in ("base: mini", "data: my pictures", "generator: some LLM", "licence: its t"):
            assert f"- {line}" in card, (name, line)


def test_a_full_disk_leaves_the_old_checkpoint_whole(clip, tmp_path, monkeypatch):
    path = save_model(clip, tmp_path / "model.safetensors")
    before = path.read_bytes()

    def full(tensors, place, metadata):
        place.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("paraclip.models.tensors.save_file", full)
    with pytest.raises(UserError, match="the disk is full"):
        save_model(clip, path)
    assert path.read_bytes() == before
    assert {found.name for found in tmp_path.iterdir()} == {RECORD, "model.md", path.name}


def test_only_checkpoints_and_their_cards_are_replaced(mini, tmp_path):
    path, card = tmp_path / "notes.safetensors", tmp_path / "notes.md"
    for _ in range(2):
        save_model(mini, path)
    own = card.read_text()
    for file, content in ((card, b"my notes"), (card, own.encode() + b"edited"), (path, b"{}")):
        before = file.read_bytes()
        file.write_bytes(content)
        with pytest.raises(UserError, match=rf"{file.name}: exists and was not written"):
            save_model(mini, path)
        assert file.read_bytes() == content
        file.write_bytes(before)


@pytest.mark.parametrize(
    ("use", "taken"),
    [("tuned", "last"), ("merged", "merged"), ("base", "merged"), (None, "merged")],
)
def test_the_folder_of_a_run_names_the_model_that_it_recommends(use, taken, tmp_path):
    choice = {} if use is None else {"choice": {"use": use}}
    (tmp_path / "summary.json").write_text(json.dumps(choice))
    for name in ("run.json", "last.safetensors", "merged.safetensors"):
        (tmp_path / name).touch()
    file = tmp_path / f"{taken}.safetensors"
    assert absolute_name(str(tmp_path)) == str(file) and model_files(str(tmp_path)) == [file]
    with pytest.raises(UserError, match=rf"{taken}\.safetensors: .*complete"):
        load_model(str(tmp_path))
