"""`paraclip captions`, and the options that other commands share with it."""

from pathlib import Path

import pytest
import tyro
from source_files import draw, put

from paraclip.data.command import captions_command
from paraclip.data.config import CaptionsConfig
from paraclip.errors import UserError


@pytest.fixture(autouse=True)
def _no_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARACLIP_QUIET", "1")


def show(*arguments: str) -> None:
    """The command with these options."""
    captions_command(tyro.cli(CaptionsConfig, args=list(arguments)))


def test_it_prints_captions_and_counts(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    picture = draw(tmp_path / "far" / "a.png")
    source = put(tmp_path / "a.csv", "text,file\nAn apple,a.png\nA boat,\nA cat,\n")
    named = ["--caption-column", "text", "--image-column", "file", "--images", f"{tmp_path}/far"]
    show(source, *named, "--show", "2")
    assert capsys.readouterr().out.splitlines() == [
        f"2\tAn apple\t{picture}",
        "3\tA boat\t(no picture)",
        "3 captions, 1 with a picture, 2 without.",
    ]


def test_broken_rows_are_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = put(tmp_path / "a.csv", "caption,n\nAn apple,1\n,2\n")
    show(source, "--max-broken", "0.5", "--problems", f"{tmp_path}/broken.tsv")
    assert (
        f"1 broken row was skipped:\n  {source}:3: the caption is empty" in capsys.readouterr().out
    )
    assert (tmp_path / "broken.tsv").read_text().startswith(f"{source}:3\tthe caption is empty\n")


@pytest.mark.parametrize("name", ["cat.txt", "cat.png", "deep/dog.txt", "stray.txt", "link"])
def test_the_list_of_problems_overwrites_no_file_of_the_folder(tmp_path: Path, name: str) -> None:
    source = tmp_path / "pictures"
    for stem in ("cat", "deep/dog"):
        draw(source / f"{stem}.png"), put(source / f"{stem}.txt", "A pet.\n")
    put(source / "stray.txt", "A bird.\n")
    (source / "link").symlink_to(source / "cat.txt")
    before = (source / name).read_bytes()
    with pytest.raises(UserError, match="was not written by"):
        show(str(source), "--max-broken", "1", "--problems", str(source / name))
    assert (source / name).read_bytes() == before
    for _ in range(2):  # also where the list exists
        show(str(source), "--max-broken", "1", "--problems", str(source / "problems.tsv"))
    assert "stray.txt\tthere is no picture" in (source / "problems.tsv").read_text()


def test_too_many_broken_rows_are_an_error_but_still_written(tmp_path: Path) -> None:
    source = put(tmp_path / "a.csv", "caption,n\nAn apple,1\n,2\n")
    with pytest.raises(UserError, match="1 of 2 rows are broken"):
        show(source, "--problems", f"{tmp_path}/broken.tsv")
    assert (tmp_path / "broken.tsv").exists()


def test_none_reads_captions_alone(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    show(put(tmp_path / "a.csv", "caption,image\nAn apple,none.png\n"), "--image-column", "None")
    assert "1 captions, 0 with a picture" in capsys.readouterr().out


def test_check_images_reports_broken_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    draw(tmp_path / "a.png")
    put(tmp_path / "b.png", "no picture")
    rows = "caption,image\nAn apple,a.png\nA boat,b.png\nA ship,b.png\nA cat,\n"
    source = put(tmp_path / "a.csv", rows)
    show(source)
    assert "4 captions, 3 with a picture" in capsys.readouterr().out
    show(source, "--check-images", "--max-broken", "0.5")
    out = capsys.readouterr().out
    assert "2 captions, 1 with a picture, 1 without." in out
    assert f"{source}:4: the picture {tmp_path}/b.png is not a picture" in out
    with pytest.raises(UserError, match="2 of 4 rows are broken"):
        show(source, "--check-images")


def test_control_characters_are_not_printed(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    show(put(tmp_path / "a.csv", "caption\nAn \x1b[31mapple\x1b]0;title\x07 é\n"))
    printed = capsys.readouterr().out
    assert r"An \x1b[31mapple\x1b" in printed and "é" in printed
    assert "\x1b" not in printed and "\x07" not in printed
