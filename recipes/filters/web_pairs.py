"""Rewordings of web alternative texts by a strong and a weak model, and two readings of them.

    PARACLIP_DATA=folder python -m recipes.filters.web_pairs --out runs/weak.jsonl    # 5 minutes

writes the weak model's answers: greedy ones of SmolLM2 with the adapter of `recipes/paraphraser`.
The strong model's are in `paraphrases/web.jsonl`. All texts are research data and none is included:
a row of `judged/web.tsv` has a hash of source and answer, and the labels of two readings.
"""

import argparse
import asyncio
import csv
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import parse_with_data, say
from paraclip.data.words import words
from paraclip.files import text_hash
from paraclip.paraphrase.filters.checks import Question, is_unsafe, same_words
from paraclip.paraphrase.filters.judge import clean

JUDGED = Path(__file__).with_name("judged") / "web.tsv"
CAPTIONS, SEED = 450, 20261207  # the first of a shuffled list go to the weak model
LEAST_WORDS, MOST_WORDS = 2, 15
TEXTS = ("caption", "paraphrase_1", "paraphrase_2")


@dataclass(frozen=True)
class Reworded:
    """One step of one model, for one caption."""

    generator: str
    step: int
    caption_id: str
    question: Question

    @property
    def key(self) -> str:
        """What names the pair without its text."""
        return text_hash(f"{self.question.source}\n{self.question.answer}")


def reworded(generator: str, rows: Iterable[dict[str, Any]]) -> list[Reworded]:
    """Both steps of each row whose answers reword at all: copies and empty ones need no reader."""
    found = []
    for row in rows:
        caption, first, second = (clean(row[name] or "") for name in TEXTS)
        questions = (Question(caption, first), Question(first, second, caption))
        for step, one in enumerate(questions, start=1):
            answer = words(one.answer)
            if not answer or any(
                same_words(answer, words(text)) for text in (one.source, one.caption)
            ):
                break
            found.append(Reworded(generator, step, row["image_id"], one))
    return found


def read_readings(path: Path) -> dict[str, tuple[bool, bool]]:
    """Whether each pair was judged good in both readings, by its key."""
    with path.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines, delimiter="\t")
        return {row["key"]: (row["first"] == "1", row["second"] == "1") for row in rows}


def read_web(data: Path) -> list[dict[str, Any]]:
    """The strong model's rows."""
    lines = (data / "paraphrases" / "web.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def choose_captions(data: Path) -> list[dict[str, str]]:
    """Alternative texts that the strong model was not given, as it was given: 2 to 15 words."""
    known = {row["caption"] for row in read_web(data)}
    with (data / "web_captions" / "laion.tsv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    rows = [
        {"image_id": row["id"], "caption": " ".join(row["caption"].split())}
        for row in rows
        if row["caption"] not in known
        and row["caption"].isascii()
        and LEAST_WORDS <= len(row["caption"].split()) <= MOST_WORDS
        and not is_unsafe(row["caption"])
    ]
    random.Random(SEED).shuffle(rows)
    return rows[:CAPTIONS]


async def reword_all(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Both greedy steps of the weak model; one question at a time, so that a batch's rounding
    changes none."""
    from paraclip.paraphrase.backends import llm_options
    from paraclip.paraphrase.prompts import make_prompt
    from recipes.paraphraser.smollm2 import NAME, SmolLM2

    model, found = SmolLM2(llm_options(NAME, candidates=1, temperature=0.0, top_p=1.0)), []
    await model.start()
    try:
        for row in rows:
            texts = [row["caption"]]
            for step in (1, 2):
                (answer,) = await model.answer(make_prompt(model.style, step, texts[-1]), 1)
                texts.append(clean(answer.text))
            found.append(row | {"paraphrase_1": texts[1], "paraphrase_2": texts[2]})
            if len(found) % 50 == 0:
                say(f"{len(found)} of {len(rows)}")
    finally:
        await model.close()
    return found


def main() -> None:
    """Write the weak model's rows."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="file to write (.jsonl)")
    options = parse_with_data(parser)
    rows = asyncio.run(reword_all(choose_captions(Path(options.data))))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
