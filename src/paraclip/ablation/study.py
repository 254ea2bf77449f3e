"""Running an ablation: run the unfinished cells, and write the table after each."""

import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from paraclip.ablation.cells import (
    CellEvaluation,
    clear,
    drop_weights,
    run_cell,
    scores_of,
    seconds_of,
    write_record,
)
from paraclip.ablation.config import AblateConfig
from paraclip.ablation.plan import Cell, Plan
from paraclip.ablation.results import Draws, assemble_results, figures_of, scored_by_row
from paraclip.ablation.table import as_report, draw_plots, results_json, results_table, write_page
from paraclip.errors import UserError
from paraclip.evaluation.compare import Stored
from paraclip.files import locked, write_text
from paraclip.progress import bar
from paraclip.provenance import provenance

TRACEBACK = "failed.txt"


@dataclass
class Study:
    """A running ablation."""

    plan: Plan  # its rows and cells
    evaluation: CellEvaluation  # how cells are scored
    config: AblateConfig  # options of the command
    finished: dict[Cell, Stored] = field(default_factory=dict)  # reports of the finished cells
    failed: dict[Cell, str] = field(default_factory=dict)  # reasons of the failed cells
    text: str = ""  # the table as last written

    def __post_init__(self) -> None:
        self.draws = Draws(self.config.resamples)

    def find(self) -> None:
        """Read the reports of finished cells."""
        for cell in self.plan.cells:
            stored = scores_of(cell, self.evaluation)
            if stored is not None:
                self.finished[cell] = stored

    def listing(self) -> str:
        """A line per cell with its state, name and folder."""
        self.find()
        lines = [f"{self.state(cell):8}  {cell.name}  ({cell.folder})" for cell in self.plan.cells]
        left = len(self.plan.cells) - len(self.finished)
        return "\n".join([*lines, f"{left} of {len(self.plan.cells)} cells to do"])

    def state(self, cell: Cell) -> str:
        """State of a cell."""
        if cell in self.finished:
            return "finished"
        return "begun" if cell.folder.exists() else "to do"

    def run(self) -> None:
        """Run every unfinished cell; a failed one does not stop the others."""
        with locked(self.plan.root):
            if self.config.fresh:
                for cell in self.plan.cells:
                    clear(cell)
            self.find()
            self.run_unfinished()

    def run_unfinished(self) -> None:
        """Run the unfinished cells, and write the table after each."""
        total = len(self.plan.cells)
        if self.finished:
            self.write()
        self.drop()
        with bar("ablate", total, "cell", len(self.finished)) as progress:
            for number, cell in self.unfinished():
                print(f"\n[{number}/{total}] {cell.name}", flush=True)
                self.attempt(cell)
                if self.finished:
                    self.write()
                    self.drop()
                progress.update()
        if not self.finished:
            raise UserError("ablate", f"every cell failed: {self.failed_names()[0]}", "Fix that.")

    def unfinished(self) -> Iterator[tuple[int, Cell]]:
        """Unfinished cells with their numbers."""
        for number, cell in enumerate(self.plan.cells, start=1):
            if cell not in self.finished:
                yield number, cell

    def attempt(self, cell: Cell) -> None:
        """Run a cell, unless a row with the same training already has, and report a failure.

        The traceback of an unexpected error is written to the cell's folder.
        """
        try:
            self.finished[cell] = scores_of(cell, self.evaluation) or self.run_one(cell)
        except Exception as error:
            self.failed[cell] = " ".join(f"{error}".split()) or type(error).__name__
            print(f"paraclip: {cell.name} failed: {self.failed[cell]}", file=sys.stderr)
            if not isinstance(error, UserError):
                write_text(cell.folder / TRACEBACK, traceback.format_exc())

    def run_one(self, cell: Cell) -> Stored:
        """Run a cell and read its report."""
        began = time.perf_counter()
        run_cell(cell, self.evaluation)
        (cell.folder / TRACEBACK).unlink(missing_ok=True)
        write_record(cell, time.perf_counter() - began)
        stored = scores_of(cell, self.evaluation)
        if stored is None:
            raise AssertionError("the scores of the cell are missing")
        return stored

    def failed_names(self) -> list[str]:
        """Failed cells with their reasons."""
        return [f"{cell.name}: {why}" for cell, why in self.failed.items()]

    def write(self) -> None:
        """Write the table, plots and data of the finished cells."""
        first = next(iter(self.finished.values()))
        wanted = self.plan.grid.head.figures
        figures = figures_of(first, wanted, missing=self.config.benchmarks is not None)
        results = assemble_results(
            self.plan.rows, scored_by_row(self.finished), figures, self.draws
        )
        table = results_table(results, self.config.resamples)
        self.text = "\n\n".join([table, self.duration(), *self.missing_cells()])
        report = as_report(results, first.report.sections)
        plots = draw_plots(report, self.plan.out)
        write_page(self.plan, self.text, plots, self.plan.out / "ablation.md")
        facts = provenance(settings=asdict(self.config))
        path = self.plan.out / "ablation.json"
        write_text(path, results_json(results, self.plan, self.failed, facts))

    def duration(self) -> str:
        """Duration of the finished cells, as a sentence."""
        folders = {cell.folder for cell in self.finished}
        minutes = sum(map(seconds_of, folders)) / 60
        return f"{len(folders)} cells took {minutes:.1f} minutes."

    def missing_cells(self) -> list[str]:
        """Cells that are not in the table."""
        left = [x.name for x in self.plan.cells if x not in self.finished and x not in self.failed]
        notes = [f"Not finished: {', '.join(left)}."] if left else []
        return notes + [f"Failed: {name}" for name in self.failed_names()]

    def drop(self) -> None:
        """Without `keep_weights`, remove checkpoints that no unfinished cell needs."""
        if self.config.keep_weights:
            return
        waiting = {x.training.out for _, x in self.unfinished() if x.training is not None}
        for cell in self.finished:
            if cell.training is not None and cell.training.out not in waiting:
                drop_weights(cell)
