"""A cross-encoder for natural language inference: do source and answer entail each other?

Sentence vectors hardly change if roles are swapped or one fact differs; a model that reads both
texts together detects this. The folder has the form that Hugging Face's `transformers` writes, for
example a download of `cross-encoder/nli-MiniLM2-L6-H768`. Nothing is downloaded, and no code from
the folder is run.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paraclip.errors import UserError

MOST_TOKENS = 256
BATCH = 32
LARGEST_CONFIG = 1 << 20  # bytes
HINT = (
    "Give the folder of a sequence classifier with a label `entailment`, in safetensors, such as a "
    "download of cross-encoder/nli-MiniLM2-L6-H768."
)


class Entailment:
    """Probabilities that one text entails another.

    Args:
        folder: folder with `config.json`, tokenizer files and `model.safetensors`.

    Raises:
        UserError: the folder does not contain such a model.
    """

    def __init__(self, folder: str | Path) -> None:
        self._label = entailment_label(Path(folder))
        # Imported here, so that a run without --nli does not load transformers.
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # it would interfere with the run's own
        options = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, **options)
            self._model: Any = AutoModelForSequenceClassification.from_pretrained(
                folder, use_safetensors=True, **options
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise UserError(folder, f"cannot be loaded: {first_line(error)}", HINT) from error
        self._model.eval()

    def both_ways(self, sources: Sequence[str], answers: Sequence[str]) -> list[float]:
        """For each pair, the lower of the two probabilities, 0 to 1.

        Args:
            sources: N texts.
            answers: N texts.
        """
        there, back = self._follows(sources, answers), self._follows(answers, sources)
        return [min(pair) for pair in zip(there, back, strict=True)]

    def _follows(self, premises: Sequence[str], claims: Sequence[str]) -> list[float]:
        """Probability of each claim, given its premise."""
        import torch

        probabilities: list[float] = []
        for start in range(0, len(premises), BATCH):
            pairs = [list(texts[start : start + BATCH]) for texts in (premises, claims)]
            tokens = self._tokenizer(
                *pairs, padding=True, truncation=True, max_length=MOST_TOKENS, return_tensors="pt"
            )
            with torch.inference_mode():
                logits = self._model(**tokens).logits  # [batch, labels]
            probabilities += logits.float().softmax(-1)[:, self._label].tolist()
        return probabilities


def entailment_label(folder: Path) -> int:
    """Index of the label `entailment` in a folder's `config.json`.

    Raises:
        UserError: the label is missing, or the file cannot be read.
    """
    path = folder / "config.json"
    if not path.is_file() or path.stat().st_size > LARGEST_CONFIG:
        raise UserError(folder, "contains no config.json of a model", HINT)
    try:
        labels = json.loads(path.read_text(encoding="utf-8")).get("id2label") or {}
        names = {int(index): str(name).lower() for index, name in labels.items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise UserError(path, "is not JSON of a model's configuration", HINT) from error
    index = next((index for index, name in names.items() if name == "entailment"), None)
    if index is None:
        raise UserError(path, f"names no label `entailment` among {sorted(names.values())}", HINT)
    return index


def first_line(error: Exception) -> str:
    """The first line of an error's message."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
