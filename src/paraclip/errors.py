"""The one error that a user can fix."""

MOST_OFFERED = 8


class UserError(Exception):
    """Something in the input or the surroundings that the user can put right.

    The command line prints it as one line and exits with code 2; no traceback.

    Args:
        where: the file, with its row where there is one (`captions.csv:12`), or the option.
        what: what is wrong there, as a plain clause without a full stop.
        hint: what to do about it, as an imperative sentence.
    """

    def __init__(self, where: object, what: str, hint: str) -> None:
        self.where, self.what, self.hint = str(where), what, hint
        line = f"{self.where}: {what}. {hint}"
        super().__init__(" ".join(line.split()))


def nearest(name: str, known: list[str]) -> str:
    """A hint that offers the nearest known names, for an unknown one."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    more = " and more" if len(known) > MOST_OFFERED else ""
    return f"There are {', '.join(known[:MOST_OFFERED])}{more}."
