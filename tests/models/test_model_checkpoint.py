import json

import pytest
import torch
from safetensors.torch import save_file

from paraclip.errors import UserError
from paraclip.merging import merge
from paraclip.models import checkpoint
from paraclip.models.checkpoint import load_checkpoint, model_card, read_header, save_model
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
    assert header["architecture"]["name"] == "tiny" and (header["base"], header["steps"]) == (
        "b",
        3,
    )
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


def test_a_file_of_others_is_refused_with_the_way_to_name_it(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "plain.safetensors")
    with pytest.raises(UserError, match=r"ViT-B-32:.*plain\.safetensors"):
        read_header(tmp_path / "plain.safetensors")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "paraclip-model-9"}, "this version reads"),
        ({"text_files": {}}, "it lacks"),
        ({"architecture": {"kind": "mini"}}, "it lacks"),
        ({"note": json.loads("[" * 700 + "]" * 700)}, "its header .* nested deeper than 100"),
    ],
)
def test_a_header_of_another_version_or_without_parts_is_refused(mini, tmp_path, change, words):
    path = tmp_path / "model.safetensors"
    header = {"format": checkpoint._FORMAT, "architecture": mini.architecture.as_dict()}

    save_file({}, path, {"paraclip": json.dumps({**header, **mini.header(), **change})})
    with pytest.raises(UserError, match=words):
        load_checkpoint(path)


def test_a_torn_missing_or_changed_file_is_refused(clip, tmp_path):
    path = save_model(clip, tmp_path / "model.safetensors")
    content = path.read_bytes()
    header = {**read_header(path), "architecture": {**clip.architecture.as_dict(), "name": 5}}
    save_file(clip.state_dict(), path, {"paraclip": json.dumps(header)})
    with pytest.raises(UserError, match="name is not text"):
        load_checkpoint(path)
    for damaged, words in (
        (content[:-1000], "not a complete safetensors file"),
        (content[:-1] + bytes([content[-1] ^ 1]), "do not have the hash that its header states"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=words):
            load_checkpoint(path)
    with pytest.raises(UserError, match="there is no such file"):
        load_checkpoint(tmp_path / "none.safetensors")


def test_weights_that_do_not_fit_their_header_are_refused(clip, tmp_path):
    header = {"format": checkpoint._FORMAT, "architecture": clip.architecture.as_dict()}
    metadata = {"paraclip": json.dumps({**header, **clip.header()})}
    tensors = {name: value.clone() for name, value in clip.state_dict().items()}
    tensors["image_tower.class_embedding"] = torch.zeros(3)
    save_file(tensors, tmp_path / "shape.safetensors", metadata)
    tensors["image_tower.class_embedding"] = torch.zeros(1)  # would be broadcast
    save_file(tensors, tmp_path / "one.safetensors", metadata)
    del tensors["logit_scale"]
    save_file(tensors, tmp_path / "fewer.safetensors", metadata)
    for name in ("shape", "one", "fewer"):
        with pytest.raises(UserError, match="do not fit its header"):
            load_checkpoint(tmp_path / f"{name}.safetensors")


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
    from safetensors import SafetensorError

    path = save_model(clip, tmp_path / "model.safetensors")
    before = path.read_bytes()

    def full(tensors, place, metadata):
        place.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("paraclip.models.tensors.save_file", full)
    with pytest.raises(UserError, match="the disk is full"):
        save_model(clip, path)
    assert path.read_bytes() == before
    names = sorted(found.name for found in tmp_path.iterdir())
    assert names == [RECORD, "model.md", "model.safetensors"]


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
    card.write_text("my notes")
    assert load_checkpoint(save_model(mini, path, force=True)) is not None
    assert card.read_text() == own
