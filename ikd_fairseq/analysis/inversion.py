"""How well an inverse CNN can paint, by the kernels that it is made of (Peng et al. 2022, Table 7).

What the student paints from a sentence says little of the student: the sentence does not hold the picture.
Here inverse CNNs learn alone, from the frozen CNN's own last map of each image back to the image, with the
image term of the distillation (the root mean square difference of normalised images) as their loss. One has
even kernels where maps grow, as in the released code, the other the odd ones of the CNN; both see the same
images of a split in the same order, but for some that are kept for the test.

The rows have the mean loss over the last tenth of the updates, that on the images kept, and how rough the
painted ones of these are: the mean absolute difference of neighbouring pixels, to be held against that of the
images. A chequered picture is rougher than it should be. Another row is of always painting the mean image.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..data.image_pack import ImagePack
from ..errors import check
from ..io.progress import progress
from ..modules.feature_distance import distance
from ..vision.backbones import Backbone, get_backbone
from ..vision.device import check_device
from ..vision.frozen_cnn import FrozenCNN
from ..vision.inverse_cnn import KERNELS, InverseCNN
from ..vision.weights import IMAGENET
from .inverse import DEFAULT_COUNT, contact_sheet, to_pixels
from .output import Table, check_folder, new_figure, require, write_files

KEPT = 64  # images that no inverse CNN learns from
LEARNING_RATE = 1e-3
MEAN = "the mean image"
REAL = "the images themselves"


class Painter(NamedTuple):
    """An inverse CNN and the loss of each of its updates."""

    cnn: InverseCNN
    losses: list[float]


def image_term(real: Tensor, painted: Tensor) -> Tensor:
    """The distillation's distance of two batches of normalised images: a scalar, the mean over them."""
    return distance("l2", real, painted).mean()


def roughness(images: Tensor) -> float:
    """Mean absolute difference of neighbouring pixels of ``K x 3 x H x W``, along both sides."""
    return float((images.diff(dim=2).abs().mean() + images.diff(dim=3).abs().mean()) / 2)


def batches(rows: int, size: int, count: int, seed: int) -> Iterator[np.ndarray]:
    """*count* batches of up to *size* of *rows* images, int64, each epoch in a random order of its own."""
    random, order = np.random.default_rng(seed), np.empty(0, np.int64)
    for _ in range(count):
        if len(order) < size:
            order = np.concatenate([order, random.permutation(rows)])
        yield np.sort(order[:size])  # in the order of the file
        order = order[size:]


def train(
    cnn: FrozenCNN, images: np.ndarray, updates: int, size: int, seed: int, device: str
) -> dict[str, Painter]:
    """Trains an inverse CNN of each kind side by side on *images*, uint8 ``N x H x W x 3``."""
    painters = {}
    for kernels in KERNELS:
        torch.manual_seed(seed)
        painters[kernels] = Painter(InverseCNN(cnn.backbone, images.shape[1], kernels).to(device), [])
    optimizers = {
        kernels: torch.optim.Adam(painter.cnn.parameters(), LEARNING_RATE)
        for kernels, painter in painters.items()
    }
    chosen = batches(len(images), size, updates, seed)
    for rows in progress(chosen, total=updates, desc="paint", unit=" updates"):
        real = cnn.backbone.normalise(torch.from_numpy(images[rows]).to(device))
        regions = cnn.regions(real)
        for kernels, painter in painters.items():
            loss = image_term(real, painter.cnn(regions, "model").image)
            optimizers[kernels].zero_grad()
            loss.backward()
            optimizers[kernels].step()
            painter.losses.append(loss.item())
    return painters


def draw(painters: dict[str, Painter], window: int):
    """The loss of each painter by update, a mean over *window* of them."""
    figure = new_figure(6, 3.4, dpi=120, layout="constrained")
    axes = figure.subplots()
    for kernels, painter in painters.items():
        means = np.convolve(painter.losses, np.full(window, 1 / window), "valid")
        axes.plot(range(window, len(painter.losses) + 1), means, label=f"{kernels} kernels")
    axes.set(xlabel="updates", ylabel="image term")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def run(
    *,
    data: str,
    split: str,
    output: str,
    backbone: str,
    teacher_weights: str = IMAGENET,
    updates: int,
    images_per_update: int,
    seed: int,
    device: str,
) -> Table:
    """Writes ``inversion.tsv``, ``inversion.json``, ``inversion.png`` (losses), ``inversion.images.png``."""
    require("matplotlib")
    check_folder(output)
    check_device(device)
    pack = ImagePack.open(f"{data}/{split}")
    kept = min(KEPT, len(pack.images) // 4)
    check(
        kept > 0 and images_per_update <= len(pack.images) - kept,
        f"{data}/{split} has {len(pack.images)} images, too few to learn from {images_per_update} at a time "
        "and to keep some for the test: give another --split or fewer --images-per-update",
    )
    cnn = FrozenCNN(get_backbone(backbone), teacher_weights).to(device)
    learnt = pack.images[kept:]
    painters = train(cnn, learnt, updates, images_per_update, seed, device)
    table, sheet = judge(cnn, painters, pack.images[:kept], learnt, device)
    report: dict[str, Any] = {
        **{"data": data, "split": split, "backbone": backbone, "teacher weights": teacher_weights},
        **{"updates": updates, "images an update": images_per_update, "seed": seed, "images": len(learnt)},
        "losses": {kernels: painter.losses for kernels, painter in painters.items()},
    }
    curves = draw(painters, max(1, updates // 20))
    files = {"inversion.tsv": table, "inversion.json": report, "inversion.png": curves}
    write_files(output, {**files, "inversion.images.png": sheet})
    return table


@torch.no_grad()
def judge(
    cnn: FrozenCNN, painters: dict[str, Painter], kept: np.ndarray, learnt: np.ndarray, device: str
) -> tuple[Table, Any]:
    """The table and the pictures of images that no painter learnt from, uint8 ``K x H x W x 3``."""
    backbone: Backbone = cnn.backbone
    real = backbone.normalise(torch.from_numpy(kept).to(device))
    regions = cnn.regions(real)
    pixels = learnt[:: max(1, len(learnt) // 1000)].mean(axis=0, dtype=np.float32)
    mean = backbone.normalise(torch.from_numpy(pixels).to(device).unsqueeze(0))
    columns: list[np.ndarray] = [kept[:DEFAULT_COUNT]]
    rows: list[tuple] = []
    for kernels, painter in painters.items():
        last = max(1, len(painter.losses) // 10)
        painted = painter.cnn.eval()(regions, "model").image
        weights = sum(parameter.numel() for parameter in painter.cnn.parameters())
        final = float(np.mean(painter.losses[-last:]))
        rows.append((kernels, weights, final, float(image_term(real, painted)), roughness(painted)))
        columns.append(to_pixels(painted[:DEFAULT_COUNT], backbone).cpu().numpy())
    same = mean.expand_as(real)
    rows += [
        (MEAN, 0, "", float(image_term(real, same)), roughness(same)),
        (REAL, 0, "", 0.0, roughness(real)),
    ]
    names = ["kernels", "weights", "image term at the end", "of images kept", "roughness"]
    captions = [f"image {number}: real, {', '.join(painters)}" for number in range(len(columns[0]))]
    return Table(names, rows), contact_sheet(columns, captions)
