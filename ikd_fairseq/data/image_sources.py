"""The image files of a split: a list with one name a sentence, and the folder that they are in."""

import os
import posixpath
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..constants import NO_IMAGE
from ..errors import IkdError, check

_NAMES_SHOWN = 3
# "name.jpg#3": COCO's and Flickr30K's captions are numbered by image.
_CAPTION_ID = re.compile(r"#\w*$")


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
    try:
        with open(path, encoding="utf-8-sig") as stream:
            lines = [line.strip() for line in stream]
    except UnicodeDecodeError as error:
        raise IkdError(f"--list {path} is not text in UTF-8 ({error})") from error
    except OSError as error:
        raise IkdError(f"--list {path} cannot be read: {error.strerror}") from error
    names = [_CAPTION_ID.sub("", line).strip() for line in lines]
    for number, (line, name) in enumerate(zip(lines, names), start=1):
        check(name or not line, f"line {number} of {path} has no image name before {line!r}")
    return names


def _stat_inside(path: str, name: str, where: str, folder: str) -> os.stat_result | None:
    """What the system knows of the file *path*, None if it is not there; it must be within *folder*."""
    check("\0" not in name, f"{where} is not a file name")
    inside = not os.path.isabs(name) and Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))
    check(inside, f"{where} leads out of the image folder {folder}")
    linked = f"{where} is a link that leads out of the image folder {folder}"
    within = Path(path).resolve().is_relative_to(Path(folder).resolve())
    check(within, f"{linked}: copy the file, or give the folder that it points to")
    try:
        stat = os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise IkdError(f"{where} cannot be read: {error.strerror}") from error
    check(os.path.isfile(path), f"{where} is not a file")
    return stat


def find_images(names: list[str], list_path: str, folder: str, allow_missing: bool) -> Sources:
    """Finds the file of every name, each once, and decides which row every sentence gets.

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
    without = "or pass --allow-missing to use these sentences without an image"
    check(allow_missing or not missing, f"{some}, {without}")
    return sources
