"""Every row and picture of the research data can be read."""

import pytest
from source_files import read

from extent import DATA
from paraclip.data.config import Columns
from paraclip.data.images import open_image
from paraclip.data.triples import attach_images, read_triples

pytestmark = pytest.mark.shared_data("flickr8k")


def test_flickr8k_has_five_captions_a_picture() -> None:
    rows = read(str(DATA / "flickr8k" / "captions.csv"))
    assert len(rows) == 40_455 == 5 * len({row.image_id for row in rows})
    assert len({row.id for row in rows}) == len(rows)
    assert open_image(str(rows[0].image), 224).size == (224, 224)


def test_other_sets_are_read_without_conversion() -> None:
    rows = read(str(DATA / "coco" / "captions.json"))
    assert len({row.image for row in rows}) == 337 == len({row.image_id for row in rows})
    assert len(rows) == 1_686
    source = str(DATA / "coco" / "karpathy_test_captions.json")
    assert len({row.image_id for row in read(source, Columns(image=None))}) == 5_000
    for name, count in (("laion", 9_936), ("cc3m_val", 15_827)):
        rows = read(str(DATA / "web_captions" / f"{name}.tsv"))
        assert len(rows) == count and {row.image for row in rows} == {None}


def test_the_papers_layout_finds_its_pictures() -> None:
    table = read_triples(DATA / "paraphrases" / "flickr8k_train.jsonl")
    assert table.num_rows == 3_600
    assert attach_images(table, DATA / "flickr8k" / "images")["image"].null_count == 0
