"""Test sets as prepare.sh leaves them: references, and an image pack for the sentences that have one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ikd_fairseq.constants import NO_IMAGE
from ikd_fairseq.data.image_pack import ImagePackWriter, sources_digest


def write_test_sets(
    folder: Path, splits: Sequence[str], references: Sequence[str], pictured: Sequence[int]
) -> None:
    """Writes the same German *references* for all of *splits*, and one image for *pictured* of ``test``."""
    (folder / "reference").mkdir(parents=True)
    for split in splits:
        (folder / "reference" / f"{split}.de").write_text("\n".join(references) + "\n", encoding="utf-8")
    index = np.full(len(references), NO_IMAGE, dtype=np.int32)
    index[pictured] = 0
    digest = sources_digest(2, index, [("a.jpg", 1, 1)])
    with ImagePackWriter(str(folder / "test"), 2, index, 1, digest) as writer:
        writer.write(0, np.zeros((2, 2, 3), dtype=np.uint8))
        writer.commit({"text": {}})
