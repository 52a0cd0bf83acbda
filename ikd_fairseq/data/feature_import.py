"""Features that others published, brought in as ``SPLIT.features.NAME`` and held against text and images."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import check
from ..io.manifests import text_fingerprint
from ..io.progress import progress
from .feature_pack import BY_IMAGE, BY_SENTENCE, FeaturePack, check_name, to_half, write_features
from .image_pack import ImagePack
from .image_packing import read_image_list
from .published_features import Layout, Published, by_region, open_published, tell_layout

_ROWS_AT_ONCE = 256


def import_features(
    data_dir: str,
    split: str,
    path: str,
    name: str,
    rows: str | None = None,
    layout: Layout | None = None,
    dataset: str | None = None,
    list_path: str | None = None,
) -> FeaturePack:
    """Brings in features that others published, as ``SPLIT.features.NAME``.

    Args:
        data_dir: the folder with the text, and with the image pack if the features come by image.
        path: a file or folder that :func:`~ikd_fairseq.data.published_features.open_published` reads, of any
            float type: rows x C (then P = 1), rows x P x C or rows x C x P, rows x C x H x W or rows x H x W
            x C (then P = H*W, row by row).
        rows: ``images`` or ``sentences``, what the rows stand for; None to tell by their number.
        layout: whether channels come first or last; None to tell by the shape.
        dataset: which array, of a file of several.
        list_path: for a folder of one file an image: line i names the image of sentence i, as for the pack.

    Raises:
        IkdError: the file cannot be used, its axes cannot be told apart, its rows fit neither the sentences
            nor the images, or it holds what is not finite.
    """
    check_name(name)
    text = text_fingerprint(data_dir, split)
    sentences = next(iter(text.values()))["sentences"]
    prefix = os.path.join(data_dir, split)
    pack = ImagePack.open(prefix) if ImagePack.exists(prefix) else None
    names = None
    if list_path is not None:
        rows, names = _names(rows, list_path, sentences, pack)
    published = open_published(path, dataset, names)
    array = published.array
    rows = _tell_rows(rows, path, array.shape[0], prefix, sentences, pack)
    layout = tell_layout(array.shape, layout, path)
    manifest: dict[str, Any] = {"rows": rows, "source": path}
    if rows == BY_SENTENCE:
        manifest["text"] = text
    else:
        pack.check_text(data_dir, split)
        manifest.update({key: pack.manifest[key] for key in ("images_sha256", "index_sha256")})
    shape = (array.shape[0], *by_region(array[:1], layout).shape[1:])
    return write_features(prefix, name, shape, _blocks(published, layout), manifest)


def _blocks(published: Published, layout: Layout) -> Iterator[np.ndarray]:
    """Yields all rows as float16 ``some x P x C``, with a progress bar."""
    count, at_once = published.array.shape[0], 1 if published.files else _ROWS_AT_ONCE
    with progress(None, total=count, unit=" rows") as bar:
        for start in range(0, count, at_once):
            block = by_region(published.array[start : start + at_once], layout)
            source, first = published.source(start)
            yield to_half(block, first, source)
            bar.update(len(block))


def _names(
    asked: str | None, list_path: str, sentences: int, pack: ImagePack | None
) -> tuple[str, Sequence[str]]:
    """What rows the files of a folder are, and the image of each: those of a pack, or of every sentence."""
    names = read_image_list(list_path)
    check(
        len(names) == sentences,
        f"--list {list_path} has {len(names)} lines where the split has {sentences} sentences: line i must "
        "name the image of sentence i",
    )
    if pack is not None and asked != BY_SENTENCE:
        with_image = pack.with_entry
        _, first = np.unique(pack.index[with_image], return_index=True)
        return BY_IMAGE, [names[sentence] for sentence in with_image[first]]
    missing = next((number for number, name in enumerate(names, start=1) if not name), None)
    check(
        missing is None,
        f"line {missing} of --list {list_path} names no image: features of some sentences alone need an "
        "image pack, so run ikd-pack-images first",
    )
    return BY_SENTENCE, names


def _tell_rows(
    asked: str | None, path: str, count: int, prefix: str, sentences: int, pack: ImagePack | None
) -> str:
    """Decides whether the *count* rows of a file stand for images or for sentences."""
    images = pack.manifest["images"] if pack else None
    packed = f"{images} images" if pack else "no image pack"
    found = f"--from-file {path} has {count} rows, and {prefix} has {sentences} sentences and {packed}"
    fitting = [rows for rows, number in ((BY_SENTENCE, sentences), (BY_IMAGE, images)) if number == count]
    if asked is not None:
        check(asked in fitting, f"{found}: they cannot be --rows {asked}")
        return asked
    check(fitting, f"{found}: one row for each sentence or for each image is needed")
    # Where image i is sentence i's, both readings are the same.
    clear = len(fitting) == 1 or (pack is not None and np.array_equal(pack.index, np.arange(count)))
    check(clear, f"{found}: say which is meant, --rows sentences or --rows images")
    return fitting[0]
