"""The sheet: a stratified sample of kept and rejected paraphrases, and the page to mark it on."""

import html
import json
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path

from paraclip.audit.config import AuditConfig
from paraclip.data.triples import read_triples
from paraclip.data.untrusted_json import BadJson, parse_json_object
from paraclip.errors import UserError
from paraclip.files import (
    check_input,
    read_bounded,
    readable,
    refuse_overwriting,
    text_hash,
    write_text,
)
from paraclip.options import Positive, check

SHEET, PAGE = "sheet.jsonl", "audit.html"
RUN_AGAIN = "Name the output folder of `paraclip generate`."
KEPT = "kept"


@dataclass(frozen=True)
class Pair:
    """A source with its paraphrase, as a reviewer sees it, and what the filters decided.

    Args:
        id: id of the pair.
        step: 1 or 2.
        source: the text that was paraphrased.
        answer: the paraphrase.
        verdict: "kept", or the filter's reason.
        stratum: name of the stratum from which it was drawn.
        weight: number of pairs of the run that it represents.
    """

    id: str
    step: int
    source: str
    answer: str
    verdict: str
    stratum: str
    weight: Positive = 1.0


def write_sheet(config: AuditConfig) -> tuple[Path, list[Pair]]:
    """Draw the sample and write the sheet and its page.

    Returns:
        The page, and the pairs in their order on it.

    Raises:
        UserError: the folder is not a run of `paraclip generate`, may not be read, or has no
            triples.
    """
    out = config.out or config.run / "audit"
    with readable(config.run):
        every = [*kept_pairs(config.run), *rejected_pairs(config.run)]
    pairs = draw(every, config.sample, config.seed)
    for name in (SHEET, PAGE):
        refuse_overwriting(out / name, [config.run / "triples.parquet"])
    lines = "".join(json.dumps(asdict(pair), ensure_ascii=False) + "\n" for pair in pairs)
    write_text(out / SHEET, lines)
    write_text(out / PAGE, page_of(pairs, text_hash(lines)))
    return out / PAGE, pairs


def kept_pairs(run: Path) -> Iterator[Pair]:
    """Both steps of every triple, in strata of similarity (thirds).

    Raises:
        UserError: there are no triples.
    """
    path = run / "triples.parquet"
    check_input(path, RUN_AGAIN)
    rows = read_triples(path).to_pylist()
    for step, source, answer in (
        (1, "caption", "paraphrase_1"),
        (2, "paraphrase_1", "paraphrase_2"),
    ):
        score = f"similarity_{step}"
        rows.sort(key=lambda row: row.get(score) or 0.0)
        for place, row in enumerate(rows):
            third = ("low", "middle", "high")[3 * place // len(rows)]
            stratum = f"kept, step {step}, {third} similarity"
            yield Pair(f"{row['id']}/{step}", step, row[source], row[answer], KEPT, stratum)


def rejected_pairs(run: Path) -> Iterator[Pair]:
    """The rejected candidates that have text, in strata by reason.

    The file does not contain the source of step 2: its candidates are shown with the caption.

    Raises:
        UserError: a line is damaged.
    """
    path = run / "rejected.jsonl"
    if not path.is_file():
        return
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = parse_json_object(line)
                caption, step = str(row["caption"]), int(row["step"])
                found = [(str(one["text"]), str(one["reason"])) for one in row["candidates"]]
            except (BadJson, KeyError, TypeError, ValueError) as error:
                hint = "Run `paraclip generate` again; answered questions are not repeated."
                raise UserError(f"{path}:{number}", "is damaged", hint) from error
            for place, (text, reason) in enumerate(found):
                if text and reason != "None":
                    name = f"{row.get('id', number)}/{step}.{place}"  # no kept pair ends like this
                    yield Pair(name, step, caption, text, reason, f"rejected, {reason}")


def draw(pairs: Iterable[Pair], size: int, seed: int) -> list[Pair]:
    """A stratified sample in random order, half of it kept pairs, with weights.

    Kept strata get equal shares, and so do the reasons of rejection, so that rare reasons appear.
    Each pair's weight is the size of its stratum divided by the number of pairs drawn from it.
    """
    strata: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        strata[pair.stratum].append(pair)
    kept = {name: members for name, members in strata.items() if members[0].verdict == KEPT}
    rest = {name: members for name, members in strata.items() if name not in kept}
    half = min(size // 2, sum(map(len, rest.values())))
    random_of = random.Random(seed)
    chosen = [*drawn(kept, size - half, random_of)]
    chosen += drawn(rest, size - len(chosen), random_of)
    random_of.shuffle(chosen)
    return chosen


def drawn(strata: dict[str, list[Pair]], size: int, random_of: random.Random) -> Iterator[Pair]:
    """Pairs from each stratum in turn, until `size` are drawn or none is left."""
    counts = shares([len(members) for members in strata.values()], size)
    for members, count in zip(strata.values(), counts, strict=True):
        for pair in random_of.sample(members, count):
            yield Pair(**{**asdict(pair), "weight": len(members) / count})


def shares(sizes: Sequence[int], total: int) -> list[int]:
    """Number of pairs to draw from each stratum: equal, except where a stratum is too small."""
    taken = [0] * len(sizes)
    for _ in range(min(total, sum(sizes))):
        open_ones = [index for index, size in enumerate(sizes) if taken[index] < size]
        taken[min(open_ones, key=lambda index: taken[index])] += 1
    return taken


def page_of(pairs: Sequence[Pair], name: str) -> str:
    """The page; it does not show the filters' verdicts or the strata."""
    rows = [{"id": pair.id, "source": pair.source, "answer": pair.answer} for pair in pairs]
    content = json.dumps({"sheet": name, "pairs": rows}, separators=(",", ":"))
    for letter in "<>&":
        content = content.replace(letter, f"\\u{ord(letter):04x}")
    page = files("paraclip.audit").joinpath("page.html").read_text("utf-8")
    title = html.escape(f"Paraphrases to check: {len(pairs)}")
    return page.replace("<!-- title -->", title).replace("<!-- data -->", content)


def read_sheet(path: Path) -> dict[str, Pair]:
    """The pairs of a sheet by id.

    Raises:
        UserError: the file is not a sheet, or a value has the wrong type.
    """
    try:
        rows = [parse_json_object(line) for line in read_bounded(path).splitlines()]
        pairs = [Pair(**row) for row in rows]
        for row in rows:
            for name, value in row.items():
                check(Pair, name, value, f"{path}: {name}")
    except (BadJson, TypeError, OSError) as error:
        hint = "Name the sheet.jsonl that `paraclip audit` wrote."
        raise UserError(path, "is not a sheet", hint) from error
    return {pair.id: pair for pair in pairs}
