"""JSONL files: an object a line."""

from collections.abc import Iterator

from paraclip.data.config import Columns
from paraclip.data.lines import bounded_lines, open_source
from paraclip.data.problems import Problems
from paraclip.data.record import BrokenRow, Record, choose_columns, json_object, label


def read_json_lines(source: str, columns: Columns, problems: Problems) -> Iterator[Record]:
    """Records of a JSONL file; the first object decides which keys there are."""
    chosen = None
    with open_source(source) as stream:
        for number, line in bounded_lines(stream, source, problems):
            where = f"{source}:{number}"
            try:
                found = json_object(line)
                chosen = chosen or choose_columns(found, columns, source)
                if chosen.caption not in found:
                    raise BrokenRow(f"has no {label(chosen.caption)}")
            except BrokenRow as broken:
                problems.add(where, str(broken))
                continue
            yield chosen.record(where, number, found)
