"""What the student paints from a sentence, next to the real image (Peng et al. 2022, section 3.2.3).

The paper trains the inverse image and never shows one. Each line of the picture is a sentence: its image, the
student's, and its text. Beside them stand two distances of the student's image, of pixels from 0 to 255: to
the real image, and to the mean over the images shown. A student that paints the same picture for every
sentence has the second one near or below the first.
"""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from fairseq.data import LanguagePairDataset
from torch import Tensor

from ..vision.backbones import Backbone
from .features import (
    GENERATING,
    Trained,
    encode,
    load_trained,
    open_pictured,
    source_text,
)
from .output import Table, check_folder, check_sentences, new_figure, require, write_files

DEFAULT_COUNT = 8

_SMALLEST_CELL = 128  # pixels on the sheet: smaller images are enlarged, each pixel to a square
_GAP = 8
_DPI = 100


def to_pixels(images: Tensor, backbone: Backbone) -> Tensor:
    """Undoes ``backbone.normalise``: float ``K x 3 x H x W`` to uint8 ``K x H x W x 3``, clipped."""
    mean, std = (images.new_tensor(values) for values in (backbone.mean, backbone.std))
    pixels = images.permute(0, 2, 3, 1) * std + mean
    return pixels.mul(255).round().clamp(0, 255).to(torch.uint8)


@torch.no_grad()
def paint(
    trained: Trained, dataset: LanguagePairDataset, sentences: Sequence[int], max_tokens: int
) -> Tensor:
    """The student's image of each of S distinct *sentences*, in their order: uint8 ``S x H x W x 3``."""
    painted: dict[int, Tensor] = {}
    for numbers, _, regions in encode(trained, dataset, sentences, max_tokens):
        images = trained.model.student(regions).image.float()
        painted.update(zip(numbers, to_pixels(images, trained.model.backbone).cpu()))
    return torch.stack([painted[sentence] for sentence in sentences])


def distances(real: Tensor, painted: Tensor) -> tuple[list[float], list[float]]:
    """Root mean square difference of each painted image to its real one, and to the mean of the real ones.

    Both are uint8 ``S x H x W x 3``; the unit is a step of 256.
    """
    real, painted = real.double(), painted.double()
    return tuple(
        (painted - other).square().mean(dim=(1, 2, 3)).sqrt().tolist()
        for other in (real, real.mean(dim=0, keepdim=True))
    )


def contact_sheet(columns: Sequence[np.ndarray], captions: Sequence[str]):
    """A figure with a line for each of S sentences: its images from left to right, caption. Pixels are exact.

    *columns* are uint8 ``S x H x W x 3``.
    """
    cell, factor = cell_size(columns[0].shape[1])
    height = _GAP + len(columns[0]) * (cell + _GAP)
    text_left = _GAP + len(columns) * (cell + _GAP)
    width = text_left + 3 * cell
    figure = new_figure(width / _DPI, height / _DPI, dpi=_DPI)
    characters = 3 * cell // 9  # of 9 pixels at most, on average
    for line, pair in enumerate(zip(*columns)):
        top = _GAP + line * (cell + _GAP)
        for column, image in enumerate(pair):
            enlarged = image.repeat(factor, axis=0).repeat(factor, axis=1)
            # Laid down pixel by pixel, where an axis would resample it. The origin is bottom left.
            figure.figimage(enlarged, _GAP + column * (cell + _GAP), height - top - cell, origin="upper")
        place = text_left / width, 1 - (top + cell / 2) / height
        figure.text(*place, textwrap.fill(captions[line], characters), va="center", parse_math=False)
    return figure


def cell_size(image_size: int) -> tuple[int, int]:
    """Side of an image on the sheet in pixels, and the whole number by which it is enlarged."""
    factor = -(-_SMALLEST_CELL // image_size)
    return factor * image_size, factor


def run(
    *, split: str, output: str, max_tokens: int, sentences: Sequence[int] | None = None, **model: Any
) -> Table:
    """Writes ``inverse.tsv`` and ``inverse.png``."""
    require("matplotlib")
    check_folder(output)
    trained = load_trained(**model, architecture=GENERATING, student=True)
    dataset, pack = open_pictured(trained, split)
    default = pack.with_entry[:DEFAULT_COUNT].tolist()
    sentences = list(dict.fromkeys(default if sentences is None else sentences))
    check_sentences(sentences, split, len(dataset), pack)

    painted = paint(trained, dataset, sentences, max_tokens)
    real = torch.from_numpy(np.stack([pack[sentence] for sentence in sentences]))
    captions = [source_text(trained, dataset, sentence) for sentence in sentences]
    rows = list(zip(sentences, *distances(real, painted), captions))
    table = Table(["sentence", "to the real image", "to the mean image", "source"], rows)
    sheet = contact_sheet([real.numpy(), painted.numpy()], [f"{row[0]}: {row[-1]}" for row in rows])
    write_files(output, {"inverse.tsv": table, "inverse.png": sheet})
    return table
