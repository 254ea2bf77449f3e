"""Cost of five million triples, tokens, GPU hours and money, from measured slopes.

    PARACLIP_DATA=folder python -m benchmarks.generation.cost
    python -m benchmarks.generation.cost --gpu-hour 3.5 --input-price 0.5 --output-price 1.5

Measured here: tokens of the prompts and of strong answers (web captions, CLIP's byte pairs), and
pictures decoded and prepared per second and core (short side 256; larger ones take longer).
Computed: operations of the towers from their weights, 2 per weight and token forward and 4
backward, three texts per triple. Assumed, and set by options: the GPU's peak, the share of it that
is reached, and all prices. No GPU was measured.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import open_clip
import torch
from torch import nn

from benchmarks.machine import RESULTS, keep, markdown, parse_with_data
from paraclip.data.images import picture_files
from paraclip.data.triples import read_triples
from paraclip.models.features import read_pictures
from paraclip.models.loading import load_model
from paraclip.paraphrase.prompts import make_prompt

TRIPLES = 5_000_000
MODELS = ("ViT-B-32", "ViT-L-14")
STYLE = "paper"
PICTURES = 256
TEXTS_A_TRIPLE = 3


@dataclass(frozen=True)
class Slopes:
    """Measured values per triple or picture.

    Args:
        prompt_tokens: tokens of both steps' prompts.
        answer_tokens: tokens of both steps' answers.
        text_tokens: mean tokens of a training text.
        pictures_per_second: pictures decoded and prepared by one core.
    """

    prompt_tokens: float
    answer_tokens: float
    text_tokens: float
    pictures_per_second: float


def measured(data: Path) -> Slopes:
    """Measure the slopes on this machine."""
    rows = read_triples(data / "paraphrases" / "web.jsonl").to_pylist()
    tokenizer = open_clip.tokenizer.SimpleTokenizer()

    def tokens(text: str) -> int:
        return len(tokenizer.encode(text))

    questions = [
        tokens(asked_text(1, row["caption"])) + tokens(asked_text(2, row["paraphrase_1"]))
        for row in rows
    ]
    answered = [tokens(row["paraphrase_1"]) + tokens(row["paraphrase_2"]) for row in rows]
    names = ("caption", "paraphrase_1", "paraphrase_2")
    texts = [tokens(row[name]) + 2 for row in rows for name in names]
    return Slopes(mean(questions), mean(answered), mean(texts), decoded_per_second(data))


def asked_text(step: int, text: str) -> str:
    """All messages of a question."""
    messages = make_prompt(STYLE, step, text).messages or ()
    return " ".join(message["content"] for message in messages)


def decoded_per_second(data: Path) -> float:
    """Number of pictures that one core decodes and prepares per second."""
    model = load_model("mini", "cpu")
    names = [str(path) for path in picture_files(data / "imagenet_sample")[:PICTURES]]
    began = time.process_time()
    for _ in read_pictures(model, names):
        pass
    return len(names) / (time.process_time() - began)


def tower_sizes(name: str) -> tuple[int, int, int]:
    """Sizes of the text and the image tower's weight matrices, and the number of image tokens."""
    config = open_clip.get_model_config(name)
    with torch.device("meta"):
        clip = open_clip.model.CustomTextCLIP(**config)
    vision = config["vision_cfg"]
    patches = (vision["image_size"] // vision["patch_size"]) ** 2 + 1
    return matrices(clip.text.transformer), matrices(clip.visual.transformer), patches


def matrices(tower: nn.Module) -> int:
    """Number of values in the weight matrices of a tower."""
    return sum(value.numel() for value in tower.parameters() if value.ndim == 2)


def estimate(slopes: Slopes, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Hours and money for one architecture."""
    text, image, patches = tower_sizes(name)
    training = TRIPLES * TEXTS_A_TRIPLE * slopes.text_tokens * 6.0 * text
    features = TRIPLES * 2.0 * image * patches
    rate = options.peak * 1e12 * options.share / 100
    hours = {"training": training / rate / 3600, "features": features / rate / 3600}
    decoding = TRIPLES / slopes.pictures_per_second / 3600
    tokens_in, tokens_out = (
        TRIPLES * one / 1e6 for one in (slopes.prompt_tokens, slopes.answer_tokens)
    )
    generation = tokens_in * options.input_price + tokens_out * options.output_price
    gpu = sum(hours.values())
    return {
        "model": name, "gpu_hours": hours, "decoding_core_hours": decoding,
        "million_tokens": {"in": tokens_in, "out": tokens_out},
        "money": {"gpu": gpu * options.gpu_hour, "generation": generation},
    }  # fmt: skip


def as_table(record: dict[str, Any]) -> str:
    """One architecture per row."""
    slopes, assumed = Slopes(**record["slopes"]), record["assumed"]
    heads = [
        "", "tokens in, million", "tokens out, million", "GPU hours, image features",
        "GPU hours, training", "core hours, decoding", "generation, $", "GPU, $",
    ]  # fmt: skip
    rows = [
        [
            one["model"], f"{one['million_tokens']['in']:,.0f}",
            f"{one['million_tokens']['out']:,.0f}", f"{one['gpu_hours']['features']:.2f}",
            f"{one['gpu_hours']['training']:.2f}", f"{one['decoding_core_hours']:,.0f}",
            f"{one['money']['generation']:,.0f}", f"{one['money']['gpu']:,.0f}",
        ]
        for one in record["estimates"]
    ]  # fmt: skip
    note = (
        f"{TRIPLES:,} triples, one pass over them, one answer a step. Measured: "
        f"{slopes.prompt_tokens:.0f} tokens of prompts and {slopes.answer_tokens:.0f} of answers "
        f"a triple, {slopes.text_tokens:.1f} tokens a training text, "
        f"{slopes.pictures_per_second:.0f} pictures a second and core. Assumed: "
        f"{assumed['share']} % of a peak of {assumed['peak']} TFLOP/s, ${assumed['gpu_hour']} a GPU"
        f" hour, ${assumed['input']} and ${assumed['output']} a million tokens in and out."
    )
    return f"{markdown(heads, rows)}\n\n{note}"


def main() -> None:
    """Measure, estimate and write the results."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--peak", type=float, default=989.0, help="TFLOP/s of the GPU in bf16")
    parser.add_argument("--share", type=float, default=30.0, help="percent of the peak reached")
    parser.add_argument("--gpu-hour", type=float, default=3.0, help="$ an hour")
    parser.add_argument("--input-price", type=float, default=0.5, help="$ a million tokens")
    parser.add_argument("--output-price", type=float, default=1.5, help="$ a million tokens")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of table and JSON")
    options = parse_with_data(parser)
    slopes = measured(Path(options.data))
    found = [estimate(slopes, name, options) for name in MODELS]
    assumed = {"peak": options.peak, "share": options.share, "gpu_hour": options.gpu_hour}
    prices = {"input": options.input_price, "output": options.output_price}
    keep("cost", options.out, as_table, estimates=found, slopes=vars(slopes),
         assumed={**assumed, **prices})  # fmt: skip


if __name__ == "__main__":
    main()
