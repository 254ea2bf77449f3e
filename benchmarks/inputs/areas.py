"""The bad inputs by area, as tables: files, servers, models, indexes, caches and options."""

import gzip
import json
import os
import random
import shutil
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, get_type_hints

from benchmarks.inputs import promises
from benchmarks.inputs.cases import (
    DAMAGE,
    DEAD,
    DEEP,
    HUGE,
    LISTED,
    MODELS,
    PLACES,
    Action,
    Case,
    Change,
    Send,
    Write,
    bad_files,
    body,
    chat,
    compared,
    dry_run,
    endless,
    generate,
    paraclip,
    raw,
    served,
)
from benchmarks.inputs.sound import NAMES, SNAPSHOT, TINY, answered, lines
from paraclip.commands import COMMANDS


def all_cases(sound: Path) -> Iterator[Case]:
    """Every input; `sound` is the folder that `write_sound` writes."""
    makers = (
        file_cases, server_cases, model_cases, index_cases, swap_cases, option_cases,
        promises.cases,
    )  # fmt: skip
    seen: Counter[tuple[str, str]] = Counter()
    for case in chain.from_iterable(make(sound) for make in makers):
        seen[case.area, case.name] += 1
        number = seen[case.area, case.name]
        yield case if number == 1 else replace(case, name=f"{case.name} ({number})")


# Files -------------------------------------------------------------------------------------------


def triples(path: Path) -> None:
    """Read triples."""
    from paraclip.data.triples import read_provenance, read_triples

    read_triples(path)
    read_provenance(path)


def pairs(path: Path) -> None:
    """Read pairs for a search."""
    from paraclip.evaluation.pairs import read_pairs

    read_pairs(path)


def wordings(path: Path) -> None:
    """Read captions with rewordings."""
    from paraclip.evaluation.pairs import read_wordings

    read_wordings(path, None)


def pool(path: Path) -> None:
    """Read pictures to search."""
    from paraclip.evaluation.pictures import read_pool

    read_pool(path)


def picture(path: Path) -> None:
    """Decode a picture."""
    from paraclip.data.images import open_image

    open_image(str(path), 256)


def metrics(path: Path) -> None:
    """Read the log of a run."""
    from paraclip.training.log import keep_until, read_metrics

    read_metrics(path)
    keep_until(path, 1)


def answers(path: Path) -> None:
    """Open a log of answers."""
    from paraclip.paraphrase.log import AnswerLog

    with suppress(FileNotFoundError):
        path.rename(path.with_name("answers.jsonl"))
    AnswerLog(path.with_name("answers.jsonl"), {"model": "fake"}).close()


def marks(path: Path) -> list[Any]:
    """Report marks on the sheet next to them."""
    return ["audit", "nowhere", "--out", path.parent, "--marks", path]


Reader = Callable[[Path], Action]


def call(function: Callable[[Path], None]) -> Reader:
    """A reader that calls a function of the package."""
    return lambda path: partial(function, path)


READERS: dict[str, Reader] = {
    "csv": dry_run, "tsv": dry_run, "jsonl": dry_run,
    "coco": dry_run, "captions parquet": dry_run,
    "shard": dry_run, "triples": call(triples),
    "triples lines": call(triples), "pairs": call(pairs),
    "pairs csv": call(pairs), "wordings": call(wordings),
    "vectors": call(pool), "names": call(pool),
    "report": compared, "items": lambda p: compared(p.parent),
    "picture": call(picture), "marks": marks, "sheet": marks,
    "options": lambda path: ["train", "nowhere.parquet", "--config", path],
    "rejected": lambda path: ["audit", path.parent],
    "answers": call(answers), "metrics": call(metrics),
}  # fmt: skip
"""What reads each kind of file: words of a command, or a call that raises."""
WITH: dict[str, tuple[str, ...]] = {
    "report": ("items/items.npz",), "items": ("report/report.json",),
    "rejected": ("triples/t.parquet",), "marks": ("sheet/sheet.jsonl",),
}  # fmt: skip
"""Sound files that a reader needs next to its own."""
OWN_CHANGES = ("out/*", "answers.jsonl", "log.jsonl", "metrics.jsonl")
"""Files that the readers replace, because they continue them."""


def file_cases(sound: Path) -> Iterator[Case]:
    """Listed and damaged files, and paths that are no files, for every reader."""
    for kind, reader in READERS.items():
        name = NAMES[kind]
        written = bad_files(sound / kind / name)
        for number, content in enumerate(OWN.get(kind, [])):
            shown = f"own {number}: {content[:60]!r}"
            written[shown] = lambda path, content=content: path.write_bytes(content)
        for what, write in written.items():
            if (kind, what) == ("metrics", "missing"):
                continue  # read only if a run has written it
            make = partial(write_and_read, sound, kind, name, write, reader)
            yield Case(f"files: {kind}", what, make, OWN_CHANGES)
    for name in ("manifest.json", "answers.jsonl"):
        written = bad_files(sound / "round" / name)
        for number, line in enumerate(RESULT_LINES if name == "answers.jsonl" else []):
            shown = f"own {number}: {json.dumps(line)[:60]}"
            written[shown] = lambda path, line=line: path.write_bytes(lines(line))
        for what, write in written.items():
            yield Case(f"files: batch {name}", what, partial(read_round, sound, name, write))


def write_and_read(
    sound: Path, kind: str, name: str, write: Write, reader: Reader, folder: Path
) -> Action:
    """Write a bad file with the sound ones that are read with it."""
    for other in WITH.get(kind, ()):
        target = folder / ("triples.parquet" if kind == "rejected" else Path(other).name)
        target.write_bytes((sound / other).read_bytes())
    write(folder / name)
    return reader(folder / name)


def read_round(sound: Path, name: str, write: Write, folder: Path) -> Action:
    """A round of a batch of which one file is bad."""
    (folder / "round").mkdir()
    for path in (sound / "round").iterdir():
        if path.name != name:
            (folder / "round" / path.name).write_bytes(path.read_bytes())
    write(folder / "round" / name)
    return [*generate(sound, DEAD, folder / "out"), "--from-file", folder / "round"]


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
        json.dumps({"format": "paraclip-report-1", "models": models, "benchmarks": found,
                    "provenance": made}).encode()
        for models, found, made in (
            ([], [], []), ({}, [], {}), ({"base": {}}, {}, {}), ({"base": 1}, [3], {}),
            ({"base": {}, "tuned": {}}, [{"name": [], "metrics": 3}], {}), ({"a": {}}, [], None),
        )
    ],
    "options": [
        b"epochs = 0", b"epochs = -1", b"batch_size = 1", b"learning_rate = nan", b"seed = -1",
        b"weights = [nan, 0, 0]", b"track = ['x']", b"model = 1979-05-27", b"triples = ''",
        b"a." * 8000 + b"a = 1", b"a." * 70_000 + b"a = 1", b"[" + b"a." * 8000 + b"a]",
        b"a.b.c = 1", b"epochs = 9223372036854775808", b"warmup = inf", b"columns = {caption = 1}",
    ],
    "marks": [
        lines({"id": "0"}), lines({"id": "9", "meaning": "same", "style": "plain"}), lines([], 3),
        lines({"id": "0", "meaning": [], "style": {}}), lines({"id": "0", "meaning": "x",
               "style": "plain", "reviewer": ["\x1b"]}),
    ],
    "sheet": [
        lines({"id": "0"}), lines([], 3), lines({"id": 3, "step": [], "source": {}}),
        lines({"id": "0", "step": 1, "source": "a", "answer": "b", "verdict": "kept",
               "stratum": "kept", "weight": -1e308}),
    ],
    "rejected": [
        lines({"caption": "a"}), lines({"caption": "a", "candidates": 3}), lines(3, None),
        lines({"caption": 3, "step": [], "reason": {}, "candidates": [3]}),
    ],
    "answers": [
        lines({"paraclip": 1, "settings": 3}), lines([]), lines("x"), lines(3),
        lines({"paraclip": [], "settings": {}}), lines({"a": 1}, {"b": 2}) + b"half",
    ],
    "metrics": [
        lines({"step": "x"}), lines({"step": []}, {"step": None}), lines([1], 3, "x"),
        lines({"step": 1, "loss": "high"}), lines({"step": 1e308}), lines({"loss": 1}),
    ],
}  # fmt: skip
"""Contents that are bad only for one reader."""


KEY = "0123456789abcdef"
RESULT_LINES: list[Any] = [
    answered(KEY), answered(f"{KEY}-1", 3), answered(f"{KEY}-0"), answered(f"{KEY}-999", "\ud800"),
    answered("../../x-1"), answered(f"{KEY}-1", "x" * 100_000), {"custom_id": f"{KEY}-1"},
    {"custom_id": [], "response": []}, {"custom_id": f"{KEY}-1", "response": {"status_code": []}},
    {"custom_id": f"{KEY}-1", "error": {"message": {"message": [1]}}}, 3, None, [],
    {"custom_id": f"{KEY}-1", "response": {"status_code": 200, "body": {"choices": [{}] * 1000}}},
]  # fmt: skip

# Servers -----------------------------------------------------------------------------------------


def asked(sound: Path, sends: Mapping[str, Send], folder: Path) -> Action:
    """Start a server and send a question to it."""
    return lambda: paraclip(*generate(sound, served({**MODELS, **sends}), folder / "out"))


def server_cases(sound: Path) -> Iterator[Case]:
    """Answers to the list of models, answers to prompts, addresses, and models in a file."""
    for what, send in ANSWERS.items():
        yield Case("server: models", what, partial(asked, sound, {"models": send}))
        yield Case("server: answers", what, partial(asked, sound, {"answer": send}))
    for choices in CHOICES:
        content = json.dumps({"id": "1", "model": "fake", "choices": choices}).encode()
        make = partial(asked, sound, {"answer": body(content)})
        yield Case("server: answers", f"choices {choices!r}"[:90], make)
    for address in ADDRESSES:
        make = partial(lambda address, folder: generate(sound, address, folder / "out"), address)
        yield Case("server: addresses", repr(address[:60]), make)
    for what, write in bad_files(None, LISTED | GGUF).items():
        yield Case("server: gguf", what, partial(from_gguf, sound, write))


def from_gguf(sound: Path, write: Write, folder: Path) -> Action:
    """Paraphrase with a bad model file."""
    write(folder / "m.gguf")
    captions = sound / "csv" / "a.csv"
    return ["generate", captions, "--out", "out", "--first", 1, "--model", folder / "m.gguf"]


ANSWERS: dict[str, Send] = {
    "HTML": body(b"<html><body>Welcome</body></html>"),
    "HTML by its type": body(b"<html></html>", "200 OK", "Content-Type: text/html"),
    "nothing": body(b""), "null": body(b"null"), "a list": body(b"[]"), "a text": body(b'"x"'),
    "a number": body(b"3"), "half of JSON": body(b'{"data": [{"id": "fa'),
    "NaN": body(b'{"data": NaN, "choices": NaN}'), "not UTF-8": body(b"\xff\xfe" * 50),
    "deep arrays": body(b"[" * DEEP), "deep objects": body(b'{"a":' * DEEP),
    "closed deep arrays": body(b"[" * DEEP + b"]" * DEEP),
    "wrong types": body(b'{"data": 3, "choices": 3}'), "nulls": body(b'{"data": null}'),
    "a number of 5,000 digits": body(b'{"data": [' + b"9" * 5000 + b"]}"),
    "control characters": body(b'{"error": {"message": "\\u001b[31m"}}', "400 Bad"),
    "lone surrogate": body(b'{"data": [{"id": "\\ud800"}]}'),
    **{f"status {status}": body(b"{}", f"{status} X") for status in
       (100, 204, 301, 304, 400, 401, 403, 404, 408, 409, 413, 418, 422, 429, 500, 502, 503, 999)},
    "an error that is a list": body(b'{"error": [3]}', "500 X"),
    "an error of 5 MB": body(b'{"error": "' + b"x" * 5_000_000 + b'"}', "400 X"),
    "a redirect to itself": body(b"", "302 Found", "Location: /v1/models"),
    "a redirect to nowhere": body(b"", "307 X", "Location: http://[::1"),
    "no HTTP": raw(b"SSH-2.0-OpenSSH_9.0\r\n"), "closed at once": raw(b""),
    "a status that is no number": raw(b"HTTP/1.1 OK\r\n\r\n"),
    "less than it says": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{}"),
    "a negative length": raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}"),
    "a broken chunk": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "gzip that is none": body(b"{}", "200 OK", "Content-Encoding: gzip"),
    "an unknown encoding": body(b"{}", "200 OK", "Content-Encoding: rot13"),
    "an unknown charset": body(b"{}", "200 OK", "Content-Type: application/json; charset=x"),
    "a wait of a year": body(b"{}", "429 X", "Retry-After: 31536000"),
    "a wait that is no number": body(b"{}", "429 X", "Retry-After: soon"),
    "a header of 1 MB": raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * (1 << 20) + b"\r\n\r\n{}"),
    "silence": endless(b"", b"", 3600), "a gzip bomb": lambda connection: bomb()(connection),
    "a drip": endless(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b" "),
    "a drip of headers": endless(b"HTTP/1.1 200 OK\r\n", b"X-More: 1\r\n"),
    "a flood": endless(b"HTTP/1.1 200 OK\r\n\r\n", b" " * (1 << 20), 0),
}  # fmt: skip


def bomb() -> Send:
    """Two gigabytes of spaces, compressed."""
    return body(gzip.compress(b" " * (1 << 24)) * 128, "200 OK", "Content-Encoding: gzip")


TEXTS: list[object] = [
    None, 3, [], {}, "", "\ud800", "\0", "\x1b[31mred", "x" * 100_000,
]  # fmt: skip
CHOICES: list[object] = [
    [], None, 3, [None], [3], ["x"], [{}], [[]], [{"message": None}], [{"message": "x"}],
    [{"message": 3}], [{"message": {}}], [{"text": "A disc."}], {"a": 1},
    *(chat(text)["choices"] for text in TEXTS), chat("A disc.", finish_reason=3)["choices"],
    chat("A disc.", index="x")["choices"], chat("A red disc.")["choices"] * 1000,
]  # fmt: skip
ADDRESSES = [
    "", " ", "x", "/", "http:", "http://", "http:///v1", "http://:80", "http://[::1",
    "http://[x]/", "http://127.0.0.1:99999/v1", "http://127.0.0.1:x/v1", "http://127.0.0.1:-1/v1",
    "127.0.0.1:1", "http://127.0.0.1:1/v1", "https://127.0.0.1:1/v1", "ftp://127.0.0.1/v1",
    "file:///etc/passwd", "http://user:p@ss@127.0.0.1:1/v1", "http://a b/v1", "http://\x00/v1",
    "http://\u2192/v1", "http://" + "a" * 300 + "/v1", "http://127.0.0.1:1/v1?x=\n",
    "http://..:1/v1", "http://-/v1", "http://%zz/v1", "http://xn--/v1", "HTTP://127.0.0.1:1",
    "javascript:alert(1)", "\udcff",
]  # fmt: skip
GGUF: dict[str, bytes] = {
    what: b"GGUF" + struct.pack("<IQQ", 3, *counts) + more
    for what, counts, more in (
        ("no tensors", (0, 0), b""), ("tensors without an end", (1 << 60, 0), b""),
        ("facts without an end", (0, 1 << 60), b""),
        ("a text without an end", (0, 1), struct.pack("<Q", 1 << 60)),
        ("an array without an end", (0, 1), struct.pack("<Q1sIIQ", 1, b"a", 9, 9, 1 << 60)),
        ("an unknown type", (0, 1), struct.pack("<Q1sI", 1, b"a", 99)),
    )
} | {"a later version": b"GGUF" + struct.pack("<I", 99) + bytes(99)}  # fmt: skip

# Models ------------------------------------------------------------------------------------------


def with_header(header: object, content: bytes = bytes(64)) -> bytes:
    """A safetensors file with a header."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


def changed(found: dict[str, Any], keys: tuple[str, ...], value: object) -> dict[str, Any]:
    """A configuration with one value changed."""
    first, *rest = keys
    inner = changed(found.get(first) or {}, tuple(rest), value) if rest else value
    return {**found, first: inner}


def load(name: object, folder: Path) -> Action:
    """Load a model by name, and write it again."""
    return ["merge", name, name, "--out", folder / "out.safetensors"]


def load_file(write: Write, folder: Path) -> Action:
    """Load a checkpoint."""
    write(folder / "a.safetensors")
    return load(folder / "a.safetensors", folder)


def load_folder(content: Callable[[], bytes], tiny: Path, folder: Path) -> Action:
    """Load a folder of open_clip with this configuration."""
    (folder / "model").mkdir()
    (folder / "model" / "open_clip_config.json").write_bytes(content())
    (folder / "model" / "model.safetensors").symlink_to(tiny)
    return load(f"local-dir:{folder / 'model'}", folder)


def load_changed(keys: tuple[str, ...], value: object, tiny: Path, folder: Path) -> Action:
    """Load a checkpoint of ParaCLIP whose header has one bad value."""
    content = tiny.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    outer = json.loads(content[8 : 8 + size])
    inner = json.loads(outer["__metadata__"]["paraclip"])
    inner["open_clip"]["config"] = changed(inner["open_clip"]["config"], keys, value)
    outer["__metadata__"]["paraclip"] = json.dumps(inner)
    file = with_header(outer, content[8 + size :])
    return load_file(lambda path: path.write_bytes(file), folder)


def model_cases(sound: Path) -> Iterator[Case]:
    """Checkpoints, configurations and names."""
    tiny = sound / "tiny.safetensors"
    headers = {what: with_header(header) for what, header in HEADERS.items()}
    for what, write in bad_files(tiny, LISTED | headers).items():
        yield Case("models: checkpoints", what, partial(load_file, write))
    for what, content in LISTED.items():
        yield Case("models: folders", what, partial(load_folder, lambda c=content: c, tiny))
    for keys, value in CHANGES:
        shown = f"{'.'.join(keys)} {value!r:.40}"
        found = json.dumps({"model_cfg": changed(TINY, keys, value), "preprocess_cfg": {}}).encode()
        yield Case("models: folders", shown, partial(load_folder, lambda f=found: f, tiny))
        yield Case("models: headers", shown, partial(load_changed, keys, value, tiny))
    for name in MODEL_NAMES:
        yield Case("models: names", repr(name)[:60], partial(load, name))


def ours(**facts: object) -> dict[str, object]:
    """A safetensors header that contains a header of ParaCLIP."""
    return {"__metadata__": {"paraclip": json.dumps(facts)}}


FORMAT = "paraclip-model-1"
KIND = {"kind": "open_clip", "name": "tiny"}
PLAIN = {"config": TINY, "preprocessing": {}}
HEADERS: dict[str, object] = {
    "a list": [], "nothing": {}, "metadata that is a list": {"__metadata__": []},
    "a tensor of a huge shape": {"w": {"dtype": "F32", "shape": [HUGE], "data_offsets": [0, 64]}},
    "a tensor out of the file": {"w": {"dtype": "F32", "shape": [16], "data_offsets": [HUGE, 0]}},
    "an unknown type": {"w": {"dtype": "X", "shape": [1], "data_offsets": [0, 4]}},
    "ours is a list": {"__metadata__": {"paraclip": "[]"}},
    "ours is deep": {"__metadata__": {"paraclip": "[" * 100_000}},
    "ours without a format": ours(architecture=KIND),
    "ours of a later format": ours(architecture=KIND, format="paraclip-model-9"),
    "ours with a format of another type": ours(architecture=KIND, format=[]),
    **{f"architecture {found!r}": ours(architecture=found, format=FORMAT) for found in
       (None, [], "mini", {"kind": []}, {"kind": "x"}, {"kind": "mini"}, KIND)},
    "open_clip that is null": ours(architecture=KIND, format=FORMAT, open_clip=None),
    "a configuration that is null": ours(
        architecture=KIND, format=FORMAT, open_clip={"config": None, "preprocessing": None}),
    "text files that are a list": ours(
        architecture=KIND, format=FORMAT, text_files=[3], open_clip=PLAIN),
    "a text file that leaves its folder": ours(
        architecture=KIND, format=FORMAT, text_files={"../../x": "y"}, open_clip=PLAIN),
    "preprocessing of the wrong type": ours(architecture=KIND, format=FORMAT, open_clip={
        "config": TINY, "preprocessing": {"mean": "x", "interpolation": 3}}),
}  # fmt: skip
CHANGES: list[tuple[tuple[str, ...], object]] = [
    *(((part,), value) for part in TINY for value in (None, [], "x", -1, HUGE)),
    *((("text_cfg", name), value) for name in ("width", "layers", "heads", "context_length")
      for value in (None, 0, -1, HUGE)),
    *((("vision_cfg", name), value) for name in ("width", "image_size", "patch_size", "layers")
      for value in (None, 0, -1, HUGE, [1, 2, 3])),
    (("vision_cfg", "timm_model_name"), "hf_hub:someone/something"),
    (("vision_cfg", "timm_model_name"), "nothing_like_it"),
    (("text_cfg", "hf_model_name"), "someone/something"),
    (("text_cfg", "hf_model_name"), "../../etc"), (("text_cfg", "hf_tokenizer_name"), "a/b"),
    (("text_cfg", "tokenizer_kwargs"), {"x": 1}), (("text_cfg", "unknown"), 1),
    (("unknown",), 1), (("multimodal_cfg",), {}), (("custom_text",), "x"),
]  # fmt: skip
"""Invalid values for a configuration."""
MODEL_NAMES = [
    "", " ", ":", "x", "x:y", "ViT-B-32", "ViT-B-32:", "ViT-B-32:none", "ViT-B-32:/dev/zero",
    "ViT-B-32:nowhere.pt", "local-dir:", "local-dir:/nowhere", "/", "/dev/zero", "/dev/null", "..",
    "a\0b", "\udcff", "hf-hub:someone/something", "http://127.0.0.1:1/a.safetensors", "a" * 5000,
    "nowhere.safetensors", "nowhere.pt", "ViT-B-32:openai.bin", "\x1b[31m",
]  # fmt: skip

# Indexes -----------------------------------------------------------------------------------------

STORES = {
    "npy": ("v.npy", "index"), "parquet": ("v.parquet", "index"), "rclip": ("db.sqlite3", "index"),
    "queries": ("queries.txt", "queries"), "paths": ("paths.txt", "paths"),
}  # fmt: skip
"""File name and option by input of `swap-check`."""
STEMS = ("index.json", "_versions", "data", "_transactions")
"""Files of a LanceDB table: ParaCLIP's facts, and LanceDB's own files by folder."""


def swap_check(sound: Path, name: str, option: str, write: Write, folder: Path) -> Action:
    """Check an index with one bad file, and sound ones for all other inputs."""
    write(folder / name)
    stores, tiny = sound / "stores", sound / "tiny.safetensors"
    files = {"index": stores / "v.npy", "paths": stores / "paths.txt",
             "queries": stores / "queries.txt"} | {option: folder / name}  # fmt: skip
    if files["index"].name != "v.npy":
        files.pop("paths")
    words = [word for key, path in files.items() for word in (f"--{key}", path)]
    return ["swap-check", *words, "--base", tiny, "--model", tiny, "--sample", 2, "--k", 1]


def with_table(sound: Path, stem: str, what: str, change: Change, folder: Path) -> None:
    """Copy the table and damage one of its files."""
    shutil.copytree(sound / "index", folder / "index")
    files = sorted(path for path in (folder / "index").rglob("*") if path.is_file())
    chosen = [path for path in files if stem in (path.name, path.parent.name)]
    drawn = random.Random(f"{stem} {what}")
    chosen[-1].write_bytes(change(chosen[-1].read_bytes(), drawn))


def index_cases(sound: Path) -> Iterator[Case]:
    """Bad files for every store, damaged tables, and bad caches."""
    tiny = sound / "tiny.safetensors"
    for kind, (name, option) in STORES.items():
        for what, write in bad_files(sound / "stores" / name).items():
            make = partial(swap_check, sound, name, option, write)
            yield Case(f"swap-check: {kind}", what, make)
    search = ["search", "a red disc", "--store", "index", "--json"]
    update = ["index", sound / "pictures", "--store", "index", "--model", tiny]
    check = ["swap-check", "--index", "index", "--base", tiny, "--model", tiny, "--sample", 2]
    changes = DAMAGE | {f"all {w}": lambda _, d, c=c: c for w, c in LISTED.items()}
    changes["a length of 4 GB"] = lambda content, _: content[:3] + b"\xff" + content[4:]
    for area, words, stems in (
        ("search", search, STEMS), ("update", update, STEMS[:1]), ("check", check, STEMS[1:3]),
    ):  # fmt: skip
        for stem in stems:
            for what, change in changes.items():

                def damaged(folder: Path, stem=stem, what=what, change=change, words=words):
                    with_table(sound, stem, what, change, folder)
                    return words

                yield Case(f"index: {area}", f"{stem} {what}", damaged, ("index/*",))
    for what, place in PLACES.items():

        def at_place(folder: Path, place=place):
            place(folder / "index")
            return search

        yield Case("index: search", what, at_place)
        for inside in ("", "features/x", "builtin/x.gguf"):
            for words in (["doctor"], ["doctor", "--prune"]):
                shown = f"{' '.join(words)}: {inside or 'the folder'} is {what}"
                yield Case("caches", shown, partial(with_cache, words, inside, place), ("*",))


def with_cache(words: list[str], inside: str, place: Write, folder: Path) -> Action:
    """A bad cache folder."""
    path = folder / "cache" / inside if inside else folder / "cache"
    path.parent.mkdir(parents=True, exist_ok=True)
    place(path)
    os.environ["PARACLIP_CACHE"] = str(folder / "cache")
    return words


# Caches of other programs ------------------------------------------------------------------------


def links(path: Path, **targets: str) -> None:
    """Write links beside a file."""
    for name, target in targets.items():
        path.with_name(name).symlink_to(target)


HUB: dict[str, Callable[[Path], object]] = {
    "sound": lambda path: None,
    "folders that are links to themselves": lambda path: links(path, a=".", b=".", c="."),
    "a revision that is all of them": lambda path: links(path.parent, main="."),
    "a revision that is not UTF-8": lambda path: path.parent.rename(path.parents[1] / "\udcff"),
    "a file that looks kept": lambda path: path.with_name(f"{path.name}.x.base").touch(),
}
"""What is wrong with a cache of the hub, of the file that is swapped."""
BESIDE = ("", ".0123456789abcdef.base", ".0123456789abcdef.fedcba9876543210.base")
"""What follows the file's name in those of the file itself and of kept ones."""


def with_hub(sound: Path, what: Write, more: list[Any], folder: Path) -> Action:
    """Swap, or undo it, in a cache with which something is wrong."""
    shutil.copytree(sound / "hub", folder / "hub", symlinks=True)
    what(folder / SNAPSHOT)
    return ["swap", "hugging-face", "--cache", "hub", *more]


def at(name: str, place: Write, path: Path) -> None:
    """Put something in the place of a file or folder beside the file."""
    path = Path(os.path.normpath(path.parent / name))
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    place(path)


def swap_cases(sound: Path) -> Iterator[Case]:
    """Bad caches for `swap` and `swap --undo`."""
    names = [*(Path(SNAPSHOT).name + end for end in BESIDE), "open_clip_config.json", "../1"]
    changes = HUB | {
        f"{name}: {what}": partial(at, name, place)
        for name in names
        for what, place in PLACES.items()
    }
    for deed, more in (("swap", ["--model", sound / "tuned.safetensors"]), ("undo", ["--undo"])):
        for what, change in changes.items():
            make = partial(with_hub, sound, change, more)
            yield Case(f"caches: {deed}", what, make, ("hub/*.safetensors", f"hub/*{BESIDE[2]}"))
        for name, place in {**PLACES, "a" * 5000: PLACES["missing"]}.items():

            def at_place(folder: Path, name=name, place=place, more=more):
                place(folder / "cache")
                cache = "cache" if name in PLACES else name
                return ["swap", "hugging-face", "--cache", cache, *more]

            yield Case(f"caches: {deed}", f"the cache is {name[:20]}", at_place)


# Options -----------------------------------------------------------------------------------------

SKIPPED = ("config", "fresh", "device", "prune")
"""Options for which every value is a text, or that start long jobs."""


def option_cases(sound: Path) -> Iterator[Case]:
    """A bad value for each option of each command, and words that are not options."""
    for label, words in sound_words(sound).items():
        name = label.partition(" ")[0]
        for option, hint in options_of(COMMANDS[name].options_class()):
            if option in words or option.strip("-").replace("-", "_") in SKIPPED:
                continue
            shown = str(hint)
            is_flag = "bool" in shown and "None" not in shown
            numeric = "int" in shown or "float" in shown
            # Values that no numeric option interprets as a long job.
            values = (
                ("maybe",) if is_flag else ("-1", "0", "nan", "x") if numeric else ("\0", "\udcff")
            )
            for value in values:
                make = partial(lambda found, folder: found, [name, *words, option, value])
                yield Case(f"options: {label}", f"{option} {value!r}", make)
    for number, words in enumerate(WORDS):
        make = partial(lambda found, folder: found, words)
        yield Case("options: words", f"{number}: {words!r}"[:60], make)


def options_of(config: type) -> Iterator[tuple[str, Any]]:
    """The options of a command with their types; nested groups are flattened."""
    hints = get_type_hints(config)
    for field in fields(config):
        if is_dataclass(hints[field.name]):
            yield from options_of(hints[field.name])
        else:
            yield f"--{field.name.replace('_', '-')}", hints[field.name]


def sound_words(sound: Path) -> dict[str, list[str]]:
    """For each command, options with which it would end soon.

    A word after the command's name distinguishes several entries.
    """
    tiny, triples_file = str(sound / "tiny.safetensors"), str(sound / "triples" / "t.parquet")
    captions, pictures = str(sound / "csv" / "a.csv"), str(sound / "pictures")
    server = ["--backend", "openai", "--model", "m", "--base-url", DEAD]
    found = {
        "evaluate": [f"base={tiny}", "--benchmarks", "paraphrased-retrieval", "--pairs",
                     str(sound / "pairs" / "p.json"), "--pool", pictures, "--out", "out"],
        "merge": [tiny, tiny, "--out", "out.safetensors"],
        "train": [triples_file, "--images", pictures, "--model", tiny, "--out", "out",
                  "--precision", "fp32"],
        "generate": ["nowhere.csv", "--out", "out"],
        "generate files": [captions, "--out", "out", *server[:4], "--to-file", "requests"],
        "generate server": [captions, "--out", "out", *server],
        "audit": ["nowhere"],
        "index": ["nowhere", "--store", "out"],
        "search": ["a red disc", "--store", str(sound / "index")],
        "serve": ["--store", "nowhere", "--llm", "none"],
        "swap-check": ["--index", str(sound / "stores" / "v.npy"), "--base", tiny, "--model", tiny],
        "swap": ["hugging-face", "--cache", "nowhere", "--model", tiny],
        "doctor": [],
        "quickstart": ["nowhere", "--out", "out"],
        "export": [tiny, "out.safetensors"],
    }  # fmt: skip
    return {label: words for label, words in found.items() if label.split()[0] in COMMANDS}


WORDS: list[list[Any]] = [
    [], ["trian"], ["--nothing"], ["-"], ["--"], [""], ["\0"], ["\udcff"], ["a" * 5000],
    ["evaluate"], ["train"], ["merge", "one"], ["export", "a"], ["generate"], ["--help"],
    ["train", "--config"], ["train", "--config", "nowhere.toml"], ["train", "--config="],
    ["train", "t.parquet", "--config", "/dev/zero"], ["train", "t.parquet", "--config", "/"],
    ["train", "t.parquet", "--weights", "1"], ["train", "t.parquet", "--weights", "1", "2", "x"],
    ["train", "t.parquet", "--epochs"], ["evaluate", "a=b=c"], ["evaluate", "=mini"],
    ["evaluate", "mini", "--benchmarks", "none"],
    ["evaluate", "a=mini", "a=mini"], ["evaluate", "--help"], ["--version"],
    *(dry_run(path) for path in ("/dev/zero", "http://127.0.0.1:1/a.csv", "ftp://x", "a{0..9}.tar",
      "{0..99999999999}.tar", "*", "zip://", "\0")),
    *(compared(path) for path in ("/dev/zero", "/", "\0")), ["export", "/dev/zero", "x"],
    ["generate", "/dev/zero", "--out", "x"], ["quickstart", "/dev/null"],
    ["search", "--store", "nowhere", "--", "-q"], ["--tyro-write-completion", "bash", "x"],
]  # fmt: skip
