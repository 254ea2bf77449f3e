"""The rows the paraphraser learns from: strong triples, split by picture, turned into tokens."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROMPTS = (
    Path(__file__).resolve().parents[2] / "src/paraclip/paraphrase/adapter/prompts.json"
)


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
        {**json.loads(line), "source": path.stem}
        for path in paths
        for line in path.read_text(encoding="utf-8").splitlines()
    ]


def pairs_of(row: dict[str, Any]) -> Iterator[Pair]:
    """Both steps of a triple, and the way back to the caption, a nearer wording for step 2."""
    caption, first, second = (
        one_line(row[key]) for key in ("caption", "paraphrase_1", "paraphrase_2")
    )
    yield Pair("step_1", caption, first)
    yield Pair("step_2", first, second)


def tokenize(pairs: Iterable[Pair], tokenizer: Any) -> list[tuple[list[int], int]]:
    """(tokens, where the answer begins) of each pair; the answer ends with the end token."""
    prompts = json.loads(PROMPTS.read_text(encoding="utf-8"))
    examples = []
    for pair in pairs:
        prompt = tokenizer(prompts[pair.step].replace("{text}", pair.text)).input_ids
        answer = tokenizer(" " + pair.answer).input_ids
        examples.append(([*prompt, *answer, tokenizer.eos_token_id], len(prompt)))
    return examples
