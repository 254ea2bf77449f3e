"""What the quickstart passes from stage to stage, with functions of the API that only note it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

import paraclip
from paraclip import api
from paraclip.data.captions import Caption
from paraclip.data.triples import TEXTS, read_triples, write_triples
from paraclip.errors import UserError
from paraclip.evaluation.report import Report, Section
from paraclip.models import features
from paraclip.quickstart import run
from paraclip.quickstart.config import QuickstartConfig
from paraclip.quickstart.run import run_quickstart, split_pictures
from paraclip.training.checkpoint import AnotherRun
from tiny import draw, tiny_clip


def test_each_source_has_its_own_default_folder(tmp_path: Path) -> None:
    (tmp_path / "pets.2024").mkdir()
    for source, out, folder in (
        (None, None, "runs/quickstart"), ("pets/cats/", None, "runs/quickstart-cats"),
        ("dogs.csv", None, "runs/quickstart-dogs"), ("dogs.csv", "here", "here"),
        (str(tmp_path / "pets.2024"), None, "runs/quickstart-pets.2024"),
    ):  # fmt: skip
        assert QuickstartConfig(source=source, out=out).folder == Path(folder)


@dataclass
class Noted:
    """The options of the calls, and whether the folders of the models hold other runs."""

    trained: list[tuple[Path, dict[str, Any]]] = field(default_factory=list)
    scored: list[dict[str, Any]] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    others: bool = False


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Noted:
    """A base of random weights, a language model that fails at a half, no training, no scores."""
    calls = Noted()

    def generate(source: Path, out: Path, **options: Any) -> Path:
        asked = [row for row in paraclip.read_captions(str(source)) if len(row.image_id) % 2]
        rows = [
            {"id": row.id, "image_id": row.image_id, "image": row.image,
             **{name: f"{name} of {row.id}" for name in TEXTS}, "caption": row.caption}
            for row in asked
        ]  # fmt: skip
        write_triples(out / "triples.parquet", rows, {"generator": "some LLM"})
        return out / "triples.parquet"

    def train(model: Any, triples: Path, out: Path, **options: Any) -> Any:
        calls.trained.append((triples, {"name": out.name, **options}))
        if calls.others and not options["fresh"]:
            raise AnotherRun(out, "belongs to a run with other settings", "Choose another --out.")
        return tiny_clip()

    def evaluate(models: Any, **options: Any) -> Report:
        calls.scored.append(options)
        names = options["benchmarks"].split(",")
        sections = [Section(name, str(options["pool"]), {}, []) for name in names]
        return Report({label: {} for label in models}, sections, {})

    for function in (generate, train, evaluate):
        monkeypatch.setattr(api, function.__name__, function)
    monkeypatch.setattr(
        api, "load_model", lambda name, device: calls.loaded.append(name) or tiny_clip()
    )
    for name in ("Judge", "make_backend", "check_generation"):  # they need weights
        monkeypatch.setattr(run, name, Mock())
    monkeypatch.setattr(run, "STARTER_ROWS", 70)
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "cache"))
    return calls


Draw = Callable[..., Path]


@pytest.fixture
def pictures(tmp_path: Path) -> Draw:
    """Draws pictures of one colour each, with a caption file next to each."""

    def make(count: int, text: str = "thing {}") -> Path:
        folder = tmp_path / f"pictures-{count}"
        folder.mkdir()
        for number in range(count):
            draw(folder / f"{number}.png", "disc", "red")
            (folder / f"{number}.txt").write_text(text.format(number))
        return folder

    return make


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_no_scored_caption_is_learned_and_all_others_are(
    noted: Noted, pictures: Draw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    source = pictures(40)
    report = run_quickstart(QuickstartConfig(str(source), str(out), llm="builtin"))
    names = ["paraphrased-retrieval", "rewordings of the language model", "image-text-retrieval"]
    assert [section.name for section in report.sections] == names
    assert "27 captions to learn from, 13 held out" in capsys.readouterr().out
    (path, *others), calls = zip(*noted.trained, strict=True)
    assert others == [path] * 2
    assert [call["name"] for call in calls] == ["control", "teacher", "tuned"]
    control, teacher, tuned = calls
    assert control["control"] and teacher["weights"][1:] == (0, 0) and teacher["ranking"] == 0
    assert tuned["teacher"] == ["base", str(out / "teacher" / "last.safetensors")]
    for name in ("epochs", "batch_size", "learning_rate", "seed"):  # the same steps
        assert control[name] == teacher[name] == tuned[name]
    rows = read_triples(path).to_pylist()
    assert len(rows) == 27 + 70 and sum(row["image"] is None for row in rows) == 70
    alone = [row for row in rows if row["image"] and row["paraphrase_1"] == row["caption"]]
    assert 0 < len(alone) < 27 and len({row["image"] for row in rows}) == 28
    main, easier = noted.scored
    held_out = {row["image"] for row in rows_of(main["captions"])}
    assert len(held_out) == 13 and held_out.isdisjoint(row["image"] for row in rows)
    assert {row["image"] for row in rows_of(easier["pairs"])} <= held_out
    assert len(main["pool"].read_text().splitlines()) == 40
    record = json.loads(path.with_name(f"{path.name}.provenance.json").read_text())
    assert record["triples"]["generator"] == "some LLM" and record["starter"]["generator"]
    assert record["base"] == "mini" and record["data"] == str(source)
    assert noted.loaded == ["mini", str(out / "tuned" / "merged.safetensors")]


def test_no_language_model_is_asked_unless_one_is_named(
    noted: Noted, pictures: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "generate", lambda *_, **__: pytest.fail("asked"))
    report = run_quickstart(QuickstartConfig(str(pictures(40)), str(tmp_path / "out")))
    names = [section.name for section in report.sections]
    assert names == ["paraphrased-retrieval", "image-text-retrieval"]
    path = noted.trained[0][0]
    own = [row for row in read_triples(path).to_pylist() if row["image"]]
    assert len(own) == 27 and all(row["paraphrase_1"] == row["caption"] for row in own)
    record = json.loads(path.with_name(f"{path.name}.provenance.json").read_text())
    assert "triples" not in record and not (tmp_path / "out" / "data" / "asked.jsonl").exists()


def test_broken_pictures_are_in_no_part_and_listed_beside_broken_rows(
    noted: Noted, pictures: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = pictures(40), tmp_path / "out"
    (folder / "7.txt").write_text("")
    (folder / "9.png").write_bytes(b"damaged")
    run_quickstart(QuickstartConfig(str(folder), str(out), max_broken=0.06))
    listed = (out / "broken.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in listed] == [f"{folder}/7.txt", f"{folder}/9.png"]
    pool = (out / "data" / "pool.txt").read_text().splitlines()
    assert len(pool) == 38 and f"{folder}/9.png" not in pool
    with pytest.raises(UserError, match="2 of 40 rows are broken"):
        run_quickstart(QuickstartConfig(str(folder), str(tmp_path / "other")))
    monkeypatch.setattr(features, "open_image", lambda *_: pytest.fail("decoded again"))
    found = features.image_features(tiny_clip(), pool, tmp_path / "cache" / "image_features")
    assert len(found) == 38 and found[:].isfinite().all()


def test_captions_without_a_picture_are_counted_and_one_caption_for_all_is_refused(
    noted: Noted, pictures: Draw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pictures(30)
    rows = [f"thing {number},{folder}/{number}.png" for number in range(30)]
    (tmp_path / "a.csv").write_text("\n".join(["caption,image", *rows, "alone,", "too,"]))
    run_quickstart(QuickstartConfig(str(tmp_path / "a.csv"), str(tmp_path / "out")))
    assert "2 captions have no picture and are left out" in capsys.readouterr().out
    assert len(rows_of(noted.trained[0][0])) == 20 + 70
    with pytest.raises(UserError, match="only 0 pictures could be held out"):
        run_quickstart(QuickstartConfig(str(pictures(31, "the same")), str(tmp_path / "other")))


def test_a_stage_whose_captions_changed_starts_from_scratch(
    noted: Noted, pictures: Draw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noted.others = True
    run_quickstart(QuickstartConfig(str(pictures(30)), str(tmp_path / "out")))
    assert [options["fresh"] for _, options in noted.trained] == [False, True] * 3
    assert "starts from scratch" in capsys.readouterr().out


# --- the split ---


def caption(number: int, text: str, picture: str | None = None) -> Caption:
    name = picture or f"{number}.png"
    return Caption(str(number), text, name, name, f"captions.csv:{number}")


def things(count: int) -> list[Caption]:
    return [caption(number, f"thing number {number}") for number in range(count)]


def test_every_caption_is_in_one_part_and_at_most_a_third_is_held_out() -> None:
    learn, held_out = split_pictures(things(100), 20, seed=0)
    assert (len(learn), len(held_out)) == (80, 20)
    assert {row.id for row in learn}.isdisjoint(row.id for row in held_out)
    assert len(split_pictures(things(30), 200, seed=0)[1]) == 10
    with pytest.raises(UserError, match="only 5 pictures"):
        split_pictures(things(5), 2, seed=0)


def test_the_seed_decides_the_split_and_a_picture_added_later_moves_few_others() -> None:
    first, again, other = (split_pictures(things(60), 15, seed) for seed in (1, 1, 2))
    assert first == again and first != other
    before, after = (
        {row.id for row in split_pictures(things(count), 20, 0)[1]} for count in (90, 91)
    )
    assert len(before & after) >= 19


@pytest.mark.parametrize("seed", range(4))
def test_texts_that_training_treats_as_equal_stay_together(seed: int) -> None:
    ways = ("A  cat {}", "a cat\u00a0{}", "A Cat {}")
    rows = [caption(number, ways[number % 3].format(number // 3)) for number in range(90)]
    parts = [{int(row.id) // 3 for row in part} for part in split_pictures(rows, 20, seed)]
    assert parts[1] and not parts[0] & parts[1]
    rows = [caption(number, f"words {number}", f"{number // 3}.png") for number in range(150)]
    learn, held_out = split_pictures(rows, 12, seed)
    assert {row.image_id for row in learn}.isdisjoint(row.image_id for row in held_out)


def test_captions_are_paraphrased_in_order_and_more_of_them_contain_fewer(
    noted: Noted, pictures: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = str(pictures(40))
    monkeypatch.setattr(run, "ASKED_HELD_OUT", 0)

    def asked(most: int) -> list[str]:
        monkeypatch.setattr(run, "ASKED", most)
        run_quickstart(QuickstartConfig(source, str(tmp_path / "out"), llm="openai"))
        return [row["id"] for row in rows_of(tmp_path / "out" / "data" / "asked.jsonl")]

    some, few = asked(20), asked(10)
    assert (len(some), len(few)) == (20, 10) and {*few} < {*some}
    assert some == sorted(some) and few != some[:10]
