"""Bad files for every reader: listed ones, and sound ones damaged at random."""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.inputs.attacks.cases import DAMAGE, LISTED, PLACES, Case, command
from benchmarks.inputs.attacks.sound import lines

REPORT = "paraclip-report-1"


def captions(path: Path) -> int:
    """Read captions, and decode their pictures."""
    return command("captions", path, "--check-images", "--max-broken", 0)


def captions_alone(path: Path) -> int:
    """Read captions without pictures."""
    return command("captions", path, "--image-column", "None")


def triples(path: Path) -> None:
    """Read triples with a column of negatives."""
    from paraclip.data.triples import read_provenance, read_triples

    read_triples(path, extra="negative")
    read_provenance(path)


def pairs(path: Path) -> None:
    """Read pairs for a search."""
    from paraclip.evaluation.inputs.pairs import read_pairs

    read_pairs(path)


def wordings(path: Path) -> None:
    """Read captions with rewordings."""
    from paraclip.evaluation.inputs.wordings import read_wordings

    read_wordings(path, None)


def pool(path: Path) -> None:
    """Read pictures to search."""
    from paraclip.evaluation.inputs.pool import read_pool

    read_pool(path)


def compare(path: Path) -> int:
    """Compare the models of a report; missing items are replaced by sound ones."""
    if path.name == "report.json" and not path.with_name("items.npz").exists():
        path.with_name("items.npz").write_bytes(SOUND["items"].read_bytes())
    return command("compare", path, "--resamples", 20, "--all-metrics")


def compare_items(path: Path) -> int:
    """Compare by the items of a report."""
    (path.parent / "report.json").write_bytes(SOUND["report"].read_bytes())
    return compare(path.parent)


def picture(path: Path) -> None:
    """Decode a picture."""
    from paraclip.data.images import open_image

    open_image(str(path), 256)


def options_file(path: Path) -> int:
    """Read options of a run."""
    return command("train", "nowhere.parquet", "--config", path)


def grid(path: Path) -> int:
    """Read a grid of variants."""
    return command("ablate", path, "--dry-run", "--triples", SOUND["triples"])


def sheet(path: Path) -> int:
    """Report marks on a sheet."""
    return command("audit-report", path, SOUND["marks"])


def marks(path: Path) -> int:
    """Report marks."""
    return command("audit-report", SOUND["sheet"], path)


def rejected(path: Path) -> int:
    """Draw a sample of a run with these rejected captions."""
    path.with_name("triples.parquet").write_bytes(SOUND["triples"].read_bytes())
    return command("audit", path.parent)


def answers(path: Path) -> None:
    """Open a log of answers."""
    from paraclip.paraphrase.log import AnswerLog

    with suppress(FileNotFoundError):
        path.rename(path.with_name("answers.jsonl"))
    AnswerLog(path.with_name("answers.jsonl"), {"model": "fake"}).close()


def metrics(path: Path) -> None:
    """Read the log of a run."""
    from paraclip.training.metrics import keep_until, read_metrics

    read_metrics(path)
    keep_until(path, 1)


def state(path: Path) -> None:
    """Load the newest state of a run."""
    from paraclip.training.folder import newest_state, state_name

    with suppress(FileNotFoundError):
        path.rename(path.with_name(state_name(1)))
    newest_state(path.parent)


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "csv": ("a.csv", captions), "tsv": ("a.tsv", captions), "jsonl": ("a.jsonl", captions),
    "coco": ("a.json", captions), "captions parquet": ("a.parquet", captions_alone),
    "shard": ("a.tar", captions), "triples": ("t.parquet", triples),
    "triples lines": ("t.jsonl", triples), "pairs": ("p.json", pairs),
    "pairs csv": ("p.csv", pairs), "wordings": ("w.jsonl", wordings),
    "vectors": ("v.npy", pool), "names": ("n.txt", pool),
    "report": ("report.json", compare), "items": ("items.npz", compare_items),
    "picture": ("a.png", picture), "options": ("o.toml", options_file), "grid": ("g.toml", grid),
    "sheet": ("sheet.jsonl", sheet), "marks": ("marks.jsonl", marks),
    "rejected": ("rejected.jsonl", rejected), "answers": ("log.jsonl", answers),
    "metrics": ("metrics.jsonl", metrics), "state": ("s.safetensors", state),
}  # fmt: skip
"""File name and reader by kind of file."""
NAMES = {kind: name for kind, (name, _) in READERS.items()}
SOUND: dict[str, Path] = {}
"""A file that is read without an error, by kind."""


def cases(sound: Path) -> Iterator[Case]:
    """Listed and generated files for every reader."""
    SOUND.update({kind: sound / kind / name for kind, name in NAMES.items()})
    for kind, (name, reader) in READERS.items():
        for what, content in LISTED.items():
            yield Case(f"files: {kind}", what, partial(read_content, name, content, reader))
        for what, change in DAMAGE.items():
            yield Case(
                f"files: {kind}", what, partial(read_damaged, kind, name, what, change, reader)
            )
        for what, make in PLACES.items():
            if kind == "metrics" and what == "missing":
                continue  # read only if a run has written it
            yield Case(f"files: {kind}", what, partial(read_place, name, make, reader))
    for kind, contents in OWN.items():
        name, reader = READERS[kind]
        for number, content in enumerate(contents):
            shown = f"own {number}: {content[:60]!r}"
            yield Case(f"files: {kind}", shown, partial(read_content, name, content, reader))


def read_content(name: str, content: bytes, reader: Callable[[Path], Any], folder: Path) -> Any:
    """Write a file and read it."""
    (folder / name).write_bytes(content)
    return reader(folder / name)


def read_damaged(
    kind: str, name: str, what: str, change: Callable[[bytes, random.Random], bytes],
    reader: Callable[[Path], Any], folder: Path,
) -> Any:  # fmt: skip
    """Damage a sound file and read it."""
    drawn = random.Random(f"{kind} {what}")
    return read_content(name, change(SOUND[kind].read_bytes(), drawn), reader, folder)


def read_place(
    name: str, make: Callable[[Path], object], reader: Callable[[Path], Any], folder: Path
) -> Any:
    """Read a path that is not a regular file."""
    make(folder / name)
    return reader(folder / name)


OWN: dict[str, list[bytes]] = {
    "csv": [
        b"caption,caption,image\na,b,c\n", b'caption,image\n"open quote,a.png\n',
        b"caption,image\nA dog.,\0.png\n", b"caption,image\nA dog.,../../etc/passwd\n",
        b"caption,image\nA dog.,http://[::1/x.png\n", b"caption,image\nA dog.,s3://x\n",
        b"caption,image\nA dog.,zip://a.zip!/x\n", b"caption,image\nA dog.,/dev/zero\n",
        b"h" * (1 << 21) + b",caption\nA dog.,x\n", b"caption,image\nA dog.," + b"a" * 5000 + b"\n",
    ],
    "jsonl": [
        lines({"caption": 3}), lines({"caption": ["a", 3]}), lines({"caption": {"a": 1}}),
        lines({"caption": "a", "image": 3}), lines({"caption": "a", "image": "a\0.png"}),
        lines({"caption": "a", "image": []}), lines({"caption": "a", "id": {"x": []}}), lines([1]),
        lines(None), lines({"caption": "\x1b[31m", "image": "\x1b]0;x\x07"}),
    ],
    "coco": [
        b'{"images": 3, "annotations": 4}', b'{"images": [], "annotations": [{}]}',
        b'{"images": [[]], "annotations": [[]]}', b'{"images": [{"id": [], "file_name": 3}]}',
        b'{"annotations": [{"image_id": 1, "caption": null}], "images": [{"id": 1}]}', b"[] []",
    ],
    "triples lines": [
        lines({"caption": "a"}), lines({"caption": "a", "paraphrase_1": 1, "paraphrase_2": 2}),
        lines({"caption": "a", "paraphrase_1": [], "paraphrase_2": {}, "id": []}), lines([[]]),
    ],
    "pairs": [b"3", b"{}", b'[{"caption": 1}]', b'[{"caption": "a", "caption2": []}]', b'{"a": 1}'],
    "wordings": [
        lines({"image_id": 1}), lines({"image_id": "a", "caption": "b", "variations": 3}),
        lines({"image_id": "a", "caption": "b", "variations": {"x": []}}),
        lines({"image_id": [], "caption": {}, "variations": {}}),
    ],
    "names": [b"/dev/zero\n", b"a.png\n" * 3, b"http://[x\n", b"\0\n"],
    "report": [
        json.dumps({"format": REPORT, "models": models, "benchmarks": found, "provenance": made})
        .encode()
        for models, found, made in (
            ([], [], []), ({}, [], {}), ({"base": {}}, {}, {}), ({"base": 1}, [3], {}),
            ({"base": {}, "tuned": {}}, [{"name": [], "metrics": 3}], {}), ({"a": {}}, [], None),
        )
    ],
    "options": [
        b"epochs = 0", b"epochs = -1", b"batch_size = 1", b"learning_rate = nan", b"seed = -1",
        b"weights = [nan, 0, 0]", b"track = ['x']", b"model = 1979-05-27", b"triples = ''",
        b"a.b.c = 1", b"epochs = 9223372036854775808", b"warmup = inf", b"columns = {caption = 1}",
    ],
    "grid": [
        b"seeds = [-1]\n[variants.a]", b"seeds = []\n[variants.a]", b"[variants]", b"[[variants]]",
        b"[variants.a]\nmerge = 2", b"[variants.'']", b"[variants.base]", b"figures = 3",
        b"[evaluation]\nk = [0]\n[variants.a]", b"[variants.a]\ntriples = [1]",
        b"[evaluation]\nbatch_size = 0\n[variants.a]", b"[variants.a]\nepochs = 0",
    ],
    "sheet": [
        lines({"id": "0"}), lines([1], 3), lines({"id": [], "step": {}, "source": 3}),
        lines({"id": "0", "step": "x", "source": 1, "answer": 2, "verdict": [], "stratum": None}),
        lines({"id": "0", "step": 1, "source": "a", "answer": "b", "verdict": "kept",
               "stratum": "s", "weight": "x"}),
    ],
    "marks": [
        lines({"id": "0"}), lines({"id": "9", "meaning": "same", "style": "plain"}), lines([], 3),
        lines({"id": "0", "meaning": [], "style": {}}), lines({"id": "0", "meaning": "x",
               "style": "plain", "reviewer": ["\x1b"]}),
    ],
    "rejected": [
        lines({"caption": "a"}), lines({"caption": "a", "candidates": 3}), lines(3, None),
        lines({"caption": 3, "step": [], "reason": {}, "candidates": [3]}),
    ],
    "answers": [
        lines({"paraclip": "paraclip-answers-1", "settings": 3}), lines([]), lines("x"), lines(3),
        lines({"paraclip": [], "settings": {}}), lines({"a": 1}, {"b": 2}) + b"half",
    ],
    "metrics": [
        lines({"step": "x"}), lines({"step": []}, {"step": None}), lines([1], 3, "x"),
        lines({"step": 1, "loss": "high"}), lines({"step": 1e308}), lines({"loss": 1}),
    ],
}  # fmt: skip
"""Contents that are bad only for one reader."""
