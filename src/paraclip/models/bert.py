"""Models whose text tower is a BERT: the base class of `mini`, and `minilm`.

`minilm` is all-MiniLM-L6-v2 (Apache-2.0), a text encoder without an image encoder and a baseline
for text benchmarks. Its vector is the mean of the last states, as in sentence-transformers.
"""

from collections.abc import Sequence
from pathlib import Path

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
    """A BERT with mean pooling of its last states over the real tokens.

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
        """Mean [batch, width] of states over the tokens that are not padding."""
        weights = (ids != self.pad).unsqueeze(-1).to(states.dtype)  # [batch, length, 1]
        return (states * weights).sum(1) / weights.sum(1).clamp(min=1.0)

    def pooled(self, ids: Tensor) -> Tensor:
        """Mean states [batch, width] of token ids [batch, length]."""
        return self.mean(self.states(ids), ids)

    def forward(self, ids: Tensor) -> Tensor:
        """Text vectors [batch, width], not normalised."""
        return self.pooled(ids)


class BertEncoder(DualEncoder):
    """Base class of models with a BERT as text tower; subclasses add the image side.

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
        """Lower-case word pieces; at most 256, including start and end tokens."""
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]
        return pad_rows(rows, self.architecture.context_length, self.text_tower.pad)

    def encode_tokens(self, ids: Tensor) -> Tensor:
        """Unit text vectors [batch, embed_dim]; padding is recognised by its id."""
        return normalize(self.text_tower(ids).float(), dim=-1)


def load_bert(transformer: nn.Module, path: Path) -> None:
    """Load BERT weights without the unused pooler."""
    with safe_open(path, "pt") as weights:
        transformer.load_state_dict(
            {name: weights.get_tensor(name) for name in transformer.state_dict()}
        )


class SentenceModel(BertEncoder):
    """A text encoder only. `SentenceModel.from_wheel()` is MiniLM; the bare class is random.

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
        """all-MiniLM-L6-v2."""
        folder = wheel_file(TEXT_PACKAGE, TEXT_FOLDER)
        model = cls(read_text_files(folder))
        load_bert(model.text_tower.transformer, folder / "model.safetensors")
        return model.eval()

    def preprocess(self, image: Image.Image) -> Tensor:
        """Raise UserError, because there is no image encoder."""
        hint = "Use benchmarks of text: --benchmarks sts,sugar-crepe-pp."
        raise UserError("minilm", "has only a text encoder and reads no pictures", hint)

    embed_pixels = project_images = preprocess  # type: ignore[assignment]

    def image_key(self) -> str:
        """Return a constant, because there are no features to cache."""
        return "no-pictures"
