"""`paraclip evaluate`: score models, write the report and print the table; or compare reports."""

from dataclasses import asdict
from pathlib import Path

from paraclip.evaluation.compare import RESAMPLES, compare, stored_files
from paraclip.evaluation.config import EvaluateConfig, label_models
from paraclip.evaluation.registry import evaluate_configured
from paraclip.evaluation.report import comparison_json
from paraclip.evaluation.run import OUT
from paraclip.files import refuse_overwriting
from paraclip.output_folder import OutputFolder


def evaluate_command(config: EvaluateConfig) -> None:
    """Score the models, or with --compare compare reports, and print the table."""
    if config.compare:
        _compare_reports(config)
        return
    names = label_models(config.models)
    report = evaluate_configured(names, config, models=names)
    out = Path(config.out or OUT)
    if config.json:
        print((out / "report.json").read_text(encoding="utf-8"), end="")  # it ends in a line feed
    else:
        print(report.table())
        print(f"\nWritten: {out / 'report.md'} (and report.json, plots, items.npz)")


def _compare_reports(config: EvaluateConfig) -> None:
    if config.out is not None:
        read = [file for path in config.compare for file in stored_files(path)]
        refuse_overwriting(config.out, read)
        out = Path(config.out)
        folder = OutputFolder(out.parent, "comparison")
        folder.refuse_foreign(out)  # before the bootstrap
    resamples = config.resamples or RESAMPLES
    comparisons = compare(*config.compare, models=config.models, resamples=resamples)
    wanted = config.json or config.out is not None
    content = comparison_json(comparisons, asdict(config)) if wanted else ""
    if config.json:
        print(content, end="")
    else:
        print("\n\n".join(comparison.table() for comparison in comparisons))
    if config.out is not None:
        folder.write(out, content)
        if not config.json:  # standard output is JSON alone
            print(f"\nWritten: {config.out}")
