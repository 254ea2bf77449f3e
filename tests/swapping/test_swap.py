"""`paraclip swap`: a text encoder in another program's cache is replaced, and restored."""

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from program_caches import (
    COMMIT,
    KINDS,
    SIGLIP,
    TEXT,
    VISION,
    base_of,
    contents,
    is_prepared,
    small_base,
    without_prepared,
    write_snapshot,
    write_text_file,
)

import paraclip
from benchmarks.export.loaders import environments
from paraclip.cli import main
from paraclip.compute.onnx_session import weight_files
from paraclip.errors import UserError
from paraclip.files import file_hash
from paraclip.models.checkpoint import save_model
from paraclip.models.features import encode_texts
from paraclip.models.loading import load_model
from paraclip.models.openclip import OpenClip
from paraclip.swapping.run import Swapped, inspect_swap, swap, undo
from tiny import draw, other_image_tower, without_rights

pytestmark = pytest.mark.slow
TEXTS = ["a red disc", "small blue square on white paper"]
TEXTUAL = "clip/ViT-B-32__openai/textual"
FILES = {
    "immich": (f"{TEXTUAL}/model.onnx", "clip/ViT-B-32__openai/v2/textual/model.onnx"),
    "rclip": ("ViT-B-32-256-datacomp_s34b_b86k/textual.onnx",),
    "fastembed": (f"{TEXT}/snapshots/{COMMIT}/model.onnx",),
    "hugging-face": (f"models--openai--clip/snapshots/{COMMIT}/model.safetensors",),
    "weaviate": ("text/model.safetensors",),
    "librephotos": ("clip_vit_b32/text_model.onnx",),
    "librephotos MobileCLIP": ("mobileclip_s2/text_model.onnx",),
    "fastembed SigLIP": (f"{SIGLIP}/snapshots/{COMMIT}/onnx/text_model.onnx",),
}
"""What a program reads."""
IMAGES = {
    "immich": "**/visual/model.onnx",
    "rclip": "*/visual.onnx",
    "fastembed": f"{VISION}/snapshots/*/model.onnx",
    "librephotos": "clip_vit_b32/vision_model.onnx",
}
"""The graph of the image tower, by system."""


def tag(kind: str) -> str:
    return base_of(kind)[1]


def vectors(file: Path, model) -> np.ndarray:
    """Unit vectors of the texts by what is in a program's cache."""
    if file.suffix == ".safetensors":
        return encode_texts(load_model(str(file.parent), "cpu"), TEXTS).numpy()
    graph = onnxruntime.InferenceSession(file)
    node = graph.get_inputs()[0]
    kind = np.int32 if "int32" in node.type else np.int64
    rows = []
    for text in TEXTS:
        ids = model.tokenize([text]).ids.numpy()
        padded = np.zeros((1, model.architecture.context_length), kind)
        padded[:, : ids.shape[1]] = ids
        rows.append(graph.run(None, {node.name: padded})[0][0])
    found = np.stack(rows)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", KINDS)
def test_the_program_reads_the_tuned_encoder_until_it_is_undone(kind, cache, tuned) -> None:
    folder, system = cache(kind), kind.split()[0]
    if system == "hugging-face":  # two repositories with this model are ambiguous
        shutil.rmtree(folder / "models--laion--clip")
    before = contents(folder)
    files = [folder / name for name in FILES[kind]]
    hashes = [file_hash(file) for file in files]
    done = paraclip.swap(system, folder, tuned[kind], tag=tag(kind))
    assert done.files == files
    expected = encode_texts(tuned[kind], TEXTS).numpy()
    for file, kept, old in zip(files, done.kept, hashes, strict=True):
        np.testing.assert_allclose(vectors(file, tuned[kind]), expected, atol=1e-4)
        assert kept.name == f"{file.name}.{old}.{file_hash(file)}.base"
        assert file_hash(kept) == old
    changed = {name for name, one in before.items() if contents(folder).get(name) != one}
    prepared = {name for name in before if is_prepared(name)}
    sizes = {name for name in before if name.endswith("files_metadata.json")}
    assert changed == {*FILES[kind]} | prepared | sizes
    assert swap(system, folder, tuned[kind], tag=tag(kind)).files == []
    state = paraclip.inspect_swap(system, folder)
    assert {*files} <= {*state.files} and not state.left
    restored = paraclip.undo_swap(system, folder).files
    assert {path.parent for path in files} <= {path.parent for path in restored}
    assert contents(folder) == {name: before[name] for name in before if name not in prepared}
    for deed in (undo, inspect_swap):
        with pytest.raises(UserError, match="no swapped file"):
            deed(system, folder)


def test_weights_beside_a_graph_come_and_go_with_it(large, tuned) -> None:
    before = contents(large)
    files = [large / name for name in FILES["immich"]]
    assert swap("immich", large, tuned["immich"], tag="openai").files == files
    for file in files:
        expected = encode_texts(tuned["immich"], TEXTS).numpy()
        np.testing.assert_allclose(vectors(file, tuned["immich"]), expected, atol=1e-5)
        (weights,) = weight_files(file)
        assert weights.name.split(".")[-2] == file_hash(weights)
    rest = without_prepared(before)
    stays = {name: one for name, one in rest.items() if name not in FILES["immich"]}
    assert contents(large).items() >= stays.items()
    assert swap("immich", large, tuned["immich"], tag="openai").files == []
    with pytest.raises(UserError, match="swapped already"):  # the graphs differ by a name alone
        swap("immich", large, small_base("immich", seed=2), tag="openai")
    undo("immich", large)
    assert contents(large) == rest


def test_weights_that_a_kept_graph_names_stay(large, tuned) -> None:
    """The base of a swap may be an export that was copied there by hand."""
    swap("immich", large, tuned["immich"], tag="openai")
    for kept in large.rglob("*.base"):
        kept.unlink()
    before = contents(large)
    swap("immich", large, small_base("immich", seed=2), tag="openai")
    assert len([*large.rglob("model.onnx.*.data")]) == 2 * len(FILES["immich"])
    undo("immich", large)
    assert contents(large) == before


LOADERS = {
    "fastembed": """
from fastembed import TextEmbedding
model = TextEmbedding("Qdrant/clip-ViT-B-32-text", cache_dir=folder, local_files_only=True)
vectors = list(model.embed(texts))
""",
    "fastembed SigLIP": """
from fastembed import TextEmbedding
model = TextEmbedding("google/siglip2-base-patch16-224", cache_dir=folder, local_files_only=True)
vectors = list(model.embed(texts))
""",
    "rclip": """
os.environ["RCLIP_DATADIR"] = folder
from rclip.model import Model
vectors = Model().compute_text_features(texts)
""",
    "weaviate": """
from sentence_transformers import SentenceTransformer
vectors = SentenceTransformer(f"{folder}/text", device="cpu").encode(texts)
""",
}
"""How the programs find and load what is in `folder`."""
WRITERS = {
    "weaviate": """
from sentence_transformers import SentenceTransformer
for part in ("text", "clip"):
    SentenceTransformer(f"{folder}/{part}", device="cpu").save(f"{folder}/saved/{part}")
    shutil.rmtree(f"{folder}/{part}")
    os.rename(f"{folder}/saved/{part}", f"{folder}/{part}")
""",
}
"""How a program writes its cache itself, where a model in `folder` stands for the download."""


@pytest.mark.parametrize(
    ("kind", "environment"),
    [
        ("fastembed", "fastembed"), ("fastembed SigLIP", "fastembed"), ("rclip", "rclip3"),
        ("rclip", "rclip4"), ("weaviate", "weaviate"),
    ],
)  # fmt: skip
def test_the_programs_own_loader_finds_it(kind, environment, cache, tuned, tmp_path) -> None:
    python = environments.program(environment)
    if python is None:
        pytest.skip(f"no environment {environment}: make targets creates it")
    folder, system = cache(kind), kind.split()[0]

    def run(code: str) -> None:
        start = f"import os, shutil, numpy\nfolder, texts = {str(folder)!r}, {TEXTS!r}\n"
        variables = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
        words = [python, "-c", start + code]
        subprocess.run(words, check=True, cwd=tmp_path, env=variables, timeout=200)

    run(WRITERS.get(system, ""))
    before = contents(folder)
    swap(system, folder, tuned[kind], tag=tag(kind))
    run(f"{LOADERS[kind]}\nnumpy.save('vectors.npy', numpy.stack(vectors))")
    found = np.load(tmp_path / "vectors.npy")
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    np.testing.assert_allclose(found, encode_texts(tuned[kind], TEXTS).numpy(), atol=1e-5)
    undo(system, folder)
    assert contents(folder) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_another_base_is_refused(kind, cache, tuned) -> None:
    folder, system = cache(kind), kind.split()[0]
    before = contents(folder)
    blurred = deepcopy(tuned[kind])
    blurred.spec.preprocessing["mean"] = (0.4, 0.5, 0.6)
    wrong = small_base("rclip" if kind != "rclip" else "immich", seed=1)
    for model, reason in (
        (other_image_tower(tuned[kind]), "image encoder"),
        (blurred, "preprocessing"),
        (wrong, r"GELU|its base is|activation|does not load"),
    ):
        with pytest.raises(UserError, match=reason):
            swap(system, folder, model, tag=tag(kind))
    assert contents(folder) == before


def test_two_bases_of_a_program_are_swapped_and_restored_each(cache, tuned) -> None:
    kinds = ("librephotos", "librephotos MobileCLIP")
    folder, second = map(cache, kinds)
    with pytest.raises(UserError, match=r"holds no mobileclip_s2/text_model\.onnx"):
        swap("librephotos", folder, tuned[kinds[1]], tag=tag(kinds[1]))
    shutil.copytree(second, folder, dirs_exist_ok=True)
    before = without_prepared(contents(folder))
    for kind in kinds:
        swap("librephotos", folder, tuned[kind], tag=tag(kind))
    files = [folder / name for kind in kinds for name in FILES[kind]]
    assert inspect_swap("librephotos", folder).files == files
    assert undo("librephotos", folder).files == files
    assert contents(folder) == before


def test_what_is_not_there_or_ambiguous_is_refused(cache, tuned, tmp_path) -> None:
    model = tuned["immich"]
    with pytest.raises(UserError, match="ViT-B-32__laion2b_e16"):
        swap("immich", cache("immich"), model, tag=None)
    hub = tmp_path / "snapshots" / "hub"
    hub.parent.mkdir()
    cache("hugging-face").rename(hub)
    with pytest.raises(UserError, match=r"several such models.*laion--clip.*openai--clip"):
        swap("hugging-face", hub, model)
    one = hub / "models--laion--clip"
    (file,) = swap("hugging-face", one, model).files
    assert file.name == "open_clip_model.safetensors"
    np.testing.assert_allclose(vectors(file, model), encode_texts(model, TEXTS).numpy(), atol=1e-6)


def test_what_a_program_reads_otherwise_is_refused(cache, tuned, tmp_path) -> None:
    folder = cache("immich")
    textual = folder / TEXTUAL
    (textual / "model.armnn").touch()
    with pytest.raises(UserError, match=r"model\.armnn: is read on some devices"):
        swap("immich", folder, tuned["immich"], tag="openai")
    (textual / "model.armnn").unlink()
    other = write_text_file("fastembed", small_base("fastembed"), tmp_path / "out", "model.onnx")
    shutil.copy(other, textual / "model.onnx")
    with pytest.raises(UserError, match="has the inputs input_ids, and not text"):
        swap("immich", folder, tuned["immich"], tag="openai")
    (textual / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(UserError, match="not a graph that onnxruntime can run"):
        swap("immich", folder, tuned["immich"], tag="openai")


@pytest.mark.parametrize("system", IMAGES)
def test_an_image_tower_that_is_a_pipe_is_refused(system, cache, tuned) -> None:
    folder = cache(system)
    (graph,) = folder.glob(IMAGES[system])
    graph.unlink()
    os.mkfifo(graph)
    with pytest.raises(UserError, match="is a pipe"):
        swap(system, folder, tuned[system], tag=tag(system))


def test_a_second_model_needs_an_undo_and_a_damaged_base_is_not_restored(cache, tuned) -> None:
    folder = cache("hugging-face") / "models--openai--clip"
    swap("hugging-face", folder, tuned["hugging-face"])
    before = contents(folder)
    second = small_base("hugging-face", seed=2)
    with pytest.raises(UserError, match=r"swapped already.*--undo"):
        swap("hugging-face", folder, second)
    assert contents(folder) == before
    undo("hugging-face", folder)
    (kept,) = swap("hugging-face", folder, second).kept
    kept.resolve().write_bytes(b"other")
    before = contents(folder)
    with pytest.raises(UserError, match="SHA-256"):
        undo("hugging-face", folder)
    assert contents(folder) == before


def test_other_repositories_stay_as_they_are(cache, tuned, tmp_path) -> None:
    hub = cache("hugging-face")
    # open_clip downloads weights alone of a model that it knows by name
    (hub / "models--laion--clip" / "snapshots" / COMMIT / "open_clip_config.json").unlink()
    with pytest.raises(UserError, match="configuration beside them"):
        swap("hugging-face", hub / "models--laion--clip", tuned["hugging-face"])
    other = other_image_tower(small_base("hugging-face"))
    written = write_text_file("hugging-face", other, tmp_path / "other", "model.safetensors")
    write_snapshot(hub / "models--someone--other", written.parent)
    names = ("models--someone--other", "models--laion--clip")
    before = [contents(hub / name) for name in names]
    (file,) = swap("hugging-face", hub, tuned["hugging-face"]).files
    assert file == hub / FILES["hugging-face"][0]
    assert [contents(hub / name) for name in names] == before


def test_a_cache_that_may_not_be_read_is_not_called_empty(tuned, tmp_path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir(mode=0)
    with without_rights():
        with pytest.raises(UserError, match="may not be read"):
            undo("immich", folder)
        with pytest.raises(UserError, match="may not be read"):
            swap("immich", folder, tuned["immich"], tag="openai")


def test_what_cannot_be_written_is_an_error_of_one_line(cache, tuned, monkeypatch) -> None:
    folder, model = cache("hugging-face") / "models--openai--clip", tuned["hugging-face"]
    before = contents(folder)
    with monkeypatch.context() as denied:
        denied.setattr(os, "access", lambda path, mode: mode != os.W_OK)
        with pytest.raises(UserError, match=r"snapshots.*may not be written"):
            swap("hugging-face", folder, model, dry_run=True)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("paraclip.exporting.layouts.write_layout", full)
    with pytest.raises(UserError, match="the disk is full"):
        swap("hugging-face", folder, model)
    assert contents(folder) == before


def test_an_index_of_another_model_is_refused(cache, tuned, tmp_path) -> None:
    photos = [draw(tmp_path / f"{colour}.png", "disc", colour) for colour in ("red", "blue")]
    other, vectors = tmp_path / "other.parquet", np.eye(2, 16, dtype=np.float32).tolist()
    pq.write_table(pa.table({"path": photos, "vector": vectors}), other)
    folder = cache("hugging-face") / "models--openai--clip"
    before = contents(folder)
    with pytest.raises(UserError, match="do not come from the model's image encoder"):
        paraclip.swap("hugging-face", folder, tuned["hugging-face"], index=other)
    assert contents(folder) == before


def test_the_base_itself_leaves_nothing_to_undo(cache, tuned, tmp_path, capsys) -> None:
    trained = {"training": {"facts": {"base": "ViT-B-32-quickgelu:openai"}}}
    words = ["swap", "immich", "--cache", str(cache("immich")), "--tuned"]
    base = str(save_model(small_base("immich"), tmp_path / "base.safetensors", trained))
    model = str(save_model(tuned["immich"], tmp_path / "tuned.safetensors", trained))
    for name, to_undo in ((base, False), (model, True), (model, True)):
        assert main([*words, name]) == 0
        assert ("--undo" in capsys.readouterr().out) is to_undo


def test_the_command_says_what_it_does_and_a_dry_run_does_nothing(
    cache, tuned, tmp_path, capsys
) -> None:
    folder = cache("immich")
    trained = {"training": {"facts": {"base": "ViT-B-32-quickgelu:openai"}}}
    model = str(save_model(tuned["immich"], tmp_path / "tuned.safetensors", trained))
    words = ["swap", "immich", "--cache", str(folder)]
    before = contents(folder)
    assert main([*words, "--tuned", model, "--dry-run"]) == 0
    assert contents(folder) == before
    shown = capsys.readouterr().out
    for word in (f"{TEXTUAL}/model.onnx", "openvino", "Nothing was changed"):
        assert word in shown
    assert main([*words, "--tuned", model]) == 0
    shown = capsys.readouterr().out
    assert "Restart machine learning" in shown and "--undo" in shown and ".base" in shown
    assert main(words) == 0
    assert capsys.readouterr().out.count("In place: ") == len(FILES["immich"])
    assert main([*words, "--undo", "--dry-run"]) == 0
    assert main([*words, "--undo"]) == 0
    assert "Restored" in capsys.readouterr().out
    assert contents(folder) == without_prepared(before)
    assert main(words) == 2
    assert "no swapped file" in capsys.readouterr().err


# --- caches that the program or a user has changed ---

HUB = "hugging-face"
NAME, NOT_UTF8 = "model.safetensors", "\udcff"
Cache = Callable[[str], Path]
Tuned = dict[str, OpenClip]


@pytest.fixture
def hub(cache: Cache) -> Path:
    """The folder of one model in the hub's cache."""
    return cache(HUB) / "models--openai--clip"


@pytest.fixture
def file(hub: Path) -> Path:
    return hub / "snapshots" / COMMIT / NAME


def download(system: str, path: Path, seed: int, scratch: Path) -> bytes:
    """The program replaces its file by another base with the same image tower."""
    new = write_text_file(system, small_base(system, seed=seed), scratch / str(seed), path.name)
    os.replace(new, path)
    return path.read_bytes()


def swap_model(system: str, folder: Path, model: OpenClip) -> Swapped:
    return swap(system, folder, model, tag=tag(system))


def test_undo_leaves_a_newer_base_and_swap_takes_it_for_the_base(
    hub, file, tuned, tmp_path, capsys
) -> None:
    (kept,) = swap(HUB, hub, tuned[HUB]).kept
    old = kept.read_bytes()
    newer = download(HUB, file, 5, tmp_path)
    assert main(["swap", HUB, "--cache", str(hub)]) == 2
    assert f"{file} has changed" in capsys.readouterr().out
    assert main(["swap", HUB, "--cache", str(hub), "--undo"]) == 0
    shown = capsys.readouterr().out
    assert f"{file} has changed" in shown and str(kept) in shown
    assert file.read_bytes() == newer and kept.read_bytes() == old
    done = swap(HUB, hub, tuned[HUB], dry_run=True)
    assert swap(HUB, hub, tuned[HUB]) == done
    assert done.files == [file] and str(file) in done.left[0]
    undo(HUB, hub)
    assert file.read_bytes() == newer
    rest = {path.name for path in file.parent.iterdir() if path.name.startswith(NAME)}
    assert rest == {NAME, f"{NAME}.{kept.name.split('.')[2]}.old"}
    assert file.with_name(max(rest)).read_bytes() == old


@pytest.mark.parametrize(
    ("system", "old", "new", "left"),
    [
        (HUB, f"models--openai--clip/snapshots/{COMMIT}", "models--openai--clip/snapshots/new", 1),
        (HUB, f"models--openai--clip/snapshots/{COMMIT}", "models--else--clip/snapshots/new", 0),
        ("immich", "clip/ViT-B-32__openai/v2", "clip/ViT-B-32__openai/v3", 1),
        ("immich", "clip/ViT-B-32__openai/v2", "clip/ViT-L-14__openai/v2", 0),
    ],
)
def test_a_newer_revision_is_not_swapped_but_another_model_need_not_be(
    system, old, new, left, cache, tuned
) -> None:
    folder = cache(system)
    if system == HUB:
        shutil.rmtree(folder / "models--laion--clip")
    shutil.copytree(folder / old, folder / new, symlinks=False)
    shutil.move(folder / new, folder / "later")
    files = swap_model(system, folder, tuned[system]).files
    (folder / new).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder / "later", folder / new)
    state = inspect_swap(system, folder)
    assert {*files} == {*state.files} and len(state.left) == left
    assert all(new in one and "not swapped" in one for one in state.left)


def test_undo_leaves_a_newer_list_of_sizes(cache, tuned, tmp_path) -> None:
    folder = cache("fastembed")
    before, listing = contents(folder), folder / TEXT / "files_metadata.json"
    path = folder / FILES["fastembed"][0]
    swap_model("fastembed", folder, tuned["fastembed"])
    short = contents(folder)
    newer = download("fastembed", path, 5, tmp_path)
    assert undo("fastembed", folder).files == []
    changed = FILES["fastembed"][0]
    assert {**contents(folder), changed: ""} == {**short, changed: ""}  # its size is not the old
    assert path.read_bytes() == newer
    listing.write_text(json.dumps({"other": {"size": 1}}))
    swap_model("fastembed", folder, tuned["fastembed"])
    assert undo("fastembed", folder).files[0] == path
    assert path.read_bytes() == newer and json.loads(listing.read_text()) == {"other": {"size": 1}}
    assert contents(folder).keys() - before.keys()  # the base of before


def test_only_what_has_changed_is_left(cache, tuned, tmp_path) -> None:
    folder = cache("immich")
    before = contents(folder)
    first, second = (folder / name for name in FILES["immich"])
    swap_model("immich", folder, tuned["immich"])
    newer = download("immich", first, 5, tmp_path)
    (prepared := first.parent / "cpu").mkdir()
    done = undo("immich", folder)
    assert done.files == [second] and str(first) in done.left[0]
    assert first.read_bytes() == newer and prepared.is_dir()
    assert contents(folder)[FILES["immich"][1]] == before[FILES["immich"][1]]


def test_a_base_that_is_in_place_needs_no_kept_one(hub, file, tuned) -> None:
    before = contents(hub)
    (kept,) = swap(HUB, hub, tuned[HUB]).kept
    os.replace(kept, file)
    kept.write_bytes(b"damaged")
    assert undo(HUB, hub).files == [file]
    assert contents(hub) == before


def test_owner_and_mode_stay_those_of_the_base(hub, file, tuned, monkeypatch) -> None:
    before, blob = contents(hub), file.resolve()
    if os.geteuid() == 0:
        os.chown(blob, 1234, 2345)
    blob.chmod(0o640)

    def owner() -> tuple[int, int, int]:
        facts = file.stat()
        return facts.st_uid, facts.st_gid, facts.st_mode

    def no_links(*_: object, **__: object) -> None:
        raise PermissionError

    expected = owner()
    swap(HUB, hub, tuned[HUB])
    assert owner() == expected
    undo(HUB, hub)
    assert owner() == expected
    monkeypatch.setattr(os, "link", no_links)  # a file system without hard links
    (kept,) = swap(HUB, hub, tuned[HUB]).kept
    assert kept.is_symlink() and owner() == expected
    undo(HUB, hub)
    assert owner() == expected and contents(hub) == before


def test_what_a_killed_run_left_is_cleared_and_no_other_file(hub, file, tuned) -> None:
    zeros, end = "0" * 16, "0123456789ab.part"
    parts = [f".{NAME}.{end}", f".{NAME}.{zeros}.{zeros}.base.{end}"]
    others = [f".notes.{end}", f".{NAME}.notes.{end}", f"{NAME}.{end}", f"{NAME}.notes.base"]

    def leave() -> None:
        for name in (*parts, *others):
            file.with_name(name).touch()

    leave()
    before = contents(hub)
    with pytest.raises(UserError, match="no swapped file"):
        undo(HUB, hub)
    rest = {name: one for name, one in before.items() if Path(name).name not in parts}
    assert contents(hub) == rest
    leave()
    (kept,) = swap(HUB, hub, tuned[HUB]).kept
    assert contents(hub).keys() == {*rest, kept.relative_to(hub).as_posix()}


def test_loops_of_links_in_a_snapshot_end(hub, file, tuned) -> None:
    for name in ("a", "b"):
        file.with_name(name).symlink_to(".")
    (hub / "snapshots" / "main").symlink_to(COMMIT)
    (hub / "snapshots" / "all").symlink_to("..")
    before = contents(hub)
    assert swap(HUB, hub, tuned[HUB]).files == [file]
    undo(HUB, hub)
    assert contents(hub) == before


def test_a_folder_with_two_paths_is_swapped_once(cache, tuned) -> None:
    folder = cache("immich")
    model = folder / "clip" / "ViT-B-32__openai"
    shutil.rmtree(model / "v2")
    (model / "v2").symlink_to(".")
    assert len(swap_model("immich", folder, tuned["immich"]).files) == 1
    assert len(undo("immich", folder).files) == 1


def test_a_revision_whose_name_is_not_utf8_is_an_error_of_one_line(hub, tuned) -> None:
    snapshots = hub / "snapshots"
    (snapshots / COMMIT).rename(snapshots / NOT_UTF8)
    with pytest.raises(UserError, match=r"udcff.*not UTF-8"):
        swap(HUB, hub, tuned[HUB])
