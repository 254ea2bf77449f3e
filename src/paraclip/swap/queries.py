"""The user's queries, with other wordings of them."""

from dataclasses import dataclass

from paraclip.errors import UserError
from paraclip.files import read_bounded, text_lines

MOST = 100_000
EXAMPLE = "Write one query per line; other wordings may follow after tabs."


@dataclass(frozen=True)
class Query:
    """A query.

    Args:
        text: the query as typed.
        wordings: other wordings with the same meaning; may be empty.
    """

    text: str
    wordings: tuple[str, ...] = ()


def read_queries(path: str) -> list[Query]:
    """Read the queries of a text file; empty lines are skipped.

    Raises:
        UserError: the file is missing, cannot be read, is not UTF-8, is empty, or has more than
            100,000 lines.
    """
    try:
        lines = text_lines(read_bounded(path).decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise UserError(path, "there is no such file", "Check the path.") from error
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", EXAMPLE) from error
    except UnicodeDecodeError as error:
        raise UserError(path, "is not UTF-8", EXAMPLE) from error
    if len(lines) > MOST:
        raise UserError(path, f"has more than {MOST:,} lines", "Take a sample of them.")
    parts = [[part.strip() for part in line.split("\t")] for line in lines if line.strip()]
    queries = [Query(first, tuple(filter(None, rest))) for first, *rest in parts if first]
    if not queries:
        raise UserError(path, "holds no queries", EXAMPLE)
    return queries
