"""The study's triples of the built-in model, with their fidelity and diversity."""

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.study import built_in as study_built_in
from benchmarks.study import fidelity as study_fidelity
from paraclip.data.triples import TEXTS, write_triples
from paraclip.evaluation.statistics import Interval
from paraclip.paraphrase.backends import Answer
from paraclip.paraphrase.filters.checks import Question
from paraclip.paraphrase.filters.judge import Verdict
from paraclip.paraphrase.outputs import LOG

pytestmark = [pytest.mark.weights, pytest.mark.slow]

CAPTIONS = (
    "A brown dog runs across a wide green field.",
    "Two children build a castle of sand on the beach.",
    "A man in a red jacket is climbing a steep rock.",
    "A woman rides a horse along the shore.",
    "A little girl jumps into a swimming pool.",
    "Three people sit on a bench in front of a house.",
)
"""Plain captions, of which the filters reliably keep some and hardly ever all."""


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """The captions as strong triples, each with a picture."""
    pictures = tmp_path_factory.mktemp("pictures")
    return [strong_triple(str(number), text, pictures) for number, text in enumerate(CAPTIONS)]


def strong_triple(number: str, caption: str, pictures: Path) -> dict[str, str]:
    """A caption with two paraphrases that no model wrote, and its picture."""
    path = pictures / f"{number}.png"
    Image.new("RGB", (8, 8)).save(path)
    texts = {"paraphrase_1": f"strong one of {number}", "paraphrase_2": f"strong two of {number}"}
    return {"id": number, "caption": caption, "image_id": path.name, "image": str(path), **texts}


@pytest.fixture(scope="module")
def folder(captions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run with the default options."""
    folder = tmp_path_factory.mktemp("built-in")
    study_built_in.filtered(captions, folder)
    return folder


def test_rows_that_the_filters_refuse_are_the_strong_ones_in_mixed(captions, folder: Path) -> None:
    kept = {row["id"]: row for row in study_built_in.filtered(captions, folder)}
    mixed = study_built_in.mixed(captions, folder)
    assert kept and [row["caption"] for row in mixed] == list(CAPTIONS)
    for row, strong in zip(mixed, captions, strict=True):
        expected = kept.get(row["id"], strong)
        assert [row[name] for name in TEXTS] == [expected[name] for name in TEXTS]
        assert row["image"] == strong["image"]


def test_further_samples_are_other_answers_of_the_same_log(captions, folder: Path) -> None:
    kept = {row["id"]: row for row in study_built_in.filtered(captions, folder)}
    answers = study_built_in.logged_answers(folder / "filtered" / LOG)
    logged = {answer.text for one in answers.values() for answer in one}
    further = study_built_in.two_samples(captions, folder)[len(kept) :]
    for row in further:
        first = kept[row["id"]]
        assert row["caption"] == first["caption"]
        for name in TEXTS[1:]:
            assert row[name] != first[name] and any(row[name] in text for text in logged)


class Lenient:
    """A judge that refuses what is called wrong, and finds later answers more different."""

    def judge(self, questions: list[Question]) -> list[Verdict]:
        """Verdicts with a falling overlap."""
        return [
            Verdict(one.answer, "drift" if "wrong" in one.answer else None, 0.9, 1 / (number + 1))
            for number, one in enumerate(questions)
        ]


def test_the_next_best_answer_passes_and_is_not_the_chosen_one() -> None:
    answers = [Answer(text) for text in ("one", "two", "wrong", "three", "two")]

    def found(chosen: str, texts: list[Answer] = answers) -> str | None:
        return study_built_in.another(Lenient(), texts, "source", "", chosen)  # type: ignore[arg-type]

    assert found("three") == "two" and found("two") == "three"
    assert found("one", answers[:1]) is None and found("one", answers[2:3]) is None


def test_without_filters_every_caption_has_a_triple(captions, folder: Path) -> None:
    rows = study_built_in.unfiltered(captions, folder)
    assert [row["caption"] for row in rows] == list(CAPTIONS)


def test_wrong_triples_are_refused_and_less_similar(
    captions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "out" / "triples"
    right = [
        {**row, "paraphrase_1": row["caption"], "paraphrase_2": row["caption"]} for row in captions
    ]
    texts = [row["caption"] for row in captions]
    wrong = [
        {**row, "paraphrase_1": one, "paraphrase_2": two}
        for row, one, two in zip(
            captions, texts[1:] + texts[:1], texts[2:] + texts[:2], strict=True
        )
    ]
    for name, rows in (("strong", right), ("wrong20", wrong)):
        write_triples(made / f"{name}.parquet", rows, {"source": name})
    value = {"value": 12.34, "low": 11, "high": 14}
    figure = {"row": "strong", "benchmark": "variations", "figure": "AO@10", "value": value}
    (tmp_path / "study_a_built_in.json").write_text(json.dumps({"figures": [figure]}))
    words = ["study_fidelity.py", "--data", tmp_path, "--out", tmp_path / "out"]
    words += ["--results", tmp_path, "--images", tmp_path, "--sources", "strong", "wrong20"]
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    study_fidelity.main()
    found = json.loads((tmp_path / "study_fidelity.json").read_text())["triples"]
    assert found["strong"]["similarity"] == pytest.approx(100, abs=0.01)
    assert found["wrong20"]["similarity"] < 60
    assert found["wrong20"]["refused"] > 90
    assert found["strong"]["words changed, step 1"] == 0 < found["wrong20"]["words changed, step 1"]
    table = (tmp_path / "study_fidelity.md").read_text()
    assert "| 12.3 |" in table and table.count("–") == 1
    assert (tmp_path / "study_fidelity.png").read_bytes().startswith(b"\x89PNG")


def test_files_without_a_figure_are_not_plotted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(study_fidelity, "save", lambda drawing, path: drawn.append(drawing))
    label = study_fidelity.LABELS[study_fidelity.OUTCOME[0]]
    outcome = {"strong": {label: Interval(51.0, 49.0, 53.0)}, "wrong20": {}}
    study_fidelity.draw({"strong": 80.0, "wrong20": 90.0}, outcome, tmp_path / "plot.png")
    first, second = drawn[0].axes
    [point] = first.containers
    assert list(point[0].get_xydata()[0]) == [80.0, 51.0] and not second.containers
    assert [name.get_text() for name in first.texts] == ["strong"]
