"""The last stage: the benchmarks, the table on the terminal, and the recommended model."""

import pyarrow as pa

from paraclip.data.captions import Caption
from paraclip.errors import printable
from paraclip.evaluation.benchmark import Arithmetic, Benchmark
from paraclip.evaluation.benchmarks.image_text_retrieval import ImageTextRetrieval, gallery
from paraclip.evaluation.benchmarks.paraphrased_retrieval import ParaphrasedRetrieval
from paraclip.evaluation.benchmarks.variations import Variations
from paraclip.evaluation.pairs import Pairs, read_pairs
from paraclip.evaluation.pictures import Pool
from paraclip.evaluation.report import Line, Report, aligned, compared_with, figure, spread
from paraclip.files import text_hash
from paraclip.quickstart.stamps import CaptionedStamps
from paraclip.starter import QUERIES

K = 10
_CUTOFFS = (1, 5, K)
_CONSISTENCY = f"AO@{K}"
_OF_STAMPS = {
    f"AO@{K}": f"AO@{K}", f"JS@{K}": f"JS@{K}", f"AO@{K} margin": f"AO@{K} over another meaning",
    **{f"R@{k} plain caption": f"R@{k} of the caption" for k in _CUTOFFS},
    **{f"R@{k}": f"R@{k} of another wording" for k in _CUTOFFS},
    f"R@{K} both ways": f"R@{K} of both",
    "text discrimination": "contrast refused, text", "picture discrimination": "same, picture",
}  # fmt: skip
"""Figures of the stamps' table by their name in the report."""

_OF_PAIRS = (f"R@{K} rewording", f"R@{K} both ways")
"""Figures of pairs whose picture is known, shown beside their consistency."""
_GUARDS = (f"T2I R@{K}", f"R@{K} plain caption")
"""Retrieval with the captions themselves, which must not degrade."""
_MOST_LOST = -2.0
"""Points of a guard that a recommended model may lose, at the lower end of the interval."""


def stamp_benchmarks(stamps: CaptionedStamps, how: Arithmetic) -> list[Benchmark]:
    """Every held-out picture's caption against its three wordings and its contrast."""
    return [Variations("wordings", stamps.wordings, stamps.pool, _CUTOFFS, how, list(_OF_STAMPS))]


def own_benchmarks(
    learn: list[Caption], held_out: list[Caption], triples: pa.Table, how: Arithmetic
) -> list[Benchmark]:
    """Consistency on strong rewordings over all pictures, and retrieval on held-out captions.

    Consistency needs no correct answer, so it is measured on query pairs that no model was trained
    on. The generator's own pairs, if `triples` has any, are the easier test.
    """
    pictures = {row.image_id: str(row.image) for row in [*learn, *held_out] if row.image}
    names = sorted(pictures)
    references = tuple(pictures[name] for name in names)
    everywhere = Pool("your pictures", references, None, text_hash("\n".join(names)))
    strong = read_pairs(QUERIES, "query", "rewording")
    own, answers = _generated_pairs(held_out, triples, everywhere)
    benchmarks: list[Benchmark] = [
        ParaphrasedRetrieval(strong, everywhere, K, how, name="strong rewordings")
    ]
    if own is not None:
        benchmarks.append(
            ParaphrasedRetrieval(own, everywhere, K, how, answers, "rewordings of the built-in LLM")
        )
    shown = gallery(held_out, "your held-out captions")
    return [*benchmarks, ImageTextRetrieval(shown, how=how, name="retrieval")]


def _generated_pairs(
    held_out: list[Caption], triples: pa.Table, pool: Pool
) -> tuple[Pairs | None, list[int]]:
    """Held-out captions with their second paraphrase, and their pictures' pool positions."""
    position = {reference: number for number, reference in enumerate(pool.references)}
    pictures = {row.id: str(row.image) for row in held_out}
    rows = [row for row in triples.to_pylist() if pictures.get(row["id"]) in position]
    if not rows:
        return None, []
    pairs = Pairs(
        name="held-out captions and the built-in LLM's paraphrases",
        ids=tuple(row["id"] for row in rows),
        captions=tuple(row["caption"] for row in rows),
        paraphrases=tuple(row["paraphrase_2"] for row in rows),
        hash=text_hash("\n".join(f"{row['caption']}\t{row['paraphrase_2']}" for row in rows)),
        pictures=tuple(pictures[row["id"]] for row in rows),
    )
    return pairs, [position[pictures[row["id"]]] for row in rows]


def table(report: Report) -> str:
    """The figures of all models, and tuned's differences with intervals, for the console."""
    pools = [f"{section.name}: {section.pool}." for section in report.sections]
    return "\n".join([*aligned(table_rows(report)), "", "In brackets: 95 % interval.", *pools])


def table_rows(report: Report) -> list[list[str]]:
    """Header and rows; a row of one cell is the name of a benchmark, if there are several."""
    labels = list(report.models)
    against = compared_with(labels)
    rows = [["", *labels, *(f"tuned - {other}" for other in against)]]
    order = list(_OF_STAMPS)
    for section in report.sections:
        lines = [line for line in section.lines if line.headline or line.name in _OF_PAIRS]
        known = [line for line in lines if line.name in order]
        if len(known) == len(order):
            lines = sorted(known, key=lambda line: order.index(line.name))
        lines = [line for line in lines if not line.name.startswith("I2T")]
        if lines and len(report.sections) > 1:
            rows.append([section.name])
        for line in lines:
            values = [figure(line.values[label].value) for label in labels]
            gains = [spread(line.differences[f"tuned - {other}"], True) for other in against]
            rows.append([_title(line), *values, *gains])
    return rows


def recommend(report: Report, base: str = "mini") -> tuple[str | None, str]:
    """Recommend the model of the highest consistency that keeps the retrieval of base.

    It must be more consistent than base, and lose at most two points of R@10 to base (lower ends
    of the 95 % intervals of the paired differences).

    Args:
        report: report with base, control and the trained models.
        base: name of the base.

    Returns:
        The label, or None for base, and the reasons in one or two lines.
    """
    overlap, guard = (
        next(line for name in names if (line := report.line(name)) is not None)
        for names in ((_CONSISTENCY,), _GUARDS)
    )
    trained = [label for label in report.models if label not in ("base", "control")]
    best_first = sorted(trained, key=lambda label: -overlap.values[label].value)
    for label in best_first:
        against = f"{label} - base"
        if guard.differences[against].low > _MOST_LOST and overlap.differences[against].low > 0:
            return label, f"Use {label}: {_evidence(overlap, guard, label)}."
    return None, (
        f"Keep base: no model is more consistent and certain to lose less than {-_MOST_LOST:g}"
        f" points of {_title(guard)}"
        f" ({best_first[0]}: {_evidence(overlap, guard, best_first[0])}).\n"
        "Next: more captions, triples of a stronger LLM (`paraclip generate --backend openai`), or"
        f" less of the tuned model (`paraclip merge {printable(base)} TUNED --share 0.25`)."
    )


def _title(line: Line) -> str:
    """A figure's name in the table of the stamps, or else in the report."""
    return _OF_STAMPS.get(line.name, line.name)


def _evidence(overlap: Line, guard: Line, label: str) -> str:
    """The differences from base and from control in both figures."""
    return ", ".join(
        f"{_title(line)} {spread(line.differences[f'{label} - base'], True)} over base and"
        f" {spread(line.differences[f'{label} - control'], True)} over control"
        for line in (overlap, guard)
    )
