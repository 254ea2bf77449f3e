"""Options from a TOML file: keys are option names, and the command line overrides them."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paraclip.errors import UserError, nearest
from paraclip.options import check, hints

MOST_BYTES = 1 << 20


def read_options(path: Path | str, config: type) -> dict[str, Any]:
    """Return the options of a config class that a TOML file sets.

    Args:
        path: the file. Keys may be written with `-` as on the command line.
        config: a dataclass.
    """
    return checked(read_toml(path), config, path)


def read_toml(path: Path | str) -> dict[str, Any]:
    """Return the content of a TOML file."""
    path = Path(path)
    try:
        if not path.is_file():
            raise UserError(path, "there is no such file", "Check the path.")
        if path.stat().st_size > MOST_BYTES:
            raise UserError(path, "is too large for a file of options", "Check the path.")
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except RecursionError as error:
        raise UserError(path, "is nested too deeply", "Options need one level.") from error
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", "Check the path.") from error
    except ValueError as error:  # from tomllib, the decoder, or a number with 5,000 digits
        raise UserError(path, f"is not TOML ({error})", "Correct that line.") from error


def checked(options: Mapping[str, Any], config: type, where: object) -> dict[str, Any]:
    """Return the options by field name of the class, with arrays as tuples."""
    known = [name for name in hints(config) if name != "config"]
    values = {}
    for key, value in options.items():
        name = key.replace("-", "_")
        if name not in known:
            raise UserError(f"{where}: {key}", "is not an option", nearest(name, known))
        if name in values:
            raise UserError(f"{where}: {key}", "is given twice", "Keep one spelling, with - or _.")
        values[name] = check(config, name, as_tuples(value), f"{where}: {key}")
    return values


def as_tuples(value: Any) -> Any:
    """Return the value with its arrays as tuples, the type of option fields."""
    return tuple(map(as_tuples, value)) if isinstance(value, list) else value
