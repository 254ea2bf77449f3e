"""The last stage: scores of the models on the held-out pictures."""

from pathlib import Path

import pyarrow as pa

from paraclip.data.captions import Caption
from paraclip.errors import UserError
from paraclip.evaluation.benchmark import Benchmark
from paraclip.evaluation.benchmarks.image_text_retrieval import ImageTextRetrieval, gallery
from paraclip.evaluation.benchmarks.paraphrased_retrieval import ParaphrasedRetrieval
from paraclip.evaluation.inputs.pairs import Pairs
from paraclip.evaluation.inputs.pool import Pool
from paraclip.evaluation.reporting.report import Report
from paraclip.evaluation.run import evaluate
from paraclip.evaluation.scoring.vectors import Arithmetic
from paraclip.files import text_hash
from paraclip.models.encoder import DualEncoder
from paraclip.quickstart.config import QuickstartConfig

K = 10


def score_held_out(
    models: dict[str, DualEncoder],
    held_out: list[Caption],
    triples: pa.Table,
    out: Path,
    config: QuickstartConfig,
) -> Report:
    """Paraphrased retrieval and image-text retrieval over the held-out pictures.

    Args:
        models: by label.
        held_out: captions of pictures that neither alignment nor tuning used.
        triples: of all captions; the held-out ones give the pairs of wordings.
        out: folder of the whole job, with the report in `report/` and features in `features/`.
        config: seed of the bootstrap, accepted share of broken pictures.

    Raises:
        UserError: no held-out caption has a triple, or the pool has fewer than ten pictures.
    """
    how = Arithmetic(max_broken=config.max_broken)
    benchmarks: list[Benchmark] = [
        ParaphrasedRetrieval(held_out_pairs(held_out, triples), held_out_pool(held_out), K, how),
        ImageTextRetrieval(gallery(held_out, "held-out captions"), how=how),
    ]
    settings = {"seed": config.seed, "cache": out / "features"}
    return evaluate(models, benchmarks, out / "report", settings)


def held_out_pool(held_out: list[Caption]) -> Pool:
    """The held-out pictures, sorted by id."""
    pictures = {row.image_id: str(row.image) for row in held_out}
    names = sorted(pictures)
    return Pool(
        "the held-out part", tuple(pictures[name] for name in names), None,
        text_hash("\n".join(names)),
    )  # fmt: skip


def held_out_pairs(held_out: list[Caption], triples: pa.Table) -> Pairs:
    """Each held-out caption with its second paraphrase, where there is one."""
    wanted = {row.id for row in held_out}
    rows = [row for row in triples.to_pylist() if row["id"] in wanted]
    if not rows:
        what = "no paraphrase of a held-out caption passed the filters"
        raise UserError("triples", what, "Give more pictures or more --candidates.")
    return Pairs(
        name="held-out captions (caption and paraphrase_2)",
        ids=tuple(row["id"] for row in rows),
        captions=tuple(row["caption"] for row in rows),
        paraphrases=tuple(row["paraphrase_2"] for row in rows),
        hash=text_hash("\n".join(f"{row['caption']}\t{row['paraphrase_2']}" for row in rows)),
    )
