"""Our figures compared with those of mteb and clip_benchmark, from the same vectors.

Both packages are in the extra `crosscheck`; without them these tests are skipped.
"""

import importlib
import types
import warnings
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from text_sets import write_sts
from torch import Tensor
from torch.nn.functional import normalize

from paraclip.compute.exact_search import top_k
from paraclip.evaluation.benchmarks.image_text_retrieval import Gallery, ImageTextRetrieval
from paraclip.evaluation.benchmarks.sts import YEARS, SemanticSimilarity, read_tasks
from paraclip.evaluation.benchmarks.zero_shot import Labelled, ZeroShot
from paraclip.models.encoder import Tokens
from paraclip.models.features import encode_texts
from tiny import ColourEncoder

pytestmark = pytest.mark.slow

WORDS = ("red", "green", "blue", "dog", "house", "runs", "sleeps", "under", "old", "the", "loud")


class HashedEncoder(ColourEncoder):
    """Random text vectors, the same for the same text: no two scores tie."""

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        return Tokens(torch.tensor([[zlib.crc32(text.encode())] for text in texts]))

    def encode_tokens(self, ids: Tensor) -> Tensor:
        width = self.architecture.embed_dim
        rows = [torch.randn(width, generator=torch.Generator().manual_seed(int(n))) for n in ids]
        return normalize(torch.stack(rows), dim=-1)

    def encode_text(self, ids: Tensor) -> Tensor:
        """As clip_benchmark calls it."""
        return self.encode_tokens(ids)


def theirs(module: str) -> types.ModuleType:
    """Import a module of another package without the warnings of the import."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(module)
        except ImportError as error:
            pytest.skip(f"{module} is not there ({error}): pip install '.[crosscheck]'")


def sentences(random: np.random.Generator, count: int) -> list[str]:
    return [" ".join(random.choice(WORDS, 6)) for _ in range(count)]


@pytest.fixture
def sts(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """All seven tasks, some forty random pairs in each subset, a few without a gold score."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder, random = write_sts(tmp_path), np.random.default_rng(11)
    for file in sorted((folder / "STS").glob("*/STS.input.*.txt")):
        first, second = sentences(random, 40), sentences(random, 40)
        pairs = [f"{one}\t{other}" for one, other in zip(first, second, strict=True)]
        gold = [f"{score:.3f}" for score in random.uniform(0, 5, 39)] + [""]
        file.write_text("\n".join(pairs) + "\n")
        file.with_name(file.name.replace("input", "gs")).write_text("\n".join(gold) + "\n")
    bench, sick = folder / "STS/STSBenchmark/sts-test.csv", folder / "SICK/SICK_test_annotated.txt"
    rows = list(zip(sentences(random, 60), sentences(random, 60), range(60), strict=True))
    bench.write_text("\n".join(f"g\tf\ty\t{n}\t{n % 6}\t{a}\t{b}" for a, b, n in rows) + "\n")
    lines = [f"{n}\t{a}\t{b}\t{1 + n % 5}\tx" for a, b, n in rows]
    sick.write_text("\n".join(["pair_ID\tA\tB\tscore\tx", *lines]) + "\n")
    return folder


def mteb_scores(task: Any, name: str, pairs: list[tuple[str, str, float]]) -> dict[str, float]:
    """The score of mteb's own task for our model's vectors."""
    model = HashedEncoder(width=24)

    class Encoder:
        """Gives mteb our vectors."""

        mteb_model_meta = None

        def encode(self, inputs, **_: Any) -> np.ndarray:
            return encode_texts(model, [text for batch in inputs for text in batch["text"]]).numpy()

        def similarity(self, one, other) -> torch.Tensor:
            return torch.as_tensor(one) @ torch.as_tensor(other).T

        def similarity_pairwise(self, one, other) -> torch.Tensor:
            return (torch.as_tensor(one) * torch.as_tensor(other)).sum(-1)

    first, second, score = zip(*pairs, strict=True)
    rows = theirs("datasets").Dataset.from_dict(
        {"sentence1": first, "sentence2": second, "score": score}
    )
    return task._evaluate_subset(
        Encoder(), rows, encode_kwargs={"batch_size": 16}, hf_split="test", hf_subset=name,
        timer=theirs("mteb.timing").TimingStack(),
    )  # fmt: skip


def test_sts_agrees_with_mteb(sts) -> None:
    names = {"STS-B": "STSBenchmark", "SICK-R": "SICK-R"}
    tasks = read_tasks(sts)
    scores = SemanticSimilarity(tasks).score(HashedEncoder(width=24), None)
    ours = {metric.name: metric.value() for metric in scores.metrics}
    found = {}
    for task in tasks:
        judge = theirs("mteb").get_task(names.get(task.name, task.name))
        scored = mteb_scores(judge, task.name, list(task.pairs))
        assert ours[task.name] == pytest.approx(scored["cosine_spearman"], abs=1e-4)
        assert ours[f"{task.name}, Pearson"] == pytest.approx(scored["cosine_pearson"], abs=1e-4)
        found[task.name] = scored["cosine_spearman"]
    assert ours["STS mean of 7"] == pytest.approx(np.mean(list(found.values())), abs=1e-4)
    assert len({round(value, 6) for value in found.values()}) == 7  # all tasks differ


def test_the_mean_of_subsets_is_the_mean_of_mtebs_scores_of_each(sts) -> None:
    (task,) = read_tasks(sts, ["STS14"])
    scores = SemanticSimilarity([task]).score(HashedEncoder(width=24), None)
    ours = {metric.name: metric.value() for metric in scores.metrics}
    judge, bounds = theirs("mteb").get_task("STS14"), np.cumsum((0, *task.sizes))
    each = [
        mteb_scores(judge, name, list(task.pairs[start:end]))["cosine_spearman"]
        for name, start, end in zip(YEARS["STS14"], bounds, bounds[1:], strict=False)
    ]
    assert ours["STS14, mean of subsets"] == pytest.approx(np.mean(each), abs=1e-4)
    assert ours["STS mean of 1, mean of subsets"] == pytest.approx(np.mean(each), abs=1e-4)


def unit(random: np.random.Generator, rows: int, width: int) -> np.ndarray:
    vectors = random.normal(size=(rows, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_zero_shot_agrees_with_clip_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = theirs("clip_benchmark.metrics.zeroshot_classification")
    # It makes a number of an array of one, which NumPy 2.4 no longer does by `float`.
    monkeypatch.setattr(judge, "float", lambda one: one.item(), raising=False)
    model, random = HashedEncoder(width=24), np.random.default_rng(7)
    names = tuple(f"kind {number}" for number in range(30))
    templates = tuple(f"picture {number} of a {{}}." for number in range(11))
    labels = random.integers(0, 30, 400)
    shown = Labelled("made", ("https://a.example/b",), (0,), names, templates, "x")
    benchmark = ZeroShot("made", shown)
    classes = benchmark.class_vectors(model)
    classifier = judge.zero_shot_classifier(
        model,
        lambda texts: model.tokenize(texts).ids,
        list(names),
        [template.replace("{}", "{c}") for template in templates],
        "cpu",
        amp=False,
    ).numpy()
    assert classes == pytest.approx(classifier.T, abs=1e-6)
    images = unit(random, 400, 24) + 0.5 * classes[labels]
    images = (images / np.linalg.norm(images, axis=1, keepdims=True)).astype(np.float32)
    nearest = top_k(images, classes, 5)
    found = {metric.name: metric.value() for metric in benchmark.found(nearest, labels)}
    logits, target = torch.from_numpy(100 * images @ classifier), torch.from_numpy(labels)
    top_1, top_5 = judge.accuracy(logits, target, topk=(1, 5))
    assert (found["top-1"], found["top-5"]) == pytest.approx((top_1, top_5), abs=1e-6)
    balanced = judge.balanced_accuracy_score(target, logits.argmax(axis=1))
    assert found["mean per class"] == pytest.approx(balanced, abs=1e-6)
    assert 0.2 < top_1 < top_5 < 1 and abs(top_1 - balanced) > 1e-4


def test_recall_agrees_with_clip_benchmark() -> None:
    judge = theirs("clip_benchmark.metrics.zeroshot_retrieval")
    random = np.random.default_rng(5)
    owners = np.repeat(np.arange(60), random.integers(1, 7, 60))
    images = unit(random, 60, 16)
    texts = unit(random, len(owners), 16) + 0.8 * images[owners]
    texts = (texts / np.linalg.norm(texts, axis=1, keepdims=True)).astype(np.float32)
    places = tuple(f"https://a.example/{number}" for number in range(60))
    shown = Gallery("made", places, tuple(map(str, owners)), tuple(map(int, owners)))
    metrics, _ = ImageTextRetrieval(shown, (1, 5, 10)).found(images, texts, owners)
    ours = {metric.name: metric.value() for metric in metrics}
    scores = torch.from_numpy(texts @ images.T)
    positive = torch.zeros_like(scores, dtype=torch.bool)
    positive[torch.arange(len(owners)), torch.from_numpy(owners)] = True
    for k in (1, 5, 10):
        to_image = (judge.recall_at_k(scores, positive, k) > 0).float().mean().item()
        to_text = (judge.recall_at_k(scores.T, positive.T, k) > 0).float().mean().item()
        assert ours[f"T2I R@{k}"] == pytest.approx(to_image, abs=1e-6)
        assert ours[f"I2T R@{k}"] == pytest.approx(to_text, abs=1e-6)
    assert ours["T2I R@1"] < ours["T2I R@10"] and ours["T2I R@1"] != ours["I2T R@1"]
