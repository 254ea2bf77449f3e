"""Pictures decoded small: sizes, colours, transparency, broken files."""

import io
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from paraclip.data import images
from paraclip.data.images import decode_image, open_image, picture_files
from paraclip.errors import UserError

RED, BLUE = (200, 30, 30), (20, 40, 220)


def saved(path: Path, picture: Image.Image, **options: object) -> str:
    """The picture's path after saving it."""
    picture.save(path, **options)
    return str(path)


def colour(picture: Image.Image) -> tuple[int, ...]:
    """The mean colour, rounded."""
    return tuple(round(float(value)) for value in np.asarray(picture, float).mean((0, 1)))


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "gif", "tif", "ppm"])
@pytest.mark.parametrize("size", [(900, 400), (400, 900), (64, 64), (40, 10), (1, 1)])
def test_it_is_rgb_and_no_smaller_than_twice_the_side(
    tmp_path: Path, ending: str, size: tuple[int, int]
) -> None:
    path = saved(tmp_path / f"red.{ending}", Image.new("RGB", size, RED))
    opened = open_image(path, 32)
    assert opened.mode == "RGB"
    assert min(64, *size) <= min(opened.size) < 128
    assert opened.size[0] / opened.size[1] == pytest.approx(size[0] / size[1], rel=0.05)
    assert np.abs(np.subtract(colour(opened), RED)).max() <= 4


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "I;16"])
def test_every_mode_becomes_rgb_of_the_same_look(tmp_path: Path, mode: str) -> None:
    grey = Image.new("L", (300, 200), 255)
    if mode == "I;16":
        picture = Image.fromarray(np.full((200, 300), 65_280, np.uint16))
    else:
        picture = grey.convert("RGB").convert(mode)
    opened = open_image(saved(tmp_path / "white.tif", picture), 32)
    assert opened.mode == "RGB" and min(colour(opened)) >= 254


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (0.5, np.float32, 128), (100, np.float32, 100), (32_768, np.float32, 128),
        (100, np.int32, 100), (32_768, np.int32, 128), (2**30, np.int32, 128),
        (100 * 256, np.uint16, 100),
    ],
)  # fmt: skip
def test_grey_of_many_bits_keeps_its_shade(
    tmp_path: Path, value: float, kind: type, expected: int
) -> None:
    path = saved(tmp_path / "grey.tif", Image.fromarray(np.full((9, 9), value, kind)))
    assert open_image(path, 8).getpixel((4, 4)) == (expected,) * 3
    for wrong in (float("nan"), float("inf"), -1.0):
        Image.fromarray(np.full((9, 9), wrong, np.float32)).save(path)
        with pytest.raises(UserError, match="negative or not finite"):
            open_image(path, 8)


@pytest.mark.parametrize("size", [(1, 65_000), (65_000, 1), (101, 1)])
def test_thin_pictures_are_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("L", size).save(tmp_path / "thin.png")
    with pytest.raises(UserError, match="too thin"):
        open_image(str(tmp_path / "thin.png"), 224)
    Image.new("L", (100, 1)).save(tmp_path / "thin.png")
    assert open_image(str(tmp_path / "thin.png"), 224).size == (100, 1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(tmp_path: Path, mode: str) -> None:
    # A hidden colour under full transparency must not show.
    clear = Image.new("RGBA", (300, 300), (0, 0, 0, 0))
    path = saved(tmp_path / "clear.png", clear.convert(mode) if mode != "P" else clear.quantize(4))
    assert colour(open_image(path, 32)) == (255, 255, 255)
    picture = Image.new("P", (300, 300), 0)
    picture.putpalette([10, 20, 30, 200, 30, 30])
    picture.paste(1, (0, 0, 150, 300))
    opened = open_image(saved(tmp_path / "half.png", picture, transparency=0), 32)
    assert opened.getpixel((opened.width - 1, 5)) == (255, 255, 255)
    assert opened.getpixel((0, 5)) == RED


@pytest.mark.parametrize("held", range(1, 9))
def test_the_camera_orientation_is_applied(tmp_path: Path, held: int) -> None:
    corners = np.array([[RED, BLUE], [(10, 200, 10), (250, 250, 250)]], np.uint8)
    picture = Image.fromarray(corners.repeat(64, 0).repeat(128, 1))
    exif = Image.Exif()
    exif[0x0112] = held
    path = saved(tmp_path / "turned.jpg", picture, exif=exif, quality=95)
    right = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    opened = open_image(path, 32)
    assert opened.size == (right.width // 2, right.height // 2)
    difference = np.asarray(opened, float) - np.asarray(right.reduce(2), float)
    assert np.abs(difference).mean() < 3


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_is_ignored(tmp_path: Path) -> None:
    picture = Image.new("RGB", (30, 20), RED)
    path = saved(tmp_path / "odd.jpg", picture, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert open_image(path, 32).size == (30, 20)


def test_a_tar_member_is_read(tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.new("RGB", (60, 50), RED).save(content, "PNG")
    shard = tmp_path / "00000.tar"
    with tarfile.open(shard, "w") as archive:
        for name in ("a.png", "b.png"):
            member = tarfile.TarInfo(name)
            member.size = len(content.getvalue())
            archive.addfile(member, io.BytesIO(content.getvalue()))
    for source in (str(shard), f"file://{shard}"):
        assert open_image(f"tar://b.png::{source}", 32).size == (60, 50)
    with pytest.raises(UserError, match="no such picture"):
        open_image(f"tar://c.png::{shard}", 32)
    with pytest.raises(UserError, match="no such picture"):
        open_image(f"tar://c.png::{tmp_path}/other.tar", 32)


def test_broken_pictures_are_named(tmp_path: Path) -> None:
    whole = saved(tmp_path / "noise.png", Image.effect_noise((300, 300), 80))
    content = Path(whole).read_bytes()
    broken = {
        "cut.png": content[: len(content) // 2],
        "empty.png": b"",
        "text.jpg": b"no picture at all",
        "page.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    }
    for name, piece in broken.items():
        path = tmp_path / name
        path.write_bytes(piece)
        with pytest.raises(UserError, match=r"is broken|is not a picture") as caught:
            open_image(str(path), 32)
        assert caught.value.where == str(path) and "\n" not in str(caught.value)


def test_a_picture_of_too_many_pixels_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "large.png", Image.new("L", (200, 200)))
    for limit in (30_000, 1_000):  # Pillow warns above the limit and fails above twice of it
        monkeypatch.setattr(images.Image, "MAX_IMAGE_PIXELS", limit)
        monkeypatch.setattr(images, "MOST_PIXELS", limit)
        with pytest.raises(UserError, match="pixels"):
            open_image(path, 32)


def heic(path: Path, picture: Image.Image) -> str:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(picture).save(path, quality=95)
    return str(path)


def test_heic_is_read_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = heic(tmp_path / "phone.HEIC", Image.new("RGB", (640, 480), RED))
    assert picture_files(tmp_path) == [Path(path)]
    opened = open_image(path, 32)
    assert (opened.mode, opened.size) == ("RGB", (92, 69))
    assert np.abs(np.subtract(colour(opened), RED)).max() <= 6
    thin = heic(tmp_path / "thin.heic", Image.new("RGB", (6500, 64), RED))
    with pytest.raises(UserError, match="too thin"):
        open_image(thin, 32)
    (tmp_path / "cut.heic").write_bytes(Path(path).read_bytes()[:-200])
    with pytest.raises(UserError, match=r"cut\.heic: is broken"):
        open_image(str(tmp_path / "cut.heic"), 32)
    monkeypatch.setattr(images, "LARGEST_FILE", 100)
    with pytest.raises(UserError, match="is larger than"):
        open_image(path, 32)


@pytest.mark.parametrize(("side", "together"), [(4000, True), (4100, False)])
def test_large_pictures_are_decoded_one_at_a_time(side: int, together: bool) -> None:
    meeting, met = threading.Barrier(2), []

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if size is None or size < 0 or size > 2**12:  # pixels, not the header
                with suppress(threading.BrokenBarrierError):
                    met.append(meeting.wait(0.5))
            return super().read(size)

    file = io.BytesIO()
    Image.new("1", (side, side)).save(file, "PPM")
    opened = [
        threading.Thread(target=decode_image, args=(Slow(file.getvalue()), "a.pbm", 32))
        for _ in range(2)
    ]
    for one in opened:
        one.start()
    for one in opened:
        one.join()
    assert bool(met) == together


def test_heic_without_its_package_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "phone.heic"
    path.write_bytes(b"\0\0\0\x1cftypheic" + bytes(100))
    with pytest.raises(UserError, match=r"phone\.heic: is HEIC.*\[heif\]"):
        open_image(str(path), 32)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Port of a server where /a.png is a picture and /to/URL redirects to URL."""

    class Redirects(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            target = self.path.removeprefix("/to/")
            self.send_response(302 if target != self.path else 200)
            self.send_header("Location", target)
            self.end_headers()
            if target == self.path:
                Image.new("RGB", (4, 3)).save(self.wfile, "PNG")

        def log_message(self, *_: object) -> None: ...

    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), Redirects) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield running.server_port
        running.shutdown()


def test_pictures_are_not_redirected_to_other_hosts(server: int) -> None:
    here = f"http://127.0.0.1:{server}"
    for name in ("/a.png", "/to//a.png", f"/to/{here}/a.png"):
        assert open_image(here + name, 2).size == (4, 3)
    for target in (f"http://localhost:{server}/a.png", "file:///etc/passwd", "//localhost/a.png"):
        with pytest.raises(UserError, match=r"another host|cannot be downloaded"):
            open_image(f"{here}/to/{target}", 2)


def test_pictures_are_read_without_the_password_of_their_address(server: int) -> None:
    assert open_image(f"http://me:sesame@127.0.0.1:{server}/a.png", 2).size == (4, 3)
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:1/a\.png: cannot be") as caught:
        open_image("http://me:sesame@127.0.0.1:1/a.png", 2)
    assert "sesame" not in str(caught.value)
