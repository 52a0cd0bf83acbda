"""``ikd-pack-images``: from an image folder and a list, one name a sentence, to the image pack of a split.

Everything that can be wrong with list, folder and text is refused before the first image is decoded. A run
that was interrupted goes on where it stopped; one that finds its pack complete only records the text beside
it.
"""

import argparse
import contextlib
import dataclasses
import itertools
import logging
import multiprocessing
import multiprocessing.connection
import os
import posixpath
import re
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np

from ..constants import NO_IMAGE
from ..data.image_pack import ImagePack, ImagePackWriter, sources_digest
from ..data.image_transforms import decode_image
from ..errors import IkdError, check, command
from ..io.manifests import text_fingerprint
from ..io.progress import progress, set_up_logging
from .arguments import positive_int

logger = logging.getLogger(__name__)

_IMAGES_PER_TASK = 16
_NAMES_SHOWN = 3
# "name.jpg#3": COCO's and Flickr30K's captions are numbered by image.
_CAPTION_ID = re.compile(r"#\w*$")

# A row and its image, uint8 H x W x 3, or why there is none.
Decoded = tuple[int, np.ndarray | IkdError]


@dataclasses.dataclass
class Sources:
    """The image files of a split.

    Attributes:
        index: int32, N sentences: row or ``NO_IMAGE``.
        paths: of every row.
        lines: of every row, the first line of the list that names it, from 1.
        stats: of every row, name, size in bytes and modification time in ns.
        missing_sentences: how many sentences name a file that is not there.
        missing_files: how many such files there are.
    """

    index: np.ndarray
    paths: list[str] = dataclasses.field(default_factory=list)
    lines: list[int] = dataclasses.field(default_factory=list)
    stats: list[tuple[str, int, int]] = dataclasses.field(default_factory=list)
    missing_sentences: int = 0
    missing_files: int = 0


def read_image_list(path: str) -> list[str]:
    """Returns the image name of every sentence, without caption number; "" for an empty line.

    Raises :class:`IkdError` if the file cannot be read or a line has a caption number alone.
    """
    try:
        with open(path, encoding="utf-8-sig") as stream:
            lines = [line.strip() for line in stream]
    except UnicodeDecodeError as error:
        raise IkdError(f"--list {path} is not text in UTF-8 ({error})") from error
    except OSError as error:
        raise IkdError(f"--list {path} cannot be read: {error.strerror}") from error
    names = [_CAPTION_ID.sub("", line).strip() for line in lines]
    for number, (line, name) in enumerate(zip(lines, names), start=1):
        check(bool(name) or not line, f"line {number} of {path} has no image name before {line!r}")
    return names


def _is_inside(path: str, folder: str) -> bool:
    return os.path.commonpath([path, folder]) == folder


def find_images(names: list[str], list_path: str, folder: str, allow_missing: bool) -> Sources:
    """Finds the file of every name, each once, and decides which row every sentence gets.

    Raises :class:`IkdError` for names that lead out of *folder*, for missing files unless *allow_missing*,
    and if no sentence has an image.
    """
    check(os.path.isdir(folder), f"--images {folder} is not a folder")
    sources = Sources(index=np.full(len(names), NO_IMAGE, dtype=np.int32))
    rows: dict[str, int] = {}
    missing: list[tuple[int, str]] = []
    for sentence, name in enumerate(names):
        if not name:
            continue
        line = sentence + 1
        normal = posixpath.normpath(name)
        if normal not in rows:
            where = f"line {line} of {list_path}: {name!r}"
            path = os.path.join(folder, normal)
            check("\0" not in name, f"{where} is not a file name")
            check(
                not os.path.isabs(name) and _is_inside(os.path.abspath(path), os.path.abspath(folder)),
                f"{where} leads out of the image folder {folder}",
            )
            check(
                _is_inside(os.path.realpath(path), os.path.realpath(folder)),
                f"{where} is a link that leads out of the image folder {folder}: copy the file, or give the "
                "folder that it points to",
            )
            try:
                stat = os.stat(path)
            except FileNotFoundError:
                rows[normal] = NO_IMAGE
                missing.append((line, name))
            except OSError as error:
                raise IkdError(f"{where} cannot be read: {error.strerror}") from error
            else:
                check(os.path.isfile(path), f"{where} is not a file")
                rows[normal] = len(sources.paths)
                sources.paths.append(path)
                sources.lines.append(line)
                sources.stats.append((normal, stat.st_size, stat.st_mtime_ns))
        sources.index[sentence] = rows[normal]
        sources.missing_sentences += rows[normal] == NO_IMAGE
    sources.missing_files = len(missing)

    shown = ", ".join(f"{name} in line {line}" for line, name in missing[:_NAMES_SHOWN])
    shown += ", ..." if len(missing) > _NAMES_SHOWN else ""
    check(
        bool(sources.paths),
        (
            f"not one image that {list_path} names is in {folder} ({shown}): check --images and --list"
            if missing
            else f"{list_path} names no image at all: a split without images needs no pack"
        ),
    )
    check(
        allow_missing or not missing,
        f"{len(missing)} of the images that {list_path} names are not in {folder} ({shown}): check "
        "--images and --list, or pass --allow-missing to use these sentences without an image",
    )
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


def _decode_all(rows: list[tuple[int, str]], image_size: int, workers: int) -> Iterator[Decoded]:
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
        pending = {
            executor.submit(_decode_some, task, image_size) for task in itertools.islice(tasks, 3 * workers)
        }
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
        for future in pending:
            future.cancel()
        executor.shutdown()


def _matching_pack(prefix: str, digest: str) -> ImagePack | None:
    if not ImagePack.exists(prefix):
        return None
    try:
        pack = ImagePack.open(prefix)
    except IkdError as error:
        logger.warning("packing anew: %s", error)
        return None
    return pack if pack.manifest["sources_sha256"] == digest else None


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
        data_dir: the folder that fairseq-preprocess wrote.
        split: such as ``train``.
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
    check(
        len(names) == recorded["sentences"],
        f"{list_path} has {len(names)} lines where {os.path.join(data_dir, text_name)} has "
        f"{recorded['sentences']} sentences: line i must name the image of sentence i",
    )
    sources = find_images(names, list_path, folder, allow_missing)
    digest = sources_digest(image_size, sources.index, sources.stats)
    prefix = os.path.join(data_dir, split)

    pack = _matching_pack(prefix, digest)
    if pack is not None:
        pack.record_text(text)
        logger.info("%s is complete: nothing to pack, recorded the text beside it", prefix)
    else:
        described = {
            "text": text,
            "list": list_path,
            "folder": folder,
            "missing_sentences": sources.missing_sentences,
            "missing_files": sources.missing_files,
        }
        pack = _write_pack(prefix, image_size, sources, digest, workers, described)
    logger.info(
        "%s: %d of %d sentences have an image (%d distinct images), %d name one of %d missing files",
        prefix,
        pack.coverage,
        len(pack),
        len(sources.paths),
        sources.missing_sentences,
        sources.missing_files,
    )
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


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of ``ikd-pack-images``."""
    parser = argparse.ArgumentParser(
        prog="ikd-pack-images",
        description="Pack the images of a split beside its binarised text: SPLIT.images.npy, .index.npy and "
        ".json. An interrupted run goes on where it stopped.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--data", required=True, metavar="DATA", help="folder that fairseq-preprocess wrote")
    parser.add_argument("--split", required=True, help="train, valid, test, test1, ...")
    parser.add_argument(
        "--list",
        required=True,
        metavar="FILE",
        help="one image name a line, line i for sentence i; an empty line is a sentence without an image; a "
        "caption number (name.jpg#3) is ignored",
    )
    parser.add_argument("--images", required=True, metavar="FOLDER", help="folder with the images")
    parser.add_argument(
        "--image-size", type=positive_int, default=224, metavar="PIXELS", help="height and width"
    )
    parser.add_argument(
        "--allow-missing", action="store_true", help="use sentences whose image is missing without one"
    )
    parser.add_argument(
        "--workers", type=positive_int, default=os.cpu_count() or 1, metavar="N", help="decoding processes"
    )
    parser.add_argument(
        "--verify", action="store_true", help="read the finished pack back and compare its SHA-256"
    )
    return parser


@command
def main(argv: list[str] | None = None) -> None:
    """Entry point of ``ikd-pack-images``."""
    args = build_parser().parse_args(argv)
    set_up_logging()
    pack = pack_images(
        args.data, args.split, args.list, args.images, args.image_size, args.allow_missing, args.workers
    )
    if args.verify:
        with progress(None, total=pack.nbytes, desc="verifying", unit="B", unit_scale=True) as bar:
            pack.verify(bar.update)
        logger.info("%s agrees with its recorded SHA-256", pack.prefix)
