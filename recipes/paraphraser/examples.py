"""Training data of the paraphraser: strong triples, split by picture, as tokens."""

import csv
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paraclip.paraphrase.config import Limits
from paraclip.paraphrase.filters.checks import Question
from paraclip.paraphrase.filters.judge import Judge
from paraclip.paraphrase.filters.minilm import SentenceEncoder
from paraclip.starter import FIRST_EDITION, TRIPLES
from recipes.demo.stamps import STAMPS

HERE = Path(__file__).resolve().parent
PROMPTS = HERE / "adapter" / "prompts.json"
NEAR = Limits(similarity=0.7, growth=1.6, words=40, fault=1.0)
OWN = (HERE / "own_triples.tsv", HERE / "short_captions.tsv")
SYNONYMS = (HERE / "synonyms.tsv",)
SETS = ("strong", "starter", "stamps")
"""Triples of the research data; those of the starter set and of the demo."""


@dataclass(frozen=True)
class Pair:
    """One example: the prompt of `step` for `text`, and its answer."""

    step: str
    text: str
    answer: str


def one_line(text: str) -> str:
    return " ".join(text.split())


def held_out(image_id: str) -> bool:
    """Whether a picture is in the tenth, chosen by hash, that is never trained on."""
    return int(hashlib.sha1(image_id.encode()).hexdigest(), 16) % 10 == 0


def read_rows(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Rows of JSON lines: index, image_id, caption, paraphrase_1, paraphrase_2."""
    return [
        json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()
    ]


def read_sets(names: Sequence[str], data: Path | None) -> list[dict[str, Any]]:
    """Rows of the named sets; `image_id` decides which are held out."""
    rows: list[dict[str, Any]] = []
    if "strong" in names and data is not None:
        strong = data / "paraphrases"
        rows += read_rows([strong / "flickr8k_train.jsonl", strong / "web.jsonl"])
    if "starter" in names:
        rows += [{**row, "image_id": row["id"]} for row in read_rows([TRIPLES])[:FIRST_EDITION]]
    if "stamps" in names:
        rows += [
            {**row, "image_id": row["image"]}
            for row in read_rows([STAMPS])
            if row["split"] == "train"
        ]
    return rows


def read_own(paths: Iterable[Path] = OWN) -> list[dict[str, Any]]:
    """The project's own triples: caption, paraphrase_1, paraphrase_2, tab-separated."""
    return [row for path in paths for row in read_tsv(path)]


def read_tsv(path: Path) -> list[dict[str, str]]:
    """Rows of a tab-separated file; quotation marks are text."""
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def broad_pairs(rows: list[dict[str, Any]]) -> list[Pair]:
    """Both steps of the triples, if similar by MiniLM; alt-texts, which are few, twice."""
    firsts, seconds = zip(*(both_steps(row) for row in rows), strict=True)
    encode = SentenceEncoder().encode
    captions, middle = encode([pair.text for pair in firsts]), encode([p.text for p in seconds])
    last = encode([pair.answer for pair in seconds])
    cosines_1, cosines_2 = (
        [float(one @ other) for one, other in zip(*texts, strict=True)]
        for texts in ((captions, middle), (middle, last))
    )
    kept: list[Pair] = []
    for row, first, second, one, two in zip(
        rows, firsts, seconds, cosines_1, cosines_2, strict=True
    ):
        alt_text = row["image_id"].startswith("laion")
        pairs = [first] * bool(one >= (0.7 if alt_text else 0.85)) + [second] * bool(two >= 0.55)
        kept += pairs * (2 if alt_text else 1)
    return kept


def both_steps(row: dict[str, Any]) -> tuple[Pair, Pair]:
    """The two examples in a triple."""
    names = ("caption", "paraphrase_1", "paraphrase_2")
    caption, first, second = (one_line(row[name]) for name in names)
    return Pair("step_1", caption, first), Pair("step_2", first, second)


def near_pairs(rows: list[dict[str, Any]], own: list[dict[str, Any]]) -> list[Pair]:
    """Pairs that teach a small model to add nothing.

    They are the pairs that pass strict filters (`NEAR`); paraphrase_1 to caption as another step 2,
    where the two differ enough in wording; and the project's own triples.
    """
    firsts, seconds = zip(*(both_steps(row) for row in rows), strict=True)
    back = [Pair("step_2", pair.answer, pair.text) for pair in firsts]
    judge = Judge(NEAR)
    kept = _passing(judge, firsts)[::2]  # step 1 is easier: half of it is enough
    kept += 2 * _passing(judge, seconds, [pair.text for pair in firsts])
    kept += _passing(judge, back, overlap=0.75)
    return kept + 2 * [pair for row in own for pair in both_steps(row)]


def synonym_pairs(rows: list[dict[str, Any]]) -> list[Pair]:
    """Both steps of each triple of synonyms, and its second step in the other direction.

    Every word of such a triple is kept or has a synonym in its place, so that both directions hold.
    """
    pairs = [both_steps(row) for row in rows]
    back = [Pair("step_2", second.answer, second.text) for _, second in pairs]
    return [*(pair for both in pairs for pair in both), *back]


def _passing(
    judge: Judge, pairs: Sequence[Pair], captions: Sequence[str] = (), overlap: float = 0.9
) -> list[Pair]:
    """The pairs that pass the filters and share at most `overlap` of their words."""
    captions = captions or [""] * len(pairs)
    questions = [
        Question(pair.text, pair.answer, caption)
        for pair, caption in zip(pairs, captions, strict=True)
    ]
    verdicts = zip(pairs, judge.judge(questions), strict=True)
    return [pair for pair, one in verdicts if one.reason is None and one.overlap <= overlap]


def tokenize(pairs: Iterable[Pair], tokenizer: Any) -> list[tuple[list[int], int]]:
    """(tokens, index of the answer's first token) of each pair; an end token closes the answer."""
    prompts = json.loads(PROMPTS.read_text(encoding="utf-8"))
    examples = []
    for pair in pairs:
        prompt = tokenizer(prompts[pair.step].replace("{text}", pair.text)).input_ids
        answer = tokenizer(" " + pair.answer).input_ids
        examples.append(([*prompt, *answer, tokenizer.eos_token_id], len(prompt)))
    return examples
