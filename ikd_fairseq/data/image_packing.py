"""Packs the images of a split beside its binarised text.

Everything that can be wrong with list, folder and text is refused before the first image is decoded. A run
that was interrupted goes on where it stopped; one that finds its pack complete only records the text beside
it.
"""

import contextlib
import itertools
import logging
import multiprocessing
import multiprocessing.connection
import os
import posixpath
import re
import signal
import threading
from collections.abc import Generator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..constants import NO_IMAGE
from ..errors import IkdError, check
from ..io.locks import claim
from ..io.manifests import text_fingerprint
from ..io.progress import progress
from ..io.text_lines import numbered_lines
from .image_pack import ImagePack, ImagePackWriter, progress_paths, sources_digest
from .image_transforms import decode_image

logger = logging.getLogger(__name__)

_IMAGES_PER_TASK = 16
_NAMES_SHOWN = 3
# "name.jpg#3": COCO's and Flickr30K's captions are numbered by image.
_CAPTION_ID = re.compile(r"#\w*$")

# A row and its image, uint8 H x W x 3, or why there is none.
Decoded = tuple[int, np.ndarray | IkdError]


@dataclass
class Sources:
    """The image files of a split, by row of the pack."""

    index: np.ndarray  # int32, N sentences: row or NO_IMAGE
    paths: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)  # the first of the list that names it, from 1
    stats: list[tuple[str, int, int]] = field(default_factory=list)  # name, bytes, time of change in ns
    missing_sentences: int = 0  # how many name a file that is not there
    missing_files: int = 0  # how many such files there are


def read_image_list(path: str) -> list[str]:
    """Returns the image name of every sentence, without caption number; "" for an empty line.

    Raises :class:`IkdError` if the file cannot be read or a line has a caption number alone.
    """
    names = []
    for number, line in numbered_lines(path):
        names.append(_CAPTION_ID.sub("", line.strip()).strip())
        check(names[-1] or not line.strip(), f"line {number} of {path} has no image name before {line!r}")
    return names


def _stat_inside(path: str, name: str, where: str, folder: str) -> os.stat_result | None:
    """What the system knows of the file *path*, None if it is not there; it must be within *folder*."""
    check("\0" not in name, f"{where} is not a file name")
    inside = not os.path.isabs(name) and Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))
    check(inside, f"{where} leads out of the image folder {folder}")
    linked = f"{where} is a link that leads out of the image folder {folder}"
    within = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    check(within, f"{linked}: copy the file, or give the folder that it points to")
    try:
        stat = os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise IkdError(f"{where} cannot be read: {error.strerror}") from error
    check(os.path.isfile(path), f"{where} is not a file")
    return stat


def has_images(list_path: str, folder: str) -> bool:
    """Whether *folder* has one of the images that a list names. Raises as :func:`read_image_list`."""
    names = (posixpath.normpath(name) for name in dict.fromkeys(read_image_list(list_path)) if name)
    return any(os.path.isfile(os.path.join(folder, name)) for name in names)


def find_images(
    names: list[str],
    list_path: str,
    folder: str,
    allow_missing: bool,
    otherwise: str = "pass --allow-missing to use these sentences without an image",
) -> Sources:
    """Finds the file of every name, each once, and decides which row every sentence gets.

    Args:
        otherwise: what else can be done about missing files, for the message.

    Raises :class:`IkdError` for names that lead out of *folder*, for missing files unless *allow_missing*,
    and if no sentence has an image.
    """
    check(os.path.isdir(folder), f"--images {folder} is not a folder")
    sources = Sources(index=np.full(len(names), NO_IMAGE, dtype=np.int32))
    rows: dict[str, int] = {}
    missing: list[str] = []
    for sentence, name in enumerate(names):
        if not name:
            continue
        line = sentence + 1
        normal = posixpath.normpath(name)
        if normal not in rows:
            path = os.path.join(folder, normal)
            stat = _stat_inside(path, name, f"line {line} of {list_path}: {name!r}", folder)
            rows[normal] = NO_IMAGE if stat is None else len(sources.paths)
            if stat is None:
                missing.append(f"{name} in line {line}")
            else:
                sources.paths.append(path)
                sources.lines.append(line)
                sources.stats.append((normal, stat.st_size, stat.st_mtime_ns))
        sources.index[sentence] = rows[normal]
        sources.missing_sentences += rows[normal] == NO_IMAGE
    sources.missing_files = len(missing)
    shown = ", ".join(missing[:_NAMES_SHOWN] + ["..."] * (len(missing) > _NAMES_SHOWN))
    named = sources.paths or missing
    check(named, f"{list_path} names no image at all: a split without images needs no pack")
    remedy = f"in {folder} ({shown}): check --images and --list"
    check(sources.paths, f"not one image that {list_path} names is {remedy}")
    some = f"{len(missing)} of the images that {list_path} names are not {remedy}"
    check(allow_missing or not missing, f"{some}, or {otherwise}")
    return sources


def _leave_with_parent() -> None:
    """Initialises a decoding process: Ctrl-C is its parent's matter, and with a killed parent it ends too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _decode_some(rows: list[tuple[int, str]], image_size: int) -> list[Decoded]:
    """Decodes the images of some rows; an image that cannot be decoded ends the list with its error."""
    decoded: list[Decoded] = []
    for row, path in rows:
        try:
            decoded.append((row, decode_image(path, image_size)))
        except IkdError as error:
            return decoded + [(row, error)]
    return decoded


def _decode_all(rows: list[tuple[int, str]], image_size: int, workers: int) -> Generator[Decoded, None, None]:
    """Yields (row, image or error), in the order in which *workers* processes finish them."""
    tasks = (rows[start : start + _IMAGES_PER_TASK] for start in range(0, len(rows), _IMAGES_PER_TASK))
    if workers == 1:
        for task in tasks:
            yield from _decode_some(task, image_size)
        return
    # One server imports the package and forks the workers: as safe as spawning them, with one import for all.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_with_parent)
    pending: set[Future] = set()
    try:
        # A few tasks ahead of the workers, not all of them: decoded images wait here until they are written.
        for task in itertools.islice(tasks, 3 * workers):
            pending.add(executor.submit(_decode_some, task, image_size))
        while pending:
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                yield from future.result()
            for task in itertools.islice(tasks, len(finished)):
                pending.add(executor.submit(_decode_some, task, image_size))
    except BrokenProcessPool as error:
        raise IkdError(
            "a decoding process was killed, perhaps for lack of memory: use fewer --workers"
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


def pack_images(
    data_dir: str,
    split: str,
    list_path: str,
    folder: str,
    image_size: int = 224,
    allow_missing: bool = False,
    workers: int = 1,
) -> ImagePack:
    """Packs the images of one split beside its binarised text, and returns the pack.

    Args:
        list_path: text file, line i names the image of sentence i; empty: the sentence has none.
        folder: where the images are; names may lead into its sub-folders, not out of it.
        image_size: height and width of the packed images, in pixels.
        allow_missing: whether sentences whose image file is missing go without.
        workers: number of decoding processes.

    Raises :class:`IkdError` on any input that cannot be used.
    """
    text = text_fingerprint(data_dir, split)
    names = read_image_list(list_path)
    text_name, recorded = next(iter(text.items()))
    found = f"{os.path.join(data_dir, text_name)} has {recorded['sentences']} sentences"
    unequal = f"{list_path} has {len(names)} lines where {found}: line i must name the image of sentence i"
    check(len(names) == recorded["sentences"], unequal)
    sources = find_images(names, list_path, folder, allow_missing)
    digest = sources_digest(image_size, sources.index, sources.stats)
    prefix = os.path.join(data_dir, split)

    with claim(ImagePack.paths(prefix)[-1]):
        pack = _complete_pack(prefix, digest)
        if pack is not None:
            pack.record_text(text)
            logger.info("%s is complete: nothing to pack, recorded the text beside it", prefix)
        else:
            missing = {
                "missing_sentences": sources.missing_sentences,
                "missing_files": sources.missing_files,
            }
            described = {"text": text, "list": list_path, "folder": folder, **missing}
            pack = _write_pack(prefix, image_size, sources, digest, workers, described)
    counts = (pack.coverage, len(pack), len(sources.paths), sources.missing_sentences, sources.missing_files)
    found = "%d of %d sentences have an image (%d distinct images), %d name one of %d missing files"
    logger.info("%s: " + found, prefix, *counts)
    if (variety := pack.variety).suspicious:
        logger.warning("%s: %s", prefix, variety)
    return pack


def _complete_pack(prefix: str, digest: str) -> ImagePack | None:
    """The pack that is there, if it is whole and has this *digest* of what it was made from."""
    if not ImagePack.exists(prefix):
        return None
    try:
        pack = ImagePack.open(prefix)
    except IkdError as error:
        logger.warning("packing anew: %s", error)
        return None
    if pack.manifest["sources_sha256"] != digest:
        return None
    for path in progress_paths(prefix):  # of a run that was killed behind its last step but this one
        Path(path).unlink(missing_ok=True)
    return pack


def _write_pack(
    prefix: str, image_size: int, sources: Sources, digest: str, workers: int, described: dict[str, Any]
) -> ImagePack:
    """Decodes and writes all rows; *described* are further entries of the manifest."""
    with ImagePackWriter(prefix, image_size, sources.index, len(sources.paths), digest) as writer:
        todo = [(row, path) for row, path in enumerate(sources.paths) if not writer.done[row]]
        kept = len(sources.paths) - len(todo)
        if kept:
            logger.info("going on after the %d of %d images of an interrupted run", kept, len(sources.paths))
        processes = min(workers, max(1, len(todo) // _IMAGES_PER_TASK))
        with contextlib.closing(_decode_all(todo, image_size, processes)) as decoded:
            bar_options = {"total": len(sources.paths), "initial": kept, "unit": " images"}
            for row, image in progress(decoded, desc=os.path.basename(prefix), **bar_options):
                if isinstance(image, IkdError):
                    raise IkdError(f"line {sources.lines[row]} of {described['list']}: {image}") from image
                writer.write(row, image)
        with progress(None, total=writer.bytes, desc="SHA-256", unit="B", unit_scale=True) as bar:
            return writer.commit(described, bar.update)
