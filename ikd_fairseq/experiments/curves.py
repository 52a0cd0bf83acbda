"""Learning curves of a run, from the TensorBoard files that fairseq-train writes into RUN/tensorboard."""

import math
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from ..errors import IkdError

Curve = list[tuple[int, float]]  # updates and value, in the order of updates
Curves = dict[str, dict[str, Curve]]  # by subset ("train", "valid"), then by term

FOLDER = "tensorboard"
TRAIN, VALID = "train", "valid"

TERMS = {  # terms of a loss by fairseq's name -> what they are called
    "nll_loss": "translation, bits a token",
    "kd_irm": "IrM, maps of image and text",
    "kd_iam": "IaM, maps of real and inverse image",
    "kd_image": "real and inverse image",
    "word_kd": "word distillation, bits a token",
}

# What fairseq logs besides: sums of terms, speed, sizes and state. Whatever else there is, is a term.
_OTHERS = re.compile(
    r"loss|ppl|accuracy|wps|ups|wpb|bsz|num_updates|lr|gnorm|clip|loss_scale|train_wall|wall|gb_free|best_\w+"
    r"|cuda_\w+"
)


def read_curves(run: Path) -> Curves:
    """Curves of every term of the loss: means over an epoch ("train") or over the validation set.

    Of an update that an interrupted run repeated the later values count; infinite ones and NaN are left out.

    Raises:
        IkdError: a file is damaged.
    """
    curves: Curves = {}
    for subset in (TRAIN, VALID):
        points: dict[str, dict[int, float]] = {}
        files = (run / FOLDER / subset).glob("events.out.tfevents.*")
        for path in sorted(files, key=lambda path: int(path.name.split(".")[3])):  # when it was begun
            for step, name, value in _scalars(path):
                if not _OTHERS.fullmatch(name) and math.isfinite(value):
                    points.setdefault(name, {})[step] = value
        curves[subset] = {name: sorted(points[name].items()) for name in sorted(points)}
    return curves


def _scalars(path: Path) -> Iterator[tuple[int, str, float]]:
    """Step, name and value of every number in *path*. A record that was cut off by a kill ends it."""
    from tensorboardX.proto.event_pb2 import Event

    content, place = path.read_bytes(), 0
    while place + 12 <= len(content):  # TFRecord: length, its checksum, data, their checksum
        (length,) = struct.unpack_from("<Q", content, place)
        data = content[place + 12 : place + 12 + length]
        place += 12 + length + 4
        if place > len(content):
            return
        try:
            event = Event.FromString(data)
        except Exception as error:  # noqa: BLE001  protobuf's own, which differs between its implementations
            raise IkdError(
                f"{path} is no TensorBoard file, or is damaged: delete it, and its curve is lost"
            ) from error
        for value in event.summary.value:
            if value.HasField("simple_value"):
                yield event.step, value.tag, value.simple_value
