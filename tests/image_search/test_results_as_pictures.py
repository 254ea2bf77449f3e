"""Results of a query as one picture."""

import io
from pathlib import Path

import pytest
from PIL import Image, ImageColor

from paraclip.errors import UserError
from paraclip.image_search.sheet import COLUMNS, FRAME, GAP, LINE, MARGIN, SHARED, SIDE, write_sheet
from paraclip.image_search.snapshot import Hit
from tiny import jpeg

BLUE, GREY = ImageColor.getrgb(SHARED), ImageColor.getrgb("#e4e4e4")


def hits(*numbers: int) -> list[Hit]:
    """Results by number."""
    return [Hit(f"{number:024x}", f"{number}.png", "", 0.5) for number in numbers]


def corner(sheet: Image.Image, number: int, inside: int = 0) -> object:
    """A pixel of a result of the first model, on the diagonal of its square."""
    row, column = divmod(number, COLUMNS)
    left, top = MARGIN + column * (SIDE + GAP), MARGIN + 2 * LINE + row * (SIDE + GAP)
    return sheet.getpixel((left + inside, top + inside))


def drawn(folder: Path, title: str, found: dict[str, list[Hit]], *shown: int) -> Image.Image:
    """The sheet of results, of which some have thumbnails."""
    path = folder / "sheet.png"
    pictures = {hits(n)[0].id: Image.open(io.BytesIO(jpeg(n + 1))) for n in shown}
    write_sheet(str(path), [[(title, found)]], pictures)
    with Image.open(path) as sheet:
        sheet.load()
    return sheet


def test_results_of_all_models_are_framed_and_missing_thumbnails_are_grey(tmp_path: Path) -> None:
    found = {"base": hits(*range(12)), "tuned": hits(2, 11), "control": hits(5, 11, 2)}
    sheet = drawn(tmp_path, "Größe 日本\n" * 40, found, 1, 2)
    assert [n for n in range(12) if corner(sheet, n) == BLUE] == [2, 11]
    assert {corner(sheet, n) for n in range(12)} == {BLUE, GREY}
    grey = [n for n in range(12) if corner(sheet, n, FRAME + 9) == GREY]
    assert grey == [0, 3, 4, 5, 6, 7, 8, 9, 10], "without a thumbnail and not shared"
    alone = drawn(tmp_path, "", {"base": hits(1, 2)})
    assert corner(alone, 0) == corner(alone, 1) == GREY != corner(alone, 2)
    step = SIDE + GAP
    assert sheet.size == (2 * MARGIN + 10 * step - GAP, 2 * MARGIN + 4 * LINE + 4 * step)
    assert drawn(tmp_path, "", {}).size == (2 * MARGIN + 3 * step - GAP, 2 * MARGIN + LINE)


def test_groups_stand_below_each_other_and_frame_what_their_own_rows_share(tmp_path: Path) -> None:
    first = {"one wording": hits(1, 2), "the other": hits(2, 3)}
    second = {"one wording": hits(2, 1), "the other": hits(1)}
    write_sheet(str(tmp_path / "a.png"), [[("base", first), ("tuned", second)]], {})
    with Image.open(tmp_path / "a.png") as sheet:
        step = SIDE + GAP
        assert sheet.size == (2 * MARGIN + 3 * step - GAP, 2 * MARGIN + 6 * LINE + 4 * step)
        tops = [MARGIN + 2 * LINE, MARGIN + 5 * LINE + 2 * step]  # of the first row of each
        framed = [
            [sheet.getpixel((MARGIN + place * step, top)) == BLUE for place in range(2)]
            for top in tops
        ]
    assert framed == [[False, True], [False, True]]
    columns = [[("base", first)], [("tuned", second)]]
    write_sheet(str(tmp_path / "b.png"), columns, {}, ["a", "heading"], side=50)
    with Image.open(tmp_path / "b.png") as sheet:
        half = 2 * MARGIN + 3 * (50 + GAP) - GAP
        assert sheet.width == 2 * half, "side by side"
        places = (MARGIN + 50 + GAP, half + MARGIN + 50 + GAP)
        tops = [sheet.getpixel((left, 2 * MARGIN + 4 * LINE)) for left in places]
        assert tops == [BLUE, BLUE]


@pytest.mark.parametrize(("name", "labels"), [("a.webp", "a"), ("a.jpg", "abcd")])
def test_a_sheet_that_its_format_cannot_hold_is_one_line(
    tmp_path: Path, name: str, labels: str
) -> None:
    found = {label: hits(*range(1000)) for label in labels}
    with pytest.raises(UserError, match=r"pixels high, and \w+ allows .* End it in \.png"):
        write_sheet(str(tmp_path / name), [[("", found)]], {})
    write_sheet(str(tmp_path / "small.webp"), [[("", {"a": hits(1)})]], {})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".paraclip", "small.webp"]
