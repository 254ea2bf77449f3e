"""A plan under way: does the cells that are not finished, and writes the table after each."""

import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from paraclip.ablation.cells import (
    Scoring,
    clear,
    do_cell,
    drop_weights,
    scores_of,
    seconds_of,
    write_record,
)
from paraclip.ablation.config import AblateConfig
from paraclip.ablation.plan import Cell, Plan
from paraclip.ablation.results import Draws, assemble, figures_of, scored_by_row
from paraclip.ablation.table import as_json, as_report, draw, markdown, write_page
from paraclip.errors import UserError
from paraclip.evaluation.reporting.stored import Stored
from paraclip.files import locked, write_text
from paraclip.progress import bar
from paraclip.provenance import provenance

FAULT = "failed.txt"


@dataclass
class Study:
    """A plan under way.

    Args:
        plan: what is to be done.
        how: how cells are scored.
        config: options of the command.
        found: reports of the finished cells.
        failed: why a cell failed.
        text: the table as it was last written.
    """

    plan: Plan
    how: Scoring
    config: AblateConfig
    found: dict[Cell, Stored] = field(default_factory=dict)
    failed: dict[Cell, str] = field(default_factory=dict)
    text: str = ""

    def __post_init__(self) -> None:
        self.draws = Draws(self.config.resamples)

    def find(self) -> None:
        """Which cells are finished."""
        for cell in self.plan.cells:
            stored = scores_of(cell, self.how)
            if stored is not None:
                self.found[cell] = stored

    def listing(self) -> str:
        """A line for each cell: what it is, whether it is finished, its folder."""
        self.find()
        lines = [f"{self.state(cell):8}  {cell.name}  ({cell.folder})" for cell in self.plan.cells]
        left = len(self.plan.cells) - len(self.found)
        return "\n".join([*lines, f"{left} of {len(self.plan.cells)} cells to do"])

    def state(self, cell: Cell) -> str:
        """In a word."""
        if cell in self.found:
            return "finished"
        return "begun" if cell.folder.exists() else "to do"

    def run(self) -> None:
        """Every cell that is not finished; one that fails does not stop the others.

        Raises:
            UserError: not one cell could be scored, or another command works on these cells.
        """
        with locked(self.plan.root):
            if self.config.fresh:
                for cell in self.plan.cells:
                    clear(cell)
            self.find()
            self.finish()

    def finish(self) -> None:
        """Every cell that `find` did not find, and the table after each."""
        total = len(self.plan.cells)
        if self.found:
            self.write()
        self.drop()
        with bar("ablate", total, "cell", len(self.found)) as moving:
            for number, cell in self.to_do():
                print(f"\n[{number}/{total}] {cell.name}", flush=True)
                self.attempt(cell)
                if self.found:
                    self.write()
                    self.drop()
                moving.update()
        if not self.found:
            raise UserError("ablate", f"every cell failed: {self.failed_names()[0]}", "Mend that.")

    def to_do(self) -> Iterator[tuple[int, Cell]]:
        """The cells that are not finished, with their number."""
        for number, cell in enumerate(self.plan.cells, start=1):
            if cell not in self.found:
                yield number, cell

    def attempt(self, cell: Cell) -> None:
        """Do a cell, unless another row that trains the same has done it; where it fails say so.

        The traceback of a fault that is no user's is kept.
        """
        try:
            self.found[cell] = scores_of(cell, self.how) or self.done(cell)
        except Exception as error:
            self.failed[cell] = " ".join(f"{error}".split()) or type(error).__name__
            print(f"paraclip: {cell.name} failed: {self.failed[cell]}", file=sys.stderr)
            if not isinstance(error, UserError):
                write_text(cell.folder / FAULT, traceback.format_exc())

    def done(self, cell: Cell) -> Stored:
        """Do a cell and read what it got."""
        began = time.perf_counter()
        do_cell(cell, self.how)
        (cell.folder / FAULT).unlink(missing_ok=True)
        write_record(cell, time.perf_counter() - began)
        stored = scores_of(cell, self.how)
        if stored is None:
            raise AssertionError("a cell that was just scored is not there")
        return stored

    def failed_names(self) -> list[str]:
        """Each failed cell with its reason."""
        return [f"{cell.name}: {why}" for cell, why in self.failed.items()]

    def write(self) -> None:
        """The table, its plots and its data, of all cells that are finished."""
        first = next(iter(self.found.values()))
        wanted = self.plan.grid.head.figures
        figures = figures_of(first, wanted, missing=self.config.benchmarks is not None)
        results = assemble(self.plan.rows, scored_by_row(self.found), figures, self.draws)
        shown = markdown(results, self.config.resamples)
        self.text = "\n\n".join([shown, self.duration(), *self.open_ends()])
        report = as_report(results, first.report.sections)
        pictures = draw(report, self.plan.out)
        write_page(self.plan, self.text, pictures, self.plan.out / "ablation.md")
        facts = provenance(settings=asdict(self.config))
        path = self.plan.out / "ablation.json"
        write_text(path, as_json(results, self.plan, self.failed, facts))

    def duration(self) -> str:
        """How long the finished cells took."""
        folders = {cell.folder for cell in self.found}
        minutes = sum(map(seconds_of, folders)) / 60
        return f"{len(folders)} cells took {minutes:.1f} minutes."

    def open_ends(self) -> list[str]:
        """What is not in the table yet."""
        left = [x.name for x in self.plan.cells if x not in self.found and x not in self.failed]
        told = [f"Not done yet: {', '.join(left)}."] if left else []
        return told + [f"Failed: {name}" for name in self.failed_names()]

    def drop(self) -> None:
        """Without `keep_weights`, remove checkpoints that no cell still needs."""
        if self.config.keep_weights:
            return
        waiting = {x.training.out for _, x in self.to_do() if x.training is not None}
        for cell in self.found:
            if cell.training is not None and cell.training.out not in waiting:
                drop_weights(cell)
