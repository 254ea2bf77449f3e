"""One thread, because the matrices are too small for a second to help; one run that tests share."""

import pytest
import torch
from training_rows import Tuned, tune

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    """A finished run of the tiny model with the paper's recipe; not to be written to."""
    return tune(tmp_path_factory.mktemp("tuned"))
