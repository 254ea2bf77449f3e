"""Tables of the study, made of the figures that a run has stored.

A grid has a table of means (a figure a row, a model a column), one of the differences of each
model, and `overview`, one of a few figures. The third and the fourth report's grids also have one
of their goals, which are data (`goals.toml`).

    python -m study.tables              # those of rows of several grids, of what is stored
    python -m study.tables study_paper  # one of them
"""

import json
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import keep
from paraclip.evaluation.pairs import KINDS
from paraclip.evaluation.report import figure as shown
from paraclip.evaluation.report import spread
from paraclip.evaluation.statistics import FEWEST, Interval, not_inferior, prefers_lower
from paraclip.tables import markdown
from study.differences import LEVEL, Figure, Key
from study.sets import LANGUAGES
from study.third.queries import KINDS as QUERY_KINDS
from study.third.searches import COMMON, KNOWN, NEW, UNCOMMON
from study.triples import STARTER_KINDS
from study.wordings import CONTRASTS, SECOND_KINDS, THIRD_KINDS

RESULTS = Path(__file__).parent / "results"
GOALS = "goals.toml"
"""The declared goals of a report, in its folder."""
PAIRS = {
    "pairs-sugar-crepe-pp": "SugarCrepe++ pairs (LLM)",
    "pairs-replace_att": "SugarCrepe++ replace_att (LLM)",
    "pairs-swap_obj": "SugarCrepe++ swap_obj (LLM)",
    "pairs-flickr8k": "Flickr8k pairs (LLM)",
    "pairs-flickr8k-second": "other Flickr8k pairs (LLM)",
    "pairs-people": "pairs of Flickr8k dev (people)",
    "pairs-people-test": "pairs of Flickr8k test (people)",
    **{f"held-out-{kind}": f"held-out rows, {kind}" for kind in STARTER_KINDS},
}
"""Sets of pairs, whose right pictures and contrasts are known as far as the data name them; the
held-out rows of the starter set have no pictures."""
WORDINGS = {
    "wordings-flickr8k": "Flickr8k wordings (LLM)",
    "wordings-unseen": "Flickr8k wordings (LLM), unseen pictures",
    "wordings-coco": "COCO wordings (LLM)",
}
"""Sets of the second report's wordings."""
LABELS: Mapping[Key, str] = {
    **{(one, f"{figure}@10"): f"{figure}@10, {PAIRS[one]}"
       for one in PAIRS for figure in ("AO", "JS")},
    ("cxc", "AO@10 CxC ≥ 4"): "AO@10, CxC pairs ≥ 4 (people)",
    ("cxc", "JS@10 CxC ≥ 4"): "JS@10, CxC pairs ≥ 4 (people)",
    ("cxc", "AO@10 CxC ≥ 4.5"): "AO@10, CxC pairs ≥ 4.5 (people)",
    ("cxc", "JS@10 CxC ≥ 4.5"): "JS@10, CxC pairs ≥ 4.5 (people)",
    ("cxc", "graded consistency"): "graded consistency, CxC",
    ("variations", "AO@10"): "AO@10, variations",
    **{(one, f"{figure}@10"): f"{figure}@10, {WORDINGS[one]}"
       for one in WORDINGS for figure in ("AO", "JS")},
    **{(one, name): f"{label}, {where}"
       for sets, figures in (
           (WORDINGS, (
               ("R@10 plain caption", "R@10 of the caption"), ("R@10", "R@10 of the rewording"),
               ("R@10 both ways", "R@10 both ways"), ("MRR@10", "MRR of the rewording"),
               ("AO@10 contrast", "AO@10 with the contrast"),
               ("AO@10 margin", "AO@10 over that with the contrast"),
           )),
           (PAIRS, (
               ("R@10 caption", "R@10 of the caption"),
               ("R@10 rewording", "R@10 of the rewording"), ("R@10 both ways", "R@10 both ways"),
               ("MRR@50 rewording", "MRR of the rewording"),
               ("AO@10 negative", "AO@10 with the contrast"),
               ("AO@10 margin", "AO@10 over that with the contrast"),
           )),
       )
       for one, where in sets.items() for name, label in figures},
    ("language-de", "R@10 caption"): "R@10 of English, the same captions",
    **{(f"language-{one}", figure): label.format(language)
       for figure, label in (
           ("AO@10", "AO@10, English and {}"), ("JS@10", "JS@10, English and {}"),
           ("R@10 rewording", "R@10 of {}"), ("MRR@50 rewording", "MRR of {}"),
           ("R@10 both ways", "R@10 both ways, English and {}"),
       )
       for one, language in LANGUAGES.items()},
    ("variations", "text discrimination"): "text discrimination, variations",
    ("variations", "picture discrimination"): "picture discrimination, variations",
    ("effective-rank", "effective rank"): "effective rank of text vectors",
    ("tot-wordings", "TOT"): "TOT, wordings",
    ("tot-wordings", "ITT"): "ITT, wordings",
    ("sugar-crepe-pp", "TOT"): "TOT",
    ("sugar-crepe-pp", "TOT Replace"): "TOT, Replace",
    ("sugar-crepe-pp", "TOT Swap"): "TOT, Swap",
    ("sugar-crepe-pp", "ITT Replace"): "ITT, Replace",
    ("sugar-crepe-pp", "ITT Swap"): "ITT, Swap",
    ("aro-coco-order", "COCO-Order"): "COCO-Order",
    ("cxc", "CxC-STS"): "CxC-STS",
    ("sts", "STS mean of 7"): "STS, mean of seven tasks",
    ("sts-unseen", "STS mean of 7"): "STS, mean of seven tasks, without training captions",
    ("sts", "STS-B dev"): "STS-B, development set",
    ("image-text-retrieval", "T2I R@1"): "text to image R@1",
    ("image-text-retrieval", "T2I R@10"): "text to image R@10",
    ("image-text-retrieval", "I2T R@10"): "image to text R@10",
    ("imagenet", "top-1"): "zero-shot top-1, ImageNet sample",
}  # fmt: skip
"""Figures with their names in the tables, in order; those that were not scored are left out."""
TASK_LABELS: Mapping[Key, str] = {
    (one, task): task
    for one in ("sts", "sts-unseen")
    for task in ("STS12", "STS13", "STS14", "STS15", "STS16", "STS-B", "SICK-R")
}
"""The seven STS tasks, one by one."""
KIND_LABELS: Mapping[Key, str] = {
    **{("variations", f"{name} {kind}"): f"{name}, {kind}"
       for name in ("AO@10", "R@10", "text discrimination", "picture discrimination")
       for kind in KINDS},
    **{(one, f"{name} {kind}"): f"{name}, {kind}, {WORDINGS[one]}"
       for one in WORDINGS for name in ("AO@10", "R@10", "MRR@10", "AO@10 margin")
       for kind in SECOND_KINDS},
    **{(one, f"AO@10 margin, {kind}"): f"AO@10 margin, contrast of {kind}, {WORDINGS[one]}"
       for one in WORDINGS for kind in CONTRASTS},
}  # fmt: skip
"""Consistency, accuracy and discrimination by kind of rewording and of contrast."""
SEARCHED = {
    "typed-unseen": "typed queries, unseen pictures", "typed-coco": "typed queries, COCO",
    "people-unseen": "people, unseen pictures", "people-coco": "people, COCO",
    "reworded-unseen": "LLM, unseen pictures", "reworded-coco": "LLM, COCO",
}  # fmt: skip
"""Sets of the fourth report whose texts are searched for."""
AGREEMENT = {"AO@10": "AO@10", "JS@10": "JS@10", "RBO": "RBO"}
MARGINS = {
    "AO@10 contrast": "AO@10 with the contrast",
    "AO@10 margin": "AO@10 over that with the contrast",
}
SEARCH_FIGURES: Mapping[str, Mapping[str, str]] = {
    "typed": {
        **AGREEMENT, "hit@10 query": "hit@10 of the query",
        "hit@10 wording": "hit@10 of the other wording", "hit@10 both": "hit@10 of both",
        "R-precision query": "R-precision of the query",
        "R-precision wording": "R-precision of the other wording", **MARGINS,
    },
    "people": {
        **AGREEMENT, "AO@10 worst": "AO@10 of the worst pair", "R@10": "R@10",
        "R@10 caption 1": "R@10 of caption 1", "R@10 other captions": "R@10 of the others",
        "R@10 change": "R@10 of the others less caption 1",
        "R@10 both ways": "R@10 both ways", "R@10 all right": "R@10, all five right",
        "MRR@10 worst": "MRR of the worst of the five",
    },
    "reworded": {
        **AGREEMENT, "AO@10 worst": "AO@10 of the worst rewording",
        "R@10 caption": "R@10 of the caption", "R@10": "R@10 of the rewording",
        "R@10 change": "R@10 of the rewording less the caption",
        "R@10 both ways": "R@10 both ways", "R@10 all right": "R@10, caption and rewordings right",
        "MRR@10": "MRR of the rewording", "MRR@10 worst": "MRR of the worst wording", **MARGINS,
    },
}  # fmt: skip
"""Figures of these sets by the first word of the set's name."""
SEARCH_PARTS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "typed": (
        ("AO@10", "hit@10 wording", "hit@10 both", "AO@10 margin"),
        (*QUERY_KINDS, COMMON, UNCOMMON),
    ),
    "reworded": (
        ("AO@10", "R@10", "R@10 both ways", "R@10 change", "AO@10 margin"),
        (*dict.fromkeys([*THIRD_KINDS, *SECOND_KINDS]), KNOWN, NEW),
    ),
}
"""Figures that are shown of parts of the texts, and these parts."""
STANDARD = (
    ("image-text-retrieval", "T2I R@1"), ("image-text-retrieval", "T2I R@10"),
    ("image-text-retrieval", "I2T R@1"), ("image-text-retrieval", "I2T R@10"),
    ("sts-unseen", "STS mean of 7"), ("effective-rank", "effective rank"),
)  # fmt: skip
UNMARKED = STANDARD[-1:]
"""Figures without marks in the reports that declare their goals."""


def search_labels(searched: Mapping[str, str]) -> dict[Key, str]:
    """The figures of sets whose texts are searched for, with their names, in order."""
    return {
        **{(one, figure): f"{label}, {where}" for one, where in searched.items()
           for figure, label in SEARCH_FIGURES[one.partition("-")[0]].items()},
        **{(one, f"{figure}, {part}"):
               f"{SEARCH_FIGURES[kind][figure]}, {where}: {part.replace('_', ' ')}"
           for one, where in searched.items() for kind in [one.partition("-")[0]]
           if kind in SEARCH_PARTS for part in SEARCH_PARTS[kind][1]
           for figure in SEARCH_PARTS[kind][0]},
        **{(one, f"AO@10 margin, change of {change}"):
               f"AO@10 over that with the contrast, {where}: change of {change}"
           for one, where in searched.items() if one.startswith("reworded")
           for change in CONTRASTS},
    }  # fmt: skip


FOURTH_LABELS: Mapping[Key, str] = {
    **search_labels(SEARCHED),
    **{(f"half-truths-{name}", f"{text} over contrast"):
           f"the picture is nearer to {said} than to a false text, {where}"
       for name, where in (("unseen", "unseen pictures"), ("coco", "COCO"))
       for text, said in (("caption", "the caption"), ("short", "a shorter true text"))},
    ("relations", "true order"): "the picture is nearer to a relation than to its exchange",
    **{("slips", f"AO@10 {name}"): f"AO@10, typed query and {said}"
       for name, said in (("full stop", "a full stop"), ("capitals", "capitals"),
                          ("typing slip", "a typing slip"))},
    **{key: LABELS.get(key, "image to text R@1") for key in STANDARD},
}  # fmt: skip
"""Figures of the fourth report with their names, in order."""
REPORT_LABELS = {"fourth": FOURTH_LABELS}
"""Figures of the reports that declare their goals."""
PAPER_COLUMNS = {
    "AO@10 ↑": ("reworded-unseen", "AO@10"),
    "right both ways ↑": ("reworded-unseen", "R@10 both ways"),
    "text-to-image R@10 ↑": ("image-text-retrieval", "T2I R@10"),
    "STS ↑": ("sts-unseen", "STS mean of 7"),
    "another meaning ↓": ("reworded-unseen", "AO@10 contrast"),
}
"""Figures of the tables of the paper's recipe, in order."""
PAPER_KEYS = (
    *PAPER_COLUMNS.values(), ("reworded-unseen", "JS@10"), ("reworded-unseen", "R@10"),
    *(("people-unseen", name) for name in ("AO@10", "R@10", "R@10 both ways")),
    ("image-text-retrieval", "T2I R@1"), ("image-text-retrieval", "I2T R@10"),
)  # fmt: skip
LABELS_OF: Mapping[str, Mapping[Key, str]] = {
    **REPORT_LABELS, "paper": {key: FOURTH_LABELS[key] for key in PAPER_KEYS},
}  # fmt: skip
"""Figures of the sets that have labels of their own."""
ALL_LABELS = {**LABELS, **TASK_LABELS, **KIND_LABELS, **FOURTH_LABELS}
OVERVIEW = (
    ("pairs-sugar-crepe-pp", "AO@10"), ("pairs-flickr8k", "AO@10"), ("cxc", "AO@10 CxC ≥ 4.5"),
    ("variations", "AO@10"), ("variations", "text discrimination"),
    ("variations", "picture discrimination"), ("sugar-crepe-pp", "TOT"), ("cxc", "CxC-STS"),
    ("sts", "STS mean of 7"), ("image-text-retrieval", "T2I R@10"),
    ("image-text-retrieval", "I2T R@10"), ("imagenet", "top-1"),
)  # fmt: skip
"""Figures of the table of a further question."""
SECOND_OVERVIEW = (
    *((one, f"{name}@10") for one in WORDINGS for name in ("AO", "JS")),
    ("pairs-people-test", "AO@10"), ("pairs-people-test", "JS@10"),
    *((one, name) for name in (
        "R@10 plain caption", "R@10", "R@10 both ways", "MRR@10", "AO@10 contrast", "AO@10 margin",
    ) for one in WORDINGS),
    *(("pairs-people-test", name) for name in (
        "R@10 caption", "R@10 rewording", "R@10 both ways", "MRR@50 rewording",
    )),
    ("effective-rank", "effective rank"), ("image-text-retrieval", "T2I R@10"),
    ("sts-unseen", "STS mean of 7"), ("tot-wordings", "TOT"), ("imagenet", "top-1"),
    ("aro-coco-order", "COCO-Order"),
)  # fmt: skip
"""Figures of the tables of the second report."""
FRONT = {
    "typed queries": (
        "typed-unseen", ("AO@10", "AO@10 contrast", "hit@10 wording", "hit@10 both")
    ),
    "people's captions": (
        "people-unseen", ("AO@10", "", "R@10", "R@10 both ways")
    ),
    "captions, reworded by an LLM": (
        "reworded-unseen", ("AO@10", "AO@10 contrast", "R@10", "R@10 both ways")
    ),
}  # fmt: skip
"""Benchmark and figures of the README's table by the kind of text."""
FRONT_COLUMNS = ("alike ↑", "another meaning ↓", "right ↑", "both ways ↑")
FRONT_GRIDS = ("study_a_fourth_main", "study_b_fourth_main")
FRONT_ROWS = ("base", "command")
FRONT_BASES = {"a": "**first CLIP**", "b": "**second CLIP**"}
PAPER_FRONT = (
    ("base", "study_a_paper_main", "base"), ("control", "study_a_paper_main", "control"),
    ("paper", "study_a_paper_main", "paper"), ("consistent", "study_a_paper_main", "consistent"),
    ("taught", "study_a_fourth_main", "alone"),
)  # fmt: skip
"""Rows of the README's table of recipes: title, stored grid and row."""
PAPER_ROWS = tuple(
    (f"**{base}**: {title}", f"study_{base}_paper_{grid}", row)
    for base in ("a", "b")
    for title, grid, row in (
        ("base", "losses", "base"), ("control", "losses", "control"),
        ("L1 + L2 + L3 (*paper*)", "losses", "L1 + L2 + L3"),
        *((one, "losses", one) for one in ("L1", "L2", "L3", "L2 + L3", "L1 + L3", "L1 + L2")),
        ("control of 900 triples", "curve", "control"), ("900 triples", "curve", "900 triples"),
        *((f"{of}{count} triples", "curve", f"{of}{count} triples")
          for count in ("1,800", "11,000") for of in ("control of ", "")),
        *((text, "curve_steps", text) for count in ("900", "1,800", "3,600", "11,000")
          for text in [f"{count} triples, as many steps"]),
    )
)  # fmt: skip
"""Rows of the table of the paper's recipe in the results; those that were not run are left out."""
KEPT = {
    "second": tuple(key for key in SECOND_OVERVIEW if key[0] != "wordings-unseen"),
    "fourth": tuple(key for key in FOURTH_LABELS if "," not in key[1] and key[1] != "RBO"),
    "languages-test": tuple(LABELS), "paper": PAPER_KEYS,
}  # fmt: skip
"""Figures whose items are kept in the repository, by report: of all texts, and of the parts that
have a goal."""
OF_PARTS = {
    name: tuple(key for key in labels if "change of" not in key[1])
    for name, labels in REPORT_LABELS.items()
}
"""Figures of the main tables of these reports: all texts, and their parts."""
PLOTTED = {
    "second": KEPT["second"], "kinds": SECOND_OVERVIEW, "paper": PAPER_KEYS,
    "fourth": tuple((one, name) for one, figures in FRONT.values() for name in figures if name),
}  # fmt: skip
"""Figures of the plots of some sets, in place of all."""
OVERVIEWS = {
    "report": OVERVIEW, "second": SECOND_OVERVIEW, "kinds": SECOND_OVERVIEW,
    "languages-dev": tuple(LABELS), "languages-test": tuple(LABELS), **OF_PARTS,
    "paper": PAPER_KEYS,
}  # fmt: skip
UNITS = "Percent, mean over seeds; correlations times 100."
DIFFERENCES, DECLARED = "all differences of the grid", "the declared goals of the base"
NONE_DECLARED = f"{DECLARED}, of which this table has none"
"""Families of Holm's correction."""
HOLM = f"p < {LEVEL:g} after Holm's correction over {DIFFERENCES}"
NOT_INFERIOR, ABOVE, NOT_ABOVE = "not inferior", "above base", "not above base"
"""Goals that are no number."""
MEAN_ALONE = "met by the mean"
"""Of a goal that the mean meets, and the lower end of its interval does not."""
MARGIN = (
    f"≥ not inferior: with at least {FEWEST} independently sampled items, the 95 % interval "
    "excludes a loss of 1 point"
)
FLOORS: Mapping[Key, float] = {
    ("imagenet", "top-1"): 5.0, ("aro-coco-order", "COCO-Order"): 20.0,
    ("sugar-crepe-pp", "TOT Swap"): 100 / 3, ("effective-rank", "effective rank"): 1000.0,
}  # fmt: skip
"""No claim of "not inferior" is made of a figure if that of base is below this one: chance, or for
zero-shot accuracy little above it. None is made of the effective rank, whose unit is no percent."""
LEGEND = (
    f"{UNITS} Brackets: 95 % interval of a bootstrap over items and seeds, of paired differences. "
    f"\\* marks {HOLM}; {MARGIN}."
)


class Figures:
    """The stored figures of a grid, by row and figure.

    Args:
        record: the figures as they are stored, and of how many independently sampled items each is.
    """

    def __init__(self, record: Mapping[str, Any]) -> None:
        figures, self.units = record["figures"], record["units"]
        goals = record.get("goals")
        family = DIFFERENCES if goals is None else DECLARED if goals else NONE_DECLARED
        self.holm = HOLM.replace(DIFFERENCES, family)
        self.legend = LEGEND.replace(DIFFERENCES, family)
        self.unmarked = () if goals is None else UNMARKED
        self.by_place = {(one["row"], (one["benchmark"], one["figure"])): one for one in figures}
        self.rows = list(dict.fromkeys(row for row, _ in self.by_place))
        self.keys = list(dict.fromkeys(key for _, key in self.by_place))
        self.seeds = {one["row"]: one["seeds"] for one in figures}

    def mean(self, row: str, key: Key) -> str:
        """A mean."""
        return shown(self.by_place[row, key]["value"]["value"])

    def changes(self, row: str, key: Key) -> dict[str, Figure]:
        """The differences of a row's figure by the name of the other row."""
        base = self.by_place.get(("base", key))
        floor = key in self.unmarked or (
            base is not None and base["value"]["value"] < FLOORS.get(key, 0.0)
        )
        shared = {"floor": floor, "units": self.units[key[0]][key[1]]}
        return {one["row"]: {**one, **shared} for one in self.by_place[row, key]["against"]}

    def others(self, row: str) -> list[str]:
        """The rows that a row is compared with."""
        return list(dict.fromkeys(o for key in self.keys for o in self.changes(row, key)))


def marks(change: Figure | None, name: str) -> tuple[str, str]:
    """`*` for a difference beyond chance; `≥` for one that is no such gain, but not inferior.

    Where base is at a floor, which nothing can fall below, a figure that is kept shows nothing.
    """
    if change is None:
        return "", ""
    lower = prefers_lower(name)
    # None: no test is made of what is outside the family.
    beyond = change["adjusted"] is not None and change["adjusted"] < LEVEL
    gain = beyond and (change["difference"]["value"] > 0) != lower
    held = not (gain or change.get("floor")) and not_inferior(
        Interval(**change["difference"]), change["units"], lower
    )
    return "*" if beyond else "", "≥" if held else ""


def difference(change: Figure | None, name: str) -> str:
    """A difference with its interval and its marks."""
    if change is None:
        return "-"
    interval = spread(Interval(**change["difference"]), signed=True)
    return " ".join(filter(None, [interval, *marks(change, name)]))


def means_table(found: Figures) -> str:
    """Means of all rows."""
    rows = []
    for key in found.keys:
        rows.append([ALL_LABELS[key], *(found.mean(row, key) for row in found.rows)])
        rows += share_rows(found, key)
    return "\n\n".join([markdown(["", *found.rows], rows), UNITS, seeds_note(found)])


def share_rows(found: Figures, key: Key) -> list[list[str]]:
    """Which share of the pairs gains and loses against base, where that was stored."""
    changes = [found.changes(row, key).get("base", {}) for row in found.rows]
    if not any("gained" in change for change in changes):
        return []
    return [
        [f"share of pairs that {verb}, {ALL_LABELS[key]}",
         *(shown(change[name]) if name in change else "-" for change in changes)]
        for verb, name in (("gain", "gained"), ("lose", "lost"))
    ]  # fmt: skip


def differences_tables(found: Figures) -> str:
    """The differences of each row from base, control and reference; a table a row."""
    parts = []
    for row in found.rows:
        if others := found.others(row):
            rows = []
            for key in found.keys:
                changes = found.changes(row, key)
                cells = (difference(changes.get(other), key[1]) for other in others)
                rows.append([ALL_LABELS[key], *cells])
            table = markdown(["", *(f"− {other}" for other in others)], rows)
            parts.append(f"**{row}**, differences:\n\n{table}")
    return "\n\n".join([*parts, found.legend, seeds_note(found)])


def overview_table(found: Figures, keys: Sequence[Key]) -> str:
    """A few figures of all rows; marks show which differ from base and from the reference."""
    known = {"base", *(row for row in found.rows if row.startswith("control"))}
    references = [o for row in found.rows for o in found.others(row) if o not in known]
    reference = next(iter(references), "")

    def cell(row: str, key: Key) -> str:
        changes = found.changes(row, key)
        star, held = marks(changes.get("base"), key[1])
        dagger = "†" if marks(changes.get(reference), key[1])[0] else ""
        return " ".join(filter(None, [found.mean(row, key), star + dagger + held]))

    rows = []
    for key in (key for key in keys if key in found.keys):
        rows.append([ALL_LABELS[key], *(cell(row, key) for row in found.rows)])
        rows += share_rows(found, key)
    named = f", † from *{reference}*" if reference else ""
    margin = MARGIN.replace("inferior:", "inferior to base:")
    note = f"{UNITS} \\* differs from base{named}: {found.holm}; {margin}."
    return "\n\n".join([markdown(["", *found.rows], rows), note, seeds_note(found)])


def front_table(record: Mapping[str, Any]) -> dict[str, str]:
    """Base and command of stored grids, by base and kind of text; and the README's table, which has
    typed queries alone."""
    rows = []
    for name in record["grids"]:
        stored = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        found = Figures(stored)
        for kind, (benchmark, figures) in FRONT.items():
            cells = (_along(found, (benchmark, name)) if name else "-" for name in figures)
            change = found.changes(FRONT_ROWS[-1], (benchmark, "AO@10"))["base"]
            counted = f"{shown(change['gained'])} / {shown(change['lost'])}"
            rows.append([f"{FRONT_BASES[stored['base']]}: {kind}", *cells, counted])
    heads = ["before → after", *FRONT_COLUMNS, "more / less alike"]
    note = (
        f"Percent. \\* {found.holm}; others were not declared, and not tested. "
        "*More / less alike*: share of the pairs whose overlap rises and falls."
    )
    typed = rows[:: len(FRONT)]  # the first kind of each base
    turned = [[one, *(row[place] for row in typed)] for place, one in enumerate(FRONT_COLUMNS, 1)]
    short = markdown(["typed queries: before → after", *FRONT_BASES.values()], turned)
    name = record["name"]
    return {name: f"{markdown(heads, rows)}\n\n{note}", f"{name}_typed": f"{short}\n\nPercent."}


def _along(found: Figures, key: Key) -> str:
    """A figure of `FRONT_ROWS`; a mark if they differ significantly."""
    mark = marks(found.changes(FRONT_ROWS[-1], key)["base"], key[1])[0]
    return " → ".join(found.mean(row, key) for row in FRONT_ROWS) + f" {mark}".rstrip()


def rows_table(record: Mapping[str, Any]) -> str:
    """Rows of several stored grids under each other, as far as they were run."""
    lines = []
    for title, grid, row in record["rows"]:
        path = RESULTS / f"{grid}.json"
        found = Figures(json.loads(path.read_text("utf-8"))) if path.exists() else None
        if found is None or row not in found.rows:
            continue
        cells = [f"{found.mean(row, key)}{_apart(found, row, key)}"
                 for key in PAPER_COLUMNS.values()]  # fmt: skip
        lines.append([title, *cells, str(len(found.seeds[row]) or "")])
    note = f"{UNITS} \\*: the 95 % interval of the difference from base excludes 0."
    return f"{markdown(['', *PAPER_COLUMNS, 'seeds'], lines)}\n\n{note}"


def _apart(found: Figures, row: str, key: Key) -> str:
    """A mark if the interval of a difference from base excludes 0; no correction is made."""
    change = found.changes(row, key).get("base", {}).get("difference")
    return " \\*" if change and not change["low"] <= 0 <= change["high"] else ""


def seeds_note(found: Figures) -> str:
    """How many seeds each row has."""
    listed = ", ".join(f"{row} {len(seeds)}" for row, seeds in found.seeds.items() if seeds)
    return f"Seeds: {listed}."


def judged(change: Figure, key: Key, goal: float | str) -> str:
    """A difference from base, and whether it meets a goal, or its mean alone does."""
    found = Interval(**change["difference"])
    if goal == NOT_INFERIOR:
        by_mean = met = not_inferior(found, change["units"])
    elif goal == ABOVE:
        by_mean, met = found.value > 0, found.low > 0
    elif goal == NOT_ABOVE:
        by_mean, met = found.value <= 0, found.high <= 0
    else:
        by_mean, met = found.value >= float(goal), found.low >= float(goal)
    verdict = "met" if met else MEAN_ALONE if by_mean else "**missed**"
    return f"{difference(change, key[1])} {verdict}"


def read_goals(report: str, base: str) -> list[dict[str, Any]]:
    """The goals of a report for a base: `row`, `benchmark`, `figure` and `goal` of each."""
    groups = tomllib.loads((Path(__file__).parent / report / GOALS).read_text(encoding="utf-8"))
    return [
        {"row": row, "benchmark": benchmark, "figure": figure, "goal": group["goal"]}
        for group in (*groups.get(base[0], ()), *groups.get("both", ()))
        for benchmark, figure in group["figures"] for row in group["rows"]
    ]  # fmt: skip


def declared_goals_table(found: Figures, goals: Sequence[Mapping[str, Any]]) -> str:
    """Which of the declared goals the rows meet that have some."""
    wanted = {(one["row"], (one["benchmark"], one["figure"])): one["goal"] for one in goals}
    rows = [row for row in found.rows if row in {row for row, _ in wanted}]
    keys = [key for key in found.keys if any((row, key) in wanted for row in rows)]

    def cells(row: str, key: Key) -> list[str]:
        goal, change = wanted.get((row, key)), found.changes(row, key).get("base")
        if goal is None or change is None:
            return ["-", "-"]
        named = goal if isinstance(goal, str) else f"{goal:+g}" if goal else "not below base"
        return [named, judged(change, key, goal)]

    lines = [[ALL_LABELS[key], *(cell for row in rows for cell in cells(row, key))] for key in keys]
    heads = [head for row in rows for head in (f"goal, {row}", f"{row} − base")]
    note = f"{found.legend} *{MEAN_ALONE.capitalize()}*: its interval reaches below the goal."
    return "\n\n".join([markdown(["", *heads], lines), note, seeds_note(found)])


def tables_of(record: Mapping[str, Any]) -> dict[str, str]:
    """The tables of a stored grid, by the name of their file."""
    goals, name, found = record.get("goals"), record["name"], Figures(record)
    tables = {name: means_table(found)}
    if "kind" not in record:  # of single figures
        return tables
    tables[f"{name}_differences"] = differences_tables(found)
    if record["kind"] in OVERVIEWS:
        tables[f"{name}_overview"] = overview_table(found, OVERVIEWS[record["kind"]])
        if goals:
            tables[f"{name}_goals"] = declared_goals_table(found, goals)
    return tables


OF_SEVERAL: Mapping[str, tuple[Callable[..., str], Mapping[str, Any]]] = {
    "study_fourth_front": (front_table, {"grids": FRONT_GRIDS}),
    "study_paper_front": (rows_table, {"rows": PAPER_FRONT}),
    "study_paper": (rows_table, {"rows": PAPER_ROWS}),
}
"""Tables of several stored grids: what renders each, and of what."""

if __name__ == "__main__":
    for name in sys.argv[1:] or OF_SEVERAL:
        render, found = OF_SEVERAL[name]
        keep(name, RESULTS, render, **found)
