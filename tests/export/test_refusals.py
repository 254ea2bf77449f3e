"""Refused exports and their reasons; nothing is overwritten."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from export_models import small_clip
from tiny_models import TINY_CLIP, word_files

from paraclip.api import export
from paraclip.commands.export import export_command
from paraclip.errors import UserError
from paraclip.exporting import onnx_graph
from paraclip.exporting.config import ExportConfig
from paraclip.exporting.hugging_face import clip_model
from paraclip.exporting.run import new_folder
from paraclip.exporting.source import open_source, read_source
from paraclip.exporting.targets import load_target
from paraclip.models.checkpoint import save_model
from paraclip.models.openclip import ClipSpec, OpenClip, build_clip


def other_clip(**changes: object) -> OpenClip:
    spec = ClipSpec("other", {**TINY_CLIP, **changes}, {})
    return OpenClip(spec, build_clip(spec))


def roberta() -> OpenClip:
    text = {"hf_model_name": "r", "hf_tokenizer_name": "r", "hf_pooler_type": "mean_pooler"}
    spec = ClipSpec("roberta", {**TINY_CLIP, "text_cfg": text}, {}, word_files("roberta"))
    return OpenClip(spec, build_clip(spec))


@pytest.mark.parametrize("to", ["hf", "sentence-transformers"])
def test_a_tower_that_is_not_clips(to, tmp_path, mini) -> None:
    image = {"image_size": 32, "timm_model_name": "resnet10t", "timm_pool": "avg"}
    resnet = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    text = TINY_CLIP["text_cfg"]
    cases = [
        (roberta(), "its text tower is r and not"),
        (other_clip(vision_cfg=image), "its image tower is timm's resnet10t"),
        (other_clip(vision_cfg=resnet), "its image tower is a ResNet"),
        (other_clip(text_cfg={**text, "no_causal_mask": True}), "does not read to the end token"),
        (other_clip(text_cfg={**text, "vocab_size": 50000}), "its vocabulary has 50000 tokens"),
        (other_clip(text_cfg={**text, "ls_init_value": 0.1}), "has the option ls_init_value"),
    ]
    for model, reason in cases:
        with pytest.raises(UserError, match=reason):
            export(model, tmp_path / "out", to=to)
    if to == "hf":
        with pytest.raises(UserError, match="its text tower is a BERT"):
            export(mini, tmp_path / "out", to=to)
    assert not list(tmp_path.iterdir())


def test_the_hint_names_only_formats_that_the_model_has(mini) -> None:
    with pytest.raises(UserError) as error:
        clip_model(mini, "Hugging Face's CLIP")
    assert error.value.hint == "Use --to onnx, which keeps any tower."
    with pytest.raises(UserError) as error:
        clip_model(roberta(), "Hugging Face's CLIP")
    assert error.value.hint == "Use --to onnx, which keeps any tower, or --to open-clip."


def test_open_clip_needs_a_model_of_open_clip(mini, tmp_path) -> None:
    for options in ({"to": "open-clip"}, {"target": "open-clip"}, {"target": "lancedb"}):
        with pytest.raises(UserError, match="is not a model of open_clip"):
            export(mini, tmp_path / "out", **options)


def test_systems_refuse_a_base_that_they_do_not_use(named, tmp_path, mini) -> None:
    quick = named("ViT-B-32-quickgelu", quick=True)
    large = named("ViT-B-32-256")
    cases = [
        (quick, "rclip", "datacomp_s34b_b86k", "its base is ViT-B-32-quickgelu:datacomp"),
        (large, "rclip", "other", "its base is ViT-B-32-256:other, and rclip uses"),
        (large, "rclip", None, "does not record its base.*datacomp_s34b_b86k"),
        (large, "immich", "datacomp_s34b_b86k", "ViT-B-32-256, which immich does not load"),
        (quick, "immich", "metaclip_400m", "immich has .*ViT-B-32__openai"),
        (quick, "immich", None, "are not recorded, and immich has"),
        (quick, "fastembed", "laion2b_e16", "fastembed uses ViT-B-32:openai"),
        (mini, "immich", None, "its base is mini, which immich does not load"),
        (mini, "transformers-js", None, "its text tower is a BERT"),
    ]
    for model, target, tag, reason in cases:
        with pytest.raises(UserError, match=reason):
            export(model, tmp_path / "out", target=target, tag=tag)
    assert not (tmp_path / "out").exists()


def test_a_name_that_open_clip_does_not_know(quick_clip, tmp_path) -> None:
    for target in ("lancedb", "clip-retrieval"):
        with pytest.raises(UserError, match="is not one of open_clip's own architectures"):
            export(quick_clip, tmp_path / "out", target=target)


@pytest.mark.parametrize("target", ["fastembed", "immich"])
def test_gelu_where_the_system_has_quickgelu(target, named, tmp_path) -> None:
    plain = named("ViT-B-32")
    with pytest.raises(UserError, match=f"it has GELU, and the base of {target} QuickGELU"):
        export(plain, tmp_path / "out", target=target, tag="openai")


def test_the_steps_begin_with_swap_check_and_name_both_folders_of_immich(named) -> None:
    source = read_source(named("ViT-B-32-quickgelu", quick=True), "openai")
    system = load_target("immich")
    assert "swap-check --index postgresql://... --base ViT-B-32:openai" in system.first_step(source)
    steps = " ".join(system.steps(source, Path("out")))
    for folder in ("clip/ViT-B-32__openai/textual", "clip/ViT-B-32__openai/REVISION/textual"):
        assert folder in steps


def test_the_base_is_recorded_by_training(named, tmp_path) -> None:
    model = named("ViT-B-32-256")
    training = {"facts": {"base": "ViT-B-32-256:laion2b_e16:weights.pt"}, "identity": {"base": "x"}}
    path = save_model(model, tmp_path / "a.safetensors", {"training": training})
    with pytest.raises(UserError, match="does not record"):  # that tag is of another architecture
        export(path, tmp_path / "out", target="rclip")
    training["facts"]["base"] = "ViT-B-32-256:datacomp_s34b_b86k"
    path = save_model(model, tmp_path / "b.safetensors", {"training": training})
    merged = {"merged": {"base": "ViT-B-32-256:datacomp_s34b_b86k", "tuned": "b"}}
    other = save_model(model, tmp_path / "c.safetensors", merged)
    for checkpoint in (path, other):
        from paraclip.exporting.source import open_source

        assert open_source(checkpoint).tags == ["datacomp_s34b_b86k"]


@pytest.mark.parametrize("merged", [False, True])
def test_a_trained_image_tower_is_refused(merged, quick_clip, tmp_path) -> None:
    training = {"training": {"config": {"image_learning_rate": 1e-6}}}
    header = {"merged": {}, "made_from": {"tuned": training}} if merged else training
    path = save_model(quick_clip, tmp_path / "model.safetensors", header)
    with pytest.raises(UserError, match=r"its image tower was trained too.*would be void"):
        export(path, tmp_path / "out")
    base = save_model(quick_clip, tmp_path / "base.safetensors")
    export(path, tmp_path / "out", base=str(base))  # nothing was changed after all


def test_another_image_tower_than_the_bases(quick_clip, tmp_path) -> None:
    other = small_clip(quick_gelu=True)
    with torch.no_grad():
        other.image_tower.proj.add_(1e-6)
    base = save_model(other, tmp_path / "base.safetensors")
    with pytest.raises(UserError, match="its image tower or preprocessing is not that of"):
        export(quick_clip, tmp_path / "out", base=str(base))


def test_an_aligned_image_head_is_another_image_tower(mini, tmp_path) -> None:
    base = save_model(mini, tmp_path / "base.safetensors")
    aligned = deepcopy(mini)
    with torch.no_grad():
        aligned.image_head.weight.add_(1)
    with pytest.raises(UserError, match="its image tower or preprocessing is not that of"):
        export(aligned, tmp_path / "out", to="sentence-transformers", base=str(base))
    assert open_source(aligned).facts()["image_tower"] != open_source(mini).facts()["image_tower"]


def test_nothing_is_overwritten_without_force(quick_clip, tmp_path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("kept")
    with pytest.raises(UserError, match=r"exists already.*--force"):
        export(quick_clip, out)
    assert (out / "mine.txt").read_text() == "kept"
    file = tmp_path / "w.safetensors"
    export(quick_clip, file)
    before = file.read_bytes()
    with pytest.raises(UserError, match="exists already"):
        export(quick_clip, file, half=True)
    assert file.read_bytes() == before
    with pytest.raises(UserError, match="is a file, and a folder"):
        export(quick_clip, file, to="hf", force=True)


def test_an_empty_folder_is_filled(tmp_path) -> None:
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as folder:
        (folder / "a").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]


def test_a_damaged_checkpoint(quick_clip, tmp_path) -> None:
    path = save_model(quick_clip, tmp_path / "model.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[:-1000])
    with pytest.raises(UserError, match="is not a complete safetensors file"):
        export(path, tmp_path / "out")
    flipped = bytearray(content)
    flipped[-5] ^= 0xFF
    path.write_bytes(flipped)
    with pytest.raises(UserError, match="do not have the hash"):
        export(path, tmp_path / "out", to="hf")
    with pytest.raises(UserError, match="there is no such file"):
        export(tmp_path / "none.safetensors", tmp_path / "out")


def test_a_tower_that_exceeds_an_onnx_file(quick_clip, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(onnx_graph, "LARGEST", 1000)
    with pytest.raises(UserError, match="one ONNX file holds 2"):
        export(quick_clip, tmp_path / "out", to="onnx")


def test_options_that_do_not_go_together(quick_clip, tmp_path) -> None:
    for options, reason in [
        ({"to": "hf", "target": "immich"}, "Leave one of them out"),
        ({"to": "hf", "int8": True}, "--int8: does not apply to --to hf. Use --to onnx"),
        ({"to": "onnx", "half": True}, "--half: does not apply to --to onnx"),
        ({"image_tower": True}, "--image-tower: does not apply"),
        ({"to": "weights"}, "End it in"),
        ({"target": "lancedb", "int8": True}, "--int8: does not apply to --for lancedb"),
    ]:
        with pytest.raises(UserError, match=reason):
            export(quick_clip, tmp_path / "out", **options)


def test_preprocessing_that_hugging_face_lacks(tmp_path) -> None:
    model = small_clip()
    model.spec.preprocessing["resize_mode"] = "longest"
    with pytest.raises(UserError, match="its preprocessing is 'longest'"):
        export(model, tmp_path / "out", to="hf")


def test_the_card_states_what_an_index_depends_on(named, tmp_path, capsys) -> None:
    model = named("ViT-B-32-quickgelu", quick=True)
    header = {"training": {"facts": {"base": "ViT-B-32:openai"}, "generator": "a language model"}}
    path = save_model(model, tmp_path / "model.safetensors", header)
    out = tmp_path / "out"
    export_command(ExportConfig(checkpoint=str(path), out=str(out), target="open-clip"))
    shown = capsys.readouterr().out
    assert [line[:2] for line in shown.splitlines()[1:]] == ["1.", "2.", "3.", "4."]
    card = (out / "README.md").read_text()
    from paraclip.exporting.source import open_source

    facts = open_source(path).facts()
    assert facts["base_tags"] == ["openai"]
    for name in ("image_tower", "tokenizer", "preprocessing"):
        assert facts[name] in card
    assert "## Terms" in card and "a language model" in card and "To go back" in card
    assert json.loads(card.split("```json")[1].split("```")[0])["export"]["target"] == "open-clip"


@pytest.mark.parametrize("to", ["open-clip", "hf", "sentence-transformers", "weights"])
def test_the_command_reports_how_to_load(to, quick_clip, tmp_path, capsys) -> None:
    path = save_model(quick_clip, tmp_path / "model.safetensors")
    out = tmp_path / ("out.safetensors" if to == "weights" else "out")
    export_command(ExportConfig(checkpoint=str(path), out=str(out), to=to))
    assert str(out) in capsys.readouterr().out.splitlines()[-1]
