"""Everyday scenes: grammatical, different, of one meaning, and apart from what is held out."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip.data import triples
from paraclip.data.triples import scene_table
from paraclip.errors import UserError
from paraclip.starter import scenes as scene_module
from paraclip.starter.scenes import (
    GRAMMAR,
    HELD_OUT_MARK,
    Language,
    Text,
    Word,
    read_grammar,
    read_language,
    scenes,
)

LANGUAGES = sorted(path.stem for path in GRAMMAR.glob("??.toml"))
FIRST = ("caption", "paraphrase_1", "paraphrase_2")
LENGTHS = {"one_word": (1, 6), "short": (1, 12), "keywords": (1, 16)}
"""Fewest and most words of a kind; of the others 1 to 20."""
SINGULAR = re.compile(r"\b(two|three|four|five|2|3|4|5) (\w+ )?(boy|girl|man|woman|dog|cat)\b")


def texts_of(row: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The wordings of a scene: kind, language, text."""
    yield from zip(row["kinds"], ["en"] * 3, (row[name] for name in FIRST), strict=True)
    yield from ((one["kind"], one.get("lang", "en"), one["text"]) for one in row["wordings"])


@pytest.fixture(scope="module")
def drawn() -> list[dict[str, Any]]:
    return scenes(500, seed=3, languages=LANGUAGES)


def test_scenes_depend_on_the_seed_alone_and_begin_alike() -> None:
    assert scenes(30, seed=5) == scenes(60, seed=5)[:30]
    assert scenes(30, seed=5) != scenes(30, seed=6)
    assert scenes(1, seed=0) == scenes(1)
    for row in (spoken := scenes(30, seed=5, languages=LANGUAGES)):
        row["wordings"] = [one for one in row["wordings"] if "lang" not in one]
    assert spoken == scenes(30, seed=5)


@given(st.integers(), st.booleans())
def test_every_seed_gives_scenes_of_several_texts_and_no_contrast_among_them(
    seed: int, held_out: bool
) -> None:
    rows = scenes(3, seed=seed, languages=LANGUAGES, held_out=held_out)
    assert len({row["id"] for row in rows}) == 3
    for row in rows:
        texts = [text for _, _, text in texts_of(row)]
        # Languages share words: "Smoothie". Case and the stop make no other text.
        bare = {(lang, text.lower().rstrip(" .?")) for _, lang, text in texts_of(row)}
        assert len(texts) == len(bare)
        spoken = Counter(lang for _, lang, _ in texts_of(row))
        assert spoken.keys() == set(LANGUAGES)
        assert spoken["en"] >= 3
        assert not {one["text"] for one in row["contrasts"]} & set(texts)
        for text in (*texts, *(one["text"] for one in row["contrasts"])):
            assert not re.search(r"[{}\[\]|*/+=;]|  |^ | $| ,", text), text


def test_english_is_grammatical_where_that_is_easily_seen(drawn: list[dict[str, Any]]) -> None:
    texts = [text for row in drawn for _, lang, text in texts_of(row) if lang == "en"]
    texts += [one["text"] for row in drawn for one in row["contrasts"]]
    for text in texts:
        assert not re.search(r"\b[Aa] (?!one|uni|uku)[aeiou]|\b[Aa]n [^aeiouhx]", text), text
        assert not re.search(r"\b(an?|the|some|in|on|at|of|is|with) \1\b", text), text
        assert not re.search(r"\b(a|an|the) (a|an|the|some|someone|people)\b", text, re.I), text
        assert not SINGULAR.search(text), text


def test_spanish_is_grammatical_where_that_is_easily_seen(drawn: list[dict[str, Any]]) -> None:
    articles = re.compile(r"\b(una?|el|las?|los|dos|varios) (una?|el|las?|los)\b", re.I)
    for text in (text for row in drawn for _, lang, text in texts_of(row) if lang == "es"):
        assert not articles.search(text), text
        assert not re.search(r"\b(de|a) el\b|\by h?i(?!e)", text), text
        assert not re.search(r"\b(sin|no lleva) una?s?\b", text), text
        assert text.startswith("¿") == text.endswith("?"), text


def test_chinese_is_grammatical_where_that_is_easily_seen(drawn: list[dict[str, Any]]) -> None:
    texts = [(kind, text) for row in drawn for kind, lang, text in texts_of(row) if lang == "zh"]
    for kind, text in texts:
        assert not re.search(r"[~°,?]|的的|在在|有有|一[两2-5]|那一|们们|，，", text), text
        assert kind == "keywords" or " " not in text, text


@pytest.mark.parametrize(
    ("word", "template", "written"),
    [
        ("old man", "{word:plural}", "old men"),
        ("child", "{word:plural}", "children"),
        ("baby", "{word:plural}", "babies"),
        ("knife", "{word:plural}", "knives"),
        ("sheep", "{word:plural}", "sheep"),
        ("chest of drawers", "{word:plural}", "chests of drawers"),
        ("bus; plural=coaches", "{word:plural}", "coaches"),
        ("jeans/p", "{word:plural} {word:is} {word:a}", "jeans are jeans"),
        ("snow/mass", "{word:a} {word:is}", "snow is"),
        ("swim in a pool", "{word:ing}, {word:s}", "swimming in a pool, swims in a pool"),
        ("lie down", "{word:ing}, {word:s}", "lying down, lies down"),
        ("watch TV", "{word:ing}, {word:finite}", "watching TV, watches TV"),
        ("carry boxes", "{word:ing}, {word:finite}", "carrying boxes, carries boxes"),
        ("take a photo", "{word:ing}, {word:pl}", "taking a photo, take a photo"),
        ("be parked; ing=parked; s=is parked", "{word:doing}, {word:finite}", "parked, is parked"),
    ],
)
def test_english_words_have_their_forms(word: str, template: str, written: str) -> None:
    text = Text(read_language("en"), {"word": {}}, {"word": scene_module._parse_word(word)})
    assert " ".join(text.write(template).split()) == written


@pytest.mark.parametrize(
    ("template", "written"),
    [
        ("{who:ein} {does:v} {does:o}", "ein kleiner Hund frisst einen alten Knochen"),
        ("{who:der}, der {does:o} {does:v}", "der kleine Hund, der einen alten Knochen frisst"),
        ("{what:ein} ist {size:base}[ {where:base}]", "ein alter Knochen"),
        ("{does:inf}", "einen alten Knochen fressen"),
        ("{who:class}", "m"),
    ],
)
def test_words_of_a_language_agree_by_its_own_classes_and_parts(
    template: str, written: str
) -> None:
    forms = {
        "ein": {"": "", "m": "ein {+:er} {base}"},
        "der": {"": "", "m": "der {+:e} {base}"},
        "ein_akk": {"": "", "m": "einen {+:en} {base}"},
        "inf": {"": "{o} {base}"},
    }
    rules = {ending: [(re.compile("$"), ending)] for ending in ("e", "en", "er")}
    german = Language({}, forms, rules, {}, {}, (), ".")
    slots = {
        "who": {},
        "size": {"modifies": "who"},
        "what": {},
        "age": {"modifies": "what"},
        "does": {"of": "who"},
    }
    words = {"who": "Hund/m", "size": "klein", "what": "Knochen/m", "age": "alt",
             "does": "fressen; v=frisst; o={what:ein_akk}"}  # fmt: skip
    text = Text(
        german, slots, {slot: scene_module._parse_word(word) for slot, word in words.items()}
    )
    assert text.write(template).startswith(written)


def test_lengths_are_those_of_queries_and_captions(drawn: list[dict[str, Any]]) -> None:
    lengths: Counter[str] = Counter()
    for row in drawn:
        for kind, lang, text in texts_of(row):
            count = len(text.split())
            fewest, most = LENGTHS.get(kind, (1, 20))
            assert lang != "en" or fewest <= count <= most, text
            if lang == "en":
                lengths[
                    "1" if count == 1 else "2-4" if count < 5 else "5-10" if count < 11 else "more"
                ] += 1
    total = lengths.total()
    assert lengths["1"] / total > 0.02
    assert 0.2 < lengths["2-4"] / total < 0.5
    assert 0.35 < lengths["5-10"] / total < 0.7
    assert lengths["more"] / total < 0.2


def test_every_language_has_a_word_for_every_concept_and_templates_for_every_frame() -> None:
    grammar = read_grammar()
    for name in LANGUAGES:
        language = read_language(name)
        assert language.words.keys() == grammar.facts.keys(), name
        assert language.templates.keys() == grammar.frames.keys(), name
        for concept, words in language.words.items():
            counted = "count" in grammar.facts[concept]
            assert any(
                not word.held_out and not (counted and word.kind in language.uncounted)
                for word in words
            ), concept


def names_all(
    language: Language, slots: dict[str, Any], words: dict[str, Word], template: str
) -> bool:
    """Whether a template writes a text of a scene, which then names each of its slots."""
    text = Text(language, slots, words)
    try:
        text.write(template.removeprefix(HELD_OUT_MARK))
    except KeyError:
        return False
    return text.said == words.keys()


@pytest.mark.parametrize("name", LANGUAGES)
def test_every_template_and_every_slot_of_a_scene_can_be_written(name: str) -> None:
    language, grammar, rng = read_language(name), read_grammar(), Random(1)
    for frame, facts in grammar.frames.items():
        slots = facts["slots"]
        unwritten = [one for some in language.templates[frame].values() for one in some]
        written: list[str] = []
        named: set[str] = set()
        for _ in range(500):
            if (drawn := grammar.draw(frame, rng, held_out=True)) is None:
                continue
            words = {slot: rng.choice(language.words[concept]) for slot, concept in drawn.items()}
            now = [one for one in unwritten if names_all(language, slots, words, one)]
            written += now
            unwritten = [one for one in unwritten if one not in now]
            assert any(names_all(language, slots, words, one) for one in written), (frame, drawn)
            named |= drawn.keys()
        assert not unwritten, frame
        assert named == slots.keys()


@pytest.mark.parametrize(
    ("drawn", "slot", "odd"),
    [
        ({"view": "office", "state": "empty_state"}, "feature", "people_feature"),
        ({"view": "lake_view", "state": "frozen"}, "feature", "boats_feature"),
        ({"view": "forest_view", "state": "snowy"}, "when", "summer_day"),
        ({"view": "coast", "feature": "rainbow"}, "when", "night"),
    ],
)
def test_what_excludes_each_other_is_never_beside_each_other(
    drawn: dict[str, str], slot: str, odd: str
) -> None:
    grammar = read_grammar()
    assert odd in grammar.allowed("scenery", slot, {"view": drawn["view"]})
    assert odd not in grammar.allowed("scenery", slot, drawn)


def test_the_grammar_names_only_concepts_that_it_has() -> None:
    grammar = read_grammar()
    named = {
        concept
        for facts in grammar.facts.values()
        for name, value in facts.items()
        if name not in ("category", "contrast")
        for concept in grammar.expand(value)
    }
    assert named | grammar.held_out <= grammar.facts.keys()


@pytest.mark.slow
def test_what_is_held_out_is_in_held_out_scenes_alone() -> None:
    rows, new_rows = (
        scenes(300, seed=8, languages=LANGUAGES, held_out=held_out) for held_out in (False, True)
    )
    for name in LANGUAGES:
        language = read_language(name)
        new = {word.base for words in language.words.values() for word in words if word.held_out}
        new |= {
            language.words[concept][0].base
            for concept in ("badger", "lighthouse", "kangaroo", "passport")
        }
        found = re.compile(
            rf"(?<![a-zß-ÿ])({'|'.join(map(re.escape, sorted(new)))})(?![a-zß-ÿ])", re.I
        )
        others = [
            text
            for concept in language.words.keys() - read_grammar().held_out
            for word in language.words[concept]
            if not word.held_out
            for text in (word.base, *word.forms.values())
        ]
        assert not [text for text in others if found.search(text)]
        for row in rows:
            assert not [
                text for _, lang, text in texts_of(row) if lang == name and found.search(text)
            ]
        seen = [text for row in new_rows for _, lang, text in texts_of(row) if lang == name]
        assert len({match[0].lower() for text in seen if (match := found.search(text))}) > 10
    assert any(
        template.startswith(HELD_OUT_MARK)
        for kinds in read_language("en").templates.values()
        for templates in kinds.values()
        for template in templates
    )


@pytest.mark.parametrize(
    ("action", "agent"),
    [("swim_bowl", "horse"), ("graze", "dolphin"), ("shave", "baby"), ("gallop", "cow")],
)
def test_who_does_what_is_a_list_of_what_is_possible(action: str, agent: str) -> None:
    grammar = read_grammar()
    assert agent not in grammar.expand(grammar.facts[action]["who"])


@given(st.randoms(use_true_random=False), st.sampled_from(sorted(read_grammar().frames)))
def test_scenes_and_their_changes_are_possible_and_differ(rng: Random, frame: str) -> None:
    grammar = read_grammar()
    drawn = grammar.draw(frame, rng, held_out=False)
    if drawn is None:
        return
    assert grammar.fits(frame, drawn)
    assert grammar.held_out.isdisjoint(drawn.values())
    for kind, changed in grammar.changes(frame, drawn, rng, held_out=False):
        assert grammar.fits(frame, changed)
        differing = [slot for slot in drawn if drawn[slot] != changed[slot]]
        assert len(differing) == (2 if kind == "role" else 1)
        if kind != "role":
            assert not grammar.are_alike(drawn[differing[0]], changed[differing[0]])


@pytest.mark.parametrize(
    ("one", "other"),
    [("dog", "puppy"), ("man", "old_man"), ("garden", "park"), ("mug", "cup"), ("girl", "woman")],
)
def test_what_may_be_the_same_is_no_contrast(one: str, other: str) -> None:
    assert read_grammar().are_alike(one, other)


def test_a_language_without_words_is_refused() -> None:
    with pytest.raises(UserError, match="Choose"):
        scenes(1, languages=("xx",))


def test_drawn_scenes_are_kept_until_the_grammar_changes_or_the_file_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path))
    counts = list[int]()

    def counted(count: int, **options: Any) -> list[dict[str, Any]]:
        counts.append(count)
        return scenes(count, **options)

    monkeypatch.setattr(triples, "scenes", counted)
    tables = [scene_table(9, seed=2, languages=("de",)) for _ in range(2)]
    assert counts == [9]
    (file,) = tmp_path.glob("scenes/*.parquet")
    file.write_bytes(file.read_bytes()[:-9])
    tables += [scene_table(9, seed=2, languages=("de",)) for _ in range(2)]
    assert counts == [9, 9]
    monkeypatch.setattr(triples, "grammar_hash", lambda: "another")
    tables.append(scene_table(9, seed=2, languages=("de",)))
    assert counts == [9, 9, 9] and all(table.equals(tables[0]) for table in tables)
    scene_table(9, seed=3, languages=("de",))
    scene_table(9, seed=2)
    scene_table(8, seed=2)
    assert counts[3:] == [9, 9, 8]
    (tmp_path / "file").touch()
    monkeypatch.setenv("PARACLIP_CACHE", str(tmp_path / "file"))  # where no folder can be made
    assert scene_table(9, seed=2, languages=("de",)).equals(tables[0])


def test_scenes_are_triples() -> None:
    table = scene_table(20, seed=2)
    assert table["caption"].to_pylist() == [row["caption"] for row in scenes(20, seed=2)]
    assert "contrasts" not in table.column_names
