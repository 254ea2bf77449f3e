"""What a teacher costs, and how well it is published to rank pictures.

    python -m benchmarks.training.teachers

A teacher of R embeds each picture of the bank once, and each wording of the scenes once, which is
most of the time of a training without a GPU. With random weights of the true size, the pictures and
texts a second are those of the real model. The published figure is the share of COCO's captions
that find their picture at the first rank among 5,000, zero-shot.
"""

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import open_clip
import torch
from open_clip.transform import PreprocessCfg

from benchmarks.machine import RESULTS, facts_of, keep, say
from paraclip.models.openclip import ClipSpec, OpenClip, build_clip
from paraclip.tables import markdown

PICTURES, TEXTS = 50_000, 104_000
"""Of a bank, and of the wordings of `scenes`: what the last column is of."""
LENGTH = 11
"""Tokens of a scene's text on average, with start and end. A causal tower reads no padding; one
that is not, such as SigLIP's, reads all of it."""
BATCHES = 3


class Candidate(NamedTuple):
    """A CLIP of open_clip that could teach.

    Attributes:
        weights: names of architecture and weights.
        published: text-to-image R@1 of COCO, from `docs/openclip_retrieval_results.csv` of
            open_clip at commit 05e7db4.
        tokenizer: where its tokens come from.
    """

    weights: str
    published: float
    tokenizer: str = "built in"


CANDIDATES = (
    Candidate("ViT-B-32:openai", 30.4),
    Candidate("ViT-B-32-256:datacomp_s34b_b86k", 39.9),
    Candidate("ViT-B-16:laion2b_s34b_b88k", 42.3),
    Candidate("ViT-B-16:dfn2b", 43.4),
    Candidate("ViT-B-16-SigLIP:webli", 47.8, "hub, with transformers"),
    Candidate("ViT-L-14:laion2b_s32b_b82k", 46.5),
    Candidate("ViT-L-16-SigLIP-256:webli", 52.3, "hub, with transformers"),
)


@torch.inference_mode()
def measure(candidate: Candidate, batch: int) -> dict[str, Any]:
    """Pictures and texts a second of a candidate with random weights, medians of three batches."""
    architecture = candidate.weights.partition(":")[0]
    config = open_clip.get_model_config(architecture)
    assert config is not None
    for option in ("hf_tokenizer_name", "tokenizer_kwargs"):  # no text is read
        config["text_cfg"].pop(option, None)
    spec = ClipSpec(architecture, config, asdict(PreprocessCfg()))
    model = OpenClip(spec, build_clip(spec)).eval()
    pixels = torch.randn(batch, 3, model.image_size, model.image_size)
    reads_padding = config["text_cfg"].get("no_causal_mask", False)
    length = model.architecture.context_length if reads_padding else LENGTH
    tokens = torch.randint(1, 1_000, (batch, length))
    tokens[:, -1] = config["text_cfg"]["vocab_size"] - 1  # the end of a text
    pictures = per_second(model.embed_pixels, pixels)
    texts = per_second(model.encode_tokens, tokens)
    return {**candidate._asdict(), "pictures": pictures, "texts": texts}


def per_second(encode: Any, rows: torch.Tensor) -> float:
    """Rows a second, after one batch that warms up."""
    encode(rows)
    taken = []
    for _ in range(BATCHES):
        began = time.perf_counter()
        encode(rows)
        taken.append(time.perf_counter() - began)
    return len(rows) / median(taken)


def table_of(record: dict[str, Any]) -> str:
    """The candidates, the dearest last."""
    heads = ["teacher", "published R@1", "tokenizer", "pictures/s", "texts/s", "hours"]

    def hours(one: dict[str, Any]) -> float:
        return float(PICTURES / one["pictures"] + TEXTS / one["texts"]) / 3600

    rows = [
        [f"`{one['weights']}`", f"{one['published']:.1f}", one["tokenizer"],
         f"{one['pictures']:.1f}", f"{one['texts']:.0f}", f"{hours(one):.1f}"]
        for one in sorted(record["candidates"], key=hours)
    ]  # fmt: skip
    note = f"Hours are for {PICTURES:,} pictures and {TEXTS:,} texts of scenes. {record['facts']}"
    return f"{markdown(heads, rows)}\n\n{note}"


def main() -> None:
    """Measure all candidates."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--batch", type=int, default=16, help="pictures and texts at once")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    found = []
    for candidate in CANDIDATES:
        say(candidate.weights)
        found.append(measure(candidate, options.batch))
    keep("teachers", options.results, table_of, candidates=found, facts=facts_of())


if __name__ == "__main__":
    main()
