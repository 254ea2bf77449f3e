"""Which captions of the learning side are paraphrased."""

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
