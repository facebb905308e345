"""Picture files: formats, modes by their values, orientation, limits, and what is no damage."""

import errno
import io
import os
import threading
import zlib

import numpy as np
import pytest
from image_files import encoded, noise
from PIL import EpsImagePlugin, Image, PngImagePlugin

from rmtgen.datasets import FileImages, load_split
from rmtgen.datasets.decoding import MAX_PIXELS, _Memory, decode, examine, suffixes, to_rgb
from rmtgen.errors import (
    CapacityError,
    CorruptInputError,
    DamagedImageError,
    RmtgenError,
    StorageError,
    UsageError,
)
from rmtgen.memory import Bound


def written(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def seen(content, where="x.png", max_pixels=MAX_PIXELS):
    return np.asarray(decode(content, where, max_pixels))


def chunk(kind, content):
    return (
        len(content).to_bytes(4, "big")
        + kind
        + content
        + zlib.crc32(kind + content).to_bytes(4, "big")
    )


COLOURS = noise(5, 7, 3, seed=1)
GREY = noise(5, 7, seed=2)


def with_alpha(mode):
    rgba = np.dstack([COLOURS, noise(5, 7, seed=3) | 1])
    return Image.fromarray(rgba, "RGBA").convert(mode)


# Each mode with the colours that its definition gives, computed without Pillow's conversions.
MODES = {
    "1": (Image.fromarray(GREY > 99), np.where(GREY > 99, 255, 0)[:, :, None].repeat(3, axis=2)),
    "L": (Image.fromarray(GREY), GREY[:, :, None].repeat(3, axis=2)),
    "LA": (Image.merge("LA", [Image.fromarray(GREY)] * 2), GREY[:, :, None].repeat(3, axis=2)),
    "RGB": (Image.fromarray(COLOURS), COLOURS),
    "RGBA": (with_alpha("RGBA"), COLOURS),
    "RGBX": (Image.fromarray(COLOURS).convert("RGBX"), COLOURS),
    "CMYK": (
        Image.merge(
            "CMYK",
            [Image.fromarray(255 - COLOURS[:, :, k]) for k in range(3)]
            + [Image.new("L", (7, 5), 0)],
        ),
        COLOURS,
    ),
}


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_has_the_colours_of_its_definition(mode):
    image, expected = MODES[mode]
    assert image.mode == mode
    result = to_rgb(image)
    assert result.mode == "RGB"
    assert np.array_equal(np.asarray(result), expected)


def test_a_palette_gives_its_colours_with_or_without_transparency():
    palette = noise(4, 3, seed=5)
    indices = noise(5, 7, seed=6) % 4
    image = Image.fromarray(indices, "P")
    image.putpalette(palette.tobytes())
    for transparency in (None, 2, bytes([0, 9, 255, 3])):
        options = {} if transparency is None else {"transparency": transparency}
        assert np.array_equal(seen(written(image, "PNG", **options)), palette[indices])
    paletted = Image.merge("LA", [Image.fromarray(GREY)] * 2).convert("PA")
    assert np.array_equal(np.asarray(to_rgb(paletted)), GREY[:, :, None].repeat(3, axis=2))


def test_premultiplied_modes_are_divided_by_their_alpha():
    full = Image.merge("RGBA", [*Image.fromarray(COLOURS).split(), Image.new("L", (7, 5), 255)])
    assert np.array_equal(np.asarray(to_rgb(full.convert("RGBa"))), COLOURS)
    grey = Image.merge("LA", [Image.fromarray(GREY // 2), Image.new("L", (7, 5), 127)])
    plain = np.asarray(to_rgb(grey.convert("La")))[:, :, 0].astype(int)
    assert np.abs(plain - GREY // 2).max() <= 2


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "LAB"])
def test_colour_spaces_return_to_the_colours_that_they_were_made_from(mode):
    smooth = np.full((4, 4, 3), (200, 120, 60), np.uint8)
    if mode == "LAB":  # L = 50 %, a = b = 0 (stored as 128): a mid grey
        image, expected = Image.new("LAB", (4, 4), (128, 128, 128)), (119, 119, 119)
    else:
        image, expected = Image.fromarray(smooth).convert(mode), (200, 120, 60)
    assert image.mode == mode
    assert np.abs(np.asarray(to_rgb(image)).astype(int) - expected).max() <= 3


@pytest.mark.parametrize("mode", ["I", "F", "I;16", "I;16B", "I;16L"])
def test_deep_modes_are_refused_not_clipped(mode):
    image = Image.new(mode, (3, 3), 7)
    with pytest.raises(UsageError, match=f"8 bits per channel: mode {mode} would be clipped"):
        to_rgb(image)


@pytest.mark.parametrize(
    ("pixels", "kind"),
    [
        (noise(4, 4).astype(np.uint16) * 257, "PNG"),
        (noise(4, 4).astype(np.uint16) * 257, "TIFF"),
        (noise(4, 4).astype(np.int32) * 9999, "TIFF"),
        (noise(4, 4).astype(np.float32), "TIFF"),
        (noise(4, 4).astype(np.uint16) * 257, "PPM"),
    ],
)
def test_deep_files_are_refused_not_clipped(pixels, kind):
    content = written(Image.fromarray(pixels), kind)
    for look in (decode, examine):
        with pytest.raises(DamagedImageError, match=r"x\.png cannot be used: mode [IF].* clipped"):
            look(content, "x.png", MAX_PIXELS)


def test_what_is_no_picture_is_refused_by_its_type():
    with pytest.raises(UsageError, match=r"must be a PIL image, got ndarray\. .*fromarray"):
        to_rgb(COLOURS)


TURNED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_pictures_are_turned_as_their_exif_says(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    content = written(Image.fromarray(COLOURS), kind, exif=exif, **options)
    upright = TURNED[orientation](COLOURS)
    decoded = decode(content, "x.png", MAX_PIXELS)
    assert np.array_equal(np.asarray(decoded), upright)
    assert np.array_equal(np.asarray(to_rgb(decoded)), upright), "turned once, not twice"
    with Image.open(io.BytesIO(content)) as opened:
        assert np.array_equal(np.asarray(to_rgb(opened)), upright)


@pytest.mark.parametrize("exif", [b"Exif\0\0nonsense", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b""])
def test_unreadable_exif_and_unknown_orientations_turn_nothing(exif):
    assert np.array_equal(seen(written(Image.fromarray(COLOURS), "PNG", exif=exif)), COLOURS)
    odd = Image.Exif()
    odd[0x0112] = 9
    assert np.array_equal(seen(written(Image.fromarray(COLOURS), "PNG", exif=odd)), COLOURS)


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".jp2", ".webp", ".tga", ".pbm", ".apng"])
def test_the_suffixes_of_still_pictures_are_known(suffix):
    assert suffix in suffixes()


@pytest.mark.parametrize("suffix", [".eps", ".ps", ".pdf", ".psd", ".mpg", ".wmf", ".h5", ".fits"])
def test_the_suffixes_of_programs_and_containers_are_not(suffix):
    assert suffix not in suffixes()


def test_a_picture_under_the_suffix_of_another_is_read():
    content = written(Image.fromarray(COLOURS), "PNG")
    for where in ("x.jpg", "x.PNG", "x.webp", "row 3"):
        assert np.array_equal(seen(content, where), COLOURS)
    assert np.array_equal(seen(written(Image.fromarray(COLOURS), "TGA"), "x.tga"), COLOURS)


def test_content_beside_the_listed_formats_is_not_opened(monkeypatch):
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", None)  # a call would be a TypeError
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n"
    for content in (
        program,
        written(Image.fromarray(COLOURS), "TGA"),
        b"8BPS" + bytes(40),
        b"GIF",
        b"<html>404</html>",
    ):
        with pytest.raises(DamagedImageError, match="cannot be decoded: UnidentifiedImageError"):
            seen(content)


def test_of_several_frames_the_first_counts():
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    for kind in ("GIF", "TIFF", "PNG"):
        content = written(frames[0], kind, save_all=True, append_images=frames[1:])
        assert np.array_equal(seen(content), GREY[:, :, None].repeat(3, axis=2))


def test_a_limit_of_pixels_names_the_picture_and_the_field():
    content = written(Image.new("1", (400, 300)), "PNG")
    assert seen(content, max_pixels=120_000).shape == (300, 400, 3)
    message = r"at most max_pixels=119,999 pixels: x\.png has 400 × 300 = 120,000\. Set max_pixels"
    for look in (decode, examine):
        with pytest.raises(UsageError, match=message):
            look(content, "x.png", 119_999)


def test_a_bomb_is_refused_before_it_is_decoded():
    header = (2**31 - 1).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"x")
    with pytest.raises(
        UsageError, match=r"max_pixels=250,000,000 pixels: x\.png has 2,147,483,647"
    ):
        seen(content)


def test_the_limits_of_pillow_do_not_make_sound_pictures_damaged(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    notes = PngImagePlugin.PngInfo()
    notes.add_text("prompt", "x" * 2**21, zip=True)
    notes.add_itxt("story", "y" * 2**21, zip=True)
    picture = Image.fromarray(COLOURS)
    for options in ({"pnginfo": notes}, {"icc_profile": bytes(1_100_000)}, {}):
        assert np.array_equal(seen(written(picture, "PNG", **options)), COLOURS)
    exif = Image.Exif()
    exif[0x0112] = 3
    content = written(picture, "PNG", pnginfo=notes, exif=exif)
    assert np.array_equal(seen(content), COLOURS[::-1, ::-1])
    oriented = PngImagePlugin.PngInfo()
    oriented.add_text("prompt", "x" * 2**21, zip=True)
    oriented.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="3"/>')
    assert np.array_equal(seen(written(picture, "PNG", pnginfo=oriented)), COLOURS[::-1, ::-1])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_bytes_cut_off_anywhere_are_damage(kind):
    content = written(Image.fromarray(noise(40, 40, 3)), kind)
    for cut in (0, 1, 9, 30, len(content) // 2):
        with pytest.raises(DamagedImageError, match=r"x\.png cannot be decoded"):
            seen(content[:cut])


def test_random_bytes_behind_a_known_mark_are_damage():
    rng = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "JPEG2000", "PPM", "QOI"):
        content = bytearray(written(Image.fromarray(COLOURS), kind))
        for _ in range(40):
            broken = content.copy()
            for place in rng.integers(0, len(broken), 6):
                broken[place] = rng.integers(256)
            try:
                picture = decode(bytes(broken), "x.png", 10**6)
            except RmtgenError:
                continue
            assert picture.mode == "RGB"


REFUSALS = [
    (MemoryError(), CapacityError, "not enough memory"),
    (OSError(errno.EMFILE, "Too many open files"), StorageError, "Too many open files"),
    (OSError("broken data stream"), DamagedImageError, "broken data stream"),
    (Image.DecompressionBombError("a part is huge"), UsageError, "limit of Pillow"),
]


@pytest.mark.parametrize(("failure", "expected", "message"), REFUSALS)
def test_what_the_machine_refuses_is_no_damage(monkeypatch, failure, expected, message):
    def fail(_image):
        raise failure

    content = written(Image.fromarray(COLOURS), "PNG")
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    with pytest.raises(expected, match=rf"x\.png .*{message}"):
        seen(content)
    assert issubclass(expected, DamagedImageError) == (expected is DamagedImageError)


@pytest.mark.parametrize(
    ("number", "expected", "remedy"),
    [
        (errno.EIO, StorageError, "Check the disk"),
        (errno.EACCES, StorageError, "Make it readable"),
        (errno.EMFILE, StorageError, "ulimit -n"),
        (errno.ENOMEM, CapacityError, "memory"),
    ],
)
def test_a_read_that_fails_ends_the_stage_even_where_damage_is_skipped(
    folder, name, monkeypatch, number, expected, remedy
):
    opened = os.open

    def fail(path, *arguments, **options):
        if str(path).endswith("train/bee/03.png"):
            raise OSError(number, os.strerror(number), path)
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(expected, match=rf"bee/03\.png .*{remedy}"):
        load_split(name, train=None, test=None, on_corrupt="skip")


def test_a_read_that_fails_once_is_tried_again(folder, name, monkeypatch):
    opened, failures = os.open, []

    def fail_once(path, *arguments, **options):
        if str(path).endswith("train/bee/03.png") and not failures:
            failures.append(path)
            raise OSError(errno.EIO, "Input/output error", path)
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "open", fail_once)
    assert len(load_split(name, train=None, test=None, on_corrupt="skip").train) == 36
    assert len(failures) == 1


def test_a_pipe_or_a_device_in_place_of_a_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", tmp_path, "/dev/zero"):
        with pytest.raises(CorruptInputError, match="must be a plain file"):
            FileImages([str(path)]).read(0)


def test_a_file_larger_than_any_picture_is_not_read(tmp_path):
    with (tmp_path / "x.png").open("wb") as file:
        file.truncate(2**27)
    with pytest.raises(UsageError, match=r"x\.png has 134,217,728\. Set max_pixels"):
        FileImages([str(tmp_path / "x.png")], max_pixels=100).read(0)


def test_decoded_pictures_share_a_bound_and_one_above_it_goes_alone(monkeypatch):
    monkeypatch.setattr("rmtgen.datasets.decoding._DECODED_BYTES", 100)
    memory, held, most, together = _Memory(), [0], [], threading.Lock()

    def work(size):
        with memory.holding(size, "x.png"):
            with together:
                held[0] += size
                most.append((held[0], size))
            threading.Event().wait(0.002)
            with together:
                held[0] -= size

    threads = [threading.Thread(target=work, args=[size]) for size in (40, 40, 40, 150, 60) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 20
    assert all(total <= 100 or total == size == 150 for total, size in most)


def test_a_picture_beyond_the_free_memory_is_refused(monkeypatch):
    monkeypatch.setattr("rmtgen.datasets.decoding.tightest", lambda: Bound("the machine", 2**26))
    content = written(Image.new("1", (9000, 9000)), "PNG")
    with pytest.raises(
        CapacityError, match=r"x\.png takes .* MiB of memory to decode, got 64.* \(the machine\)"
    ):
        seen(content)


def test_the_encoder_of_the_tests_is_lossless():
    assert np.array_equal(seen(encoded(COLOURS)), COLOURS)


def test_of_16_bits_per_colour_the_upper_8_are_kept():
    deep = np.random.default_rng(0).integers(0, 2**16, (5, 7, 3))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    header = (7).to_bytes(4, "big") + (5).to_bytes(4, "big") + bytes([16, 2, 0, 0, 0])
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert np.array_equal(seen(b"\x89PNG\r\n\x1a\n" + parts), deep >> 8)
