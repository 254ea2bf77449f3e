"""`paraclip swap-check`: the origin of an index, and the user's queries before and after."""

import json
import os
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import paraclip
from paraclip.commands.swap_check import SwapCheckConfig, swap_check_command
from paraclip.data.captions import Problems
from paraclip.errors import UserError
from paraclip.evaluation.metrics import average_overlap
from paraclip.evaluation.unlabelled import first_pictures
from paraclip.image_search.build import build_index
from paraclip.indexes import SAMPLE, read_index
from paraclip.merging import merge
from paraclip.models import features
from paraclip.models.checkpoint import save_model
from paraclip.models.features import encode_texts
from paraclip.models.mini import SentenceModel
from paraclip.swapping import checking
from paraclip.systems.system import IndexAddress
from paraclip.training.checkpoint import RunFolder
from paraclip.training.config import RunOptions
from paraclip.training.prepare import prepare
from tiny import draw, retuned, spoil, word_files

SIDE_BY_SIDE = "--index {index} --models base,tuned={tuned}"


@pytest.fixture
def index(photos, vectors, tmp_path) -> str:
    """A Parquet index of the pictures."""
    table = pa.table({"path": photos, "vector": vectors.tolist()})
    pq.write_table(table, tmp_path / "index.parquet")
    return str(tmp_path / "index.parquet")


@pytest.fixture
def queries(tmp_path) -> str:
    """Three queries, two of them with other wordings."""
    lines = ["a red disc\tthe disc is red\tred circle", "", "blue square\tsquare in blue", "orange"]
    (tmp_path / "queries.txt").write_text("\n".join(lines))
    return str(tmp_path / "queries.txt")


def made_run(folder, tuned, merged) -> RunFolder:
    """The folder of a run with its two models."""
    run = RunFolder(folder / "run")
    run.files.write(run.identity_file, "{}")
    for model, path in ((tuned, run.last), (merged, run.merged)):
        save_model(model, path)
    return run


def test_vectors_of_the_base(index, base, tuned) -> None:
    report = paraclip.swap_check(index, base, tuned)
    assert (report.store, report.rows, report.width) == ("parquet", 12, 16)
    assert report.origin.pictures == 12 and report.origin.same
    assert report.origin.lowest > 0.9999 and report.origin.first == 1
    assert report.queries == 0 and report.overlap is None and report.changes == []


def test_vectors_of_another_model(index, base, tuned, photos, models, tmp_path, capsys) -> None:
    other = np.random.default_rng(0).standard_normal((12, 16)).tolist()
    pq.write_table(pa.table({"path": photos, "vector": other}), index)
    report = paraclip.swap_check(index, base, tuned)
    assert not report.origin.same and report.origin.median < 0.7
    with pytest.raises(UserError, match="do not come from the model's image encoder"):
        swap_check_command(SwapCheckConfig(index=index, **models))
    assert "the index is of another model" in capsys.readouterr().out


def test_queries_before_and_after(index, queries, base, tuned, vectors, photos) -> None:
    report = paraclip.swap_check(index, base, tuned, queries=queries, k=3)
    texts = ["a red disc", "blue square", "orange"]
    expected = []
    for text in texts:
        first, second = (
            set(np.argsort(-(vectors @ encode_texts(model, [text]).numpy()[0]))[:3].tolist())
            for model in (base, tuned)
        )
        expected.append(len(first & second) / 3)
    assert (report.queries, report.wordings, report.k) == (3, 3, 3)
    assert report.overlap == pytest.approx(np.mean(expected))
    assert [change.overlap for change in report.changes] == pytest.approx(sorted(expected))
    assert all(set(change.before + change.after) <= set(photos) for change in report.changes)
    first = ["a red disc", "a red disc", "blue square"]
    second = ["the disc is red", "red circle", "square in blue"]
    for model, found in zip((base, tuned), report.consistency, strict=True):
        ranked = [
            np.argsort(-(encode_texts(model, texts).numpy() @ vectors.T), axis=1)[:, :3]
            for texts in (first, second)
        ]
        assert found == pytest.approx(average_overlap(*ranked).mean())


def test_the_new_cutoff_lets_as_many_results_through(index, queries, base, tuned, vectors) -> None:
    texts = ["a red disc", "blue square", "orange"]
    before, after = (encode_texts(model, texts).numpy() @ vectors.T for model in (base, tuned))
    cutoff = float(np.sort(before, axis=None)[-8:-6].mean())
    scores = paraclip.swap_check(index, base, tuned, queries=queries, k=3, cutoff=cutoff).scores
    shift = np.sort(after)[:, ::-1][:, :3].mean(axis=0) - np.sort(before)[:, ::-1][:, :3].mean(
        axis=0
    )
    np.testing.assert_allclose([one.value for one in scores.shift], shift, atol=1e-5)
    assert scores.queries == 3 and scores.cutoff.results == pytest.approx(7 / 3)
    moved = scores.cutoff.after
    seventh = np.sort(after, axis=None)[-7]
    assert abs((after >= moved.value).sum() - 7) <= 1 and abs(moved.value - seventh) < 0.1
    assert moved.low <= moved.value <= moved.high
    for useless in (-1.0, 1.0):
        found = paraclip.swap_check(index, base, tuned, queries=queries, cutoff=useless).scores
        assert found.cutoff.after is None


def test_scores_that_all_move_alike_move_the_cutoff_by_as_much() -> None:
    random = np.random.default_rng(0)
    pool = random.standard_normal((3000, 8)).astype(np.float32)
    pool /= np.linalg.norm(pool, axis=1, keepdims=True)
    pool = np.concatenate([0.8 * pool, np.full((3000, 1), 0.6, np.float32)], axis=1)
    texts = random.standard_normal((40, 8)).astype(np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    first, second = (  # the last number adds 0.6 of it to every score
        np.concatenate([0.9 * texts, np.full((40, 1), shift, np.float32)], axis=1)
        for shift in (0.1, 0.15)
    )
    best = [np.sort(one @ pool.T)[:, ::-1][:, :10] for one in (first, second)]
    scores = checking._compare_scores((first, best[0]), (second, best[1]), pool, 0.5)
    assert [one.value for one in scores.shift] == pytest.approx([0.03] * 10, abs=1e-5)
    assert scores.cutoff.after.value == pytest.approx(0.53, abs=1e-3)
    assert scores.cutoff.after.high - scores.cutoff.after.low < 2e-3


def test_the_same_model_changes_nothing_also_without_queries(index, queries, base) -> None:
    report = paraclip.swap_check(index, base, deepcopy(base), cutoff=0.1)
    assert report.queries == 0 and report.scores.queries == report.recommendation.scenes > 30
    assert report.recommendation.use == "base"
    assert report.scores.cutoff.after is None or report.scores.cutoff.after.value == pytest.approx(
        0.1, abs=2e-3
    )
    assert paraclip.swap_check(index, base, base).scores is None
    same = paraclip.swap_check(index, base, deepcopy(base), queries=Path(queries))
    assert same.overlap == 1 and same.consistency[0] == same.consistency[1] and same.k == 10


@pytest.mark.parametrize("form", ["captions.csv", "captions.jsonl", "folder"])
def test_captions_say_how_often_their_picture_is_found(
    form, index, base, tuned, vectors, photos, models, tmp_path, capsys
) -> None:
    captions = [os.path.basename(path)[:-4].replace("-", " in ") for path in photos]
    known = list(zip(photos, captions, strict=True))[:8]
    source = tmp_path / form
    if form == "folder":
        source.mkdir()
        for path, caption in known:
            shutil.copy(path, source)
            (source / os.path.basename(path)).with_suffix(".txt").write_text(caption)
    elif form == "captions.csv":
        source.write_text("image,caption\n" + "".join(f"{path},{one}\n" for path, one in known))
    else:
        rows = [json.dumps({"image": path, "caption": one}) for path, one in known]
        source.write_text("\n".join(rows))
    pictures = str(source) if form == "folder" else None  # the index has the paths of the originals

    def found(model):
        scores = encode_texts(model, captions[:8]).numpy() @ vectors.T
        first = np.argsort(-scores, axis=1)[:, :3]
        return float((first == np.arange(8)[:, None]).any(axis=1).mean())

    merged = merge(base, tuned, 0.5)
    run = made_run(tmp_path, tuned, merged).path
    report = paraclip.swap_check(index, base, run, queries=str(source), pictures=pictures, k=3)
    right = report.right
    assert right.captions == report.queries == 8 and right.base == pytest.approx(found(base))
    for label, model in (("tuned", tuned), ("merged", merged)):
        change = right.change[label]
        assert change.value == pytest.approx(found(model) - found(base))
        assert change.low <= change.value <= change.high
    assert report.recommendation.measured.keys() == {"base", "tuned", "merged"}
    config = SwapCheckConfig(index=index, queries=str(source), pictures=pictures, k=3, **models)
    swap_check_command(config)
    assert f"{100 * right.base:.1f} % of 8 captions" in capsys.readouterr().out


def test_a_single_caption_has_no_interval(photos, index, models, tmp_path, capsys) -> None:
    source = tmp_path / "captions.csv"
    source.write_text(f"image,caption\n{photos[0]},a red disc\n")
    swap_check_command(SwapCheckConfig(index=index, queries=str(source), json=True, **models))
    change = json.loads(capsys.readouterr().out)["right"]["change"]["tuned"]
    assert change["low"] is None and change["high"] is None


@pytest.mark.parametrize("place", ["far", "near"])
def test_a_model_that_finds_fewer_right_pictures_is_not_suggested(
    place, index, base, photos, models, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.delenv("PARACLIP_QUIET", raising=False)
    texts = [f"query {number}" for number in range(12)]
    rows = "".join(f"{path},{text}\n" for path, text in zip(photos, texts, strict=True))
    (tmp_path / "captions.csv").write_text(f"image,caption\n{rows}")
    vectors = encode_texts(base, texts).numpy()  # as if base found each of them
    pq.write_table(pa.table({"path": photos, "vector": vectors.tolist()}), index)
    monkeypatch.setattr("paraclip.swapping.checking.find_origin", lambda *_: None)
    tuned = models["base"] if place == "near" else models["tuned"]
    if place == "far":
        save_model(retuned(base, share=3.0), tuned)
    queries = str(tmp_path / "captions.csv")
    swap_check_command(
        SwapCheckConfig(index=index, base=models["base"], tuned=tuned, queries=queries, k=1)
    )
    shown, said = capsys.readouterr()
    assert "100.0 % of 12 captions with the base" in shown
    assert "Keep your base" in shown and "Next:" not in said


@pytest.mark.parametrize(
    ("store", "kind", "words"),
    [
        ("npy", "open_clip", "export {tuned} exports/open-clip"),
        ("npy", "mini", "export {tuned} exports/modules --to sentence-transformers"),
        ("immich", "open_clip", "export {tuned} exports/immich --for immich"),
        ("paraclip", "mini", f"search 'a dog on a beach' {SIDE_BY_SIDE}"),
    ],
)
def test_the_next_command_is_one_that_the_model_and_the_index_take(
    store, kind, words, index, base, tuned, models, capsys, monkeypatch
) -> None:
    monkeypatch.setattr("paraclip.swapping.checking.recommend", lambda *_: ("tuned", "Use it."))
    report = replace(paraclip.swap_check(index, base, tuned), store=store, kind=kind)
    monkeypatch.delenv("PARACLIP_QUIET", raising=False)
    monkeypatch.setattr("paraclip.commands.swap_check.check_swap", lambda *_: report)
    # The second is the folder of a model, and of no run.
    for model in (models["tuned"], str(Path(models["tuned"]).parent)):
        swap_check_command(SwapCheckConfig(index=index, base=models["base"], tuned=model))
        said = capsys.readouterr().err.splitlines()[-1]
        assert said == f"Next: paraclip {words.format(index=index, tuned=model)}"


def test_base_judges_at_the_temperature_at_which_it_teaches(tmp_path, monkeypatch) -> None:
    base = SentenceModel(word_files("bert"))
    base.logit_scale.data.fill_(5.0)  # which no text encoder alone has learned
    vectors = np.random.default_rng(0).standard_normal((50, base.architecture.embed_dim))
    np.save(tmp_path / "index.npy", vectors.astype(np.float32))
    texts = [{"caption": "a red disc", "paraphrase_1": "red disc", "paraphrase_2": "disc in red"}]
    options = RunOptions(bank=str(tmp_path / "index.npy"), loss_weights={"R": 1.0})
    taught = deepcopy(base)
    prepare(texts, taught, options)
    judged = []

    def first(texts, pictures, scale):
        judged.append(scale)
        return first_pictures(texts, pictures, scale)

    monkeypatch.setattr("paraclip.swapping.checking.first_pictures", first)
    paraclip.swap_check(tmp_path / "index.npy", base, taught)
    assert judged == [pytest.approx(taught.logit_scale.exp().item(), rel=0.2)]
    assert judged[0] < 0.5 * base.logit_scale.exp().item()


def test_captions_of_other_pictures_are_refused(index, base, tuned, tmp_path) -> None:
    draw(tmp_path / "other.png", "disc", "red")
    (tmp_path / "captions.csv").write_text("image,caption\nother.png,a disc\n")
    with pytest.raises(UserError, match="describe no picture of the index"):
        paraclip.swap_check(index, base, tuned, queries=str(tmp_path / "captions.csv"))


def test_a_sheet_shows_scenes_of_the_index_with_base_and_the_chosen_model(
    index, base, tuned, models, tmp_path, capsys
) -> None:
    sheet = tmp_path / "sheet.png"
    report = paraclip.swap_check(index, base, tuned, sheet=sheet)
    scenes = report.everyday
    assert scenes.asked == 40 and 0 < scenes.held < 40
    assert [len(one) for one in scenes.counts.values()] == [3, 5]
    shown = min(10, scenes.held)
    with Image.open(sheet) as drawn:
        assert drawn.width > 2000
        assert (drawn.height - 300 * shown) < 200, "a block for each of ten scenes"
        assert len(drawn.getcolors(10**6)) > 6, "with pictures"
    capsys.readouterr()
    swap_check_command(SwapCheckConfig(index=index, sheet=str(sheet), json=True, **models))
    shown, said = capsys.readouterr()
    assert json.loads(shown)["everyday"]["held"] == scenes.held
    assert f"Wrote {sheet}" in said
    names = pa.array([f"/nowhere/{number}.png" for number in range(12)])
    pq.write_table(pq.read_table(index).set_column(0, "path", names), index)
    with pytest.raises(UserError, match="no picture of the index can be opened"):
        paraclip.swap_check(index, base, tuned, sheet=sheet)


@pytest.mark.slow
def test_of_a_run_one_model_is_recommended_and_its_queries_are_compared(
    index, queries, base, tuned, models, tmp_path, capsys, monkeypatch
) -> None:
    merged = merge(base, tuned, 0.5)
    run = made_run(tmp_path, tuned, merged)
    for use, chosen in (("tuned", tuned), ("merged", merged), ("base", tuned)):
        monkeypatch.setattr("paraclip.swapping.checking.recommend", lambda *_, use=use: (use, "x"))
        report = paraclip.swap_check(index, base, run.path, queries=queries, k=3)
        alone = paraclip.swap_check(index, base, chosen, queries=queries, k=3)
        assert (alone.overlap, alone.consistency) == (report.overlap, report.consistency)
        assert paraclip.swap_check(index, base, run.path, k=3).scores is None
        assert report.recommendation.use == use
        monkeypatch.delenv("PARACLIP_QUIET", raising=False)
        swap_check_command(SwapCheckConfig(index=index, base=models["base"], tuned=str(run.path)))
        said = capsys.readouterr().err.splitlines()
        file = run.merged if use == "merged" else run.last
        assert (said[-1:] == [f"Next: paraclip export {file} exports/open-clip"]) == (use != "base")
    save_model(merged, run.merged, {"merged": {}, "training": {"identity": "of another run"}})
    with pytest.raises(UserError, match=r"merged\.safetensors: was not made from last"):
        paraclip.swap_check(index, base, run.path, queries=queries, k=3)


def test_only_the_ten_most_changed_are_listed(index, base, tuned, tmp_path) -> None:
    (tmp_path / "many.txt").write_text("\n".join(f"query {number}" for number in range(30)))
    report = paraclip.swap_check(index, base, tuned, queries=str(tmp_path / "many.txt"), k=5)
    overlaps = [change.overlap for change in report.changes]
    assert len(overlaps) == 10 and overlaps == sorted(overlaps) and report.queries == 30


def test_an_index_of_paraclip_knows_where_its_pictures_are(
    base, tuned, photos, models, tmp_path
) -> None:
    address = str(tmp_path / "own")
    build_index(os.path.dirname(photos[0]), address, models["base"], Problems(1.0))
    report = paraclip.swap_check(address, base, tuned)
    assert (report.store, report.rows, report.origin.pictures) == ("paraclip", 12, 12)
    assert report.origin.same


def test_pictures_that_were_moved_are_found_by_names_that_are_certain(
    index, base, tuned, photos, tmp_path
) -> None:
    def report(names, folder):
        pq.write_table(pq.read_table(index).set_column(0, "path", pa.array(names)), index)
        return paraclip.swap_check(index, base, tuned, pictures=folder).origin

    folder = tmp_path / "copies" / "deep"
    folder.mkdir(parents=True)
    for path in photos[:5]:
        shutil.copy(path, folder)
    shutil.copy(photos[0], folder.parent)  # two of one name: neither is certain
    moved = [f"/elsewhere/{Path(path).name}" for path in photos]
    origin = report(moved, tmp_path / "copies")
    assert origin.pictures == 4 and origin.same
    assert report(moved, None) is None
    one = tmp_path / "one"  # of two cameras whose pictures have the same names
    one.mkdir()
    for row in range(6):
        shutil.copy(photos[row], one / f"{row}.png")
    names = [f"/one/{row}.png" for row in range(6)] + [f"/two/{row}.png" for row in range(2, 8)]
    origin = report(names, one)
    assert origin.pictures == 2 and origin.same


@pytest.mark.parametrize("path", ["broken.png", "a" * 300, "a\0b", ""])
def test_pictures_that_are_broken_or_that_no_file_has_are_left_out(
    index, base, tuned, photos, path, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    table = pq.read_table(index).set_column(0, "path", pa.array([path, *photos[1:]]))
    pq.write_table(table, index)
    assert paraclip.swap_check(index, base, tuned).origin.pictures == 11
    with pytest.raises(UserError, match="nowhere: there is no such folder"):
        paraclip.swap_check(index, base, tuned, pictures="nowhere")


def test_each_text_of_the_scenes_is_encoded_once(index, base, tuned, monkeypatch) -> None:
    encoded, encode = [], features._encode

    def noted(model, texts, *rest):
        encoded.extend((id(model), text) for text in texts)
        return encode(model, texts, *rest)

    monkeypatch.setattr(features, "_encode", noted)
    checking._measure(base, {"tuned": tuned}, read_index(IndexAddress(str(index))), None)
    assert encoded and len(encoded) == len(set(encoded))


@pytest.mark.parametrize("checked", [True, False])
def test_pictures_that_cannot_be_opened_or_are_not_in_the_index_are_named_once(
    checked, index, photos, models, tmp_path, monkeypatch, capsys
) -> None:
    broken = spoil(tmp_path)
    shown = [*(str(tmp_path / name) for name in broken), *photos[len(broken) :]]
    pq.write_table(pq.read_table(index).set_column(0, "path", pa.array(shown)), index)
    (tmp_path / "captions.csv").write_text(f"image,caption\n{photos[-1]},a\n{photos[0]},b\n")
    if not checked:  # the sheet alone opens pictures
        monkeypatch.setattr("paraclip.swapping.checking.find_origin", lambda *_: None)
    options = {"queries": str(tmp_path / "captions.csv"), "sheet": str(tmp_path / "sheet.png")}
    swap_check_command(SwapCheckConfig(index=index, **options, **models))
    printed = capsys.readouterr().out
    assert [printed.count(f"{name}: is ") for name in (*broken, photos[0])] == [1] * 4


def test_the_command_prints_text_or_json(index, queries, models, capsys) -> None:
    options = {"queries": queries, "k": 3, "cutoff": 0.2}
    swap_check_command(SwapCheckConfig(index=index, **models, **options))
    shown = capsys.readouterr().out
    for words in (
        "12 vectors of 16",
        "the index stays valid",
        "AO@3 of 3 other wordings",
        "Cut-off 0.2",
    ):
        assert words in shown
    assert "a red disc" in shown.split("Most changed queries:")[1]
    swap_check_command(SwapCheckConfig(index=index, json=True, **models, **options))
    written = json.loads(capsys.readouterr().out)
    assert written["origin"]["pictures"] == 12
    assert len(written["scores"]["shift"]) == 3 and written["scores"]["cutoff"]["before"] == 0.2


def test_without_pictures_the_queries_are_still_compared(
    photos, vectors, queries, models, tmp_path, capsys
) -> None:
    np.save(tmp_path / "v.npy", vectors)
    options = {"index": str(tmp_path / "v.npy"), "queries": queries, **models}
    swap_check_command(SwapCheckConfig(**options))
    shown = capsys.readouterr().out
    assert "Not checked where the vectors come from" in shown and "before: " in shown
    paths = tmp_path / "paths.txt"  # with a name that is not UTF-8, which JSON escapes
    paths.write_bytes(b"caf\xe9.png\n" + "\n".join(photos[1:]).encode())
    swap_check_command(SwapCheckConfig(paths=str(paths), json=True, k=12, **options))
    (change, *_) = json.loads(capsys.readouterr().out)["changes"]
    assert b"caf\xe9.png" in map(os.fsencode, change["before"])


def test_other_image_towers_and_widths(index, base, tmp_path, vectors) -> None:
    other = deepcopy(base)
    with torch.no_grad():
        other.image_tower.proj.add_(0.01)
    with pytest.raises(UserError, match="its image encoder or preprocessing"):
        paraclip.swap_check(index, base, other)
    np.save(tmp_path / "v.npy", vectors[:, :7])
    with pytest.raises(UserError, match="vectors of 7 numbers, and those of the model have 16"):
        paraclip.swap_check(tmp_path / "v.npy", base, base)


def test_queries_are_read_line_by_line(tmp_path) -> None:
    path = tmp_path / "q.txt"
    path.write_bytes("\ufeffone\n\n two \t zwei\t\n\tno query\n".encode())
    found = [(one.text, one.wordings, one.picture) for one in checking.read_queries(str(path))]
    assert found == [("one", (), None), ("two", ("zwei",), None)]
    path.write_bytes("a dog\u2028on a mat\r\nb\x85c\n".encode())
    texts = [one.text for one in checking.read_queries(str(path))]
    assert texts == [
        "a dog\u2028on a mat",
        "b\x85c",
    ]
    path.write_bytes(b"a\n" * 100_000)
    assert len(checking.read_queries(str(path))) == 100_000
    for content, reason in [
        (b"\n\n", "holds no queries"),
        (b"\xff\xfe", "is not UTF-8"),
        ("red disc\nblue disc\n".encode("utf-16-le"), "NUL"),
        (b"a\n" * 100_001, "more than 100,000 lines"),
    ]:
        path.write_bytes(content)
        with pytest.raises(UserError, match=reason):
            checking.read_queries(str(path))
    with pytest.raises(UserError, match="there is no such file"):
        checking.read_queries(str(tmp_path / "none"))
    with pytest.raises(UserError, match="contains no pictures"):
        checking.read_queries(str(tmp_path))


def test_copies_embedded_in_another_batch_are_the_same_picture(
    index, base, tuned, photos, vectors
) -> None:
    """Their vectors differ in the last bits, so either may be the nearest."""
    noise = 1e-5 * np.random.default_rng(0).standard_normal((36, 16))
    copies = pa.table({"path": photos * 3, "vector": (np.tile(vectors, (3, 1)) + noise).tolist()})
    pq.write_table(copies, index)
    origin = paraclip.swap_check(index, base, tuned).origin
    assert origin.same and origin.first == 1 and origin.pictures == SAMPLE
