"""Whether what a checkpoint holds is what was saved, and can be computed with."""

import functools
import os
import zipfile
from typing import Any

from .errors import check


@functools.lru_cache(maxsize=1024)
def verify_archive(path: str, *_: int) -> None:
    """Compares the content of a file of ``torch.save`` with its checksums, which PyTorch never does.

    It takes a second for 1,000 MB. A file that is whole is not read again while its size and time, which
    stand behind its path, are the same.

    Raises:
        zipfile.BadZipFile: there is a difference.
    """
    with zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            if record.CRC:  # 0 where torch.serialization.set_crc32_options has switched them off
                with archive.open(record) as stream:
                    while stream.read(1 << 22):
                        pass


def check_weights(state: dict[str, Any], path: str | os.PathLike) -> None:
    """Refuses a checkpoint with weights that are not finite, or that are larger than what the file holds.

    Raises:
        IkdError: naming the first such weight.
    """
    import torch

    for name, tensor in state["model"].items():
        plain = torch.is_tensor(tensor) and tensor.layout == torch.strided and tensor.device.type == "cpu"
        real = plain and tensor.untyped_storage().nbytes() >= tensor.nbytes
        check(real, f"{path} is damaged: its entry {name} is no tensor that is in the file")
        check(not tensor.is_complex(), f"{path} is damaged: its entry {name} holds complex numbers")
        # fairseq's marks of a module's device and version, which are never read, may hold anything.
        if tensor.is_floating_point() and not str(name).endswith(("._float_tensor", ".version")):
            check(
                tensor.isfinite().all(),
                f"{path} holds weights that are not finite ({name}): training had diverged before it was "
                "saved, so take a checkpoint from before that",
            )
