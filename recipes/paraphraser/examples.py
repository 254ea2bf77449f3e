"""The rows the paraphraser learns from: strong triples, split by picture, turned into tokens."""

import argparse
import csv
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paraclip.paraphrase.config import Limits
from paraclip.paraphrase.filters import Judge, Question
from paraclip.paraphrase.similarity import SentenceEncoder

HERE = Path(__file__).resolve().parent
PROMPTS = HERE.parents[1] / "src/paraclip/paraphrase/adapter/prompts.json"
NEAR = Limits(
    similarity=0.7, support=0.62, kept=0.8, growth=1.6, words=40, changed_kind=True
)  # stricter would leave few second steps to learn from
OWN = (HERE / "own_triples.tsv", HERE / "short_captions.tsv")


def parse_with_data(
    parser: argparse.ArgumentParser, needed: Callable[[argparse.Namespace], bool] = lambda _: True
) -> argparse.Namespace:
    """Parse the command line with the option `--data`; without it, PARACLIP_DATA/paraphrases.

    Ends with one line and exit code 2 where the data is needed and neither names a folder.
    """
    given = os.environ.get("PARACLIP_DATA")
    default = Path(given) / "paraphrases" if given else None
    meaning = "has flickr8k_train.jsonl and web.jsonl (default: $PARACLIP_DATA/paraphrases)"
    parser.add_argument("--data", type=Path, default=default, metavar="FOLDER", help=meaning)
    options = parser.parse_args()
    if needed(options) and (options.data is None or not options.data.is_dir()):
        there = (
            "no strong triples" if options.data is None else f"there is no folder {options.data}"
        )
        parser.error(f"{there}: give --data FOLDER or set PARACLIP_DATA")
    return options


@dataclass(frozen=True)
class Pair:
    """One thing to learn: the prompt of `step`, filled with `text`, is answered by `answer`."""

    step: str
    text: str
    answer: str


def one_line(text: str) -> str:
    return " ".join(text.split())


def held_out(image_id: str) -> bool:
    """A tenth of the pictures, chosen by hash, is never trained on."""
    return int(hashlib.sha1(image_id.encode()).hexdigest(), 16) % 10 == 0


def read_rows(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Rows of the paper's JSONL: index, image_id, caption, paraphrase_1, paraphrase_2."""
    return [
        json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()
    ]


def read_own(paths: Iterable[Path] = OWN) -> list[dict[str, Any]]:
    """The project's own triples: caption, paraphrase_1, paraphrase_2, tab-separated."""
    rows = []
    for path in paths:
        with path.open(encoding="utf-8", newline="") as lines:
            rows += csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    return rows


def broad_pairs(rows: list[dict[str, Any]]) -> list[Pair]:
    """Both steps of the triples where MiniLM finds them alike; alt-texts, which are few, twice."""
    firsts, seconds = zip(*(both_steps(row) for row in rows), strict=True)
    encoder = SentenceEncoder()
    vectors = [encoder.encode([pair.text for pair in pairs]) for pairs in (firsts, seconds)]
    last = encoder.encode([pair.answer for pair in seconds])
    alike_1, alike_2 = (vectors[0] * vectors[1]).sum(1), (vectors[1] * last).sum(1)
    kept: list[Pair] = []
    for row, first, second, one, two in zip(rows, firsts, seconds, alike_1, alike_2, strict=True):
        alt_text = row["image_id"].startswith("laion")
        pairs = [first] * bool(one >= (0.7 if alt_text else 0.85)) + [second] * bool(two >= 0.55)
        kept += pairs * (2 if alt_text else 1)
    return kept


def both_steps(row: dict[str, Any]) -> tuple[Pair, Pair]:
    caption, first, second = _texts(row)
    return Pair("step_1", caption, first), Pair("step_2", first, second)


def near_pairs(rows: list[dict[str, Any]], own: list[dict[str, Any]]) -> list[Pair]:
    """Pairs from which a small model learns to add nothing.

    Those of the triples that pass strict filters (`NEAR`); the way back from
    paraphrase_1 to the caption where the two differ enough in wording, as one more step 2
    (a person's own plain words for the same picture); and the project's own triples.
    """
    firsts, seconds = zip(*(both_steps(row) for row in rows), strict=True)
    back = [Pair("step_2", pair.answer, pair.text) for pair in firsts]
    judge = Judge(NEAR)
    kept = _passing(judge, firsts)[::2]  # step 1 is the easier half, and half of it is enough
    kept += 2 * _passing(judge, seconds, [pair.text for pair in firsts])
    kept += _passing(judge, back, overlap=0.75)
    return kept + 2 * [pair for row in own for pair in both_steps(row)]


def _passing(
    judge: Judge, pairs: Sequence[Pair], captions: Sequence[str] = (), overlap: float = 0.9
) -> list[Pair]:
    """The pairs that the filters pass and that share no more than `overlap` of their words."""
    captions = captions or [""] * len(pairs)
    questions = [
        Question(pair.text, pair.answer, caption)
        for pair, caption in zip(pairs, captions, strict=True)
    ]
    verdicts = zip(pairs, judge.judge(questions), strict=True)
    return [pair for pair, said in verdicts if said.reason is None and said.overlap <= overlap]


def _texts(row: dict[str, Any]) -> tuple[str, str, str]:
    return (
        one_line(row["caption"]), one_line(row["paraphrase_1"]), one_line(row["paraphrase_2"])
    )  # fmt: skip


def tokenize(pairs: Iterable[Pair], tokenizer: Any) -> list[tuple[list[int], int]]:
    """(tokens, where the answer begins) of each pair; the answer ends with the end token."""
    prompts = json.loads(PROMPTS.read_text(encoding="utf-8"))
    examples = []
    for pair in pairs:
        prompt = tokenizer(prompts[pair.step].replace("{text}", pair.text)).input_ids
        answer = tokenizer(" " + pair.answer).input_ids
        examples.append(([*prompt, *answer, tokenizer.eos_token_id], len(prompt)))
    return examples
