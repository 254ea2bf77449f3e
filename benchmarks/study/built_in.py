"""Triples that ParaCLIP's built-in language model writes from the captions of the strong triples.

The model runs once for each set of options, with a log from which an interrupted run resumes. Its
adapter was trained on the strong triples of nine tenths of these captions
(`recipes/paraphraser/README.md`), which favours it.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from paraclip.data.triples import read_triples
from paraclip.files import text_hash, write_text
from paraclip.paraphrase.backends import Answer
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.filters.checks import Question
from paraclip.paraphrase.filters.cleaning import clean
from paraclip.paraphrase.filters.judge import Judge, Verdict
from paraclip.paraphrase.language.words import words
from paraclip.paraphrase.log import answers_in, entry_of
from paraclip.paraphrase.outputs import LOG, SUMMARY, TRIPLES
from paraclip.paraphrase.run import generate_from_source
from paraclip.paraphrase.steps import choose_candidate, distinct_answers

Row = dict[str, Any]
COLUMNS = ("id", "caption", "image_id", "image")
UNFILTERED = {"candidates": 1, "asks": 1}
"""One answer a step, whatever it says."""


class AcceptAll(Judge):
    """Accepts every answer with words."""

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        """See `Judge.judge`."""
        texts = [clean(question.answer) for question in questions]
        return [Verdict(text, None if words(text) else "empty", 1.0, 0.0) for text in texts]


def filtered(captions: Sequence[Row], folder: Path) -> list[Row]:
    """What `paraclip generate` keeps with its default options."""
    return read_triples(generated(captions, folder / "filtered")).to_pylist()


def unfiltered(captions: Sequence[Row], folder: Path) -> list[Row]:
    """The first answer of each step, not filtered."""
    return read_triples(
        generated(captions, folder / "unfiltered", UNFILTERED, AcceptAll())
    ).to_pylist()


def mixed(captions: Sequence[Row], folder: Path) -> list[Row]:
    """The filtered triples, and the given ones of the captions that have none."""
    kept = {row["id"]: row for row in filtered(captions, folder)}
    return [kept.get(row["id"], row) for row in captions]


def two_samples(captions: Sequence[Row], folder: Path) -> list[Row]:
    """The filtered triples, and a further one of the next best answers of both steps.

    Captions of which a step has no other answer that passes the filters keep one triple.
    """
    rows = filtered(captions, folder)
    return [*rows, *next_best(rows, folder / "filtered" / LOG)]


def generated(
    captions: Sequence[Row],
    out: Path,
    options: Mapping[str, Any] | None = None,
    judge: Judge | None = None,
) -> Path:
    """The triples file of a run of the built-in model over the captions, made unless it is there.

    Args:
        captions: rows with at least `COLUMNS`.
        out: folder of the run, which resumes there.
        options: of `paraclip generate`, in place of its defaults.
        judge: overrides the filters.
    """
    if (out / SUMMARY).is_file():  # written last
        return out / TRIPLES
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerows([COLUMNS, *([row[name] for name in COLUMNS] for row in captions)])
    source = out.with_suffix(".csv")
    write_text(source, text.getvalue())
    config = GenerateConfig(str(source), out, **(options or {}))
    return generate_from_source(config, judge=judge).triples


def next_best(rows: Sequence[Row], log: Path) -> Iterator[Row]:
    """For each triple, the best of the answers that were not chosen, where both steps have one."""
    judge = Judge(GenerateConfig(str(log), log.parent).filter_limits)
    answers = logged_answers(log)
    for row in rows:
        caption, one, two = row["caption"], row["paraphrase_1"], row["paraphrase_2"]
        first = another(judge, answers[row["id"], text_hash(caption)], caption, "", one)
        second = another(judge, answers[row["id"], text_hash(one)], one, caption, two)
        if first and second:
            yield {**row, "paraphrase_1": first, "paraphrase_2": second}


def another(
    judge: Judge, answers: Sequence[Answer], source: str, caption: str, chosen: str
) -> str | None:
    """The best answer that passes the filters, other than the chosen one."""
    questions = [Question(source, a.text, caption, a.cut) for a in distinct_answers(list(answers))]
    verdicts = [one for one in judge.judge(questions) if one.text != chosen]
    best = choose_candidate(verdicts, (caption,) if caption else ())
    return best.text if best else None


def logged_answers(log: Path) -> Mapping[tuple[str, str], list[Answer]]:
    """The answers in a log by the id of the caption and the hash of the text that was reworded."""
    found: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    with log.open("rb") as lines:
        next(lines)  # the settings
        for line in lines:
            entry = entry_of(line)
            if entry is not None:
                found[entry["id"], entry["text"]] += answers_in(entry)
    return found
