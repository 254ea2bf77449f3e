"""Parts of speech, by spaCy's small English model.

Any version of the model is accepted; versions differ in the tags of a few words.
"""

from collections.abc import Iterable, Iterator
from importlib.metadata import version
from importlib.util import find_spec

from paraclip.errors import not_installed, optional_import
from paraclip.models.wheels import TAGGER_FOLDER, TAGGER_PACKAGE, wheel_file

NOUNS = frozenset(("NN", "NNS", "NNP", "NNPS"))
ADJECTIVES = frozenset(("JJ", "JJR", "JJS"))
TAGGERS = ("en_core_web_sm", TAGGER_PACKAGE)  # spaCy's own and its copy on PyPI

Tagged = list[tuple[str, str]]
"""Tokens of a caption with their Penn tags."""


class Tagger:
    """Tags parts of speech with spaCy's small English model; UserError without the extra `recipes`.
    `name` is that of the model with its version, for the report."""

    def __init__(self) -> None:
        spacy = optional_import("spacy", "recipes")
        model = next((name for name in TAGGERS if find_spec(name)), None)
        if model is None:
            raise not_installed(TAGGERS[0], "recipes")
        if model == TAGGER_PACKAGE:
            wheel_file(TAGGER_PACKAGE, TAGGER_FOLDER)
        # Only the tagger is needed; parser, lemmatizer and named entities would take time.
        self.pipeline = spacy.load(model, exclude=["parser", "ner", "lemmatizer"])
        self.name = f"spaCy {version('spacy')}, {model} {self.pipeline.meta['version']}"

    def tag(self, texts: Iterable[str]) -> Iterator[Tagged]:
        """Tokens and tags of each text, in order."""
        for document in self.pipeline.pipe(texts, batch_size=256):
            yield [(token.text, token.tag_) for token in document]
