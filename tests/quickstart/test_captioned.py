"""Captioned stamps are joined to unchanged pictures; the others are counted."""

from pathlib import Path

import pytest
from stamp_files import write_stamps

from paraclip.errors import UserError
from paraclip.evaluation.vectors import Arithmetic
from paraclip.quickstart.results import OF_STAMPS, stamp_benchmarks
from paraclip.quickstart.stamps import KINDS, read_stamps


def test_texts_are_joined_to_their_pictures(tmp_path: Path) -> None:
    texts = write_stamps(tmp_path)
    stamps = read_stamps(tmp_path / "stamps", texts)
    assert (len(stamps.learn), len(stamps.triples), len(stamps.pool)) == (100, 100, 50)
    assert stamps.skipped() == "" and stamps.wordings.kinds == KINDS
    row = stamps.triples.to_pylist()[3]
    assert row["image"] == str(tmp_path / "stamps" / "1/thing-1.png")
    assert row["paraphrase_2"] == "paraphrase_2 3" and row["id"] == "1/thing-1.png"
    held_out = {item.image for item in stamps.wordings.items}
    assert held_out == set(stamps.pool.references)
    assert not held_out & {caption.image for caption in stamps.learn}


def test_missing_and_changed_pictures_are_skipped_and_counted(tmp_path: Path) -> None:
    texts = write_stamps(tmp_path, 103, 51)
    (tmp_path / "stamps/0/thing-0.png").unlink()
    (tmp_path / "stamps/0/thing-1.png").unlink()
    changed = tmp_path / "stamps/1/thing-70.png"
    changed.write_bytes(changed.read_bytes() + b"more")
    stamps = read_stamps(tmp_path / "stamps", texts)
    assert (stamps.missing, stamps.changed) == (2, 1)
    assert (len(stamps.learn), len(stamps.pool)) == (101, 50)
    assert stamps.skipped().startswith("2 captioned stamps are missing and 1 have changed")


def test_another_version_of_the_package_is_refused_with_the_numbers(tmp_path: Path) -> None:
    texts = write_stamps(tmp_path)
    for path in list((tmp_path / "stamps/0").iterdir())[:40]:
        path.write_bytes(b"another picture")
    with pytest.raises(UserError, match=r"another version: only 110 of 150 .*DATA=folder"):
        read_stamps(tmp_path / "stamps", texts)


def test_the_benchmark_asks_for_every_wording_and_the_contrast(tmp_path: Path) -> None:
    stamps = read_stamps(tmp_path / "stamps", write_stamps(tmp_path))
    (benchmark,) = stamp_benchmarks(stamps, Arithmetic())
    assert benchmark.pool.startswith("50 captions of the held-out stamps in 150 rewordings")
    assert benchmark.headlines == list(OF_STAMPS) and len(OF_STAMPS) == 10
