"""Arrays of features as others publish them: which file formats, and in which order their axes come."""

import math
import os
import zipfile
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from ..errors import IkdError, check, naming
from ..io.arrays import map_array
from ..torch_files import load_safely

Layout = Literal["channels-first", "channels-last"]
LAYOUTS: tuple[Layout, ...] = ("channels-first", "channels-last")

_FORMS = "rows x C, rows x regions x C or rows x C x H x W"


class Published(NamedTuple):
    """Features as they were found.

    Attributes:
        path: of the file or folder.
        array: has a shape, a type and slices of rows, which are arrays; rows may still be on disk.
        files: the file of each row, where each has one of its own.
    """

    path: str
    array: Any
    files: Sequence[str] = ()

    def source(self, row: int) -> tuple[str, int]:
        """The file that holds a row, and which row of it that is."""
        return (self.files[row], 0) if self.files else (self.path, row)


class _Folder:
    """One ``.npy`` file a row, all of one shape."""

    def __init__(self, files: Sequence[str]):
        self._files = files
        first = _load_npy(files[0])
        self.shape, self.dtype = (len(files), *first.shape), first.dtype

    def __getitem__(self, rows: slice) -> np.ndarray:
        arrays = [_load_npy(file) for file in self._files[rows]]
        for file, array in zip(self._files[rows], arrays):
            check(
                array.shape == self.shape[1:],
                f"{file} holds an array of {array.shape}, but {self._files[0]} one of {self.shape[1:]}: "
                "features of one kind have one shape",
            )
        return np.stack(arrays)


def open_published(path: str, dataset: str | None = None, names: Sequence[str] | None = None) -> Published:
    """Opens published features without reading all of them.

    Args:
        path: a ``.npy`` array, a tensor that ``torch.save`` wrote (``.pt``, ``.pth``, ``.bin``), an HDF5 file
            (``.h5``, ``.hdf5``), or a folder of one ``.npy`` an image.
        dataset: which array, of a file of several.
        names: of the images, one a row, in a folder: ``NAME.npy``, with the image's own ending or without.

    Raises:
        IkdError: the file cannot be read, or holds no floats of a form that features have.
    """
    ending = os.path.splitext(path)[1].lower()
    check(
        os.path.isdir(path) == (names is not None),
        f"--from-file {path}: a folder of one .npy an image needs --list, which says whose they are, and no "
        "other file takes it",
    )
    if names is not None:
        files = [_file_of(path, name) for name in names]
        published = Published(path, _Folder(files), files)
    elif ending in (".pt", ".pth", ".bin"):
        published = Published(path, _load_tensor(path, dataset))
    elif ending in (".h5", ".hdf5", ".hdf"):
        published = Published(path, _open_hdf5(path, dataset))
    else:
        published = Published(path, _load_npy(path))
    array = published.array
    usable = array.dtype.kind == "f" and len(array.shape) in (2, 3, 4) and 0 not in array.shape
    check(usable, f"--from-file {path} holds {array.dtype} {tuple(array.shape)}: floats are needed, {_FORMS}")
    return published


def _load_npy(path: str) -> np.ndarray:
    archive = os.path.isfile(path) and zipfile.is_zipfile(path)
    check(not archive, f"--from-file {path} is not a single .npy array")
    with naming(f"--from-file {path}"):
        return map_array(path, "give an array of numbers")


def _load_tensor(path: str, name: str | None) -> np.ndarray:
    from torch import Tensor, bfloat16

    check(os.path.isfile(path), f"--from-file {path}: no such file")
    content = load_safely(path, "--from-file")
    if not isinstance(content, Tensor):
        tensors = content if isinstance(content, dict) else {}
        tensors = {str(key): value for key, value in tensors.items() if isinstance(value, Tensor)}
        content = tensors[_choose(path, list(tensors), name)]
    return (content.float() if content.dtype == bfloat16 else content).detach().numpy()


def _open_hdf5(path: str, name: str | None) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise IkdError(f'--from-file {path} needs h5py: pip install "ikd-fairseq[hdf5]"') from error
    try:
        content = h5py.File(path, "r")
    except OSError as error:
        raise IkdError(f"--from-file {path} cannot be read as HDF5 ({str(error).splitlines()[0]})") from error
    names: list[str] = []
    content.visititems(lambda key, item: names.append(key) if isinstance(item, h5py.Dataset) else None)
    return content[_choose(path, names, name)]


def _choose(path: str, names: list[str], asked: str | None) -> str:
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    check(names, f"--from-file {path} holds no array")
    check(asked is None or asked in names, f"--dataset {asked}: {path} has none of that name but {shown}")
    check(asked or len(names) == 1, f"--from-file {path} holds {shown}: say which by --dataset")
    return asked or names[0]


def _file_of(folder: str, name: str) -> str:
    tried = [os.path.join(folder, f"{stem}.npy") for stem in (name, os.path.splitext(name)[0])]
    found = next((path for path in tried if os.path.isfile(path)), None)
    check(found, f"--from-file {folder} has neither {os.path.basename(tried[0])} nor {tried[1]}, for {name}")
    return found


# ---------------------------------------------------------------- the order of axes


def tell_layout(shape: Sequence[int], asked: Layout | None, path: str) -> Layout:
    """Whether the channels of an array come before its regions or behind them.

    Maps are square and channels many: that tells most arrays apart. Where it does not, somebody must.

    Args:
        shape: of the whole array, rows first.
        asked: what the user says, if anything.

    Raises:
        IkdError: both readings are possible, or neither is likely.
    """
    if asked is not None or len(shape) == 2:
        return asked or "channels-last"
    found: Layout | None = None
    if len(shape) == 4:
        first, last = shape[2] == shape[3], shape[1] == shape[2]
        found = None if first == last else LAYOUTS[last]
    else:  # several regions of a single channel are no map
        before, behind = _is_grid(shape[1]) and shape[2] > 1, _is_grid(shape[2]) and shape[1] > 1
        fewer = shape[1] <= shape[2]
        if not behind and (before or fewer):
            found = "channels-last"
        elif behind and not (before or fewer):
            found = "channels-first"
    check(
        found is not None,
        f"--from-file {path} holds an array of {tuple(shape)}, in which regions and channels cannot be told "
        f"apart: say which come first by --layout {' or '.join(LAYOUTS)}",
    )
    return found


def _is_grid(number: int) -> bool:
    """Whether so many regions are a square grid, with a class token or without."""
    return any(math.isqrt(rest) ** 2 == rest for rest in (number, number - 1) if rest > 1 or number == 1)


def by_region(rows: np.ndarray, layout: Layout) -> np.ndarray:
    """Some rows of any form as rows x P x C, the regions row by row."""
    if rows.ndim == 2:
        return rows[:, np.newaxis]
    if layout == "channels-first":
        return rows.reshape(*rows.shape[:2], -1).transpose(0, 2, 1)
    return rows.reshape(len(rows), -1, rows.shape[-1])
