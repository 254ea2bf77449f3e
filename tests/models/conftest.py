from pathlib import Path

import pytest
import torch

from paraclip.models.mini import Mini
from tiny import draw, word_files


@pytest.fixture(scope="session")
def own_space() -> Mini:
    """`mini` in the space of a tiny BERT, with class probabilities and random weights."""
    torch.manual_seed(0)
    return Mini(word_files("bert"))


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """Four pictures of different shapes and colours."""
    kinds = [("disc", "red"), ("disc", "blue"), ("square", "red"), ("square", "green")]
    return [draw(tmp_path / f"{shape}-{colour}.png", shape, colour) for shape, colour in kinds]
