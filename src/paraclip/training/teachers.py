"""Teachers of R: frozen models that rank the pictures of the bank, each in its own vector space."""

from collections.abc import Sequence
from dataclasses import dataclass

from paraclip.data.captions import label
from paraclip.errors import UserError
from paraclip.models.encoder import DualEncoder
from paraclip.models.features import image_space
from paraclip.models.loading import load_model
from paraclip.provenance import without_secrets
from paraclip.training.bank import Bank

BASE = "base"
"""Name of the student before training, as a teacher."""


@dataclass(frozen=True)
class Teacher:
    """A frozen model whose ranking of the bank is part of the target of R.

    Args:
        name: of the model, without secrets; `base` is the student before training.
        model: the model.
        share: weight of its ranking; those of all teachers are divided by their sum.
    """

    name: str
    model: DualEncoder
    share: float = 1.0

    def sees_as(self, base: DualEncoder) -> bool:
        """Whether it gives pictures the vectors of the base, whose bank then serves for both."""
        return self.model is base or image_space(self.model) == image_space(base)


def load_teachers(names: Sequence[str], base: DualEncoder) -> tuple[Teacher, ...]:
    """The teachers that `--teacher` names, each as MODEL or MODEL=SHARE.

    Args:
        names: names that `load_model` accepts, or `base`.
        base: the student before training.

    Raises:
        UserError: a share is not a number above 0, or a model cannot be loaded or has no image
            encoder.
    """
    teachers = []
    for named in names:
        name, share = split_share(named)
        model = base if name == BASE else load_model(name, str(base.device))
        if model.architecture.kind == "sentence":
            what = f"{label(name)} has no image encoder, so it cannot rank pictures"
            raise UserError("--teacher", what, "Name a CLIP.")
        teachers.append(Teacher(without_secrets(name), model, share))
    return tuple(teachers)


def split_share(named: str) -> tuple[str, float]:
    """The name and the share of MODEL or MODEL=SHARE; raises UserError if the share is 0."""
    name, equals, share = named.rpartition("=")
    if not equals or not share.replace(".", "", 1).isdecimal():
        return named, 1.0  # a path may contain the sign
    if not float(share) > 0:
        raise UserError("--teacher", f"the share of {label(name)} is 0", "Leave the model out.")
    return name, float(share)


def check_bank(bank: Bank | None, teachers: Sequence[Teacher], base: DualEncoder) -> None:
    """Raise UserError for a bank of vectors alone, which no other image encoder can rank."""
    if bank is None or bank.names is not None:
        return
    others = [teacher.name for teacher in teachers if not teacher.sees_as(base)]
    if others:
        what = f"holds vectors alone, and {others[0]} ranks pictures by vectors of its own"
        hint = "Name a folder of pictures, or say with --images where those of the index are."
        raise UserError("--bank", what, hint)
