"""Write the class head of `mini`: MiniLM's vectors of the 1,000 ImageNet class names.

    python recipes/mini/class_head.py --out src/paraclip/models/weights/class_head.safetensors

The names are those of open_clip's zero-shot metadata, in the order of the classifier. Nothing is
trained, and no picture or caption is read.
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from paraclip.models.features import encode_texts
from paraclip.models.mini import BertEncoder, SentenceModel
from paraclip.models.tensors import save_tensors
from paraclip.provenance import provenance

PROMPT = "a photo of a {}"
FIRST_SCALE = 20.0
"""Initial inverse temperature of training."""


def class_names() -> list[str]:
    """The 1,000 class names, in the order of the classifier."""
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    return list(IMAGENET_CLASSNAMES)


def class_head(model: BertEncoder, names: Sequence[str]) -> dict[str, Tensor]:
    """Weights [width, names] in 16-bit floats, and the first temperature."""
    vectors = encode_texts(model, [PROMPT.format(name) for name in names])
    scale = torch.tensor(math.log(FIRST_SCALE))
    return {"classes.weight": vectors.T.half().contiguous(), "logit_scale": scale}


def write(tensors: dict[str, Tensor], out: Path) -> None:
    """Write a safetensors file that contains its provenance."""
    made = provenance(
        data="names of the ImageNet classes (open_clip's zero-shot metadata, MIT)",
        prompt=PROMPT,
        towers={"image": "efficientnet-lite0 (Apache-2.0)", "text": "MiniLM-L6 (Apache-2.0)"},
        licence="Apache-2.0",
    )
    # The command line contains folder names of one machine.
    made["command"] = ["python", "recipes/mini/class_head.py"]
    save_tensors(tensors, out, {"paraclip": json.dumps(made)})


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="file to write (.safetensors)")
    options = parser.parse_args(arguments)
    write(class_head(SentenceModel.from_wheel(), class_names()), options.out)


if __name__ == "__main__":
    main()
