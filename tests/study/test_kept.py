"""How much of base's results a model keeps."""

import numpy as np
import pytest

from study.kept import RIGHT, TEXTS, metrics_of, table


def test_each_text_is_compared_with_what_base_finds_for_the_caption() -> None:
    first = np.arange(10)
    theirs = {
        "the caption": np.stack([first, first + 20])[:, None],
        "a rewording": np.stack([[first, first + 100], [first + 20, first + 200]]),
        "the contrast": np.stack([first + 300, first + 400])[:, None],
    }
    right = np.array([3, 205])  # of the second caption only its second rewording finds it
    found = metrics_of(theirs, theirs, right)
    values = [found[f"JS@10, {text}"].value() for text in TEXTS]
    assert values == pytest.approx([1.0, 0.5, 0.0])
    assert [found[f"R@10, {text}"].value() for text in RIGHT] == pytest.approx([0.5, 0.5])
    swapped = theirs | {"the caption": theirs["the caption"][::-1]}
    assert metrics_of(swapped, theirs, right)["AO@10, the caption"].value() == 0.0
    assert metrics_of(swapped, theirs, right)["AO@10, a rewording"].value() == 0.5


def test_a_row_of_the_table_has_every_figure() -> None:
    names = [f"{overlap}, {text}" for text in TEXTS for overlap in ("AO@10", "JS@10")]
    names += [f"R@10, {text}" for text in RIGHT]
    figures = [
        {
            "row": "tuned",
            "figure": name,
            "seeds": 3,
            "value": 50.0 + place,
            "low": 1.0,
            "high": 99.0,
        }
        for place, name in enumerate(names)
    ]
    text = table({"kept": figures})
    assert all(f"{50 + place}.0" in text for place in range(len(names))) and "tuned 3" in text
