"""The one error that a user can fix."""

MOST_OFFERED = 8
JOINERS = "\u200c\u200d\xa0"  # invisible, but part of ordinary words and of emoji


def printable(text: object) -> str:
    """A text that is safe to print: escape sequences and what turns or hides text are spelled out.

    File names, server errors and rows of data may hold anything; a terminal would obey it.

    Returns:
        The text with `\\x1b` for an escape character, and so on. It can always be encoded.
    """
    line = str(text)
    if line.isprintable():
        return line
    return "".join(
        letter
        if letter.isprintable() or letter in JOINERS
        else letter.encode("unicode_escape").decode()
        for letter in line
    )


class UserError(Exception):
    """Something in the input or the surroundings that the user can put right.

    The command line prints it as one line and exits with code 2; no traceback. The line is
    printable, whatever the arguments hold.

    Args:
        where: the file, with its row where there is one (`captions.csv:12`), or the option.
        what: what is wrong there, as a plain clause without a full stop.
        hint: what to do about it, as an imperative sentence.
    """

    def __init__(self, where: object, what: str, hint: str) -> None:
        self.where, self.what, self.hint = str(where), what, hint
        line = f"{self.where}: {what}. {hint}"
        super().__init__(printable(" ".join(line.split())))


def nearest(name: str, known: list[str]) -> str:
    """A hint that offers the nearest known names, for an unknown one."""
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    more = " and more" if len(known) > MOST_OFFERED else ""
    return f"There are {', '.join(known[:MOST_OFFERED])}{more}."
