"""Which triples a variant trains on."""

import json

import pyarrow as pa
import pytest

from paraclip.ablation.config import AblateConfig
from paraclip.ablation.grid import read_grid
from paraclip.ablation.plan import variant_rows
from paraclip.ablation.sources import triples_of
from paraclip.data.triples import read_provenance, read_triples, write_triples
from paraclip.errors import UserError
from paraclip.starter import TRIPLES


def write(path, rows, **provenance):
    """Triples of (picture, caption, second paraphrase)."""
    names = ("image_id", "caption", "paraphrase_2")
    found = [
        {"id": str(n), "paraphrase_1": f"once more {n}", **dict(zip(names, row, strict=True))}
        for n, row in enumerate(rows)
    ]
    write_triples(path, found, provenance)
    return str(path)


@pytest.fixture
def files(tmp_path):
    strong = [("p1", "a cat", "one cat"), ("p1", "the cat", "cat"), ("p2", "a dog", "hound")]
    weak = [("p2", "a dog", "dog"), ("p3", "a cat", "kitten"), ("p1", "a cat", "cat here")]
    return (
        write(tmp_path / "strong.parquet", strong, generator="strong"),
        write(tmp_path / "weak.parquet", weak, generator="weak"),
    )


def test_a_file_without_a_name_is_used_for_all_that_name_none(files):
    strong, weak = files
    variants = {"a": {}, "b": {"triples": "weak"}, "c": {"triples": weak}}
    found = triples_of(variants, (strong, f"weak={weak}"), None)
    assert found == {"a": strong, "b": weak, "c": weak}
    assert triples_of({"a": {}}, (f"only={strong}",), None) == {"a": strong}


def test_the_command_line_overrides_the_common_triples_but_not_those_of_a_variant(files, tmp_path):
    strong, weak = files
    (tmp_path / "grid.toml").write_text(
        f'[common]\ntriples = "{weak}"\n[variants.a]\n[variants.b]\ntriples = "{weak}"\n'
    )
    grid = read_grid(tmp_path / "grid.toml")
    config = AblateConfig(grid="grid.toml", triples=(strong,))
    rows = dict(variant_rows(grid, config, tmp_path))
    assert {name: row.options.triples for name, row in rows.items()} == {"a": strong, "b": weak}


def test_the_starter_set_is_named_as_in_training(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    variants = {"a": {}, "b": {"triples": "starter"}}
    assert set(triples_of(variants, ("starter",), None).values()) == {str(TRIPLES)}


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ((), "a variant names no triples"),
        (("nowhere.parquet",), "nowhere.parquet: there is no such file"),
        (("a=x", "b=y"), "a variant names no triples, and there is no default"),
        (("a=x", "a=y"), "the name .a. is repeated"),
        (("x", "y"), "is the second file without a name"),
    ],
)
def test_what_is_wrong_with_the_command_line(given, complaint):
    with pytest.raises(UserError, match=complaint):
        triples_of({"a": {}}, given, None)


def test_the_same_captions_of_all_files(files, tmp_path):
    variants = {"s": {"triples": files[0]}, "w": {"triples": files[1]}}
    found = triples_of(variants, (), tmp_path)
    tables = {name: read_triples(path) for name, path in found.items()}
    rows = {
        name: set(zip(*(table[x].to_pylist() for x in ("image_id", "caption")), strict=True))
        for name, table in tables.items()
    }
    assert rows["s"] == rows["w"] == {("p1", "a cat"), ("p2", "a dog")}
    assert tables["s"]["paraphrase_2"].to_pylist() == ["one cat", "hound"]
    assert tables["w"]["paraphrase_2"].to_pylist() == ["dog", "cat here"]
    assert read_provenance(found["w"]) == {"generator": "weak", "reduced_from": "weak.parquet"}
    assert triples_of(variants, (), tmp_path) == found, "written once, under the same name"


def test_hard_negatives_stay_where_a_variant_reads_them(files, tmp_path):
    table = read_triples(files[0])
    negative = pa.table({"negative": ["a car", None, "a frog"]})
    with_column = str(tmp_path / "with.parquet")
    write_triples(with_column, table, {}, negative)
    variants = {
        "hard": {"triples": with_column, "negatives": "negative"},
        "plain": {"triples": with_column},
        "weak": {"triples": files[1]},
    }
    found = triples_of(variants, (), tmp_path)
    assert len(set(found.values())) == 3
    hard = read_triples(found["hard"], extra="negative")
    assert hard["negative"].to_pylist() == ["a car", "a frog"]
    assert read_triples(found["plain"])["caption"].to_pylist() == hard["caption"].to_pylist()


def test_triples_of_one_step_are_reduced_too(files, tmp_path):
    one_step = str(tmp_path / "one.jsonl")
    lines = [
        {"image_id": picture, "caption": caption, "paraphrase_1": f"once {picture}"}
        for picture, caption in (("p2", "a dog"), ("p1", "a cat"), ("p4", "a cow"))
    ]
    (tmp_path / "one.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    variants = {
        "one": {"triples": one_step, "one_step": True},
        "two": {"triples": files[0]},
        "first of two": {"triples": files[0], "one_step": True},
    }
    found = triples_of(variants, (), tmp_path)
    assert len(set(found.values())) == 3
    assert read_triples(found["one"])["paraphrase_2"].to_pylist() == ["once p2", "once p1"]
    assert read_triples(found["two"])["paraphrase_2"].to_pylist() == ["one cat", "hound"]
    first = read_triples(found["first of two"])
    assert first["paraphrase_2"].to_pylist() == first["paraphrase_1"].to_pylist()


def test_files_of_other_captions_cannot_be_compared(files, tmp_path):
    other = write(tmp_path / "other.parquet", [("p9", "a hat", "hat"), ("p8", "a cap", "cap")])
    with pytest.raises(UserError, match="have no captions in common"):
        triples_of({"s": {"triples": files[0]}, "o": {"triples": other}}, (), tmp_path)
