"""Refused exports and their reasons; where an export is written; what a header states of a base."""

import json
import math
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import pytest
import torch

from paraclip.api import export
from paraclip.commands.export import ExportConfig, export_command
from paraclip.errors import UserError
from paraclip.exporting import layouts
from paraclip.exporting.source import load_source
from paraclip.models.checkpoint import save_model
from paraclip.models.formats.onnx_graph import write_text_graph
from paraclip.models.loading import load_model
from paraclip.models.openclip import OpenClip
from tiny import TINY_CLIP, roberta_clip, small_clip, tiny_clip


@pytest.mark.parametrize("gain", [0.0, 1e30, math.nan])
def test_vectors_without_a_direction(gain: float, tmp_path: Path) -> None:
    model = small_clip(gain=gain)
    for target in ("opensearch", "open-clip"):
        with pytest.raises(UserError, match="zero, NaN or infinite"):
            export(model, tmp_path / "out", target=target)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("to", ["hf", "sentence-transformers"])
def test_a_tower_that_is_not_clips(to, tmp_path, mini) -> None:
    image = {"image_size": 32, "timm_model_name": "resnet10t", "timm_pool": "avg"}
    resnet = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    text = TINY_CLIP["text_cfg"]
    cases = [
        (roberta_clip(), "its text encoder is someone/tower and not"),
        (tiny_clip(vision_cfg=image), "its image encoder is timm's resnet10t"),
        (tiny_clip(vision_cfg=resnet), "its image encoder is a ResNet"),
        (tiny_clip(text_cfg={**text, "no_causal_mask": True}), "does not read to the end token"),
        (tiny_clip(text_cfg={**text, "vocab_size": 50000}), "its vocabulary has 50000 tokens"),
        (tiny_clip(text_cfg={**text, "ls_init_value": 0.1}), "has the option ls_init_value"),
        (tiny_clip(text_cfg={**text, "tokenizer_kwargs": {"clean": "lower"}}), "its tokenizer is"),
    ]
    for model, reason in cases:
        with pytest.raises(UserError, match=reason):
            export(model, tmp_path / "out", to=to)
    if to == "hf":
        with pytest.raises(UserError, match="its text encoder is a BERT"):
            export(mini, tmp_path / "out", to=to)
        model = small_clip()
        model.spec.preprocessing["resize_mode"] = "longest"
        with pytest.raises(UserError, match="its preprocessing is 'longest'"):
            export(model, tmp_path / "out", to=to)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "options", "reason"),
    [
        ("mini", {"to": "open-clip"}, "is not a model of open_clip"),
        ("mini", {"target": "lancedb"}, "is not a model of open_clip"),
        ("quick_clip", {"target": "clip-retrieval"}, "not one of open_clip's own architectures"),
    ],
)
def test_options_that_do_not_go_together(request, kind, options, reason, tmp_path) -> None:
    with pytest.raises(UserError, match=reason):
        export(request.getfixturevalue(kind), tmp_path / "out", **options)


def test_systems_refuse_a_base_that_they_do_not_use(named, tmp_path, mini) -> None:
    quick = named("ViT-B-32-quickgelu", quick=True)
    large, plain = named("ViT-B-32-256"), named("ViT-B-32")
    cases = [
        (quick, "rclip", "datacomp_s34b_b86k", "its base is ViT-B-32-quickgelu, which rclip does"),
        (large, "rclip", "other", "base are other, and rclip has ViT-B-32-256__datacomp"),
        (large, "rclip", None, "are not recorded, and rclip has.*--tag datacomp_s34b_b86k"),
        (large, "immich", "datacomp_s34b_b86k", "ViT-B-32-256, which immich does not load"),
        (quick, "immich", "metaclip_400m", "immich has .*ViT-B-32__openai"),
        (quick, "immich", None, "are not recorded, and immich has"),
        (quick, "fastembed", "laion2b_e16", "fastembed has ViT-B-32__openai"),
        (mini, "immich", None, "its base is mini, which immich does not load"),
        (mini, "transformers-js", None, "its text encoder is a BERT"),
        (plain, "fastembed", "openai", "it has GELU, and the base of fastembed QuickGELU"),
        (plain, "immich", "openai", "it has GELU, and the base of immich QuickGELU"),
    ]
    for model, target, tag, reason in cases:
        with pytest.raises(UserError, match=reason):
            export(model, tmp_path / "out", target=target, tag=tag)
    assert not (tmp_path / "out").exists()


def test_the_base_is_recorded_by_training(named, tmp_path) -> None:
    model = named("ViT-B-32-256")
    training = {"facts": {"base": "ViT-B-32-256:laion2b_e16:weights.pt"}, "identity": {"base": "x"}}
    path = save_model(model, tmp_path / "a.safetensors", {"training": training})
    with pytest.raises(UserError, match="are not recorded"):  # that tag is of another architecture
        export(path, tmp_path / "out", target="rclip")
    training["facts"]["base"] = "ViT-B-32-256:datacomp_s34b_b86k"
    path = save_model(model, tmp_path / "b.safetensors", {"training": training})
    merged = {"merged": {"base": "ViT-B-32-256:datacomp_s34b_b86k", "tuned": "b"}}
    other = save_model(model, tmp_path / "c.safetensors", merged)
    for checkpoint in (path, other):
        assert load_source(checkpoint).tags == ["datacomp_s34b_b86k"]


TRAINED = {"training": {"config": {"image_learning_rate": 1e-5}}}


def test_an_image_tower_that_is_not_the_bases_is_refused(quick_clip, mini, tmp_path) -> None:
    path = save_model(quick_clip, tmp_path / "model.safetensors", TRAINED)
    export(path, tmp_path / "out", base=str(path))  # nothing was changed after all
    for model, part in ((quick_clip, "image_tower.proj"), (mini, "image_tower.head.weight")):
        other = deepcopy(model)
        with torch.no_grad():
            other.get_parameter(part).add_(1e-6)
        base = save_model(model, tmp_path / f"{part}.safetensors")
        with pytest.raises(UserError, match="its image encoder or preprocessing is not that of"):
            export(other, tmp_path / "others", to="onnx", base=str(base))


def test_a_tower_that_exceeds_an_onnx_file(quick_clip, tmp_path, monkeypatch) -> None:
    small = partial(write_text_graph, largest=1000)
    monkeypatch.setattr(layouts, "write_text_graph", small)
    with pytest.raises(UserError, match="one ONNX file holds 2"):
        export(quick_clip, tmp_path / "out", target="transformers-js")


def test_a_card_has_its_parts_in_order_and_states_what_an_index_depends_on(
    named, tmp_path, capsys
) -> None:
    header = {"training": {"facts": {"base": "ViT-B-32:openai"}, "generator": "a language model"}}
    header |= {"base": "a ## Terms b\n## Terms\nc"}
    model, out = named("ViT-B-32-quickgelu", quick=True), tmp_path / "Größe 日本"
    path = save_model(model, tmp_path / "model.safetensors", header)
    export_command(ExportConfig(model=str(path), out=str(out), target="open-clip", half=True))
    assert "\n4." in capsys.readouterr().out
    card, facts = (out / "README.md").read_text("utf-8"), load_source(path).facts()
    assert facts["base_tags"] == ["openai"]
    for text in ("- base: a ## Terms b ## Terms c\n", "a language model", "To go back"):
        assert text in card
    parts = ["# Größe 日本", "## What an index", facts["image_tower"], facts["preprocessing"],
             facts["tokenizer"], " cosine ", "\n## Steps", "\n## Terms\n", "```json\n"]  # fmt: skip
    positions = [card.index(part) for part in parts]
    assert positions == sorted(positions)
    stated = json.loads(card.split("```json\n")[1].split("```")[0])["export"]
    assert stated["versions"] and stated | {"target": "open-clip", "half": True, **facts} == stated
    plain = (export(path, tmp_path / "plain") / "README.md").read_text("utf-8")
    assert "## Steps" not in plain and "cosine" not in plain


# --- where it is written, and what is known of the base ---


def tree(folder: Path) -> dict[str, str]:
    """The texts of all files below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def fill(model: OpenClip, path: Path, text: str = "new", then: Callable = list) -> None:
    """Export a folder with one file of this text; `then` is called in the middle."""

    def write(layout: object, source: object, folder: Path, *_: object) -> None:
        (folder / "inner").mkdir()
        (folder / "inner" / "a.txt").write_text(text)
        then()

    with patch.object(layouts, "write_layout", write):
        export(model, path)


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), UserError("a", "b", "c"), OSError(5, "x")])
def test_a_failure_keeps_the_folder_that_was_to_be_replaced(
    quick_clip: OpenClip, tmp_path: Path, fault: BaseException
) -> None:
    fill(quick_clip, tmp_path / "out", "old")
    with pytest.raises(type(fault)):
        fill(quick_clip, tmp_path / "out", then=Mock(side_effect=fault))
    assert tree(tmp_path)["out/inner/a.txt"] == "old"
    fill(quick_clip, tmp_path / "out")
    assert tree(tmp_path)["out/inner/a.txt"] == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_was_written_there_meanwhile_is_kept(quick_clip: OpenClip, tmp_path: Path) -> None:
    def write_mine() -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine.txt").write_text("mine")

    with pytest.raises(UserError, match="was not written"):
        fill(quick_clip, tmp_path / "out", then=write_mine)
    assert tree(tmp_path) == {"out/mine.txt": "mine"}


def test_a_link_to_a_folder_is_replaced_and_its_target_stays(
    quick_clip: OpenClip, tmp_path: Path
) -> None:
    fill(quick_clip, tmp_path / "target", "old")
    (tmp_path / "out").symlink_to(tmp_path / "target")
    fill(quick_clip, tmp_path / "out")
    assert tree(tmp_path / "target")["inner/a.txt"] == "old"
    assert tree(tmp_path / "out")["inner/a.txt"] == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "target"]


def test_an_export_replaces_exports_and_no_other_folder(
    tmp_path: Path, quick_clip: OpenClip
) -> None:
    (tmp_path / "out").mkdir()  # an empty folder is filled
    out = export(quick_clip, tmp_path / "out")
    export(quick_clip, out)
    for path in (out / "mine.txt", tmp_path / "photos" / "mine.txt", out / "README.md"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("kept")
        with pytest.raises(UserError, match="not written by ParaCLIP"):
            export(quick_clip, path.parent)
        assert path.read_text() == "kept"
        path.unlink()
    file = export(quick_clip, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="is a file, and a folder"):
        export(quick_clip, file, to="hf")


def test_what_is_exported_is_not_replaced(
    tmp_path: Path, quick_clip: OpenClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    file = save_model(quick_clip, Path("run/a.safetensors"))
    Path("b.safetensors").symlink_to(file)
    own = tmp_path / ".." / tmp_path.name / file
    for model in (str(file), "b.safetensors", f"ViT-B-32:{file}", f"ViT-B-32:openai:{file}", own):
        with pytest.raises(UserError, match="which would be overwritten"):
            export(model, file)
    for model in (file, f"ViT-B-32:{file}", tmp_path / "run", f"local-dir:{tmp_path}/run"):
        for out in (tmp_path, tmp_path / "run"):
            with pytest.raises(UserError, match=r"holds .*which is exported"):
                export(model, out)
            with pytest.raises(UserError, match="which is exported"):
                export(quick_clip, out, base=str(model))
    assert export(file, tmp_path / "run" / "export").is_dir()


def test_tags_are_those_of_the_image_tower(named: Callable[..., OpenClip], tmp_path: Path) -> None:
    model = named("ViT-B-32-quickgelu", quick=True)
    base = {"facts": {"base": "ViT-B-32:openai"}}
    changed = {"training": TRAINED["training"] | base}
    own = {"training": {"config": {"image_learning_rate": None}, **base}}
    for header, tags in (
        ({}, []), (own, ["openai"]), ({"made_from": own}, ["openai"]), ({"made_from": changed}, []),
        ({"merged": {}, "made_from": {"base": changed, "tuned": {"made_from": changed}}}, []),
    ):  # fmt: skip
        path = save_model(model, tmp_path / "model.safetensors", header)
        assert load_source(path).tags == tags


def test_a_model_that_was_edited_states_the_hash_of_its_weights(quick_clip, tmp_path) -> None:
    model = load_model(str(save_model(quick_clip, tmp_path / "model.safetensors")), "cpu")
    with torch.no_grad():
        model.text_tower.ln_final.bias.add_(0.1)
    again = load_model(str(export(model, tmp_path / "out", to="open-clip")), "cpu")
    assert torch.equal(again.text_tower.ln_final.bias, model.text_tower.ln_final.bias)


TEXT_ONLY = {"training": {"config": {"image_learning_rate": None}}}


@pytest.mark.parametrize(
    ("header", "trained"),
    [
        ({}, False), (TRAINED, True), (TEXT_ONLY, False), ({"training": "x"}, False),
        ({"training": {"config": [1]}}, False), ({**TRAINED, "made_from": TEXT_ONLY}, True),
        ({"merged": {}, "made_from": {"tuned": TRAINED}}, True),
        ({"merged": {}, "made_from": {"base": TRAINED, "tuned": TEXT_ONLY}}, False),
        (
            {"merged": {}, "made_from": {"tuned": {"merged": {}, "made_from": {"tuned": TRAINED}}}},
            True,
        ),
        ({"merged": {}, "made_from": {"tuned": None}}, False),
    ],
)  # fmt: skip
def test_the_header_states_whether_the_image_tower_was_trained(
    quick_clip: OpenClip, tmp_path: Path, header: dict[str, Any], trained: bool
) -> None:
    path = save_model(quick_clip, tmp_path / "model.safetensors", header)
    with pytest.raises(UserError, match=r"was trained too.*void") if trained else nullcontext():
        load_source(path)


def test_a_model_is_known_by_its_sizes_under_any_name(named: Callable[..., OpenClip]) -> None:
    models = [
        named("ViT-B-32-quickgelu", quick=True), small_clip("my-folder", quick_gelu=True),
        small_clip("other", embed_dim=8),
    ]  # fmt: skip
    names = [load_source(model).architecture for model in models]
    assert names == ["ViT-B-32-quickgelu", "ViT-B-32-quickgelu", "other"]
