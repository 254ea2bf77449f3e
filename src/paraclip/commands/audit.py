"""`paraclip audit`: a stratified sample of a run's paraphrases, the page on which people mark it,
and the rates of their marks."""

import json
import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args

import tyro

from paraclip.data.untrusted_json import BadJson, parse_json_object
from paraclip.errors import UserError, printable
from paraclip.files import check_input, check_room, read_bounded, read_errors, readable, text_hash
from paraclip.options import Checked, Count, Positive
from paraclip.output_folder import OutputFolder
from paraclip.tables import markdown

SHEET, PAGE = "sheet.jsonl", "audit.html"
_KEPT = "kept"
_Meaning = Literal["same", "changed", "wrong"]
_MEANINGS: tuple[_Meaning, ...] = get_args(_Meaning)
_Row = TypeVar("_Row")


@dataclass(frozen=True)
class AuditConfig(Checked):
    """Sample paraphrases for people to check, on a page that works offline in any browser; with
    --marks, report what they marked."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """Output folder of `paraclip generate`."""

    out: str | None = None
    """Folder of audit.html and sheet.jsonl. Default: RUN/audit."""

    sample: Count = 100
    """Number of pairs on the page: half of them kept by the filters, half rejected. If there are
    fewer of one kind, the others fill the page."""

    marks: tuple[str, ...] = ()
    """Files of marks exported from the page, one for each reviewer: report rates with intervals and
    the filters' precision and recall, and draw no sample."""


def audit_command(config: AuditConfig) -> None:
    """Write the page and print what it contains; with marks, print the report."""
    folder = Path(config.out or Path(config.run, "audit"))
    if not config.marks:
        pairs = write_audit(Path(config.run), folder, config.sample)
        for stratum, count in sorted(Counter(pair.stratum for pair in pairs).items()):
            print(printable(f"{count:>5,}  {stratum}"))
        print(printable(f"{len(pairs):,} pairs to check: open {folder / PAGE} in a browser."))
        return
    # By their real paths: a link to a file is the same file.
    if len(set(map(os.path.realpath, config.marks))) < len(config.marks):
        what = "a file is given twice and would count as two reviewers"
        raise UserError("--marks", what, "Name each file once.")
    sheet = read_sheet(folder / SHEET)
    # Marks name the sheet that they are of by this hash.
    name = text_hash(read_bounded(folder / SHEET).decode())
    marks = [mark for path in config.marks for mark in read_marks(Path(path), sheet, name)]
    # One by one, because `printable` escapes line feeds.
    print("\n".join(map(printable, report_marks(sheet, marks).split("\n"))))


@dataclass(frozen=True)
class _Pair:
    """A source with its paraphrase, and what the filters decided."""

    id: str
    step: int
    source: str
    answer: str
    verdict: str  # "kept", or the filter's reason
    stratum: str  # from which it was drawn
    weight: Positive = 1.0  # number of pairs of the run that it represents


@dataclass(frozen=True)
class _Mark:
    """A reviewer's mark for a pair."""

    id: str  # of the pair
    meaning: _Meaning
    style: Literal["plain", "stilted"]
    sheet: str = ""  # hash of the sheet of the page
    reviewer: str = ""


def write_audit(run: Path, out: Path, sample: int) -> list[_Pair]:
    """Draw a sample of a run, and write sheet.jsonl and audit.html to the folder `out`.

    Returns the pairs in their order on the page.

    Raises:
        UserError: the folder is not a run of `paraclip generate`, may not be read, or has no
            triples; or `out` has files of another origin.
    """
    check_room(out)
    folder = OutputFolder(out, "audit")
    folder.refuse_foreign(out / SHEET, out / PAGE)
    with readable(run):
        pairs = _draw_sample([*_kept_pairs(run), *_rejected_pairs(run)], sample)
    lines = "".join(json.dumps(asdict(pair), ensure_ascii=False) + "\n" for pair in pairs)
    folder.write(out / SHEET, lines)
    folder.write(out / PAGE, _render_page(pairs, text_hash(lines)))
    return pairs


def _kept_pairs(run: Path) -> Iterator[_Pair]:
    """Both steps of every triple, in strata of similarity (thirds)."""
    from paraclip.data.triples import read_triples
    from paraclip.starter import TEXTS

    path = run / "triples.parquet"
    check_input(path, "Name the output folder of `paraclip generate`.")
    rows = read_triples(path).to_pylist()
    for step in (1, 2):
        rows.sort(key=lambda row: row.get(f"similarity_{step}") or 0.0)
        for rank, row in enumerate(rows):
            third = ("low", "middle", "high")[3 * rank // len(rows)]
            source, answer = (row[name] for name in TEXTS[step - 1 : step + 1])
            stratum = f"kept, step {step}, {third} similarity"
            yield _Pair(f"{row['id']}/{step}", step, source, answer, _KEPT, stratum)


def _rejected_pairs(run: Path) -> Iterator[_Pair]:
    """The rejected candidates with text, in strata by reason."""
    path = run / "rejected.jsonl"
    if not path.is_file():
        return
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = parse_json_object(line)
                if row.get("kind"):  # a further wording, which may have another meaning
                    continue
                step, source = int(row["step"]), str(row.get("paraphrase_1", row["caption"]))
                candidates = [(str(one["text"]), str(one["reason"])) for one in row["candidates"]]
            except (BadJson, KeyError, TypeError, ValueError) as error:
                hint = "Run `paraclip generate` again; answered questions are not repeated."
                raise UserError(f"{path}:{number}", "is damaged", hint) from error
            for index, (text, reason) in enumerate(candidates):
                if text and reason != "None":  # null: the candidate itself passed
                    name = f"{row.get('id', number)}/{step}.{index}"  # no kept pair ends like this
                    yield _Pair(name, step, source, text, reason, f"rejected, {reason}")


def _draw_sample(pairs: Iterable[_Pair], size: int) -> list[_Pair]:
    """A stratified sample in random order, half of it kept pairs, with weights."""
    # Kept strata get equal shares, and so do the reasons of rejection, so that rare ones appear.
    strata: dict[str, list[_Pair]] = defaultdict(list)
    for pair in pairs:
        strata[pair.stratum].append(pair)
    kept = [members for members in strata.values() if members[0].verdict == _KEPT]
    rejected = [members for members in strata.values() if members[0].verdict != _KEPT]
    generator = random.Random(0)  # the same sheet of the same run, so that marks stay valid
    chosen: list[_Pair] = []
    half = min(size // 2, sum(map(len, rejected)))  # of few rejected pairs, kept ones fill the rest
    for group, most in ((kept, size - half), (rejected, size)):
        counts = _share_out([len(members) for members in group], most - len(chosen))
        for members, count in zip(group, counts, strict=True):
            drawn = generator.sample(members, count)
            chosen += [replace(pair, weight=len(members) / count) for pair in drawn]
    generator.shuffle(chosen)  # the order must not tell reviewers what the filters decided
    return chosen


def _share_out(sizes: Sequence[int], total: int) -> list[int]:
    """Number of pairs to draw from each stratum: equal, except where a stratum is too small."""
    taken = [0] * len(sizes)
    for _ in range(min(total, sum(sizes))):
        unfilled = [index for index, size in enumerate(sizes) if taken[index] < size]
        taken[min(unfilled, key=taken.__getitem__)] += 1
    return taken


def _render_page(pairs: Sequence[_Pair], name: str) -> str:
    """The page of a sheet with a name; it shows neither the filters' verdicts nor strata."""
    rows = [{"id": pair.id, "source": pair.source, "answer": pair.answer} for pair in pairs]
    data = json.dumps({"sheet": name, "pairs": rows}, separators=(",", ":"))
    # JSON's escapes: `</script>` ends the element, and `<!--` changes where it ends.
    for letter in "<>&":
        data = data.replace(letter, f"\\u{ord(letter):04x}")
    page = Path(__file__).with_name("audit_page.html").read_text("utf-8")
    page = page.replace("<!-- title -->", f"Paraphrases to check: {len(pairs)}")
    return page.replace("<!-- data -->", data)


def read_sheet(path: Path) -> dict[str, _Pair]:
    """The pairs of a sheet by id; raises UserError if the file is not a sheet."""
    hint = "`paraclip audit RUN` writes a sheet; give the --out of the page."
    return {pair.id: pair for _, pair in _read_rows(path, _Pair, hint)}


def read_marks(path: Path, sheet: Mapping[str, _Pair], name: str = "") -> list[_Mark]:
    """The marks of an exported file; of several marks of a pair, the last one.

    `name` is that of the sheet on its page, not compared if it is empty: another sheet of the same
    run has equal ids, perhaps of other texts.

    Raises:
        UserError: the file has another format or no marks, or its pairs are not on the sheet.
    """
    marks: dict[str, _Mark] = {}
    for where, mark in _read_rows(path, _Mark, "Name a file that the page exported."):
        other = name and mark.sheet and mark.sheet != name
        if other or mark.id not in sheet:
            what = "belongs to another sheet" if other else f"pair {mark.id!r} is not on the sheet"
            raise UserError(where, what, "Name the run and --out with which the page was made.")
        marks[mark.id] = mark
    if not marks:
        raise UserError(path, "has no marks", "Mark pairs on the page, and export them.")
    return list(marks.values())


def _read_rows(path: Path, kind: type[_Row], hint: str) -> Iterator[tuple[str, _Row]]:
    """The rows of a file of JSON lines as objects of a dataclass, each with its place."""
    from pydantic import TypeAdapter, ValidationError

    adapter = TypeAdapter(kind)
    with read_errors(path, hint):
        lines = read_bounded(path).splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue  # an export without marks is one empty line
        try:
            yield f"{path}:{number}", adapter.validate_json(line, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            reason = ": ".join([*map(str, first["loc"]), first["msg"]])
            what = f"is not a {kind.__name__.lstrip('_').lower()} ({reason})"
            raise UserError(f"{path}:{number}", what, hint) from error


def _show_rate(count: int, of: int, pairs: int) -> str:
    """A share of marks in percent, with its 95 % Wilson interval (Wilson 1927)."""
    from scipy.stats import binomtest

    # Over the pairs, since several marks of one pair are not independent.
    interval = binomtest(round(count / of * pairs), pairs).proportion_ci(method="wilson")
    return f"{100 * count / of:.1f} ({100 * interval.low:.1f}–{100 * interval.high:.1f}) %"


def report_marks(sheet: Mapping[str, _Pair], marks: Sequence[_Mark]) -> str:
    """A report in Markdown of the marks of all reviewers, for a sheet of pairs by id.

    It has the rates of every group of pairs; the filters' precision, the share of kept pairs that
    mean the same; and their recall, the share of the run's pairs with the same meaning that are
    kept, with each stratum weighted by its size.
    """
    groups: dict[str, list[_Mark]] = defaultdict(list)
    strata: dict[str, list[bool]] = defaultdict(list)
    for mark in marks:
        pair = sheet[mark.id]
        for group in (
            (_KEPT, f"kept, step {pair.step}") if pair.verdict == _KEPT else (pair.stratum,)
        ):
            groups[group].append(mark)
        strata[pair.stratum].append(mark.meaning == "same")
    rows = list[list[str]]()
    notes = [""]
    for group, marked in sorted(groups.items()):
        counts = Counter[str](value for mark in marked for value in (mark.meaning, mark.style))
        pairs = len({mark.id for mark in marked})
        rates = [_show_rate(counts[one], len(marked), pairs) for one in (*_MEANINGS, "plain")]
        rows.append([group, str(len(marked)), *rates])
        if group == _KEPT:
            notes.append(f"precision of the filters: {rates[0]} of what they keep")
    good = {  # pairs of the run with the same meaning, as the marks of each stratum estimate them
        stratum: sum(pair.weight for pair in sheet.values() if pair.stratum == stratum)
        * (sum(same) / len(same))
        for stratum, same in strata.items()
    }
    if unmarked := sorted({pair.stratum for pair in sheet.values()} - set(strata)):
        notes.append(f"recall of the filters: not known without marks of {', '.join(unmarked)}")
    elif total := sum(good.values()):
        recall = sum(count for stratum, count in good.items() if stratum.startswith(_KEPT)) / total
        notes.append(f"recall of the filters: {recall:.1%} of what means the same")
    table = markdown(["pairs", "marks", *_MEANINGS, "plain"], rows)
    return "\n".join([table, *notes])
