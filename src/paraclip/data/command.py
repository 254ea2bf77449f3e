"""`paraclip captions`: show a source and its broken rows."""

from collections.abc import Iterable, Iterator

from paraclip.data.captions import Caption
from paraclip.data.config import CaptionsConfig
from paraclip.data.images import fault_of
from paraclip.data.problems import Problems
from paraclip.data.reading import read_captions
from paraclip.errors import printable
from paraclip.files import is_signed, refuse_foreign
from paraclip.progress import track


def captions_command(config: CaptionsConfig) -> None:
    """Read the whole source; print the first captions, the counts and the broken rows."""
    if config.problems:
        refuse_foreign(config.problems, is_signed)
    problems = Problems(config.max_broken)
    captions: Iterable[Caption] = read_captions(config.source, config.columns, problems)
    captions = track(captions, "reading", None, "caption")
    if config.check_images:
        captions = with_whole_pictures(captions, problems)
    try:
        count, pictures = show(captions, config.show)
        problems.check(count + problems.count)
    finally:
        if config.problems:
            problems.write(config.problems)
    print(f"{count:,} captions, {pictures:,} with a picture, {count - pictures:,} without.")
    if problems.count:
        print(problems.summary())


def show(captions: Iterable[Caption], most: int) -> tuple[int, int]:
    """Print the first `most` captions; return the number of all, and of those with a picture."""
    count, pictures = 0, 0
    for row in captions:
        if count < most:
            print("\t".join(map(printable, (row.id, row.caption, row.image or "(no picture)"))))
        count += 1
        pictures += row.image is not None
    return count, pictures


def with_whole_pictures(captions: Iterable[Caption], problems: Problems) -> Iterator[Caption]:
    """The captions without a picture or with one that can be decoded."""
    last: tuple[str | None, str | None] = (None, None)  # consecutive captions share a picture
    for row in captions:
        if row.image is not None and row.image != last[0]:
            last = (row.image, fault_of(row.image))
        if row.image is None or last[1] is None:
            yield row
        else:
            problems.add(row.source, f"the picture {row.image} {last[1]}")
