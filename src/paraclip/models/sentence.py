"""`minilm`: a text encoder alone, to set CLIP's text vectors against in benchmarks of text.

all-MiniLM-L6-v2 (Apache-2.0) as sentence-transformers runs it: the mean of the last states over
the tokens, of unit length. It reads no pictures, so benchmarks with pictures refuse it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize

from paraclip.errors import UserError
from paraclip.models.encoder import Architecture, DualEncoder, Tokens
from paraclip.models.mini import TextTower, load_bert
from paraclip.models.text_files import TextFiles, folder_of, read_text_files
from paraclip.models.tokenizing import pad_rows
from paraclip.models.wheels import TEXT_FOLDER, TEXT_PACKAGE, wheel_file

CONTEXT_LENGTH = 256


class SentenceTower(TextTower):
    """A BERT and the mean of its last states, without a head.

    Args:
        folder: Hugging Face folder with the BERT's `config.json`.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 1)
        self.width = self.head.in_features
        del self.head

    def forward(self, ids: Tensor) -> Tensor:
        """Text vectors [batch, width], not yet of unit length."""
        return self.pooled(ids)


class SentenceModel(DualEncoder):
    """A text encoder alone. `SentenceModel.from_wheel()` is MiniLM; the bare class is random.

    Args:
        text_files: configuration and tokenizer of the BERT (`tokenizer.json`), by file name.
    """

    text_tower: SentenceTower

    def __init__(self, text_files: TextFiles) -> None:
        from tokenizers import Tokenizer

        super().__init__()
        self.tokenizer = Tokenizer.from_str(text_files["tokenizer.json"])
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        with folder_of(text_files) as folder:
            self.text_tower = SentenceTower(folder)
        self.image_tower = nn.Identity()
        self.logit_scale = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))
        self.image_size = 224
        context = min(CONTEXT_LENGTH, self.text_tower.transformer.config.max_position_embeddings)
        width = self.text_tower.width
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

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        """Word pieces, lower case; at most 256 with start and end."""
        rows = [found.ids for found in self.tokenizer.encode_batch(list(texts))]
        return pad_rows(rows, self.architecture.context_length, self.text_tower.pad)

    def encode_tokens(self, ids: Tensor) -> Tensor:
        """Unit text vectors [batch, 384]; padding is known by its id."""
        return normalize(self.text_tower(ids).float(), dim=-1)

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
    mend = "Ask it only benchmarks of text: --benchmarks sts,sugar-crepe-pp."
    raise UserError("minilm", "is a text encoder alone and reads no pictures", mend)
