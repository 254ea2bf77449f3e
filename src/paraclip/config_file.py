"""Options from a TOML file: the keys are the options' names, the command line overrides them."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paraclip.errors import UserError, nearest
from paraclip.options import check, hints

MOST_BYTES = 1 << 20


def read_options(path: Path | str, config: type) -> dict[str, Any]:
    """The options of a config class that a TOML file sets.

    Args:
        path: the file. Keys may be written with `-` as on the command line.
        config: a dataclass.
    """
    return checked(read_toml(path), config, path)


def read_toml(path: Path | str) -> dict[str, Any]:
    """The content of a TOML file."""
    path = Path(path)
    try:
        if not path.is_file():
            raise UserError(path, "there is no such file", "Check the path.")
        if path.stat().st_size > MOST_BYTES:
            raise UserError(path, "is too large for a file of options", "Check the path.")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise UserError(path, "is nested too deeply", "Options need one level.") from error
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", "Check the path.") from error
    except ValueError as error:  # of tomllib, of the decoder, of a number with 5,000 digits
        raise UserError(path, f"is not TOML ({error})", "Correct that line.") from error


def checked(options: Mapping[str, Any], config: type, where: object) -> dict[str, Any]:
    """The same options under the names of the class's fields, arrays as tuples."""
    known = [name for name in hints(config) if name != "config"]
    values = {}
    for key, value in options.items():
        name = key.replace("-", "_")
        if name not in known:
            raise UserError(f"{where}: {key}", "is not an option", nearest(name, known))
        values[name] = check(config, name, as_tuples(value), f"{where}: {key}")
    return values


def as_tuples(value: Any) -> Any:
    """The value with its arrays as tuples, which the fields of options hold."""
    return tuple(map(as_tuples, value)) if isinstance(value, list) else value
