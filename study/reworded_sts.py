"""STS-B as written, and with its sentences reworded anew by a language model.

    PARACLIP_DATA=folder python -m study.reworded_sts --rows command    # minutes

The protocol is that of the Paraphrasing Text Embedding Benchmark (Frank and Afli 2026, PTEB, arXiv
2510.06730): both sentences of each pair are reworded, in several draws, and the rank correlation
with the gold scores is compared with that of the sentences as written. What changes is owed to the
wording, as far as the meaning is kept.

Here, the model is SmolLM2 with the adapter of `recipes/paraphraser`, which is small enough for a
processor. It rewords captions, and invents when it is asked about news and forums, so that only the
pairs of captions are taken: a sample of 200 of the test pairs without training captions. It
is asked once about a sentence; each of three answers is a draw. Where the filters reject one, the
sentence stays as written. A seed would not give the same answers again, since those of parallel
questions share batches: they are kept in `--out`.

Compares base with the finished cells of rows of `fourth/main.toml`, or of another grid with
`--grid`. Writes `results/study_BASE_reworded_sts.json` and `.md`, without any text.
"""

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from benchmarks.machine import keep, say
from paraclip.arrays import Float
from paraclip.evaluation.benchmarks.sts import LAYOUTS, SemanticSimilarity, StsTask, read_columns
from paraclip.evaluation.report import figure, spread
from paraclip.evaluation.statistics import Interval, Metric, interval, over_seeds
from paraclip.files import text_hash, write_text
from paraclip.models.encoder import DualEncoder
from paraclip.paraphrase.backends import Answer, Backend, llm_options
from paraclip.paraphrase.filters.checks import Question
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.prompts import make_prompt
from paraclip.tables import markdown
from recipes.paraphraser.smollm2 import NAME, SmolLM2
from study import run
from study.averaged import finished_models, read_options
from study.differences import Draws, Scored, over
from study.sets import HOW, unseen_sts

Pair = tuple[str, str, float]
TASK = "STS-B"
GENRE = "main-captions"
"""The pairs of STS-B that are captions, by its first column."""
PAIRS, DRAWS = 200, 3
WRITTEN, SPREAD = "as written", "spread"
FIGURES = {WRITTEN: (1, 0), "reworded": (0, 1), "change": (-1, 1)}
"""Weights of the correlation as written and of the mean over draws."""


def main() -> None:
    """Reword, compare, write and print."""
    options = read_options(str(__doc__).splitlines()[0])
    place = run.Place(Path(options.data), options.out)
    pairs = random.Random(0).sample(caption_pairs(place.data), PAIRS)
    texts = list(dict.fromkeys(text for pair in pairs for text in pair[:2]))
    drawn = draws_of_rewordings(texts, place.out / "reworded_sts")
    wordings = {WRITTEN: pairs}
    for number, new in enumerate(drawn):
        wordings[f"draw {number}"] = [
            (new.get(first, first), new.get(second, second), gold) for first, second, gold in pairs
        ]
    scored: dict[str, dict[int | None, Any]] = {}
    for row, seed, model in finished_models(options, place):
        scored.setdefault(row, {})[seed] = {
            (TASK, wording): correlation(model, of) for wording, of in wordings.items()
        }
    figures = figures_of_rewording(scored, Draws(run.RESAMPLES["quick"], place.out / "draws"))
    shares = [len(new) / len(texts) for new in drawn]
    keep(f"study_{options.base}_reworded_sts", options.results, table,
         pairs=len(pairs), reworded=shares, figures=figures)  # fmt: skip


def caption_pairs(data: Path) -> list[Pair]:
    """The test pairs that are captions, without those that contain a training caption."""
    (task,) = (one for one in unseen_sts(data).tasks if one.name == TASK)
    name, columns, header = LAYOUTS[TASK]
    every = read_columns(data / "sts" / name, columns, header)
    genres = read_columns(data / "sts" / name, (0, 0, columns[2]), header)
    captions = {pair[:2] for pair, (genre, *_) in zip(every, genres, strict=True) if genre == GENRE}
    return [pair for pair in task.pairs if pair[:2] in captions]


def draws_of_rewordings(texts: Sequence[str], folder: Path) -> list[dict[str, str]]:
    """The rewordings of sentences in each draw, without those that the filters reject.

    They are kept, and read when the same sentences are wanted from the same model.
    """
    backend = SmolLM2(llm_options(NAME))
    judge = Judge()
    made_by = [backend.generator, backend.identity, asdict(judge.limits), DRAWS]
    key = text_hash(json.dumps([*made_by, *texts]))
    if not (path := folder / f"{key}.json").exists():
        say(f"rewording {len(texts)} sentences")
        answers = asyncio.run(ask(texts, backend, backend.options.concurrency))
        draws = [accepted(texts, draw, judge) for draw in zip(*answers, strict=True)]
        write_text(path, json.dumps(draws, indent=1, ensure_ascii=False) + "\n")
    kept: list[dict[str, str]] = json.loads(path.read_text("utf-8"))
    return kept


async def ask(texts: Sequence[str], backend: Backend, at_once: int) -> list[list[Answer]]:
    """Answers to the prompt of the first step for each text [texts, draws]."""
    slots = asyncio.Semaphore(at_once)

    async def answers_to(text: str) -> list[Answer]:
        async with slots:
            return await backend.answer(make_prompt(backend.style, 1, text), DRAWS)

    await backend.start()
    try:
        return await asyncio.gather(*map(answers_to, texts))
    finally:
        await backend.close()


def accepted(texts: Sequence[str], answers: Sequence[Answer], judge: Judge) -> dict[str, str]:
    """The answers that pass the filters, by text."""
    questions = [
        Question(text, one.text, cut=one.cut) for text, one in zip(texts, answers, strict=True)
    ]
    verdicts = judge.judge(questions)
    return {text: one.text for text, one in zip(texts, verdicts, strict=True) if one.reason is None}


def correlation(model: DualEncoder, pairs: Sequence[Pair]) -> Metric:
    """Spearman's correlation of a model's similarities with the gold scores."""
    scores = SemanticSimilarity([StsTask(TASK, tuple(pairs), "")], HOW).score(model, None)
    return next(one for one in scores.metrics if one.name == TASK)


def figures_of_rewording(scored: Scored, draws: Draws) -> list[dict[str, Any]]:
    """Each figure of each row and of its difference from base, and the spread of each row."""
    # As written, then each draw: [1 + draws], and resampled [1 + draws, seeds, resamples].
    found: dict[str, tuple[Float, Float]] = {}
    for row, seeds in scored.items():
        means = [
            over({(row, seed): draws.of(one[key]) for seed, one in seeds.items()}, row, list(seeds))
            for key in next(iter(seeds.values()))
        ]
        found[row] = np.array([value for value, _ in means]), np.stack([of for _, of in means])
        if row != "base":
            (mine, resampled), (base, of_base) = found[row], found["base"]
            found[f"{row} − base"] = mine - base, resampled - of_base
    figures: list[dict[str, Any]] = []
    for row, (values, resampled) in found.items():
        for name, (written, reworded) in FIGURES.items():
            weights = np.array([written, *[reworded / (len(values) - 1)] * (len(values) - 1)])
            over_items = over_seeds(np.tensordot(weights, resampled, 1), 0)
            one = interval(float(weights @ values), over_items)
            figures.append({"row": row, "figure": name, **asdict(one)})
        if row in scored:
            figures.append({"row": row, "figure": SPREAD, "value": float(np.ptp(values[1:]))})
    return figures


def table(record: Mapping[str, Any]) -> str:
    """A line for each row, and for its differences from base."""
    found = {(one["row"], one["figure"]): one for one in record["figures"]}

    def cell(row: str, name: str) -> str:
        one = found[row, name]
        signed = name == "change" or row.endswith(" base")
        return spread(Interval(one["value"], one["low"], one["high"]), signed)

    lines = [
        [row, *(cell(row, name) for name in FIGURES),
         figure(found[row, SPREAD]["value"]) if (row, SPREAD) in found else ""]
        for row in dict.fromkeys(row for row, _ in found)
    ]  # fmt: skip
    count = f"mean of {len(record['reworded'])} draws"
    heads = ["", WRITTEN, count, "change", "max − min of draws"]
    note = (
        f"Spearman's correlation times 100 on {record['pairs']} pairs of captions of STS-B's test "
        "set, the same in all columns. In each draw, SmolLM2 with the recipe's adapter rewords all "
        f"sentences anew; {100 * mean(record['reworded']):.0f} % were reworded, and the others, "
        "whose answers the filters reject, are as written. Brackets: 95 % interval of a bootstrap "
        "over pairs and seeds."
    )
    return f"{markdown(heads, lines)}\n\n{note}"


if __name__ == "__main__":
    main()
