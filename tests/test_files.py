"""Files are written completely or not at all, errors name the path, records hold no secret."""

import errno
import os
import re
import shutil
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paraclip.errors import UserError, nearest
from paraclip.files import (
    atomic_path,
    cache_folder,
    check_input,
    check_room,
    file_hash,
    locked,
    read_bounded,
    refuse_overwriting,
    write_text,
)
from paraclip.provenance import provenance, publishable, without_secrets


def test_a_written_file_is_whole_and_leaves_nothing_next_to_it(tmp_path: Path) -> None:
    write_text(tmp_path / "deep" / "a.txt", "words")
    assert (tmp_path / "deep" / "a.txt").read_text() == "words"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    ("place", "what"),
    [
        ("notes", "in the way"), ("notes/deep", "in the way"), ("/proc/x/y", "no files can be"),
        ("dangling", "no files can be"), ("x" * 300, "too long"), ("pipe", "is a pipe"),
    ],
)  # fmt: skip
def test_a_folder_that_could_not_be_written_is_refused(
    tmp_path: Path, place: str, what: str
) -> None:
    (tmp_path / "notes").write_text("words")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "deep")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match=what):
        check_room(tmp_path / place)


def test_a_disk_that_is_too_full_is_refused_with_both_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=2_000_000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    check_room(tmp_path / "new" / "deep", 2_000_000)
    with pytest.raises(UserError, match=r"new/deep: needs 3\.5 MB.* 2\.0 MB free"):
        check_room(tmp_path / "new" / "deep", 3_500_000)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_the_previous_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk is full"), (errno.EDQUOT, "disk is full"), (errno.EROFS, "written"),
        (errno.EBUSY, "written"), (errno.ENOTEMPTY, "in the way"), (errno.ENOENT, "no files can"),
    ],
)  # fmt: skip
def test_a_fault_of_the_disk_is_reported_in_one_line(
    tmp_path: Path, number: int, words: str
) -> None:
    with pytest.raises(UserError, match=rf"a\.bin.*{words}"), atomic_path(tmp_path / "a.bin"):
        raise OSError(number, os.strerror(number))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_path_that_is_taken_or_cannot_be_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    (tmp_path / "folder").mkdir()
    for target, words in (
        (tmp_path / "file" / "a.txt", "is in the way"), (tmp_path / "folder", "is in the way"),
        (Path("/proc/x"), "no files can be created"), (Path("/proc/x/y"), "no files can be cre"),
        *((Path(name), "does not end in the name") for name in (".", "", "..", "/", "a/..")),
    ):  # fmt: skip
        with pytest.raises(UserError, match=words):
            write_text(target, "words")
    for place, words in ((tmp_path / "file", "is in the way"), (Path("/proc/x"), "no files can")):
        with pytest.raises(UserError, match=words), locked(place):
            raise AssertionError("it was made")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


def test_a_folder_is_one_process_s_at_a_time(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "run"
    refused = pytest.raises(UserError, match="run: another run is writing here")
    with locked(target), refused, locked(target):
        raise AssertionError("two are in it")
    with pytest.raises(UserError, match="contains a NUL"), locked(Path("a\0b")):
        raise AssertionError("it was made")
    with locked(target):
        assert [path.name for path in target.iterdir()] == [".lock"]


def test_a_file_system_without_locks_stops_nobody(tmp_path: Path, monkeypatch) -> None:
    def unknown(file, how):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr("fcntl.flock", unknown)
    with locked(tmp_path):
        pass


def test_a_user_error_is_one_line_and_offers_what_is_close() -> None:
    assert str(UserError("a.csv:3", "a\nb", "Fix it.")) == "a.csv:3: a b. Fix it."
    assert nearest("opanai", ["openai", "builtin"]) == "Did you mean openai?"
    assert nearest("zzz", ["openai", "builtin"]) == "There are openai, builtin."
    assert nearest("zzz", list("abcdefghij")) == "There are a, b, c, d, e, f, g, h and more."


def test_the_cache_folder_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARACLIP_CACHE", "/somewhere")
    assert cache_folder() == Path("/somewhere")
    monkeypatch.delenv("PARACLIP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_folder() == Path("/elsewhere/paraclip")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == Path("~/.cache/paraclip").expanduser()
    monkeypatch.setenv("PARACLIP_CACHE", "~no-such-user/x")
    with pytest.raises(UserError, match=r"^~no-such-user/x: .* Set PARACLIP_CACHE to another"):
        cache_folder()


@pytest.mark.parametrize(
    ("cache", "hint"),
    [("", "Set PARACLIP_CACHE"), ("b", "another output"), ("~nobody-here/x", "another output")],
)
def test_what_cannot_be_written_is_in_the_cache_or_an_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str, hint: str
) -> None:
    monkeypatch.setenv("PARACLIP_CACHE", cache if "~" in cache else str(tmp_path / cache))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=hint):
        write_text(tmp_path / "file" / "a.txt", "")


def test_a_command_is_kept_without_passwords_and_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["generate", "s3://bucket/a.csv?key=abc", "--base-url", "http://me:secret@host:80/v1"]
    monkeypatch.setattr("sys.argv", ["/somewhere/bin/paraclip", *words])
    record = provenance(seed=3)
    assert record["seed"] == 3 and {"paraclip", "python", "torch"} <= set(record["versions"])
    assert os.uname().nodename not in str(record["machine"])
    kept = record["command"]
    shown = ["generate", "s3://bucket/a.csv?...", "--base-url", "http://host:80/v1"]
    assert kept == ["paraclip", *shown]
    monkeypatch.setattr("sys.argv", ["site-packages/paraclip/__main__.py", "train"])
    assert provenance()["command"] == ["paraclip", "train"]
    for called in ("x/train.py", "bin/tool", "tool/__main__.py"):  # with options of its own
        monkeypatch.setattr("sys.argv", [called, "--hf-token", "hf_abc"])
        assert provenance()["command"] == [Path(called).name]


def test_a_file_larger_than_it_may_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"12345")
    assert read_bounded(tmp_path / "a.txt", 5) == b"12345"
    with pytest.raises(UserError, match=r"a\.txt: holds more than 0 MiB"):
        read_bounded(tmp_path / "a.txt", 4)


def test_a_file_that_tells_no_size_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_bytes(b"12345")
    monkeypatch.setattr(os, "fstat", lambda _: os.stat_result([0] * 10))  # as in /proc
    assert read_bounded(tmp_path / "a.txt", 5) == b"12345"
    with pytest.raises(UserError, match="holds more"):
        read_bounded(tmp_path / "a.txt", 4)


def test_two_writers_with_one_process_id_do_not_interfere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 1)  # as in two containers
    with atomic_path(tmp_path / "a") as first, atomic_path(tmp_path / "a") as second:
        assert first != second
        first.write_text("one"), second.write_text("two")
    assert (tmp_path / "a").read_text() == "one"


def test_pipes_devices_and_strange_names_are_not_accepted(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        for read in (check_input, read_bounded, file_hash):
            with pytest.raises(UserError, match="is a pipe, a socket or a device"):
                read(path)
    with pytest.raises(UserError, match="NUL"):
        check_input("a\0b")
    with pytest.raises(UserError, match="not UTF-8"), atomic_path("a\udcff"):
        raise AssertionError("it was opened")
    with pytest.raises(UserError, match=r"is a pipe.*Choose another output path"):
        write_text(tmp_path / "pipe", "words")
    assert (tmp_path / "pipe").is_fifo()
    check_input(tmp_path), check_input(tmp_path / "missing")
    with pytest.raises(UserError, match="a name that is too long"):
        write_text(tmp_path / ("x" * 300), "words")
    with pytest.raises(UserError, match="a name that is too long"):
        check_input("x/" * 3000)


def test_an_output_that_is_an_input_is_refused_by_any_name(tmp_path: Path) -> None:
    source, other = tmp_path / "a", tmp_path / "b"
    source.touch(), other.touch()
    (tmp_path / "soft").symlink_to(source)
    os.link(source, tmp_path / "hard")
    for name in ("a", "soft", "hard", f"../{tmp_path.name}/a"):
        with pytest.raises(UserError, match="which would be overwritten"):
            refuse_overwriting(tmp_path / name, ["s3://a/b", other, source])
    refuse_overwriting(tmp_path / "new", [source])
    refuse_overwriting(tmp_path / "new", (1 / 0 for _ in "a"))  # no input is looked at
    refuse_overwriting(other, [source, "s3://a/b"])


@pytest.mark.parametrize(
    "user", ["me:secret@", "me:se@cret@", "me:se/cret@", "me:se?cret@", "secret@", "me:se#cret@"]
)
def test_no_part_of_a_password_is_shown(user: str) -> None:
    shown = without_secrets(f"https://{user}host:80/v1?token=cret")
    assert shown == "https://host:80/v1?..."
    shown = without_secrets("--base-url=https://host/v1/0a1b2c3d4e5f6071/openai and x")
    assert shown == "--base-url=https://host/v1/***/openai and x"
    for text in ("https://host/v1", "captions.csv", "mail me@host"):
        assert without_secrets(text) == text


_WORDS = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=1)
_PATHS = st.lists(st.text("ab@:.-%1", max_size=5), max_size=3).map("/".join)
_PATHS = _PATHS.filter(lambda path: ":/" not in path)  # another address


@given(st.data(), st.sampled_from(["https", "postgresql", "s3", "http:/"]), st.booleans())
def test_of_an_address_the_user_and_the_query_are_cut_and_nothing_else(
    data: st.DataObject, scheme: str, quoted: bool
) -> None:
    user, password, key = (data.draw(_WORDS) for _ in range(3))
    if quoted:
        user, password = quote(user, safe=""), quote(password, safe="")
    else:  # as people write it, with @ and : as they are; before / ? # a server's name would end
        user, password = (re.sub("[/?#]", "_", part) for part in (user, password))
    place = data.draw(st.sampled_from(["host", "host:80", "[::1]:80", "10.0.0.1", "a.b-c.org"]))
    path = data.draw(st.sampled_from(["", "/"])) and f"/{data.draw(_PATHS)}"
    prefix = "http:/" if scheme == "http:/" else f"{scheme}://"  # as pathlib merges slashes
    plain = f"{prefix}{place}{path}"
    for secret in (f"{user}:{password}@", f"{user}@", f":{password}@"):
        whole = plain.replace(prefix, prefix + secret)
        for before, after in (("", ""), ("see ", " me@x"), ("--bank=", "")):
            assert without_secrets(f"{before}{whole}{after}") == f"{before}{plain}{after}"
            shown = without_secrets(f"{before}{whole}?key={key}@{key}{after}")
            assert shown == f"{before}{plain}?...{after}"
        assert publishable({"a": [Path("b"), (whole, None, 3)]}) == {"a": ["b", [plain, None, 3]]}


def test_no_message_contains_a_password() -> None:
    """What is not a password, such as a port, stays: a message must name the right file."""
    for url, shown in (
        ("https://me:se@cret@host/a.csv:12", "https://host/a.csv:12"),
        ("https:/me:se/cret@host/a", "https:/host/a"),  # as pathlib writes it
        ("https://secret@host", "https://host"),
        ("tar://b@c.png::https://me:secret@host/a.tar", "tar://b@c.png::https://host/a.tar"),
        ("https://me:secret@[::1]:80/a.png", "https://[::1]:80/a.png"),
        *(
            (same, same)
            for same in (
                *("https://host:8000/@me/a.png", "https://host/@me", "http://[::1]:80/a@2x.png"),
                *("abfs://box@host/a", "az://box@host/a", "me@host", "C:/me@home.png"),
            )
        ),
    ):  # fmt: skip
        assert str(UserError(url, f"has {url}", f"Name {url} or x@y")).startswith(
            f"{shown}: has {shown}. Name {shown} or"
        )
