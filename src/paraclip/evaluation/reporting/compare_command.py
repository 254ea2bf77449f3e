"""`paraclip compare`: read reports, choose the two models, print the differences."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from paraclip.evaluation.config import CompareConfig
from paraclip.evaluation.reporting.compare import LEVEL, Comparison, Difference, compare_reports
from paraclip.evaluation.reporting.report import as_dict
from paraclip.evaluation.reporting.stored import stored_files
from paraclip.files import has_mark, refuse_foreign, refuse_overwriting, write_text
from paraclip.provenance import provenance

FORMAT = "paraclip-comparison-1"


def compare_command(config: CompareConfig) -> None:
    """Compare, print the tables and write the JSON."""
    if config.out is not None:
        named = (*config.reports, *config.against)
        refuse_overwriting(config.out, [file for path in named for file in stored_files(path)])
        refuse_foreign(config.out, lambda path: has_mark(path, FORMAT.encode()))
    comparisons = compare_reports(config)
    print("\n\n".join(comparison.table() for comparison in comparisons))
    figures = sum(len(comparison.rows) for comparison in comparisons)
    if figures * 2 / (config.resamples + 1) >= LEVEL:
        reason = f"{config.resamples} resamples are too few for {figures} figures"
        print(f"warning: nothing can count: {reason}; give more --resamples")
    if config.out is not None:
        write_text(config.out, as_json(comparisons, config))
        print(f"\nWritten: {config.out}")


def as_json(comparisons: Sequence[Comparison], config: CompareConfig) -> str:
    """All comparisons as JSON."""
    content = {
        "format": FORMAT,
        "unit": "percent; correlations times 100; difference is second less first",
        "comparisons": [
            {
                "first": one.first, "second": one.second, "seeds": list(one.seeds),
                "warnings": list(one.warnings), "figures": [row_as_dict(row) for row in one.rows],
            }
            for one in comparisons
        ],
        "provenance": provenance(settings=asdict(config)),
    }  # fmt: skip
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def row_as_dict(row: Difference) -> dict[str, Any]:
    """One figure; undefined values are null."""
    facts = {name: value for name, value in vars(row).items() if name != "difference"}
    for name in ("first", "second", "p", "adjusted"):
        facts[name] = round(facts[name], 6) if math.isfinite(facts[name]) else None
    return {
        **facts, "difference": as_dict(row.difference), "counts": row.counts,
        "not_inferior": row.not_inferior,
    }  # fmt: skip
