"""Whether the images of a split can teach anything: not blank, and not one for many sentences.

A list with one name in every line, or a download that left black placeholders, trains without an error.
"""

import hashlib
from collections import Counter
from typing import NamedTuple

import numpy as np

from ..constants import NO_IMAGE

SENTENCES = 256  # that are looked at, evenly spaced over those with an image
_LEAST = 10  # sentences with an image, of which something is told
TOLD_FROM = 0.2  # share of them: with five captions an image, data of 25 sentences and more are below it


class Variety(NamedTuple):
    """What some sentences' images, or features, have in common.

    Attributes:
        sentences: how many were looked at.
        blank: share of them whose image is of one colour, or whose features are of one value.
        same: share of them that have the most frequent image, by its content.
    """

    sentences: int
    blank: float
    same: float

    @property
    def suspicious(self) -> bool:
        """Whether a user should be told."""
        return self.sentences >= _LEAST and max(self.blank, self.same) >= TOLD_FROM

    def __str__(self) -> str:
        return (
            f"of {self.sentences} sentences with an image that were looked at, {self.blank:.0%} have one "
            f"without any content (of one colour or value), and {self.same:.0%} have the very same: little "
            "can be learnt from these, so look at the image list, the folder and the files"
        )


def variety_of(index: np.ndarray, rows: np.ndarray) -> Variety:
    """Looks at some of the images, or features, of a split.

    Args:
        index: int32, N sentences: the row of each, or ``NO_IMAGE``.
        rows: images, uint8 ``rows x H x W x 3``, or features, float16 ``rows x P x C``.
    """
    with_image = index[index != NO_IMAGE]
    places = np.unique(np.linspace(0, len(with_image) - 1, min(SENTENCES, len(with_image)), dtype=np.int64))
    blank, contents = 0, Counter[bytes]()
    for row in with_image[places]:
        entry = np.array(rows[row])
        values = entry.reshape(-1, entry.shape[-1] if entry.dtype == np.uint8 else 1)
        blank += bool((values == values[0]).all())
        contents[hashlib.sha256(entry.tobytes()).digest()] += 1
    looked_at = max(len(places), 1)
    return Variety(len(places), blank / looked_at, max(contents.values(), default=0) / looked_at)
