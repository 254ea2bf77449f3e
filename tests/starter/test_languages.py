"""Words of each language in their forms: nouns and adjectives, verbs and participles agree."""

from typing import Any

import pytest

from paraclip.starter import scenes as scene_module
from paraclip.starter.scenes import Text, read_language

DE = "{agent:bare} {action:nun} {action:o} {action:pre}, {agent:rel} {action:r} {action:dass}"
NUMBERS = ("num", "zahl")  # classes of what makes its noun plural
NOUNS = {
    "de": [
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
    "fr": [
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
    "es": [
        ("perro/m", "blanco/col", "{noun:a}", "un perro blanco"),
        ("falda/f", "rojo/col", "{noun:a}, {noun:the}", "una falda roja, la falda roja"),
        ("botas/fpp", "gris/col", "{noun:a}", "unas botas grises"),
        ("guantes/mpp", "marrón/col", "{noun:the}", "los guantes marrones"),
        ("uvas/fqp", "verde/col", "hay {noun:a}", "hay uvas verdes"),
        ("vaca/f", "cubierto de barro", "{noun:many}", "vacas cubiertas de barro"),
        ("chica/f", "con pecas/inv", "{noun:many}", "chicas con pecas"),
        ("mesa/f", "de madera/made", "{noun:many}", "mesas de madera"),
        ("camión/m", "viejo", "{noun:many}", "camiones viejos"),
        ("autobús escolar/m", "grande", "{noun:many}", "autobuses escolares grandes"),
        ("cepillo de dientes/m", "azul/col", "{noun:many}", "cepillos de dientes azules"),
        ("lápiz/m", "pequeño/pre", "{noun:many}", "pequeños lápices"),
        ("paraguas/m", "abierto", "{noun:many}", "paraguas abiertos"),
        ("mujer/f", "dos/num", "{noun:a}, {noun:the}", "dos mujeres, las dos mujeres"),
        ("gata/f", "varios/num", "{noun:a}", "varias gatas"),
        ("loro/m", "varios/num", "dónde {noun:is} {noun:the}", "dónde están los loros"),
        ("águila/f", "blanco/col", "{noun:a}, {noun:the}", "un águila blanca, el águila blanca"),
        ("águila/f", "cinco/num", "{noun:the}", "las cinco águilas"),
        ("agua/fm", "limpio", "al lado de {noun:the}", "al lado del agua limpia"),
        ("sofá/m", "nuevo", "delante de {noun:the}", "delante del sofá nuevo"),
        ("hombre/m", "alto", "sigue a {noun:the}", "sigue al hombre alto"),
        ("gorro/m", "negro/col", "{noun:put}", "con gorro negro"),
        ("gafas/fpp", "negro/col", "lleva {noun:worn}", "lleva gafas negras"),
        ("playa/f; loc={the}", "vacío", "{noun:at}", "en la playa vacía"),
        ("hijo/m", "alto", "padre y {noun:bare}", "padre e hijo alto"),
        ("hielo/m", "limpio", "agua y {noun:bare}", "agua y hielo limpio"),
    ],
    "zh": [
        ("狗/只", "黑色/col", "{noun:a}，{noun:bare}", "一只黑色的狗，黑狗"),
        ("汽车/辆", "红色/col", "{noun:a}，{noun:bare}", "一辆红色的汽车，红色汽车"),
        ("蛇/条", "绿色/col", "{noun:bare}", "绿色的蛇"),
        ("椅子/把", "老旧的", "{noun:that}，{noun:some}", "那把老旧的椅子，一些老旧的椅子"),
        ("城堡/座", "旧的", "{noun:a}", "一座古老的城堡"),
        ("桌子/张", "木头/mat", "{noun:core}上，{noun:few}", "木头桌子上，几张木头桌子"),
        ("杯子/个", "空荡荡的", "{noun:a}", "一个空的杯子"),
        ("大象/头", "大/size", "{noun:a}", "一头巨大的大象"),
        ("小提琴/把", "小/size", "{noun:a}", "一把小巧的小提琴"),
        ("男孩/个", "三/num", "{noun:bare}，{noun:that}", "三个男孩，那三个男孩"),
        ("猫/只", "好几/num", "{noun:a}，{noun:that}", "好几只猫，那几只猫"),
        ("一家人/x", "微笑的", "{noun:n}野餐的{noun:core}", "野餐的微笑的一家人"),
        ("女人/个", "微笑的", "{noun:n}跑步的{noun:core}", "一个跑步的微笑的女人"),
        ("帽子/顶; put=戴", "蓝色/col", "没{noun:put}{noun:slim}", "没戴蓝色帽子"),
        ("沙滩/片; loc=上", "很大的", "{noun:at}", "在沙滩上"),
        ("公园/座", "很大的", "{noun:where}，在{noun:over}", "公园里，在公园上空"),
    ],
}  # fmt: skip
VERBS = {
    "de": [
        ("Kind/n", "schlafen", DE, "Kind schläft, das schläft"),
        ("Männer/p", "lesen; o=ein Buch", DE, "Männer lesen ein Buch, die ein Buch lesen"),
        ("Frau/f", "hängen; o=Wäsche; pre=auf", DE, "Frau hängt Wäsche auf, die Wäsche aufhängt"),
        ("Mann/m", "rasieren; r=sich", DE, "Mann rasiert sich, der sich rasiert"),
        ("Ente/f", "zeichnen", DE, "Ente zeichnet, die zeichnet"),
        ("Bär/m", "sein; o=unterwegs", DE, "Bär ist unterwegs, der unterwegs ist"),
        ("Kuh/f", "säugen; o={seine} Jungen", DE, "Kuh säugt ihre Jungen, die ihre Jungen säugt"),
    ],
    "fr": [
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
    "es": [
        ("niña/f", "leer", "{action:who}, {action:doing}", "que lee, está leyendo"),
        ("niños/mpp", "jugar al tenis", "{action:finite}", "juegan al tenis"),
        ("niños/mpp", "dormir", "{action:finite}, {action:doing}", "duermen, están durmiendo"),
        ("gato/m", "estirarse", "{action:finite}, {action:ing}", "se estira, estirándose"),
        ("gatos/mpp", "revolcarse", "{action:finite}", "se revuelcan"),
        ("hombre/m", "regar", "{action:finite}, {action:ing}", "riega, regando"),
        ("mujer/f", "servir vino", "{action:finite}, {action:ing}", "sirve vino, sirviendo vino"),
        ("mujer/f", "construir", "{action:finite}, {action:ing}", "construye, construyendo"),
        ("perro/m", "roer", "{action:finite}, {action:ing}", "roe, royendo"),
        ("mujer/f", "sonreír", "{action:finite}, {action:ing}", "sonríe, sonriendo"),
        ("mujer/f", "esquiar", "{action:finite}", "esquía"),
        ("mujer/f", "estar sentad{o}", "{action:doing}, {action:ing}", "está sentada, sentada"),
        ("perros/mpp", "estar tumbad{o}", "{action:who}", "que están tumbados"),
        ("persona/f", "estar de pie", "{action:alone}", "persona de pie"),
        ("persona/f", "nadar", "{action:alone}", "nadando"),
        ("niña/f", "x; pl=están sentad{agent:pair_os}", "{action:pl}", "están sentadas"),
        ("niño/m", "x; pl=están sentad{agent:pair_os}", "{action:pl}", "están sentados"),
        ("playa/f; loc={the}; way={action:por}", "andar; por=por", "{agent:there}", "por la playa"),
        ("playa/f; loc={the}; way={action:por}", "dormir", "{agent:there}", "en la playa"),
    ],
    "zh": [
        ("男孩/个", "跑步", "{action:now}，{action:doing}", "正在跑步，在跑步"),
        ("男孩/个", "站着/°; key=站", "{action:now}，{action:key}", "站着，站"),
        ("男孩/个", "跑步", "沙滩上{action:exist}", "沙滩上有一个男孩在跑步"),
        ("一家人/x", "野餐", "沙滩上{action:exist}", "沙滩上一家人正在野餐"),
        ("公园/座", "跑步; pw={agent:where}", "{action:nowthere}", "正在公园里跑步"),
        ("长椅/张; loc=上", "坐着/°; there=坐{agent:at}", "{action:nowthere}", "坐在长椅上"),
        ("大海/片; up=海上", "冲浪; pw={agent:up}", "{action:there}", "在海上冲浪"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("language", "noun", "adjective", "template", "written"),
    [(language, *case) for language, cases in NOUNS.items() for case in cases],
)
def test_nouns_and_their_adjectives_agree(
    language: str, noun: str, adjective: str, template: str, written: str
) -> None:
    plural = scene_module._parse_word(adjective).kind in NUMBERS
    slots = {"noun": {}, "other": {"modifies": "noun", "plural": plural}}
    assert _text(language, slots, {"noun": noun, "other": adjective}, template) == written


@pytest.mark.parametrize(
    ("language", "agent", "action", "template", "written"),
    [(language, *case) for language, cases in VERBS.items() for case in cases],
)
def test_verbs_and_participles_agree(
    language: str, agent: str, action: str, template: str, written: str
) -> None:
    slots = {"agent": {}, "other": {}, "action": {"of": "agent"}}
    words = {"agent": agent, "other": "dame/f", "action": action}
    assert _text(language, slots, words, template) == written


def _text(name: str, slots: dict[str, dict[str, Any]], words: dict[str, str], template: str) -> str:
    language = read_language(name)
    parsed = {slot: scene_module._parse_word(word) for slot, word in words.items()}
    text = Text(language, slots, parsed).write(template)
    for pattern, replacement in language.finish["every"]:
        text = pattern.sub(replacement, text)
    return text
