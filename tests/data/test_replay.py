"""Captions without paraphrases, mixed in with the triples."""

import os
from pathlib import Path

import pyarrow as pa

from paraclip.data.captions import Caption
from paraclip.data.triples import SCHEMA, TEXTS, with_replay


def triples_of(count: int) -> pa.Table:
    rows = [
        {
            "id": str(number), "image_id": f"picture {number}", "image": f"p/{number}.png",
            "caption": f"Kite {number}", "paraphrase_1": "A kite.", "paraphrase_2": "Kites fly.",
        }
        for number in range(count)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def caption(text: str, picture: str | None, name: str = "9") -> Caption:
    return Caption(name, text, f"{picture}", picture, "made.csv:1")


OTHERS = [caption(f"Sail {number}", f"p/{number}.png", str(number)) for number in range(8)]


def test_captions_are_appended_as_rows_of_one_text():
    rows = with_replay(triples_of(2), OTHERS, 1.5, 0)
    assert rows.num_rows == 5 and rows.schema.names == SCHEMA.names
    assert rows.slice(0, 2).equals(triples_of(2))
    for row in rows.slice(2).to_pylist():
        assert {row[name] for name in TEXTS} == {row["caption"]}
        assert row["caption"].startswith("Sail") and row["id"].startswith("replay ")


def test_the_seed_decides_which_are_drawn_and_no_more_than_there_are():
    drawn = [
        with_replay(triples_of(2), OTHERS, amount, seed)["caption"].to_pylist()[2:]
        for amount, seed in ((1.5, 0), (1.5, 0), (1.5, 1), (100.0, 0), (1e308, 0))
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert with_replay(triples_of(2), OTHERS, 0.01, 0).num_rows == 3
    assert sorted(drawn[3]) == sorted(drawn[4]) == [row.caption for row in OTHERS]


def test_a_picture_of_the_triples_keeps_its_id_however_it_is_named():
    absolute = os.path.abspath("p/0.png")
    rows = with_replay(triples_of(1), [caption("Sail", absolute)], 1.0, 0)
    assert rows["image_id"].to_pylist() == ["picture 0"] * 2
    far = with_replay(triples_of(1), [caption("Sail", "s3://bucket/0.png")], 1.0, 0)
    assert far["image_id"].to_pylist() == ["picture 0", "s3://bucket/0.png"]


def test_a_caption_without_a_picture_or_of_a_triple_is_not_drawn():
    useless = [caption("Sail", None), caption("Kite 0", str(Path("p/../p/0.png")))]
    assert with_replay(triples_of(1), useless, 9.0, 0).equals(triples_of(1))
    same_words = caption("Kite 0", "p/other.png")
    assert with_replay(triples_of(1), [*useless, same_words], 9.0, 0).num_rows == 2


def test_a_column_of_hard_negatives_is_empty_in_the_new_rows():
    triples = triples_of(1).append_column("negative", pa.array(["No kite."]))
    rows = with_replay(triples, OTHERS[:1], 1.0, 0)
    assert rows["negative"].to_pylist() == ["No kite.", None]
