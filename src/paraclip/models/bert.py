"""Models whose text tower is a BERT: what `mini` and `minilm` share, and `minilm` itself.

all-MiniLM-L6-v2 (Apache-2.0) is such a BERT. Its vector is the mean of the last states over the
tokens, as in sentence-transformers.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.functional import normalize

from paraclip.errors import UserError
from paraclip.models.encoder import Architecture, DualEncoder, Tokens, pad_rows
from paraclip.models.hub import TEXT_FOLDER, TEXT_PACKAGE, wheel_file
from paraclip.models.text_files import TextFiles, folder_of, read_text_files

CONTEXT_LENGTH = 256


class BertTower(nn.Module):
    """A BERT and the mean of its last states over the real tokens.

    Args:
        folder: Hugging Face folder with the BERT's `config.json`.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoConfig, AutoModel

        super().__init__()
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        self.transformer = AutoModel.from_config(
            config, attn_implementation="sdpa", add_pooling_layer=False
        )
        self.pad = int(config.pad_token_id)
        self.width = int(config.hidden_size)
        self.context_length = min(CONTEXT_LENGTH, int(config.max_position_embeddings))

    def states(self, ids: Tensor) -> Tensor:
        """Last states [batch, length, width] of token ids [batch, length]."""
        mask = (ids != self.pad).long()
        states: Tensor = self.transformer(input_ids=ids, attention_mask=mask).last_hidden_state
        return states

    def mean(self, states: Tensor, ids: Tensor) -> Tensor:
        """Mean [batch, width] of states over the tokens that are no padding."""
        weights = (ids != self.pad).unsqueeze(-1).to(states.dtype)  # [batch, length, 1]
        return (states * weights).sum(1) / weights.sum(1).clamp(min=1.0)

    def pooled(self, ids: Tensor) -> Tensor:
        """Mean states [batch, width] of token ids [batch, length]."""
        return self.mean(self.states(ids), ids)

    def forward(self, ids: Tensor) -> Tensor:
        """Text vectors [batch, width], not yet of unit length."""
        return self.pooled(ids)


class BertEncoder(DualEncoder):
    """What models with a BERT as text tower have in common; the image side is a subclass's.

    Args:
        text_files: configuration and tokenizer of the BERT (`tokenizer.json`), by file name.
    """

    text_tower: BertTower

    def __init__(self, text_files: TextFiles) -> None:
        from tokenizers import Tokenizer

        super().__init__()
        self.text_files = text_files
        self.tokenizer = Tokenizer.from_str(text_files["tokenizer.json"])
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.logit_scale = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Word pieces, lower case; at most 256 with start and end."""
        rows = [found.ids for found in self.tokenizer.encode_batch(list(texts))]
        return pad_rows(rows, self.architecture.context_length, self.text_tower.pad)

    def encode_tokens(self, ids: Tensor) -> Tensor:
        """Unit text vectors [batch, embed_dim]; padding is known by its id."""
        return normalize(self.text_tower(ids).float(), dim=-1)


def load_bert(transformer: nn.Module, path: Path) -> None:
    """Load BERT weights; the pooler, which nobody asks, stays behind."""
    with safe_open(path, "pt") as weights:
        transformer.load_state_dict(
            {name: weights.get_tensor(name) for name in transformer.state_dict()}
        )


class SentenceModel(BertEncoder):
    """A text encoder alone. `SentenceModel.from_wheel()` is MiniLM; the bare class is random.

    Args:
        text_files: configuration and tokenizer of the BERT (`tokenizer.json`), by file name.
    """

    def __init__(self, text_files: TextFiles) -> None:
        super().__init__(text_files)
        with folder_of(text_files) as folder:
            self.text_tower = BertTower(folder)
        self.image_tower = nn.Identity()
        self.image_size = 224
        width, context = self.text_tower.width, self.text_tower.context_length
        self.architecture = Architecture("sentence", "minilm", width, context, False, False)
        self.eval()

    @classmethod
    def from_wheel(cls) -> "SentenceModel":
        """all-MiniLM-L6-v2.

        Raises:
            UserError: the wheel is not installed.
        """
        folder = wheel_file(TEXT_PACKAGE, TEXT_FOLDER)
        model = cls(read_text_files(folder))
        load_bert(model.text_tower.transformer, folder / "model.safetensors")
        return model.eval()

    def preprocess(self, image: Image.Image) -> Tensor:
        """Refused."""
        refuse()

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        """Refused."""
        refuse()

    def project_images(self, features: Tensor) -> Tensor:
        """Refused."""
        refuse()

    def image_key(self) -> str:
        """There are no features to be cached."""
        return "no-pictures"


def refuse() -> NoReturn:
    """Raise: there is no image encoder."""
    hint = "Ask it only benchmarks of text: --benchmarks sts,sugar-crepe-pp."
    raise UserError("minilm", "is a text encoder alone and reads no pictures", hint)
