"""`paraclip captions`: what is read, and what is broken."""

from paraclip.data.config import CaptionsConfig
from paraclip.data.problems import Problems
from paraclip.data.reading import read_captions
from paraclip.progress import track


def captions_command(config: CaptionsConfig) -> None:
    """Read the whole source, print the first captions, the counts and the broken rows.

    Raises:
        UserError: the source cannot be read, or too many of its rows are broken; the list of
            problems is written all the same.
    """
    problems = Problems(config.max_broken)
    captions = read_captions(config.source, config.columns, problems)
    count, pictures = 0, 0
    try:
        for row in track(captions, "reading", None, "caption"):
            if count < config.show:
                print(f"{row.id}\t{row.caption}\t{row.image or '(no picture)'}")
            count += 1
            pictures += row.image is not None
    finally:
        if config.problems:
            problems.write(config.problems)
    print(f"{count:,} captions, {pictures:,} with a picture, {count - pictures:,} without.")
    if problems.count:
        print(problems.summary())
