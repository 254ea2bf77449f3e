"""On-disk cache of a model's scores on a benchmark.

The file name contains a hash of everything that determines the scores: weights, data, arithmetic,
picture files, scoring code and library versions. Scores of other weights or data are never reused.
"""

import json
import time
from dataclasses import dataclass, field
from functools import cache as once
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

import paraclip
from paraclip.arrays import read_arrays
from paraclip.data.untrusted_json import parse_json
from paraclip.evaluation.benchmark import Benchmark, Scores
from paraclip.evaluation.statistics import Metric
from paraclip.files import atomic_path, text_hash
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import identity
from paraclip.models.tensors import hash_tensors
from paraclip.provenance import now, package_versions
from paraclip.version import __version__

_FORMAT = 3
_ARRAYS = ("items", "groups", "clusters")
_EXTRA = "array."  # prefix of the names of the scores' arrays (rankings)
_CODE = ("data", "evaluation", "models", "paraphrase/language")  # code that determines a score


@dataclass(frozen=True)
class Kept:
    """Scores and how they were computed."""

    scores: Scores  # the scores
    # `time`, `seconds` and `versions` of the computation
    made: dict[str, Any] = field(default_factory=dict)
    from_disk: bool = False  # whether the scores were read from the cache


def keep_scores(
    benchmark: Benchmark,
    model: DualEncoder,
    folder: Path | None,
    cache: Path | None = None,
    weights: str | None = None,
) -> Kept:
    """Return the scores of a model from the cache in `folder`, or compute and cache them.

    `cache` is the folder of image features, `weights` the hash of the model's weights, if known.
    """
    path = folder / f"{benchmark.name}-{_key_of(benchmark, model, weights)}.npz" if folder else None
    if path is not None and (cached := _read_kept(path)) is not None:
        return cached
    began = time.perf_counter()
    scores = benchmark.score(model, cache)
    seconds = round(time.perf_counter() - began, 2)
    kept = Kept(scores, {"time": now(), "seconds": seconds, "versions": package_versions()})
    if path is not None:
        _write_kept(kept, path)
    return kept


def _key_of(benchmark: Benchmark, model: DualEncoder, weights: str | None = None) -> str:
    """Return a hash (16 hex digits) of everything that determines the scores."""
    decisive = {
        "format": _FORMAT,
        "code": _code_hash(),
        "weights": weights or hash_tensors(model.state_dict()),
        "model": [model.architecture.as_dict(), model.header(), model.image_key()],
        "device": model.device.type,
        "benchmark": [benchmark.name, benchmark.pool, benchmark.data],
        "pictures": sorted({identity(name) for name in benchmark.pictures}),
        "versions": package_versions(),
        "how": repr(benchmark.how),
    }
    return text_hash(json.dumps(decisive, sort_keys=True, default=str))


@once
def _code_hash() -> str:
    """Return a hash of the version and of the source code that determines scores."""
    root = Path(paraclip.__file__).parent
    paths = [path for room in _CODE for path in (root / room).rglob("*.*")]
    digest = sha256(__version__.encode())
    for path in sorted([*paths, root / "exact_search.py"]):
        if path.suffix in (".py", ".txt"):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _write_kept(kept: Kept, path: Path) -> None:
    """Atomically write the items of every metric, all arrays and how they were computed."""
    arrays = {_EXTRA + name: array for name, array in kept.scores.arrays.items()}
    facts = []
    for number, metric in enumerate(kept.scores.metrics):
        for name in _ARRAYS:
            if getattr(metric, name) is not None:
                arrays[f"{name}.{number}"] = getattr(metric, name)
        facts.append(
            {"name": metric.name, "statistic": metric.statistic, "headline": metric.headline}
        )
    about = {"metrics": facts, "notes": kept.scores.notes, "made": kept.made}
    arrays["facts"] = np.asarray(json.dumps(about))
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # names, not options


def _read_kept(path: Path) -> Kept | None:
    """Read a file from `_write_kept`; None if it does not exist or is damaged."""
    try:
        stored: dict[str, Any] = dict(read_arrays(path))
        facts = parse_json(str(stored["facts"]))
        metrics = [
            Metric(**fact, **{n: stored[f"{n}.{i}"] for n in _ARRAYS if f"{n}.{i}" in stored})
            for i, fact in enumerate(facts["metrics"])
        ]
        extra = {n.removeprefix(_EXTRA): stored[n] for n in stored if n.startswith(_EXTRA)}
        return Kept(Scores(metrics, extra, facts["notes"]), facts["made"], from_disk=True)
    except (OSError, ValueError, KeyError, TypeError):
        return None
