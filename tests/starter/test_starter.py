"""The shipped texts: complete, distinct, without overlap, and usable for training."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paraclip.cli import main
from paraclip.data.triples import read_provenance, read_triples
from paraclip.models.checkpoint import save_model
from paraclip.starter import FIRST_EDITION, HELD_OUT, QUERIES, TRIPLES, resolve
from recipes.demo.stamps import STAMPS
from tiny import TINY_CLIP, tiny_clip

KINDS = ("short", "colloquial", "verbose", "technical", "typo", "other_person")
CONTRASTS = (
    "object", "role", "relation", "negation", "count", "action", "colour", "attribute", "side",
    "time",
)  # fmt: skip
BELITTLING = {  # outdated or belittling words for people, by language
    "en": r"midgets?|orientals?|gyps(y|ies)|spastics?|idiots?|nutters?|maniacs?|lunatics?"
    r"|mad(man|men| person)|beggars?|(?<!and the )tramps?|sightless|hearing-impaired|red-skinned"
    r"|oldies|old dears?|baldy",
    "de": r"zigeuner\w*|liliputaner\w*|bettler\w*|glatzkopf",
    "fr": r"gitane?s?|mendiante?s?",
    "es": r"gitan[oa]s?|mendig[oa]s?",
}
UNDRESSED = {
    "en": r"naked|nude|underwear|underpants|undies",
    "de": r"nackte?[mnrs]?(?! oberkörper)|unterhosen?|unterwäsche",
    "fr": r"(?<!pieds )(?<!torse )(?<!tête )nue?s?|caleçons?",
    "es": r"desnud[oa]s?|calzoncillos?",
}
BARE_THINGS = re.compile(  # lamps, cakes, animals and a dress form may be naked
    r"\b(bulb|light|cakes?|fig|mole[ -]rats?|chicken|scavenger|throat|hochzeitskuchen|gâteau|pastel"
    r"|glühbirne|ampoule|bombilla|mannequin)\b",
    re.IGNORECASE,
)
WORD = re.compile(r"[a-z0-9]+")
COMMON = {
    "a", "an", "and", "as", "at", "be", "by", "for", "from", "her", "his", "in", "is", "it", "its",
    "of", "on", "or", "the", "to", "with",
}  # fmt: skip


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def texts_of(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The texts of a row of any of the files, each with its language."""
    for name, value in row.items():
        if name == "wordings":
            yield from ((one.get("lang", "en"), one["text"]) for one in value)
        elif name not in ("id", "domain", "image", "sha256", "split"):
            yield "en", value["text"] if isinstance(value, dict) else value


def has(some: str, text: str) -> bool:
    """Whether one of some words, alternatives of a pattern, is in a text."""
    return re.search(rf"\b({some})\b", text, re.IGNORECASE) is not None


def words(text: str) -> frozenset[str]:
    return frozenset(WORD.findall(text.lower())) - COMMON


def closest(texts: list[str], others: list[str]) -> float:
    """Largest Jaccard similarity of the content words of two texts, one from each list."""
    known = [words(text) for text in others]
    by_word: dict[str, set[int]] = {}
    for number, some in enumerate(known):
        for word in some:
            by_word.setdefault(word, set()).add(number)
    return max(
        len(own & known[number]) / len(own | known[number])
        for own in map(words, texts)
        for number in set().union(*(by_word.get(word, set()) for word in own))
    )


@pytest.mark.parametrize("path", [TRIPLES, HELD_OUT])
def test_every_row_has_several_wordings_of_a_kind_and_a_contrast(path: Path) -> None:
    rows = rows_of(path)
    assert len({row["id"] for row in rows}) == len(rows) and len({r["domain"] for r in rows}) >= 15
    for row in rows:
        english = [one["text"] for one in row["wordings"] if "lang" not in one]
        texts = [row["caption"], row["paraphrase_1"], row["paraphrase_2"], *english]
        assert len(texts) >= 4 and len({text.lower().strip(" .") for text in texts}) == len(texts)
        assert row["contrast"]["text"] not in texts
        assert {one.get("kind") for one in row["wordings"]} <= {*KINDS, None}
        assert {one.get("lang") for one in row["wordings"]} <= {"de", "fr", "es", None}
        assert row["contrast"]["kind"] in CONTRASTS


def test_no_text_occurs_twice_in_a_field_or_in_both_parts() -> None:
    rows = rows_of(TRIPLES) + rows_of(HELD_OUT)
    for name in ("caption", "paraphrase_1", "paraphrase_2"):
        texts = [row[name].strip().lower() for row in rows]
        assert all(texts) and len(set(texts)) >= len(texts) - 3, name


def test_the_first_edition_comes_first_and_alone_has_translations() -> None:
    languages = [{one.get("lang") for one in row["wordings"]} - {None} for row in rows_of(TRIPLES)]
    assert len(languages) == 7400 and len(rows_of(HELD_OUT)) == 600
    assert all(some == {"de", "fr", "es"} for some in languages[:FIRST_EDITION])
    assert not any(languages[FIRST_EDITION:])


def test_no_text_belittles_people_or_shows_them_undressed() -> None:
    for path in (TRIPLES, HELD_OUT, QUERIES, STAMPS):
        for lang, text in (one for row in rows_of(path) for one in texts_of(row)):
            assert not has(BELITTLING[lang], text), (path.name, text)
            assert not has(UNDRESSED[lang], text) or BARE_THINGS.search(text), (path.name, text)


@pytest.mark.slow
def test_no_query_is_close_to_a_text_that_is_trained_on() -> None:
    queries, rows = rows_of(QUERIES), rows_of(TRIPLES) + rows_of(HELD_OUT)
    assert len(queries) == 500
    texts = [row[name] for row in queries for name in ("query", "rewording")]
    assert len(set(texts)) == 1000
    for name in ("caption", "paraphrase_1", "paraphrase_2"):
        assert closest(texts, [row[name] for row in rows]) < 0.5, name


def test_starter_is_a_name_for_the_triples_unless_a_file_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(read_triples("starter")) == len(rows_of(TRIPLES)) > 7000
    assert read_provenance("starter")["licence"] == "Apache-2.0"
    assert resolve("other.parquet") == "other.parquet"
    Path("starter").write_text("mine")
    assert resolve("starter") == "starter"


@pytest.mark.slow
def test_a_text_encoder_is_trained_on_the_starter_set_without_pictures(tmp_path: Path) -> None:
    save_model(tiny_clip(), tmp_path / "tiny.safetensors", {})
    out = tmp_path / "tuned"
    options = [
        "--base", str(tmp_path / "tiny.safetensors"), "--out", str(out), "--epochs", "1",
        "--loss-weight", "S=0",  # MiniLM would read 36,000 texts
    ]  # fmt: skip
    np.save(
        tmp_path / "index.npy", np.random.default_rng(0).normal(size=(40, TINY_CLIP["embed_dim"]))
    )
    assert main(["train", "starter", "--bank", str(tmp_path / "index.npy"), *options]) == 0
    assert (out / "last.safetensors").is_file()
    assert json.loads((out / "summary.json").read_text())["rows"] == len(rows_of(TRIPLES))
