"""Every kind of image file becomes the right square of RGB bytes, or is refused with its name."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ikd_fairseq.data import image_transforms
from ikd_fairseq.data.image_transforms import decode_image
from ikd_fairseq.errors import IkdError

ORANGE = (250, 130, 10)


def saved(folder, image, name="image.png", **options):
    path = str(folder / name)
    image.save(path, **options)
    return path


def assert_all(decoded, colour, tolerance=0):
    assert decoded.dtype == np.uint8 and decoded.shape[2] == 3
    assert np.abs(decoded.astype(int) - np.array(colour)).max() <= tolerance


def test_photograph_equals_plain_pillow(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(pixels), "photo.jpg")
    expected = np.asarray(Image.open(path).convert("RGB").resize((8, 8), Image.Resampling.BILINEAR))
    decoded = decode_image(path, 8)
    assert decoded.shape == (8, 8, 3)
    np.testing.assert_array_equal(decoded, expected)


def test_aspect_is_not_kept(tmp_path):
    wide = np.zeros((4, 16, 3), dtype=np.uint8)
    wide[:, 8:] = 255
    decoded = decode_image(saved(tmp_path, Image.fromarray(wide)), 4)
    np.testing.assert_array_equal(decoded[:, 0], np.zeros((4, 3)))
    np.testing.assert_array_equal(decoded[:, 3], np.full((4, 3), 255))


def test_shrinking_averages_instead_of_picking_pixels(tmp_path):
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    assert_all(decode_image(saved(tmp_path, Image.fromarray(stripes)), 4), (127, 127, 127), tolerance=8)


def test_reduced_decoding_of_a_large_jpeg_changes_next_to_nothing(tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    large = Image.fromarray(noise).resize((640, 640), Image.Resampling.BICUBIC)
    path = saved(tmp_path, large, "large.jpg", quality=95)
    full = np.asarray(Image.open(path).resize((32, 32), Image.Resampling.BILINEAR))
    assert np.abs(decode_image(path, 32).astype(int) - full).max() <= 4


@pytest.mark.parametrize(
    "mode, colour, expected",
    [
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("RGB", ORANGE, ORANGE),
        # Transparent pixels lie on white: 255 * (1 - a) + colour * a.
        ("RGBA", ORANGE + (0,), (255, 255, 255)),
        ("RGBA", (0, 100, 200, 51), (204, 224, 244)),
        ("LA", (0, 51), (204, 204, 204)),
    ],
)
def test_modes(tmp_path, mode, colour, expected):
    assert_all(decode_image(saved(tmp_path, Image.new(mode, (5, 5), colour)), 3), expected, tolerance=1)


def test_cmyk(tmp_path):
    path = saved(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "print.jpg", quality=95)
    assert_all(decode_image(path, 4), (255, 0, 0), tolerance=3)


def test_palette(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, *ORANGE])
    assert_all(decode_image(saved(tmp_path, image), 4), ORANGE)


def test_palette_with_a_transparent_colour_lies_on_white(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, *ORANGE])
    assert_all(decode_image(saved(tmp_path, image, transparency=1), 4), (255, 255, 255))


@pytest.mark.parametrize("deep, byte", [(0, 0), (257, 1), (32896, 128), (65535, 255)])
def test_16_bit_grey_is_scaled_not_cut(tmp_path, deep, byte):
    path = saved(tmp_path, Image.fromarray(np.full((4, 4), deep, dtype=np.uint16)))
    assert_all(decode_image(path, 4), (byte, byte, byte))


def test_exif_rotation_is_undone(tmp_path):
    top_red = np.zeros((16, 16, 3), dtype=np.uint8)
    top_red[:8, :, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise: what is stored on top is seen on the right
    decoded = decode_image(saved(tmp_path, Image.fromarray(top_red), exif=exif), 16)
    assert decoded[:, 8:, 0].min() == 255 and decoded[:, :8, 0].max() == 0


def test_of_an_animation_the_first_frame_counts(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in (ORANGE, (0, 0, 255))]
    path = saved(tmp_path, frames[0], "moving.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert_all(decode_image(path, 4), ORANGE)


def test_an_empty_file_is_named(tmp_path):
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(IkdError, match=r"empty\.jpg is empty \(0 bytes\)"):
        decode_image(str(tmp_path / "empty.jpg"), 4)


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    with pytest.raises(IkdError, match=r"page\.jpg is not an image"):
        decode_image(str(tmp_path / "page.jpg"), 4)


def test_a_kind_that_would_run_another_program_is_not_read(tmp_path):
    path = saved(tmp_path, Image.new("RGB", (4, 4)), "drawing.eps")
    with pytest.raises(IkdError, match=r"drawing\.eps is not an image"):
        decode_image(path, 4)


@pytest.mark.parametrize("name", ["cut.jpg", "cut.png"])
def test_a_truncated_file_is_named(tmp_path, name):
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(pixels), name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(IkdError, match=rf"{name} is truncated or damaged"):
        decode_image(path, 4)


def png_claiming(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [13_378, 40_000])  # just above the limit, and where Pillow itself refuses
def test_a_decompression_bomb_is_refused_before_decoding(tmp_path, side):
    (tmp_path / "bomb.png").write_bytes(png_claiming(side, side))
    with pytest.raises(IkdError, match=r"bomb\.png has .*178,956,970"):
        decode_image(str(tmp_path / "bomb.png"), 4)


def test_the_limit_counts_pixels_not_bytes(tmp_path, monkeypatch):
    path = saved(tmp_path, Image.new("RGB", (6, 4)))
    monkeypatch.setattr(image_transforms, "MAX_PIXELS", 24)
    decode_image(path, 4)
    monkeypatch.setattr(image_transforms, "MAX_PIXELS", 23)
    with pytest.raises(IkdError, match="6 x 4 pixels"):
        decode_image(path, 4)


def test_floating_point_pixels_are_refused(tmp_path):
    path = saved(tmp_path, Image.fromarray(np.ones((4, 4), dtype=np.float32)), "map.tif")
    with pytest.raises(IkdError, match=r"map\.tif has floating-point pixels"):
        decode_image(path, 4)
