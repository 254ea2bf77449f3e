"""The settings of the recipe: what `settings.toml` holds, checked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from paraclip.commands.evaluate import EvaluateConfig
from paraclip.errors import UserError
from paraclip.options import read_toml
from paraclip.training.config import RunOptions
from recipes.reproduce.reproduce import with_tuples

SETTINGS = Path(__file__).with_name("settings.toml")
_Options = Annotated[Mapping[str, Any], AfterValidator(with_tuples)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Base(_Strict):
    """A pretrained CLIP, by open_clip's name and tag."""

    # systems, besides Hugging Face and ONNX, that load a text tower of this base
    systems: tuple[str, ...] = ()
    # its published figures on Karpathy's test split of COCO, by the name of the metric
    published: Mapping[str, float] = {}
    # its recall on Crossmodal-3600 in English, as immich published it
    immich: float | None = None
    # LABCLIP's map of its text vectors, in the work folder
    labclip: str = ""


class Source(_Strict):
    """A file to download."""

    address: str
    # folder in the work folder that it goes to, and what to unpack there: an expression for the
    # end of the members' names; empty: the file itself
    into: str
    keep: str = ""
    md5: str = ""  # empty: not known
    # side of the models that look at its pictures, of which smaller copies are kept; 0: as they are
    side: int = 0
    optional: bool = False  # whether to go on without it


class Settings(_Strict):
    """All settings."""

    # address of a server with the files of all others, at HOST/PATH; empty: those themselves
    mirror: str = ""
    triples: str = "scenes"
    bank: int  # pictures of the bank
    teacher: str  # a CLIP that knows more, by open_clip's name and tag
    languages: Annotated[tuple[str, ...], Field(min_length=1)]  # of XTD-10 and Crossmodal-3600
    deviation: float  # largest difference from the published figures of a base, in points
    training: _Options = {}  # further options of `paraclip.train`; the command has none
    evaluation: _Options = {}  # options of `paraclip.evaluate`
    bases: Mapping[str, Base]
    sources: Mapping[str, Source]

    def at(self, address: str) -> str:
        """The address, or its copy on the mirror."""
        return f"{self.mirror}/{address.split('://', 1)[1]}" if self.mirror else address


def read_settings(path: Path) -> Settings:
    """Read a file of settings.

    Raises:
        UserError: it cannot be read, or a setting is missing, unknown or wrong.
    """
    try:
        settings = Settings.model_validate(read_toml(path))
        RunOptions(**settings.training)
        EvaluateConfig(**settings.evaluation)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = f"{path}: {'.'.join(map(str, first['loc']))}"
        raise UserError(where, first["msg"], f"See {SETTINGS.name}.") from error
    except TypeError as error:
        raise UserError(path, f"is wrong ({error})", f"See {SETTINGS.name}.") from error
    return settings
