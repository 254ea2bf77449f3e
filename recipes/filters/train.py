"""Train the checker of the filters: does an answer say what its source says?

    python -m recipes.filters.train --out runs/checker.safetensors

all-MiniLM-L6-v2 (Apache-2.0) reads source and answer together, with LoRA on its matrices and one
linear map that scores every token. Good pairs are rewordings of the starter set, bad ones have a
fault made by rule (`labelled.py`). Only half of the starter set is used;
`benchmarks/generation/filters.py` reports on the other half. No data from elsewhere goes in, so the
weights are Apache-2.0.
"""

import argparse
import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from paraclip.models.tensors import save_tensors
from paraclip.paraphrase.filters.minilm import Pair
from paraclip.provenance import provenance
from paraclip.training.optimizer import learning_rate_share
from recipes.filters.labelled import TRAINED_ON, labelled_pairs
from recipes.filters.torch_checker import TorchChecker

Example = tuple[Pair, float]  # source and answer; 1 for a fault, 0 for none
FAULTS_EACH = 700  # pairs of one kind of fault


def examples(draw: random.Random) -> list[Example]:
    """Good pairs in both directions, and faults."""
    found: list[Example] = []
    for kind in labelled_pairs(TRAINED_ON).values():
        pairs = [(one.source, one.answer) for one in kind.pairs]
        if kind.good:
            found += [(pair, 0.0) for pair in pairs]
            found += [((answer, source), 0.0) for source, answer in pairs]
            found += [((one.caption, one.answer), 0.0) for one in kind.pairs if one.caption]
        else:
            draw.shuffle(pairs)
            found += [(pair, 1.0) for pair in pairs[:FAULTS_EACH]]
    draw.shuffle(found)
    return found


def batches(rows: Sequence[Example], size: int, draw: random.Random) -> Iterator[list[Example]]:
    """Batches of pairs of similar length, in random order."""
    rows = sorted(rows, key=lambda row: len(row[0][0]) + len(row[0][1]) + draw.random())
    starts = list(range(0, len(rows), size))
    draw.shuffle(starts)
    for start in starts:
        yield list(rows[start : start + size])


def loss_of(checker: TorchChecker, batch: Sequence[Example]) -> Tensor:
    """Mean cross-entropy of a batch."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = checker([pair for pair, _ in batch]).float()
    labels = torch.tensor([label for _, label in batch])
    return binary_cross_entropy_with_logits(logits, labels)


def train(checker: TorchChecker, rows: Sequence[Example], options: argparse.Namespace) -> None:
    """Train in place, and print the loss."""
    weights = [value for value in checker.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=options.rate, weight_decay=0.0)
    draw, began, step = random.Random(options.seed), time.monotonic(), 0
    total = options.epochs * -(-len(rows) // options.batch)
    recent: list[float] = []
    for _ in range(options.epochs):
        for batch in batches(rows, options.batch, draw):
            for group in optimizer.param_groups:
                group["lr"] = options.rate * learning_rate_share(step, total, 0.06)
            loss = loss_of(checker, batch)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            step += 1
            recent.append(loss.item())
            if step % 25 == 0:
                mean, seconds = sum(recent) / len(recent), time.monotonic() - began
                print(f"step {step} of {total}, loss {mean:.3f}, {seconds:.0f} s", flush=True)
                recent = []


def main() -> None:
    """Train, write, print."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="file to write (.safetensors)")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--most", type=int, help="pairs; default: all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    rows = examples(random.Random(options.seed))[: options.most]
    print(f"{len(rows)} pairs, {sum(label for _, label in rows):.0f} of them with a fault")
    checker = TorchChecker(options.rank)
    train(checker, rows, options)
    settings = {name: value for name, value in vars(options).items() if name != "out"}
    made = provenance(
        data="ParaCLIP's starter set, half of it", settings=settings, pairs=len(rows),
        base="all-MiniLM-L6-v2 (Apache-2.0)", licence="Apache-2.0",
    )  # fmt: skip
    made["command"] = ["python", "-m", "recipes.filters.train"]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(checker.adapters(), options.out, {"paraclip": json.dumps(made)})


if __name__ == "__main__":
    main()
