"""The method in one file, from top to bottom: what `paraclip train` does, without what it adds.

    python -m recipes.minimal triples.parquet --base mini --out runs/minimal.safetensors

The text encoder of a CLIP learns from triples, rows of a caption and two paraphrases; the image
encoder is frozen. L1, L2 and L3 are the paper's; R and S are ours (docs/method.md). `paraclip
train` adds further wordings and languages, other teachers and banks, rows without a picture, false
negatives, large batches in little memory, several processes, resuming, and a judge.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

import paraclip
from paraclip.data.triples import read_triples
from paraclip.evaluation.unlabelled import HUBS_LOWERED, measure_hubs
from paraclip.models.checkpoint import save_model
from paraclip.starter import TEXTS

WEIGHTS = {"L1": 1.0, "L2": 1.0, "L3": 1.0, "R": 3.0, "S": 1.0}  # the paper has neither R nor S
TEXT_TEMPERATURE = 0.2  # of L2 and L3; the paper's is the model's own, as in L1
SENTENCE_TEMPERATURE = 0.05  # of S
WARMUP = 0.1  # share of the steps in which the learning rate rises; it then falls along a cosine


def contrast(a: Tensor, b: Tensor, scale: Tensor | float) -> Tensor:
    """InfoNCE of unit vectors [B, D], both ways: row i of `a` and row i of `b` belong together."""
    logits, own = scale * a @ b.T, torch.arange(len(a), device=a.device)
    return (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2


def ranking_loss(texts: Sequence[Tensor], bank: Tensor, wanted: Tensor, scale: float) -> Tensor:
    """R: every wording [B, D] ranks the pictures of the bank [M, D] as wanted [B, M]."""
    losses = [cross_entropy(scale * text @ bank.T, wanted) for text in texts]
    return torch.stack(losses).mean()


def sentence_loss(texts: Sequence[Tensor], meanings: Sequence[Tensor]) -> Tensor:
    """S: wordings [B, D] of the rows are as similar as a sentence encoder's [B, E] of the same."""
    scale, losses = 1 / SENTENCE_TEMPERATURE, []
    for a, b in ((0, 1), (1, 2), (0, 2)):
        wanted = (scale * meanings[a] @ meanings[b].T).softmax(1)
        losses.append(cross_entropy(scale * texts[a] @ texts[b].T, wanted))
    return torch.stack(losses).mean()


def learning_rate(step: int, steps: int, peak: float) -> float:
    """The learning rate of a step."""
    rising = max(1, round(WARMUP * steps))
    if step < rising:
        return peak * (step + 1) / (rising + 1)
    return peak * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising))) / 2


def train(options: argparse.Namespace) -> list[float]:
    """Fine-tune the base, write it, and return the loss of every step."""
    # 1. The rows that have a picture.
    torch.manual_seed(options.seed)
    rows = [row for row in read_triples(options.triples).to_pylist() if row["image"]]
    said = [[row[name] for row in rows] for name in TEXTS]
    model = paraclip.load_model(options.base, options.device)
    device = model.device

    # 2. What frozen models say: the pictures, the ranking that the base finds for the mean of all
    #    wordings, with pictures that every text likes lowered, and MiniLM's vectors.
    images = paraclip.encode_images(model, [row["image"] for row in rows])
    bank = torch.unique(images, dim=0)
    base_scale = float(model.logit_scale.detach().exp())
    means = normalize(sum(paraclip.encode_texts(model, texts) for texts in said), dim=1)
    rankings = base_scale * means @ bank.T
    rankings = (rankings - HUBS_LOWERED * measure_hubs(means, bank, base_scale)).softmax(1)
    sentences = paraclip.load_model("minilm", options.device)
    meanings = [paraclip.encode_texts(sentences, texts).to(device) for texts in said]
    tokens = [model.tokenize(texts).ids.to(device) for texts in said]
    images, bank, rankings = images.to(device), bank.to(device), rankings.to(device)

    # 3. The text encoder and the temperature learn; nothing else does.
    model.requires_grad_(False)
    model.text_tower.requires_grad_(True)
    model.logit_scale.requires_grad_(True)
    model.text_tower.train()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01)
    steps, found = options.epochs * math.ceil(len(rows) / options.batch_size), list[float]()
    for _ in range(options.epochs):
        for batch in torch.randperm(len(rows)).split(options.batch_size):
            batch = batch.to(device)
            texts = [model.encode_tokens(ids[batch]) for ids in tokens]
            caption, first, second = texts
            warm = 1 / TEXT_TEMPERATURE
            losses = {
                "L1": contrast(images[batch], caption, model.logit_scale.exp()),
                "L2": contrast(caption, first, warm),
                "L3": contrast(first, second, warm),
                "R": ranking_loss(texts, bank, rankings[batch], base_scale),
                "S": sentence_loss(texts, [vectors[batch] for vectors in meanings]),
            }
            loss = torch.stack([WEIGHTS[name] * value for name, value in losses.items()]).sum()
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(len(found), steps, options.learning_rate)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            found.append(float(loss.detach()))
            print(f"step {len(found)} of {steps}: {found[-1]:.3f}", flush=True)

    # 4. A checkpoint that `paraclip evaluate`, `index` and `export` load.
    save_model(model.eval(), Path(options.out), {"made_by": "recipes/minimal.py"})
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fine-tune a text encoder on triples.")
    parser.add_argument("triples", help="what `paraclip generate` writes; rows name their pictures")
    parser.add_argument("--base", default="mini")
    parser.add_argument("--out", default="runs/minimal.safetensors")
    parser.add_argument("--device", default="auto")
    for name, value in (("epochs", 4), ("batch-size", 256), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--learning-rate", type=float, default=1e-5)
    train(parser.parse_args())
