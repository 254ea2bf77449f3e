from pathlib import Path

import pytest

from tiny import draw


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    """Four pictures of different shapes and colours."""
    kinds = [("disc", "red"), ("disc", "blue"), ("square", "red"), ("square", "green")]
    return [draw(tmp_path / f"{shape}-{colour}.png", shape, colour) for shape, colour in kinds]
