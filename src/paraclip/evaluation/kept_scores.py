"""Scores of a model in a benchmark, kept on disk, so that a killed sweep or grid scores on.

The file's name holds a hash of all that decides the scores (weights, data, arithmetic): other
weights or other data never meet old scores.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from paraclip.evaluation.benchmark import Benchmark, Metric, Scores
from paraclip.files import atomic_path, text_hash
from paraclip.models.encoder import DualEncoder
from paraclip.models.hashing import hash_tensors

ARRAYS = ("items", "groups", "clusters")


def score_once(
    benchmark: Benchmark, model: DualEncoder, folder: Path, cache: Path | None = None
) -> Scores:
    """The scores of a model: those that were kept, else computed and kept.

    Args:
        benchmark: on its data.
        model: what is scored.
        folder: of the kept scores; made where it is missing.
        cache: folder of image features.

    Returns:
        Metrics and notes; `arrays` (rankings) are not kept and always empty.

    Raises:
        UserError: the model cannot be scored, the disk is full.
    """
    path = folder / f"{benchmark.name}-{key_of(benchmark, model)}.npz"
    kept = read_scores(path)
    if kept is None:
        found = benchmark.score(model, cache)
        kept = Scores(found.metrics, {}, found.notes)
        write_scores(kept, path)
    return kept


def key_of(benchmark: Benchmark, model: DualEncoder) -> str:
    """Sixteen hex digits of everything that decides the scores."""
    decisive = {
        "weights": hash_tensors(model.state_dict()),
        "architecture": model.architecture.as_dict(),
        "pool": benchmark.pool,
        "data": benchmark.data,
        "how": repr(getattr(benchmark, "how", None)),
    }
    return text_hash(json.dumps(decisive, sort_keys=True, default=str))


def write_scores(scores: Scores, path: Path) -> None:
    """Write every item of every metric, whole or not at all."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    facts = []
    for number, metric in enumerate(scores.metrics):
        for name in ARRAYS:
            if getattr(metric, name) is not None:
                arrays[f"{name}.{number}"] = getattr(metric, name)
        facts.append(
            {"name": metric.name, "statistic": metric.statistic, "headline": metric.headline}
        )
    arrays["facts"] = np.asarray(json.dumps({"metrics": facts, "notes": scores.notes}))
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # names, not options


def read_scores(path: Path) -> Scores | None:
    """What `write_scores` wrote; None where there is nothing or the file is damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            facts = json.loads(str(stored["facts"]))
            metrics = [
                Metric(**fact, **{n: stored[f"{n}.{i}"] for n in ARRAYS if f"{n}.{i}" in stored})
                for i, fact in enumerate(facts["metrics"])
            ]
            return Scores(metrics, {}, facts["notes"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
