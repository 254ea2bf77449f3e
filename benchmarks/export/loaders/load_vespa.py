"""Vespa's text-image-search, reproduced here because its tokenizer and searcher are in Java.

FOLDER holds `transformer.onnx`. The lines follow `BPETokenizer.java` (`encode`, `clean`), with
open_clip's copy of the vocabulary, and `TextEmbeddingSearcher.java`. Rows are NaN of blank texts,
which it refuses, and of those with other tokens than in open_clip, since it repairs no text; these
differ from Python's with base and tuned alike.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import open_clip
import regex

SPACE = r" \t\n\x0b\f\r"  # what \s means in Java
PIECES = regex.compile(
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]"
    rf"|[^{SPACE}\p{{L}}\p{{N}}]+",
    regex.IGNORECASE,
)
LENGTH = 77
theirs = open_clip.SimpleTokenizer()


def encode(text: str) -> list[int]:
    """Token ids, cut or padded to the context."""
    tokens = [theirs.sot_token_id]
    for word in PIECES.findall(regex.sub(f"[{SPACE}]+", " ", text).strip().lower()):
        letters = "".join(theirs.byte_encoder[byte] for byte in word.encode())
        tokens += [theirs.encoder[part] for part in theirs.bpe(letters).split(" ")]
    tokens = [*tokens[: LENGTH - 1], theirs.eot_token_id]
    return tokens + [0] * (LENGTH - len(tokens))


folder, texts, out = sys.argv[1:4]
with open(texts, encoding="utf-8") as file:
    listed = json.load(file)
session = onnxruntime.InferenceSession(
    str(Path(folder) / "transformer.onnx"), providers=["CPUExecutionProvider"]
)
rows = []
for text in listed:
    ids = encode(text)
    vector = session.run(["output"], {"input": np.array([ids], dtype=np.int64)})[0][0]
    same = bool(text.strip()) and ids == theirs(text)[0].tolist()
    rows.append(vector / np.linalg.norm(vector) if same else np.full_like(vector, np.nan))
np.save(out, np.stack(rows))
