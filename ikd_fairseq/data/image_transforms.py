"""From an image file of any common kind to a square of RGB bytes: pure functions, for ``ikd-pack-images``."""

import os
import warnings

import numpy as np
from PIL import Image, ImageOps

from ..errors import IkdError, check

# More pixels than this are refused before any is decoded: the limit at which Pillow itself speaks of a
# decompression bomb (half a GiB of RGB), and above any camera's picture.
MAX_PIXELS = 178_956_970

# What photographs and drawings come in. Not all of Pillow's: some of its readers run other programs (EPS).
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")


def decode_image(path: str, image_size: int) -> np.ndarray:
    """Decodes an image file to uint8 ``H x W x 3`` (RGB), H = W = *image_size* pixels.

    The image is turned upright by its EXIF tag, laid on white where transparent, and resized to the square
    without keeping its aspect (as the publishers of the Multi30K features did; the code released with IKD-MMT
    cuts the middle of 224 pixels out of 256), with an antialiasing bilinear filter. Of an animation the first
    frame is taken; 16-bit grey is scaled to 8 bits. The result depends on the file alone.

    Raises :class:`IkdError` if the file is empty, truncated, no image, or larger than ``MAX_PIXELS``.
    """
    check(os.path.getsize(path) > 0, f"{path} is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            # Pillow warns at half of the limit; the limit itself is checked below, before decoding.
            warnings.simplefilter("ignore")
            Image.init()
            with Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN]) as image:
                width, height = image.size
                large = f"{path} has {width} x {height} pixels, more than the {MAX_PIXELS:,} that are decoded"
                check(width * height <= MAX_PIXELS, large)
                unknown = f"{path} has floating-point pixels, of unknown range"
                check(image.mode != "F", f"{unknown}: save it with 8 or 16 bits")
                # A large JPEG is decoded at 1/2, 1/4 or 1/8, but never below twice the size asked for:
                # several times faster, and the filter still does the last step.
                image.draft(None, (2 * image_size, 2 * image_size))
                upright = to_rgb(ImageOps.exif_transpose(image))
                resized = upright.resize((image_size, image_size), Image.Resampling.BILINEAR)
                return np.asarray(resized, dtype=np.uint8)
    except IkdError:
        raise
    except Image.UnidentifiedImageError as error:
        raise IkdError(f"{path} is not an image ({', '.join(FORMATS)} are read)") from error
    except Image.DecompressionBombError as error:
        raise IkdError(f"{path} has more than the {MAX_PIXELS:,} pixels that are decoded") from error
    except Exception as error:  # Pillow's readers raise all kinds of exceptions on damaged files
        raise IkdError(f"{path} is truncated or damaged ({error})") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts a Pillow image of any integer mode to RGB: transparency on white, 16-bit grey to 8 bits."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        grey = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")
