"""Selection of the models and reports that are compared."""

from collections.abc import Sequence
from dataclasses import dataclass

from paraclip.errors import UserError
from paraclip.evaluation.config import CompareConfig
from paraclip.evaluation.reporting.report import compared_with
from paraclip.evaluation.reporting.stored import Stored, read_stored


@dataclass(frozen=True, eq=False)
class ComparedModel:
    """One of the two models compared, with one run or several."""

    label: str  # label of the model in its reports
    runs: tuple[Stored, ...]  # a report for each seed

    @property
    def name(self) -> str:
        """The label with its file."""
        first = self.runs[0].path
        more = f" and {len(self.runs) - 1} more" if len(self.runs) > 1 else ""
        return f"{self.label} ({first.parent.name}/{first.name}{more})"


def choose_pairs(config: CompareConfig) -> list[tuple[ComparedModel, ComparedModel]]:
    """The models to compare, according to `CompareConfig`."""
    if not config.reports:
        raise UserError("compare", "no report is given", "Name report.json of an evaluation.")
    if len(config.models) > 2:
        raise UserError("--models", f"{len(config.models)} are named", "Name one or two.")
    reports = tuple(read_stored(path) for path in config.reports)
    against = tuple(read_stored(path) for path in config.against)
    if against:
        return across_reports(reports, against, config.models)
    if len(reports) == 2 and len(config.models) < 2:
        return across_reports(reports[:1], reports[1:], config.models)
    return [within_reports(reports, config.models)]


def within_reports(
    reports: tuple[Stored, ...], models: Sequence[str]
) -> tuple[ComparedModel, ComparedModel]:
    """Two models of the same reports; each report is a seed."""
    labels = list(reports[0].report.models)
    first = models[0] if len(models) == 2 else compared_with(labels)[0]
    default = "tuned" if "tuned" in labels and first != "tuned" else labels[-1]
    second = models[-1] if models else default
    if first == second:
        what = f"there is no model to compare with {first}"
        raise UserError(reports[0].path, what, "Name another report, or two --models.")
    return side(first, reports), side(second, reports)


def across_reports(
    reports: tuple[Stored, ...], against: tuple[Stored, ...], models: Sequence[str]
) -> list[tuple[ComparedModel, ComparedModel]]:
    """Models of one set of reports against another: the named ones, or else equal labels."""
    if models:
        return [(side(models[0], reports), side(models[-1], against))]
    known = [set(stored.report.models) for stored in (*reports, *against)]
    common = [label for label in reports[0].report.models if all(label in some for some in known)]
    if common:
        return [(side(label, reports), side(label, against)) for label in common]
    if all(len(some) == 1 for some in known):
        (first,), (second,) = reports[0].report.models, against[0].report.models
        return [(side(first, reports), side(second, against))]
    what = "the reports have no model of the same label"
    raise UserError("compare", what, "Name the first and the second with --models.")


def side(label: str, runs: tuple[Stored, ...]) -> ComparedModel:
    """The model with that label in all these reports."""
    for run in runs:
        if label not in run.report.models:
            hint = f"It has {', '.join(run.report.models)}."
            raise UserError(run.path, f"has no model {label!r}", hint)
    return ComparedModel(label, runs)
