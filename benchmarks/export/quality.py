"""Rankings and speed of exported text towers: torch, ONNX and ONNX in 8 bits.

    python -m benchmarks.export.quality --models mini small=runs/clip-small/tuned/last.safetensors

AO@10 of 500 captions and their paraphrases, and R@10 of the captions, both over the 1,000 pictures
of Flickr8k's test split; `--captions 1` uses one caption per picture instead of five. ONNX embeds
one text at a time, as a search does, because 8-bit matrices share a scale within a batch.
Milliseconds are the median (p50) of one text query on one core; the three are timed in turns.
`--random NAME` adds only the speed of an architecture with random weights.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
import pyarrow.csv
import torch

from benchmarks.export.targets import random_clip
from benchmarks.machine import RESULTS, facts_of, keep, markdown, parse_with_data, say
from paraclip.evaluation.metrics import average_overlap
from paraclip.exact_search import top_k
from paraclip.exporting.drift import Drift
from paraclip.exporting.onnx_graph import TextInterface, write_text_graph
from paraclip.files import cache_folder
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import encode_images, encode_texts
from paraclip.models.loading import load_model

KINDS = ("torch", "ONNX", "ONNX, 8 bits")
QUERIES = ("a young child with a pizza box", "two dogs play on the beach", "a red car")
ROUNDS = 60
AT_ONCE = 64
PLAIN = TextInterface()

Embed = Callable[[list[str]], np.ndarray]


@dataclass(frozen=True)
class Split:
    """Data on which rankings are measured.

    Args:
        pictures: the pool.
        captions: queries, each with one correct picture.
        owners: position of this picture in the pool.
        pairs: captions, each with a paraphrase.
    """

    pictures: list[str]
    captions: list[str]
    owners: list[int]
    pairs: list[tuple[str, str]]


@dataclass(frozen=True)
class Result:
    """A text tower in one of its forms.

    Args:
        model: its name.
        kind: one of `KINDS`.
        megabytes: size of the file; for torch, of the float weights.
        milliseconds: median of one query on one core.
        consistency: AO@10 in percent, or None for random weights.
        recall: R@10 in percent, or None for random weights.
        drift: drift of 8-bit weights, as measured by the export.
    """

    model: str
    kind: str
    megabytes: float
    milliseconds: float
    consistency: float | None = None
    recall: float | None = None
    drift: Drift | None = None


def main() -> None:
    """Measure all models; print the table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=["mini"], help="NAME or LABEL=NAME")
    parser.add_argument("--random", nargs="*", default=[], help="architectures for speed alone")
    parser.add_argument("--captions", type=int, default=5, help="captions of a picture for R@10")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parse_with_data(parser)
    torch.set_num_threads(1)
    split = read_split(Path(chosen.data), chosen.captions)
    found: list[Result] = []
    for given in chosen.models:
        label, _, name = given.rpartition("=")
        found += measured(label or name, load_model(name, "cpu"), split)
    for name in chosen.random:
        found += measured(f"{name}, random weights", random_clip(name), None)
    rows = [cells(result, found[place - place % len(KINDS)]) for place, result in enumerate(found)]
    heads = ["", "text tower", "MB", "ms, p50", "AO@10", "R@10", "lowest cosine", "in float"]
    note = (
        f"R@10 of {len(split.captions):,} captions and AO@10 of {len(split.pairs)} pairs over"
        f" {len(split.pictures):,} pictures, in brackets the difference from torch. The lowest"
        " cosine with the float vectors is that of the export's own texts; the last column names"
        " the parts that it left in float."
    )
    table = f"{markdown(heads, rows)}\n\n{note} {facts_of(1)}"
    keep("export_quality", chosen.out, table, results=[asdict(one) for one in found])


def measured(label: str, model: DualEncoder, split: Split | None) -> list[Result]:
    """The three forms of a model's text tower."""
    with TemporaryDirectory(prefix="paraclip-export-") as place:
        files = [Path(place) / name for name in ("float.onnx", "small.onnx")]
        write_text_graph(model, files[0], PLAIN)
        drift = write_text_graph(model, files[1], PLAIN, int8=True)
        forms: list[Embed] = [torch_form(model), *(onnx_form(model, file) for file in files)]
        sizes = [size_of(model), *(file.stat().st_size / 1e6 for file in files)]
        times = taking_turns(forms)
        scores = [scored(form, model, split) if split else (None, None) for form in forms]
    rows = zip(KINDS, sizes, times, scores, strict=True)
    results = [
        Result(label, kind, size, ms, *both, drift if kind == KINDS[-1] else None)
        for kind, size, ms, both in rows
    ]
    say("\n".join(map(str, results)))
    return results


def size_of(model: DualEncoder) -> float:
    """Megabytes of a text tower's float weights."""
    return sum(4 * value.numel() for value in model.text_tower.parameters()) / 1e6


def torch_form(model: DualEncoder) -> Embed:
    """Texts by torch."""
    return lambda texts: encode_texts(model, texts, AT_ONCE).numpy()


def onnx_form(model: DualEncoder, path: Path) -> Embed:
    """Texts by onnxruntime on one core, with the model's own tokens."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    graph = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])

    def embed(texts: list[str]) -> np.ndarray:
        rows = [model.tokenize([text]).ids.numpy() for text in texts]
        return np.concatenate([graph.run(None, {PLAIN.inputs: ids})[0] for ids in rows])

    return embed


def taking_turns(forms: list[Embed]) -> list[float]:
    """Median milliseconds of one query per form; other work on the machine affects all alike."""
    taken: list[list[float]] = [[] for _ in forms]
    for turn in range(ROUNDS):
        for place, form in enumerate(forms):
            began = time.perf_counter()
            form([QUERIES[turn % len(QUERIES)]])
            taken[place].append(1e3 * (time.perf_counter() - began))
    return [float(np.median(times[len(QUERIES) :])) for times in taken]


def scored(form: Embed, model: DualEncoder, split: Split) -> tuple[float, float]:
    """AO@10 and R@10 in percent over Flickr8k's test pictures."""
    pool = encode_images(model, split.pictures, cache_folder() / "image_features").numpy()
    ranked = top_k(form(split.captions), pool, 10)
    recall = (ranked == np.array(split.owners)[:, None]).any(1).mean()
    first, second = (top_k(form([pair[side] for pair in split.pairs]), pool, 10) for side in (0, 1))
    return 100 * float(average_overlap(first, second).mean()), 100 * float(recall)


def read_split(data: Path, most: int) -> Split:
    """Flickr8k's test split with at most this number of captions per picture, and the pairs."""
    folder = data / "flickr8k"
    listed = (folder / "test_images.txt").read_text(encoding="utf-8").split()
    place = {name: row for row, name in enumerate(listed)}
    table = pyarrow.csv.read_csv(folder / "captions.csv").to_pydict()
    seen: Counter[str] = Counter()
    captions, owners = [], []
    for image, caption in zip(table["image"], table["caption"], strict=True):
        seen[image] += 1
        if image in place and seen[image] <= most:
            captions.append(caption)
            owners.append(place[image])
    lines = (data / "paraphrases" / "flickr8k_test.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    pairs = [(row["caption"], row["paraphrase"]) for row in rows]
    return Split([str(folder / "images" / name) for name in listed], captions, owners, pairs)


def cells(result: Result, reference: Result) -> list[str]:
    """A row of the table; the reference is torch's result for the same model."""
    scores = (
        (result.consistency, reference.consistency),
        (result.recall, reference.recall),
    )
    drift = result.drift
    return [
        result.model, result.kind, f"{result.megabytes:.0f}", f"{result.milliseconds:.1f}",
        *("" if score is None or own is None else f"{score:.1f} ({score - own:+.2f})"
          for score, own in scores),
        f"{drift.lowest:.4f}" if drift else "",
        " and ".join(drift.kept).replace("the ", "") if drift else "",
    ]  # fmt: skip


if __name__ == "__main__":
    main()
