"""German scenes: gender, case, number and contractions of nouns, and verbs whose prefix leaves."""

import pytest

from paraclip.starter.languages import Text, parse_word, read_language


@pytest.mark.parametrize(
    ("noun", "adjective", "template", "written"),
    [
        ("Hund/m", "klein", "{noun:ein}", "ein kleiner Hund"),
        ("Hund/m", "klein", "{noun:der} {noun:einen}", "der kleine Hund einen kleinen Hund"),
        ("Frau/f", "alt", "{noun:ein} {noun:einem}", "eine alte Frau einer alten Frau"),
        ("Kind/n", "nass", "{noun:der} {noun:bare}", "das nasse Kind nasses Kind"),
        ("Stiefel/p", "rot", "{noun:mit} {noun:der}", "mit roten Stiefeln die roten Stiefel"),
        ("Hut/m; kurz={mit}", "blau", "{noun:kurz}", "mit blauem Hut"),
        ("Kleid/n", "gelb", "{noun:kurz} {noun:clad}", "im gelben Kleid in einem gelben Kleid"),
        ("Reis/mm", "weiß", "{noun:ein} {noun:mit}", "weißer Reis mit weißem Reis"),
        ("Junge/m", "blond", "von {noun:einem}", "von einem blonden Jungen"),
        ("Elefant/m", "groß", "{noun:einen}", "einen großen Elefanten"),
        ("Kleid/n", "rosa", "{noun:ein}", "ein rosa Kleid"),
        ("Mütze/f", "orange", "{noun:keinen}", "keine orange Mütze"),
        ("Frau/f; x=jung", "groß", "{noun:einem}", "einer großen jungen Frau"),
        ("Vase/f; z=mit Blumen", "aus Glas/post", "{noun:ein}", "eine Vase aus Glas mit Blumen"),
        ("Hund/m", "zwei/zahl; en=zwei", "{noun:ein} {noun:ist}", "zwei Hunde sind"),
        ("Kind/n; plural=Kinder", "drei/zahl; en=drei", "{noun:einem}", "drei Kindern"),
        ("Auto/n", "mehrere/zahl; en=mehreren", "{noun:einem}", "mehreren Autos"),
        ("Löwin/f", "einige/zahl; en=einigen", "wo sind {noun:der}", "wo sind die Löwinnen"),
        ("Strand/m; prep=an", "lang", "{noun:at}", "am langen Strand"),
        ("Küche/f", "leer", "{noun:at}", "in der leeren Küche"),
    ],
)  # fmt: skip
def test_nouns_and_their_adjectives_agree(
    noun: str, adjective: str, template: str, written: str
) -> None:
    slots = {"noun": {}, "other": {"modifies": "noun", "plural": "/zahl" in adjective}}
    text = Text(
        read_language("de"), slots, {"noun": parse_word(noun), "other": parse_word(adjective)}
    )
    assert _finished(text.write(template)) == written


@pytest.mark.parametrize(
    ("agent", "action", "finite", "clause"),
    [
        ("Kind/n", "schlafen", "Kind schläft", "das schläft"),
        ("Männer/p", "lesen; o=ein Buch", "Männer lesen ein Buch", "die ein Buch lesen"),
        ("Frau/f", "hängen; o=Wäsche; pre=auf", "Frau hängt Wäsche auf", "die Wäsche aufhängt"),
        ("Mann/m", "rasieren; r=sich", "Mann rasiert sich", "der sich rasiert"),
        ("Ente/f", "zeichnen", "Ente zeichnet", "die zeichnet"),
        ("Bär/m", "sein; o=unterwegs", "Bär ist unterwegs", "der unterwegs ist"),
        ("Kuh/f", "säugen; o={seine} Jungen", "Kuh säugt ihre Jungen", "die ihre Jungen säugt"),
    ],
)  # fmt: skip
def test_verbs_agree_and_end_a_clause(agent: str, action: str, finite: str, clause: str) -> None:
    words = {"agent": parse_word(agent), "action": parse_word(action)}
    text = Text(read_language("de"), {"agent": {}, "action": {"of": "agent"}}, words)
    main = text.write("{agent:bare} {action:nun} {action:o} {action:pre}")
    assert _finished(main) == finite
    assert _finished(text.write("{agent:rel} {action:r} {action:dass}")) == clause


def _finished(text: str) -> str:
    for pattern, replacement in read_language("de").finish["every"]:
        text = pattern.sub(replacement, text)
    return text
