"""The identity of an image vector space, which determines the indexes that a text encoder fits."""

from paraclip.files import text_hash
from paraclip.models.encoder import DualEncoder
from paraclip.models.tensors import hash_tensors


def image_space(model: DualEncoder) -> str:
    """Hash of everything on the image side, 16 hex digits.

    Two models give a picture the same vector if and only if their hashes are equal (up to
    rounding): base, control, tuned and merged models share one. In contrast to
    `DualEncoder.image_key`, it covers the trained image head of `mini`.
    """
    return text_hash(f"{model.image_key()} {hash_tensors(model.image_tower.state_dict())}")
