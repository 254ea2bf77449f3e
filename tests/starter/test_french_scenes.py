"""French scenes: adjectives, participles and verbs agree; articles elide and contract."""

import pytest

from paraclip.starter.languages import Text, parse_word, read_language


@pytest.mark.parametrize(
    ("noun", "adjective", "template", "written"),
    [
        ("chien/m", "blanc/col", "{noun:a}", "un chien blanc"),
        ("robe/f", "blanc/col", "{noun:a}", "une robe blanche"),
        ("bottes/fpp", "violet/col", "{noun:a}", "des bottes violettes"),
        ("veste/f", "marron/col", "{noun:a}", "une veste marron"),
        ("femme/f", "roux", "{noun:the}", "la femme rousse"),
        ("fille/f", "aux cheveux gris/inv", "{noun:many}", "filles aux cheveux gris"),
        ("vache/f", "couvert de boue", "{noun:many}", "vaches couvertes de boue"),
        ("avion/m", "vieil/pre", "{noun:a}", "un vieil avion"),
        ("horloge/f", "vieil/pre", "{noun:the}", "la vieille horloge"),
        ("vélo/m", "vieil/pre", "{noun:bare}", "vieux vélo"),
        ("ciseaux/mpp", "vieil/pre", "{noun:a}", "de vieux ciseaux"),
        ("école/f", "vide", "{noun:the}", "l'école vide"),
        ("hibou/m", "gros/pre", "{noun:many}", "gros hiboux"),
        ("hibou/m", "gris/col", "{noun:the}", "le hibou gris"),
        ("homme/m", "deux/num", "{noun:a}, {noun:the}", "deux hommes, les deux hommes"),
        ("cheval/m", "plusieurs/num", "où {noun:is} {noun:the}", "où sont les chevaux"),
        ("brosse à dents/f", "cinq/num", "{noun:a}", "cinq brosses à dents"),
        ("eau/fm", "propre", "un verre de {noun:bare}", "un verre d'eau propre"),
        ("eau/fm", "sale", "{noun:a}", "de l'eau sale"),
        ("frites/fpp", "froid", "à côté de {noun:a}", "à côté de frites froides"),
        ("table/f", "en bois/made", "{noun:many} {noun:a}", "tables en bois une table en bois"),
        ("fauteuil/m", "neuf", "à côté de {noun:the}", "à côté du fauteuil neuf"),
        ("enfant/m", "blond", "un signe à {noun:the}", "un signe à l'enfant blond"),
        ("plage/f; at=sur {the}", "gelé", "{noun:at}", "sur la plage gelée"),
        ("jardin/m", "petit/pre", "{noun:at}", "dans un petit jardin"),
    ],
)
def test_nouns_and_their_adjectives_agree(
    noun: str, adjective: str, template: str, written: str
) -> None:
    slots = {"noun": {}, "other": {"modifies": "noun", "plural": adjective.endswith("/num")}}
    words = {"noun": parse_word(noun), "other": parse_word(adjective)}
    assert _finished(Text(read_language("fr"), slots, words).write(template)) == written


@pytest.mark.parametrize(
    ("agent", "action", "template", "written"),
    [
        ("fille/f", "lire", "{action:who} {action:doing}", "qui lit est en train de lire"),
        ("gens/mpp", "prendre un café", "{action:finite}", "prennent un café"),
        ("gens/mpp", "manger", "{action:doing}", "sont en train de manger"),
        ("lion/m", "s'étirer", "{action:doing}", "est en train de s'étirer"),
        ("chat/m", "se promener", "{action:finite}, {action:ing}", "se promène, se promenant"),
        ("femme/f", "être assis{x}", "{action:doing}, {action:who}", "est assise, qui est assise"),
        ("femmes/fpp", "être assis{x}", "{action:ptc}", "assises"),
        ("voitures/fpp", "être garé{e}", "{action:finite}", "sont garées"),
        ("oiseaux/mpp", "nourrir {its_many} petits", "{action:ing}", "nourrissant leurs petits"),
        ("homme/m", "éteindre", "{action:finite}, {action:pl}", "éteint, éteignent"),
        ("homme/m", "lancer une balle", "{action:ing}", "lançant une balle"),
        ("fille/f", "x; pl=assis{agent:pair_x}", "{action:pl}", "assises"),
        ("garçon/m", "x; pl=allongé{agent:pair_e}", "{action:pl}", "allongés"),
    ],
)  # fmt: skip
def test_verbs_and_participles_agree(agent: str, action: str, template: str, written: str) -> None:
    words = {"agent": agent, "other": "dame/f", "action": action}
    slots = {"agent": {}, "other": {}, "action": {"of": "agent"}}
    text = Text(
        read_language("fr"), slots, {slot: parse_word(word) for slot, word in words.items()}
    )
    assert _finished(text.write(template)) == written


def _finished(text: str) -> str:
    for pattern, replacement in read_language("fr").finish["every"]:
        text = pattern.sub(replacement, text)
    return text
