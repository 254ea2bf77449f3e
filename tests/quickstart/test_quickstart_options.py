"""What the quickstart's options come to."""

from dataclasses import replace
from pathlib import Path

from paraclip.data.captions import Caption
from paraclip.quickstart.command import chosen
from paraclip.quickstart.config import QuickstartConfig

ROWS = [Caption(f"{at}.png", f"thing {at}", f"{at}.png", f"{at}.png", "here") for at in range(50)]


def test_all_are_taken_where_there_are_few() -> None:
    assert chosen(ROWS, QuickstartConfig(paraphrase=50)) == ROWS


def test_so_many_are_taken_in_their_order_and_always_the_same() -> None:
    taken = chosen(ROWS, QuickstartConfig(paraphrase=20))
    assert len(taken) == 20
    assert (
        taken
        == [row for row in ROWS if row in taken]
        == chosen(ROWS, QuickstartConfig(paraphrase=20))
    )


def test_more_keep_those_that_fewer_had_and_another_seed_takes_others() -> None:
    few = chosen(ROWS, QuickstartConfig(paraphrase=10))
    assert set(few) < set(chosen(ROWS, QuickstartConfig(paraphrase=20)))
    assert few != chosen(ROWS, QuickstartConfig(paraphrase=10, seed=1))


def test_each_source_has_a_folder_of_its_own_unless_one_is_named() -> None:
    assert QuickstartConfig().folder == Path("runs/quickstart")
    assert QuickstartConfig(source="pets/cats/").folder == Path("runs/quickstart-cats")
    assert QuickstartConfig(source="dogs.csv").folder == Path("runs/quickstart-dogs")
    assert QuickstartConfig(source="dogs.csv", out="here").folder == Path("here")


def test_starting_anew_reaches_every_stage() -> None:
    config = QuickstartConfig(fresh=True)
    stages = [
        config.align_config("a"), config.generate_config(Path("b")), config.train_config("c", True)
    ]  # fmt: skip
    assert all(stage.fresh for stage in stages)


def test_the_control_differs_from_the_tuned_in_its_texts_alone() -> None:
    tuned, control = (QuickstartConfig().train_config("x", control) for control in (False, True))
    assert replace(control, control=False) == tuned
    assert control.control
