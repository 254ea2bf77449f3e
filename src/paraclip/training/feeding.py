"""Batches made ahead: while a step computes, a thread makes the next one."""

import time
from collections.abc import Generator
from contextlib import closing
from functools import partial

from paraclip.models.features import ahead
from paraclip.training.batches import Batch, row_batches
from paraclip.training.run import Run
from paraclip.training.tokens import Integers


def batch_of(run: Run, rows: Integers) -> Batch:
    """This process's part of a step's rows [B], where the model is."""
    return run.task.examples.batch(rows, run.processes.share).to(run.device)


def batches_ahead(run: Run) -> Generator[Batch]:
    """The batches of all steps still to be done; `run.waited` says how long each was missed."""
    options = run.task.options
    rows = row_batches(run.learn, options.batch_size, options.seed, run.step, run.total_steps)
    with closing(ahead(partial(batch_of, run), rows, workers=1, most=2)) as made:
        began = time.perf_counter()
        for _, batch in made:
            run.waited = time.perf_counter() - began
            yield batch
            began = time.perf_counter()
