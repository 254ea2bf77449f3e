"""Inputs that try to break a promise of docs/guide/security.md: no file lost, everything limited.

The names of the cases are quoted in docs/guide/security.md.
"""

import gzip
import http.client
import io
import json
import os
import re
import resource
import shutil
import signal
import socket
import sqlite3
import struct
import tarfile
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.inputs.cases import (
    DEAD,
    LOST,
    MODELS,
    WRONG,
    Action,
    Case,
    be_patient,
    body,
    chat,
    dry_run,
    generate,
    paraclip,
    served,
)
from benchmarks.inputs.sound import SNAPSHOT, TRIPLES, draw

SECRET = "sk-0123456789abcdefghijklmnop"
NOTES = b"written by a person\n"
Make = Callable[[Path, Path], Action]
"""Writes the user's files: of the sound inputs and the case's folder, what to run."""


def cases(sound: Path) -> Iterator[Case]:
    """All of them."""
    for area, table in TABLES.items():
        for name, (make, *more) in table.items():
            options: dict[str, Any] = more[0] if more else {}
            yield Case(f"promises: {area}", name, partial(make, sound), **options)


# Files of a user ---------------------------------------------------------------------------------


def index_words(sound: Path, *more: object) -> list[Any]:
    """Build an index of the sound pictures in `index`."""
    return ["index", sound / "pictures", "--store", "index", "--model",
            sound / "tiny.safetensors", *more]  # fmt: skip


def rebuilt(stop: Callable[[], object], sound: Path, folder: Path) -> Action:
    """Rebuild an index; what happens at the first picture ends it; then search the old one."""
    shutil.copytree(sound / "index", folder / "index")

    def run() -> int:
        child = os.fork()
        if child == 0:
            from PIL.ImageFile import ImageFile

            ImageFile.load = lambda self: stop()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            with suppress(BaseException):
                paraclip(*index_words(sound, "--rebuild"))
            os._exit(0)
        os.waitpid(child, 0)
        search = ["search", "a red disc", "--store", folder / "index", "--json"]
        return LOST if paraclip(*search) else 0

    return run


def full_disk() -> None:
    """The disk is full from now on."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def with_files(
    files: dict[str, bytes], words: Callable[[Path, Path], Sequence[object]], sound: Path,
    folder: Path,
) -> Action:  # fmt: skip
    """Files that a person wrote, and a command whose output is in their place."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return list(words(sound, folder))


def tiny(sound: Path) -> Path:
    """The tiny model."""
    return sound / "tiny.safetensors"


def trained(sound: Path, *more: object) -> list[object]:
    """Train for one step."""
    return ["train", sound / "triples" / "t.parquet", "--images", sound / "pictures", "--model",
            tiny(sound), "--epochs", 1, "--batch-size", 2, *more]  # fmt: skip


def over(files: dict[str, bytes], words: Callable[[Path, Path], Sequence[object]]) -> Make:
    """A command that must keep the given files."""
    return partial(with_files, files, words)


def generated_again(files: dict[str, bytes], sound: Path, folder: Path) -> Action:
    """A run of `generate` is repeated where a person has changed or added some files."""
    shutil.copytree(sound / "run", folder / "out")
    for name, content in files.items():
        (folder / "out" / name).write_bytes(content)
    return lambda: paraclip(*generate(sound, served(MODELS), folder / "out"))


def log_alone(sound: Path, folder: Path) -> Action:
    """A folder with a log of answers, and other files of a person."""
    names = ("README.md", "triples.parquet", "rejected.jsonl", "summary.json")
    (folder / "out").mkdir()
    shutil.copy(sound / "run" / "answers.jsonl", folder / "out")
    for name in names:
        (folder / "out" / name).write_bytes(NOTES)
    return lambda: paraclip(*generate(sound, served(MODELS), folder / "out"))


def swapped(sound: Path, folder: Path, *more: object) -> int:
    """Swap the tuned model into a copy of a cache, or undo it."""
    if not (folder / "hub").exists():
        shutil.copytree(sound / "hub", folder / "hub")
    words = more or ("--model", sound / "tuned.safetensors")
    return paraclip("swap", "hugging-face", "--cache", folder / "hub", *words)


def undone_later(sound: Path, folder: Path) -> Action:
    """The program has replaced what was swapped; a person has files like those of `swap`."""
    swapped(sound, folder)
    file = folder / SNAPSHOT
    for name in (file.name, f".{file.name}.notes.0123456789ab.part", f"{file.name}.notes.base"):
        file.with_name(name).write_bytes(NOTES)
    return lambda: swapped(sound, folder, "--undo")


def swapped_together(sound: Path, folder: Path) -> Action:
    """Several swaps of one cache at once, of two models; what is undone then must be the base."""
    shutil.copytree(sound / "hub", folder / "hub")

    def run() -> int:
        children = []
        for name in ("tuned", "other") * 3:
            if (child := os.fork()) == 0:
                swapped(sound, folder, "--model", sound / f"{name}.safetensors")
                os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        found = swapped(sound, folder, "--undo")
        return found or (LOST if list((folder / SNAPSHOT).parent.glob("*.base")) else 0)

    return run


MODEL_FILES = {"notes.safetensors": NOTES, "notes.md": NOTES}
RUN_FILES = dict.fromkeys(("out/last.safetensors", "out/metrics.jsonl", "out/notes.txt"), NOTES)
FILES: dict[str, tuple[Any, ...]] = {
    "rebuild, killed": (partial(rebuilt, lambda: os.kill(os.getpid(), signal.SIGKILL)),),
    "rebuild, Ctrl-C": (partial(rebuilt, lambda: os.kill(os.getpid(), signal.SIGINT)),),
    "rebuild, full disk": (partial(rebuilt, full_disk),),
    "index in a folder with files": (over({"index/notes.txt": NOTES, "index/index.json": NOTES},
        lambda sound, _: index_words(sound, "--rebuild")),),
    "merge over a file": (over(MODEL_FILES, lambda sound, _: [
        "merge", tiny(sound), tiny(sound), "--out", "notes.safetensors"]),),
    "merge beside a card": (over({"notes.md": NOTES}, lambda sound, _: [
        "merge", tiny(sound), tiny(sound), "--out", "notes.safetensors"]),),
    "export over a file": (over(MODEL_FILES, lambda sound, _: [
        "export", tiny(sound), "notes.safetensors"]),),
    "train in a folder with files": (over(RUN_FILES, lambda sound, _: trained(
        sound, "--out", "out")),),
    "train --fresh, foreign run.json": (over(RUN_FILES | {"out/run.json": b'{"of": "me"}\n'},
        lambda sound, _: trained(sound, "--out", "out", "--fresh")),),
    "train --fresh, forged run.json": (over(
        RUN_FILES | {"out/run.json": b'{"format": "paraclip-run-1", "settings": {}}\n'},
        lambda sound, _: trained(sound, "--out", "out", "--fresh")),),
    "search --sheet over a photograph": (lambda sound, folder: (
        draw(folder / "red.png"), ["search", "a red disc", "--store", sound / "index", "--sheet",
                                   folder / "red.png"])[1],),
    "search --sheet over a file": (over({"notes.png": NOTES}, lambda sound, _: [
        "search", "a red disc", "--store", sound / "index", "--sheet", "notes.png"]),),
    "generate over foreign files": (log_alone, {"may_change": ("out/answers.jsonl",)}),
    "generate again, edited card": (partial(generated_again, {"README.md": NOTES}),
                                    {"may_change": ("out/[!R]*",)}),
    "export --force over a folder": (over({"out/notes.txt": NOTES, "out/a/b.txt": NOTES},
        lambda sound, _: ["export", tiny(sound), "out", "--force"]),),
    "broken rows over a file": (over(
        {"notes.txt": NOTES, "a.csv": b"caption,image\n,\nA dog.,\n"}, lambda _, folder: [
            *dry_run(folder / "a.csv"), "--problems", "notes.txt"]),),
    "broken pictures over a file": (over({"notes.txt": NOTES, "pictures/a.png": NOTES},
        lambda sound, folder: ["index", folder / "pictures", "--store", "index", "--model",
                               tiny(sound), "--problems", "notes.txt"]),),
    "evaluate in a folder with files": (over({"out/report.json": NOTES, "out/report.md": NOTES},
        lambda sound, _: ["evaluate", f"base={tiny(sound)}", "--benchmarks",
                          "paraphrased-retrieval", "--pairs", sound / "pairs" / "p.json",
                          "--pool", sound / "pictures", "--out", "out"]),),
    "swap --undo after a newer download": (undone_later,),
    "swap, six at once": (swapped_together,),
    "generate --to-file in a folder with files": (over({"batch/notes.jsonl": NOTES,
        "batch/manifest.json": NOTES, "batch/requests-0001.jsonl": NOTES}, lambda sound, folder: [
            *generate(sound, DEAD, folder / "out"), "--to-file", "batch"]),),
    **{f"generate --to-file beside {what}": (over({f"batch/{name}": text}, lambda sound, folder: [
        *generate(sound, DEAD, folder / "out"), "--to-file", "batch"]), {"refused": True})
       for what, name, text in (
           ("another manifest", "manifest.json", b'{"files": ["a.png"]}'),
           ("a folder named like a part", ".requests-0001.jsonl.part/notes.txt", NOTES))},
    **{f"{option} over a file": (over({"notes.txt": NOTES}, lambda *_, option=option: [
        "generate", option, "bash", "notes.txt"]), {"refused": True})
       for option in ("--tyro-write-completion", "--tyro_write_completion")},
}  # fmt: skip

# Limits ------------------------------------------------------------------------------------------


def tar_with(change: Callable[[bytes], bytes]) -> bytes:
    """A tar file whose second header is changed."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        info = tarfile.TarInfo("0.txt")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"text"))
    header = bytearray(change(stream.getvalue()[:512]))
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}".encode() + b"\0 "
    return stream.getvalue()[:1024] + bytes(header) + stream.getvalue()[512:]


def negative_size(header: bytes) -> bytes:
    """A size below zero, in base 256 (CVE-2025-8194)."""
    return header[:124] + b"\xff" * 10 + b"\xfe\x00" + header[136:]


def pax_size(header: bytes) -> bytes:
    """A PAX header of 2^40 bytes."""
    sized = header[:124] + b"\x80" + (1 << 40).to_bytes(11, "big") + header[136:]
    return sized[:156] + b"x" + sized[157:]


def read_both(name: str, content: bytes) -> dict[str, tuple[Any, ...]]:
    """A file of captions, read as captions and indexed."""

    def written(words: Callable[[Path, Path], list[Any]], sound: Path, folder: Path) -> Action:
        (folder / name).write_bytes(content)
        return words(sound, folder / name)

    return {
        "read": (partial(written, lambda _, path: dry_run(path)),),
        "index": (partial(written, index_of),),
    }


def index_of(sound: Path, source: Path | str) -> list[Any]:
    """Index the pictures of a source."""
    return ["index", source, "--store", "index", "--model", tiny(sound)]


def pipe(address: str, of: str, sound: Path, folder: Path) -> Action:
    """A named pipe behind a scheme, as captions or as a picture."""
    os.mkfifo(folder / "f.csv")
    name = address.format(folder / "f.csv")
    if of == "captions":
        return dry_run(name)
    if of == "csv":
        (folder / "a.csv").write_text(f"caption,image\nA dog.,{name}\n")
        return index_of(sound, folder / "a.csv")
    rows = [{**row, "image": name} for row in TRIPLES]
    pq.write_table(pa.Table.from_pylist(rows), folder / "t.parquet")
    return ["train", folder / "t.parquet", "--model", tiny(sound), "--out", "out"]


def strange_name(sound: Path, folder: Path) -> Action:
    """A picture in a folder is named like a URL of another file, which must not be read."""
    draw(folder / "secret.png", (64, 64))
    (folder / "pictures").mkdir()
    target = folder / "pictures" / f"simplecache::{folder}/secret.png"
    target.parent.mkdir(parents=True)
    target.write_bytes(NOTES)  # not a picture: an index of this folder has no picture

    def run() -> int:
        found = paraclip(*index_of(sound, folder / "pictures"))
        return found if found == 2 else WRONG

    return run


def real_name(sound: Path, folder: Path) -> Action:
    """A picture whose file name has a double colon is a picture."""
    (folder / "pictures").mkdir()
    draw(folder / "pictures" / "red::1.png")

    def run() -> int:
        code = paraclip(*index_of(sound, folder / "pictures"), "--max-broken", 0)
        return WRONG if code else 0

    return run


SCHEMES = (
    "zip://a::b", "zip://*.csv::{}/a.zip", "tar://a::{}", "dir://a::b", "generic://a", "generic://",
    "asyncwrapper://a", "reference://a", "reference::{}", "simplecache::{}/a.csv",
    "simplecache::http://127.0.0.1:1/a.csv", "filecache::{}", "blockcache::{}", "cached::{}",
    "github://a:b@main/c.csv", "ftp://127.0.0.1/a.csv", "sftp://127.0.0.1/a.csv", "ssh://a/b.csv",
    "smb://a/b.csv", "hdfs://a/b.csv", "webhdfs://a/b.csv", "git://a@b:c.csv", "jupyter://a/b",
    "libarchive://a::b", "data:text/csv,caption", "dask://a", "dbfs://a", "root://a/b", "oci://a",
    "local://", "file://", "memory://nowhere.csv",
)  # fmt: skip


def schemes() -> dict[str, tuple[Any, ...]]:
    """Each scheme as captions and as the name of a picture."""

    def captions(address: str, sound: Path, folder: Path) -> Action:
        return dry_run(address.format(folder))

    def picture(address: str, sound: Path, folder: Path) -> Action:
        (folder / "a.csv").write_text(f'caption,image\nA dog.,"{address.format(folder)}"\n')
        return [*index_of(sound, folder / "a.csv"), "--max-broken", 0]

    return {
        f"{what} {address}": (partial(make, address), {"refused": True})
        for address in SCHEMES
        for what, make in (("captions", captions), ("picture", picture))
    }


def compressed(name: str, begin: bytes, filling: bytes) -> Make:
    """A file of 4 MB that has 4 GB when it is decompressed."""

    def make(sound: Path, folder: Path) -> Action:
        part = gzip.compress(filling * (1 << 24))  # members follow one another
        (folder / name).write_bytes(gzip.compress(begin) + part * 256)
        return dry_run(folder / name)

    return make


def long_element(sound: Path, folder: Path) -> Action:
    """A JSON list whose one element has 3.8 MB."""
    text = '[{"caption": "A dog.", "more": [' + "0," * 1_900_000 + "0]}]"
    (folder / "a.json").write_text(text)
    return dry_run(folder / "a.json")


def rclip(statement: str, sound: Path, folder: Path) -> Action:
    """A database for `swap-check` whose content is made by a statement."""
    with closing(sqlite3.connect(folder / "db.sqlite3")) as connection:
        connection.executescript(statement)
    return ["swap-check", "--index", folder / "db.sqlite3", "--base", tiny(sound), "--model",
            tiny(sound)]  # fmt: skip


COLUMNS = "id INTEGER PRIMARY KEY, deleted BOOLEAN, filepath TEXT, vector BLOB"
VIEW = """CREATE VIEW images AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n)
SELECT id, NULL AS deleted, 'a.png' AS filepath, zeroblob(2048) AS vector FROM n;"""
BLOB = f"""CREATE TABLE images ({COLUMNS});
INSERT INTO images (filepath, vector) VALUES ('a.png', zeroblob(900000000));"""


def waiting(sound: Path, folder: Path) -> Action:
    """A server that asks for a wait of 30 million years."""
    sends = {**MODELS, "answer": body(b"{}", "429 X", "Retry-After: 1e15")}

    def run() -> int:
        be_patient(2, 5)
        return paraclip(*generate(sound, served(sends), folder / "out"))

    return run


LIMITS: dict[str, tuple[Any, ...]] = {
    **{f"a tar member of a negative size, {how}": found for how, found in
       read_both("a.tar", tar_with(negative_size)).items()},
    **{f"a PAX header of 2^40 bytes, {how}": found for how, found in
       read_both("a.tar", tar_with(pax_size)).items()},
    **{f"a named pipe, {address.partition('{')[0] or 'plain'}, {of}": (partial(pipe, address, of),)
       for address in ("{}", "file://{}", "local://{}") for of in ("captions", "csv", "triples")},
    "a picture named like a URL": (strange_name,), "a picture with :: in its name": (real_name,),
    "4 GB of compressed newlines": (compressed("a.csv.gz", b"caption\n", b"\n"),),
    "4 GB of compressed blanks": (compressed("a.json.gz", b"[", b" "),),
    "one JSON element of 3.8 MB": (long_element,),
    "60,000 commas in braces": (lambda sound, folder: dry_run("{" + "," * 60_000),),
    "rclip: a view without an end": (partial(rclip, VIEW), {"refused": True}),
    "rclip: a vector of 900 MB": (partial(rclip, BLOB), {"refused": True}),
    "Retry-After: 1e15": (waiting,),
}  # fmt: skip

# Wrong answers and secrets -----------------------------------------------------------------------


def logged(change: Callable[[str], str], sound: Path, folder: Path) -> Action:
    """A run of `generate` is repeated after its log has been changed."""
    shutil.copytree(sound / "run", folder / "out")
    log = folder / "out" / "answers.jsonl"
    log.write_text(change(log.read_text()))
    return lambda: paraclip(*generate(sound, served(MODELS), folder / "out"))


def with_tokens(text: str) -> str:
    """Token counts of 400 digits in every line but the first."""
    first, rest = text.split("\n", 1)
    return f"{first}\n" + re.sub(r'("\w*tokens": )\d+', r"\g<1>" + "9" * 400, rest)


def with_surrogate(text: str) -> str:
    """A lone surrogate in the answers."""
    return text.replace("disc", "\\ud800")


def later_format(text: str) -> str:
    """A log of a future version."""
    return re.sub(r'("paraclip": )1', r"\g<1>99", text, count=1)


def many_tokens(sound: Path, folder: Path) -> Action:
    """A server that reports 10^400 tokens."""
    found = chat("There is a red disc.") | {"usage": {"prompt_tokens": 10**400}}
    sends = {**MODELS, "answer": body(json.dumps(found).encode())}
    return lambda: paraclip(*generate(sound, served(sends), folder / "out"))


def secret_kept(sound: Path, folder: Path, in_path: bool) -> Action:
    """A secret in the server's URL, or echoed by the server, must not be written."""
    basic = b64encode(f"me:{SECRET}".encode()).decode()

    def run() -> int:
        error = {"error": {"message": f"bad header Authorization: Basic {basic}"}}
        echo = body(json.dumps(error).encode(), "400 Bad")
        address = served(MODELS if in_path else {**MODELS, "answer": echo})
        if in_path:
            address = address.replace("/v1", f"/{SECRET}/v1")
        else:
            address = address.replace("://", f"://me:{SECRET}@")
        code = paraclip(*generate(sound, address, folder / "out"))
        files = [path for path in (folder / "out").rglob("*") if path.is_file()]
        written = b"".join(path.read_bytes() for path in files)
        return WRONG if SECRET.encode() in written or basic.encode() in written else code

    return run


def other_host(sound: Path, folder: Path) -> Action:
    """A picture's server sends to another host, which must not be visited."""
    content = draw(folder / "a.png")

    def run() -> int:
        visits: list[bytes] = []
        target = served({"models": body(content)}, visits).replace("127.0.0.1", "localhost")
        moved = body(b"", "302 Found", f"Location: {target}/x.png")
        first = served({"models": moved})
        (folder / "a.csv").write_text(f"caption,image\nA dog.,{first}/x.png\n")
        code = paraclip(*index_of(sound, folder / "a.csv"))
        return WRONG if visits else code

    return run


def faulty_filter(sound: Path, folder: Path) -> Action:
    """A filter raises an exception for each answer: it is named, by a second run as well."""

    def fail(answer: object) -> bool:
        raise ValueError("broken")

    def run() -> int:
        from paraclip.paraphrase.filters import checks

        checks.FILTERS = {"broken": fail, **checks.FILTERS}
        words = generate(sound, served(MODELS), folder / "out")
        for code in (paraclip(*words), paraclip(*words)):
            written = (folder / "out" / "failed.jsonl").read_text()
            if code != 2 or "ValueError: broken (paraclip/" not in written:
                return WRONG
        return 2

    return run


def in_environment(name: str, value: str, sound: Path, folder: Path) -> Action:
    """A server on another machine is asked where a variable of the environment is bad."""

    def run() -> int:
        os.environ[name] = value
        return paraclip(*generate(sound, "https://server.invalid/v1", folder / "out"))

    return run


ENVIRONMENT: dict[str, tuple[Any, ...]] = {
    f"{name}={value!r}": (partial(in_environment, name, value), {"refused": True})
    for names, values in (
        (("ALL_PROXY", "HTTPS_PROXY", "http_proxy"),
         ("socks5://h:1", "socks4://h:1", "http://[::1", "h:1:2", "http://h\x1b", "ftp://h")),
        (("SSL_CERT_FILE", "SSL_CERT_DIR"), ("/nowhere", "/", "/etc/passwd", "\udcff")),
        (("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS"),
         ("é: é", "\x1b", "\udcff")),
    )
    for name in names
    for value in values
}  # fmt: skip
OWN_RUN = {"may_change": ("out/*",)}
ANSWERS: dict[str, tuple[Any, ...]] = {
    "export to /proc": (lambda sound, _: ["export", tiny(sound), "/proc/x"], {"refused": True}),
    "train to /proc": (lambda sound, _: trained(sound, "--out", "/proc/x"), {"refused": True}),
    "token counts of 400 digits in the log": (partial(logged, with_tokens), OWN_RUN),
    "token counts of 400 digits from a server": (many_tokens,),
    "a lone surrogate in the log": (partial(logged, with_surrogate), OWN_RUN),
    "a log of a later format": (partial(logged, later_format), {**OWN_RUN, "refused": True}),
    "an index by a model of NaN": (lambda sound, _: [
        "index", sound / "pictures", "--store", "index", "--model", sound / "nan.safetensors"],
        {"refused": True}),
    "a key in a URL": (partial(secret_kept, in_path=True),),
    "an echoed Authorization": (partial(secret_kept, in_path=False),),
    "a picture that moved to another host": (other_host,),
    "a filter that raises an exception": (faulty_filter,),
}  # fmt: skip

# The search server -------------------------------------------------------------------------------


def attacked(
    attack: Callable[[int], object], sound: Path, folder: Path, *words: object, files: int = 4096,
    pictures: Path | None = None,
) -> Action:  # fmt: skip
    """Serve an index, attack the server, and see whether it answers, stays small and stops."""

    def run() -> int:
        if pictures is not None and paraclip(*index_of(sound, pictures)):
            return WRONG
        store = folder / "index" if pictures is not None else sound / "index"
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, 4096))
            code = 1
            with suppress(BaseException):
                more = words if "--llm" in words else ("--llm", "none", *words)
                code = paraclip("serve", "--store", store, "--port", port, *more)
            os._exit(code)
        for _ in range(300):  # it listens before it has loaded its models
            if request(port, "GET", "/healthz")[0] == 200:
                break
            time.sleep(0.1)
        before = resident(child)
        verdict = attack(port)
        healthy = request(port, "GET", "/healthz")[0] == 200
        grown = resident(child) - before
        os.kill(child, signal.SIGINT)
        for _ in range(150):
            if os.waitpid(child, os.WNOHANG)[0]:
                break
            time.sleep(0.1)
        else:
            os.write(2, b"the server did not stop in 15 seconds\n")
            return WRONG
        if verdict is False or not healthy or grown > 1 << 30:
            note = f"verdict {verdict}, healthy {healthy}, {grown >> 20} MiB more"
            os.write(2, f"{note}\n".encode())
            return WRONG
        return 0

    return run


def resident(process: int) -> int:
    """Peak resident bytes of a process."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) << 10


def request(port: int, method: str, path: str, content: bytes = b"", **headers: str) -> Any:
    """Status and body of a response; 0 if there is none."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with closing(connection), suppress(OSError, http.client.HTTPException):
        connection.request(method, path, content or None, named)
        response = connection.getresponse()
        return response.status, response.read()
    return 0, b""


def unfinished(count: int, sent: bytes) -> Callable[[int], object]:
    """Open many uploads, send a part of each, and leave them."""

    def attack(port: int) -> None:
        opened = []
        for _ in range(count):
            with suppress(OSError):
                connection = socket.create_connection(("127.0.0.1", port), 5)
                opened.append(connection)
                connection.settimeout(0.5)
                connection.sendall(b"POST /api/search/picture HTTP/1.1\r\nHost: localhost\r\n"
                                   b"Content-Length: 10000000\r\n\r\n" + sent)  # fmt: skip
        time.sleep(1)
        for connection in opened:
            connection.close()

    return attack


def reset_pipelines(port: int) -> None:
    """Send several searches on each of many connections, and reset these before an answer."""
    search = b"GET /api/search?q=disc HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for count in range(1, 31):
        connection = socket.create_connection(("127.0.0.1", port), 5)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(search * (1 + count % 4))
        time.sleep(0.01 * (count % 3))
        connection.close()
    time.sleep(2)


def foreign_origin(port: int) -> bool:
    """Whether a page of another site is refused, and the server's own page is not."""
    content = b'{"text": "a red disc"}'
    own = request(port, "POST", "/api/search/picture", b"x", Origin=f"http://127.0.0.1:{port}")[0]
    others = [
        request(port, "POST", path, content, Content_Type="application/json", **headers)[0]
        for path in ("/api/search/picture", "/api/reword")
        for headers in ({"Origin": "http://evil.example"}, {"Sec_Fetch_Site": "cross-site"})
    ]
    return own != 403 and all(status == 403 for status in others)


def slow_readers(port: int) -> bool:
    """Whether others are served while 60 clients do not read a large picture."""
    for _ in range(60):  # the copy of the index may still be made
        found = json.loads(request(port, "GET", "/api/search?q=disc&k=1")[1])
        if shown := [hit for one in found["models"] for hits in one["results"] for hit in hits]:
            break
        time.sleep(0.5)
    picture = shown[0]["id"]
    opened = []
    for _ in range(60):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        connection.sendall(
            f"GET /api/picture/{picture} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        opened.append(connection)
    return request(port, "GET", "/api/search?q=disc&k=1")[0] == 200


def large_picture(sound: Path, folder: Path) -> Action:
    """Slow readers of a picture of 30 MB."""
    (folder / "pictures").mkdir()
    draw(folder / "pictures" / "large.png", (3000, 3300))
    return attacked(slow_readers, sound, folder, pictures=folder / "pictures")


def many_connections(port: int) -> None:
    """More connections than the server may open files."""
    opened = []
    for _ in range(600):
        with suppress(OSError):
            opened.append(socket.create_connection(("127.0.0.1", port), 2))
    time.sleep(2)
    for connection in opened:
        connection.close()
    time.sleep(1)


def rewordings(sound: Path, folder: Path) -> Action:
    """60 requests for rewordings to a language model that never answers."""

    def attack(port: int) -> bool:
        found: list[int] = []

        def ask(number: int) -> None:
            content = json.dumps({"text": f"a red disc {number}"}).encode()
            found.append(request(port, "POST", "/api/reword", content,
                                 Content_Type="application/json")[0])  # fmt: skip

        threads = [threading.Thread(target=ask, args=(n,), daemon=True) for n in range(60)]
        for thread in threads:
            thread.start()
        time.sleep(8)
        return found.count(503) >= 20

    def run() -> Any:
        silent = served({**MODELS, "answer": lambda connection: time.sleep(3600)})
        words = ("--llm", "openai", "--llm-model", "fake", "--base-url", silent)
        return attacked(attack, sound, folder, *words)()

    return run


LONG = {"seconds": 120.0}
SERVER: dict[str, tuple[Any, ...]] = {
    "60 rewordings of a silent model": (rewordings, LONG),
    "slow readers of a large picture": (large_picture, LONG),
    "more connections than files": (partial(attacked, many_connections, files=256), LONG),
    "aborted uploads": (partial(attacked, unfinished(50, b"x" * 100_000)), LONG),
    "200 unfinished uploads of 9 MB": (partial(attacked, unfinished(200, b"x" * 9_000_000)), LONG),
    "requests of another site": (partial(attacked, foreign_origin), LONG),
    "pipelined requests that are reset": (partial(attacked, reset_pipelines), LONG),
}
# Before long work --------------------------------------------------------------------------------


def early(words: Callable[[Path], Sequence[object]], sound: Path, folder: Path) -> Action:
    """What a run needs is missing: nothing may be encoded, asked or scored before it says so."""
    (folder / "notes").write_bytes(NOTES)
    (folder / "cut.safetensors").write_bytes(tiny(sound).read_bytes()[:20_000])

    def run() -> int:
        from paraclip.models import features
        from paraclip.paraphrase import run as asking

        entered: list[str] = []
        for module, name in ((features, "compute"), (asking, "count_captions")):
            setattr(module, name, lambda *_, name=name, **__: entered.append(name))
        code = paraclip(*words(sound))
        return WRONG if entered or code != 2 else code

    return run


EARLY: dict[str, tuple[Any, ...]] = {name: (partial(early, words),) for name, words in {
    "train into a file": lambda sound: trained(sound, "--out", "notes"),
    "train into /proc": lambda sound: trained(sound, "--out", "/proc/x"),
    "train --bank of another model": lambda sound: trained(
        sound, "--out", "out", "--bank", sound / "vectors" / "v.npy"),
    "train --bank of no name": lambda sound: trained(sound, "--out", "out", "--bank", ""),
    "train, an unknown teacher": lambda sound: trained(
        sound, "--out", "out", "--bank", sound / "pictures", "--teacher", "base", "nosuch"),
    "train, missing texts": lambda sound: trained(sound, "--out", "out", "--texts", "no.txt"),
    "train, a cut model": lambda sound: [
        "train", sound / "triples" / "t.parquet", "--model", "cut.safetensors"],
    "quickstart, a cut model": lambda sound: [
        "quickstart", sound / "pictures", "--model", "cut.safetensors", "--out", "out"],
    "quickstart, an unknown model": lambda sound: [
        "quickstart", sound / "pictures", "--model", "nosuch", "--out", "out"],
    "quickstart into a file": lambda sound: ["quickstart", sound / "pictures", "--out", "notes"],
    "evaluate into a file": lambda sound: ["evaluate", tiny(sound), "--out", "notes"],
    "evaluate, an unknown benchmark": lambda sound: [
        "evaluate", "cut.safetensors", "--benchmarks", "nosuch"],
    "index into a file": lambda sound: ["index", sound / "pictures", "--store", "notes"],
    "generate into a file": lambda sound: [*generate(sound, DEAD, Path("notes"))],
    "export into /proc": lambda sound: ["export", tiny(sound), "/proc/x", "--to", "onnx"],
}.items()}  # fmt: skip

TABLES: dict[str, dict[str, tuple[Any, ...]]] = {
    "files": FILES, "limits": LIMITS, "schemes": schemes(), "answers": ANSWERS,
    "environment": ENVIRONMENT, "serve": SERVER,
    "before long work": EARLY,
}  # fmt: skip
