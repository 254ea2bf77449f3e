"""Pairs of texts that mean the same, from any table with two text columns."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paraclip.data.captions import BrokenRow, clean_text, plain_text, require
from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.evaluation.inputs.rows import READERS, read_rows
from paraclip.files import check_input, file_hash, text_hash

USUAL = ("caption2", "paraphrase", "paraphrase_1", "paraphrase_2")
"""Columns that stand beside `caption` where none is named; the first that is there is taken."""


@dataclass(frozen=True)
class Pairs:
    """A caption and its other wording, many times.

    Args:
        name: what to call the set: its file or folder, and the two columns.
        ids: one a pair, none twice.
        captions: first wordings.
        paraphrases: second wordings, in the same order.
        hash: of the files.
        skipped: broken rows that were left out.
    """

    name: str
    ids: tuple[str, ...]
    captions: tuple[str, ...]
    paraphrases: tuple[str, ...]
    hash: str
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Pair:
    """One pair and where it stands."""

    id: str
    caption: str
    paraphrase: str
    where: str


def read_pairs(
    source: str | Path,
    first: str | None = None,
    second: str | None = None,
    problems: Problems | None = None,
) -> Pairs:
    """Read a file of pairs, or all such files of a folder as one set.

    Args:
        source: .csv, .tsv, .jsonl, .json or .parquet, or a folder of them (SugarCrepe++).
        first: column of the one wording; `caption` if left out.
        second: column of the other; if left out the first there is of caption2 (SugarCrepe++),
            paraphrase, paraphrase_1, paraphrase_2 (triples).
        problems: takes broken rows; 1 % of them at most by default.

    Raises:
        UserError: no such file or column, an id twice, too many broken rows, no pair at all.
    """
    problems = Problems() if problems is None else problems
    files, before = pair_files(Path(source)), problems.count
    readers = [PairReader(file, first, second, len(files) > 1) for file in files]
    pairs = [pair for reader in readers for pair in reader.pairs(problems)]
    skipped = problems.count - before
    problems.check(len(pairs) + skipped)
    if not pairs:
        raise UserError(source, "holds no pairs", "Name a file with two text columns.")
    refuse_twice(pairs)
    columns = " and ".join(dict.fromkeys(name for reader in readers for name in reader.columns))
    return Pairs(
        name=f"{Path(source).name} ({columns})",
        ids=tuple(pair.id for pair in pairs),
        captions=tuple(pair.caption for pair in pairs),
        paraphrases=tuple(pair.paraphrase for pair in pairs),
        hash=text_hash(" ".join(file_hash(file) for file in files)),
        skipped=skipped,
    )


def pair_files(source: Path) -> list[Path]:
    """The file itself, or the tables of a folder by name."""
    check_input(source)
    if not source.exists():
        raise UserError(source, "there is no such file or folder", "Check the name.")
    if not source.is_dir():
        return [source]
    files = sorted(path for path in source.iterdir() if path.suffix.lower() in READERS)
    if not files:
        kinds = ", ".join(READERS)
        raise UserError(source, f"holds no file of pairs ({kinds})", "Name another folder.")
    return files


class PairReader:
    """Reads the pairs of one file.

    Args:
        file: a table.
        first: column of the one wording, or None for `caption`.
        second: column of the other, or None for the usual ones.
        several: there are other files, so the ids get the file's name before them.
    """

    def __init__(self, file: Path, first: str | None, second: str | None, several: bool) -> None:
        self.file, self.first, self.second = str(file), first or "caption", second
        self.prefix = f"{file.stem}/" if several else ""
        self.columns: tuple[str, ...] = ()

    def pairs(self, problems: Problems) -> Iterator[Pair]:
        """The good rows; the others are noted."""
        for number, (where, row) in enumerate(read_rows(self.file, problems)):
            if not self.columns:
                self.columns = self.choose(row)
            try:
                caption, paraphrase = (clean_text(row.get(name), name) for name in self.columns)
                name = plain_text(row.get("id", row.get("index")), "id")
            except BrokenRow as broken:
                problems.add(where, str(broken))
                continue
            yield Pair(
                self.prefix + (str(number) if name is None else name), caption, paraphrase, where
            )

    def choose(self, row: dict[str, Any]) -> tuple[str, str]:
        """The two columns, both there."""
        known = list(row)
        first = require(known, self.first, "first", self.file)
        there = [name for name in USUAL if name in known and name != first]
        wanted = self.second or (there[0] if there else USUAL[0])
        return first, require(known, wanted, "second", self.file)


def refuse_twice(pairs: list[Pair]) -> None:
    """Raise for an id that stands at two pairs."""
    seen: dict[str, str] = {}
    for pair in pairs:
        if pair.id in seen:
            what = f"id {pair.id!r} is there twice (first at {seen[pair.id]})"
            raise UserError(pair.where, what, "Give each pair an id of its own.")
        seen[pair.id] = pair.where
