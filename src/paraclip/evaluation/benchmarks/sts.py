"""Seven semantic textual similarity tasks: STS12 to STS16, STS-B and SICK-R.

The main setting is SentEval's "all": the subsets of a year are concatenated before one correlation
is computed, as in Gao et al. 2021 (SimCSE) and the tables of sentence-transformers. SentEval's
"mean" of one correlation per subset is not comparable with it. Only the text encoder is used, so
text-only models can be scored too. Files follow SentEval's layout.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paraclip.arrays import Float, Integers
from paraclip.errors import UserError, nearest
from paraclip.evaluation import metrics
from paraclip.evaluation.benchmark import Arithmetic, Scores, find_source, text_vectors
from paraclip.evaluation.statistics import Metric, Statistic
from paraclip.files import file_hash, read_bounded, read_errors, text_hash

if TYPE_CHECKING:
    from paraclip.models.encoder import DualEncoder

YEARS = {
    "STS12": ("MSRpar", "MSRvid", "SMTeuroparl", "surprise.OnWN", "surprise.SMTnews"),
    # SMT of 2013 has a separate licence; SentEval and all later work leave it out.
    "STS13": ("FNWN", "headlines", "OnWN"),
    "STS14": ("deft-forum", "deft-news", "headlines", "images", "OnWN", "tweet-news"),
    "STS15": ("answers-forums", "answers-students", "belief", "headlines", "images"),
    "STS16": ("answer-answer", "headlines", "plagiarism", "postediting", "question-question"),
}
_TASKS = (*YEARS, "STS-B", "SICK-R")
_GET = (
    "Get SentEval's STS and SICK folders (data/downstream/get_transfer_data.bash of "
    "https://github.com/facebookresearch/SentEval) into sts/ of the data folder."
)
_SUBSETS = "mean of subsets"

_ScoredPair = tuple[str, str, float]
"""First sentence, second sentence, gold score."""


@dataclass(frozen=True)
class StsTask:
    """The pairs of one task that have a gold score, over all subsets."""

    name: str  # name of the task, one of `_TASKS`
    pairs: tuple[_ScoredPair, ...]  # pairs, ordered by subset
    hash: str  # hash of the files
    sizes: tuple[int, ...] = ()  # number of pairs in each subset; empty if the task has no subsets

    def subset_numbers(self) -> Integers:
        """Return the index of each pair's subset [pairs]."""
        sizes = self.sizes or (len(self.pairs),)
        return np.repeat(np.arange(len(sizes)), sizes)


def read_tasks(folder: str | Path, names: Sequence[str] = _TASKS) -> list[StsTask]:
    """Read the named tasks; a year's subsets have a file of sentences and one of gold scores."""
    tasks = []
    for name in names:
        if name not in _TASKS:
            raise UserError("sts", f"there is no task {name!r}", nearest(name, list(_TASKS)))
        if name in YEARS:
            year = Path(folder, "STS", f"{name}-en-test")
            stems = (f"{kind}.{subset}" for subset in YEARS[name] for kind in ("input", "gs"))
            files = [year / f"STS.{stem}.txt" for stem in stems]
            couples = zip(files[::2], files[1::2], strict=True)
            subsets = [list(_read_subset(texts, gold)) for texts, gold in couples]
        else:
            files = [Path(folder) / LAYOUTS[name][0]]
            subsets = [list(read_columns(files[0], *LAYOUTS[name][1:]))]
        pairs = tuple(pair for subset in subsets for pair in subset)
        if len(pairs) < 3:
            raise UserError(files[0], "contains fewer than three pairs with a gold score", _GET)
        sizes = tuple(map(len, subsets)) if name in YEARS else ()
        tasks.append(StsTask(name, pairs, text_hash(" ".join(map(file_hash, files))), sizes))
    return tasks


def _read_subset(texts: Path, gold: Path) -> Iterator[_ScoredPair]:
    """Read the pairs of a subset; an empty line in the gold file marks an unjudged pair."""
    sentences, scores = _read_lines(texts), _read_lines(gold)
    if len(sentences) != len(scores):
        what = f"has {len(scores):,} lines, and {texts.name} has {len(sentences):,}"
        raise UserError(gold, what, _GET)
    for number, (line, score) in enumerate(zip(sentences, scores, strict=True), start=1):
        if score.strip():
            fields = line.split("\t")
            if len(fields) < 2:
                raise UserError(f"{texts}:{number}", "is not two sentences with a tab", _GET)
            yield fields[0], fields[1], _gold_score(score, f"{gold}:{number}")


LAYOUTS = {
    "STS-B": ("STS/STSBenchmark/sts-test.csv", (5, 6, 4), False),
    "SICK-R": ("SICK/SICK_test_annotated.txt", (1, 2, 3), True),
}
"""File; columns of sentence, sentence and gold score; whether the first line is a header."""


def read_columns(file: Path, columns: tuple[int, int, int], header: bool) -> Iterator[_ScoredPair]:
    """Read the pairs of a tab-separated file, in which quotes have no special meaning."""
    first, second, score = columns
    for number, line in enumerate(_read_lines(file), start=1):
        if header and number == 1:
            continue
        fields = line.split("\t")
        if len(fields) <= max(columns):
            raise UserError(f"{file}:{number}", f"has {len(fields)} columns", _GET)
        if fields[score].strip():
            gold = _gold_score(fields[score], f"{file}:{number}")
            yield fields[first], fields[second], gold


def _read_lines(file: Path) -> list[str]:
    """Split a text file at line feeds only, since the sentences contain other line separators."""
    with read_errors(file, _GET):
        content = read_bounded(file)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        row = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{file}:{row}", "is not UTF-8", _GET) from None
    return [line.rstrip("\r") for line in text.removesuffix("\n").split("\n")]


def _gold_score(text: str, where: str) -> float:
    """Parse a gold score."""
    try:
        if math.isfinite(value := float(text)):
            return value
    except ValueError:
        pass
    raise UserError(where, f"{text.strip()[:40]!r} is not a gold score", _GET)


class SemanticSimilarity:
    """The seven tasks, or some of them."""

    name = "sts"
    pictures: tuple[str, ...] = ()

    def __init__(self, tasks: list[StsTask], how: Arithmetic = Arithmetic()) -> None:
        self.tasks, self.how = tasks, how
        total = sum(len(task.pairs) for task in tasks)
        names = ", ".join(task.name for task in tasks)
        self.pool = f'{total:,} pairs, test sets of {names}; SentEval\'s "all" setting'
        self.data: dict[str, Any] = {
            "tasks": {task.name: {"pairs": len(task.pairs), "hash": task.hash} for task in tasks},
            "setting": "all",
        }

    def score(self, model: "DualEncoder", cache: Path | None) -> Scores:
        """Compute Spearman's and Pearson's correlations: mean, per task and mean of subsets."""
        pairs = [pair for task in self.tasks for pair in task.pairs]
        texts = [text for first, second, _ in pairs for text in (first, second)]
        vectors = text_vectors(model, texts, self.how, "STS")
        cosines = metrics.cosine(vectors[::2], vectors[1::2])  # [pairs]: first and second alternate
        items = np.stack([cosines, [gold for _, _, gold in pairs]], axis=1)
        return Scores([*self.correlations(items, "spearman"), *self.correlations(items, "pearson")])

    def correlations(self, items: Float, statistic: Statistic) -> list[Metric]:
        """Return the mean over tasks and each task, both as "all" and as the mean of subsets.

        `items` are the cosine similarity and gold score of each pair [pairs, 2].
        """
        label = ", Pearson" if statistic == "pearson" else ""
        mean, headline = f"STS mean of {len(self.tasks)}", statistic == "spearman"
        groups = np.repeat(np.arange(len(self.tasks)), [len(task.pairs) for task in self.tasks])
        parts = [task.subset_numbers() for task in self.tasks]
        own = [items[groups == number] for number in range(len(self.tasks))]
        results = [Metric(f"{mean}{label}", items, statistic, groups, headline=headline)]
        results += [
            Metric(f"{task.name}{label}", pairs, statistic, headline=False)
            for task, pairs in zip(self.tasks, own, strict=True)
        ]
        if not any(part.any() for part in parts):
            return results
        both = np.stack([groups, np.concatenate(parts)], axis=1)  # task and subset [pairs, 2]
        results.append(Metric(f"{mean}, {_SUBSETS}{label}", items, statistic, both, headline=False))
        return results + [
            Metric(f"{task.name}, {_SUBSETS}{label}", pairs, statistic, part, headline=False)
            for task, pairs, part in zip(self.tasks, own, parts, strict=True)
            if len(task.sizes) > 1
        ]


def load_sts(data: Path | None, how: Arithmetic) -> SemanticSimilarity:
    """Load the seven tasks from the data folder."""
    return SemanticSimilarity(read_tasks(find_source(data, "sts", _GET)), how)
