"""Do generated features find the image of their sentence? Peng et al. 2022, section 5.1, Table 4.

Every sentence with an image asks with its generated feature; the images of the split answer with the
frozen CNN's last map. Both are averaged over regions and compared by cosine similarity. R@K is the
percentage of sentences whose own image is among the K most similar.

The paper names neither pooling nor centring. The released script flattens the maps and divides all products
by one number, the norms of both matrices, so that images of large norm are found more often than by the
cosine that the paper names. Here the features are centred by default: all values behind a ReLU are positive,
so that every image is similar to every other, and the means of what is generated and what is seen differ. The
chance level, ``min(K, images) / images``, stands beside each figure.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .features import GENERATING, compared_features, load_trained, open_pictured
from .output import Table, check_folder, new_figure, require, write_files

CUTOFFS = (1, 5, 10, 15)

_QUERIES_AT_ONCE = 1024  # similarities of a block to 30,000 images: 120 MB


def competitors(queries: Tensor, gallery: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """How many of G images are more similar to each of Q queries than its own, and how many as similar.

    Exact: every similarity is computed, a block of queries at a time. *queries* are ``Q x C`` and *gallery*
    ``G x C``, rows of length 1 or 0; *targets* int64 ``Q``, the image that each query should find.

    Returns:
        Two int32 ``Q``: the rows of larger similarity; those of equal similarity, the query's own among them.
    """
    better, tied = [], []
    for some, wanted in zip(queries.split(_QUERIES_AT_ONCE), targets.split(_QUERIES_AT_ONCE)):
        similarities = some @ gallery.T
        own = similarities.gather(1, wanted.unsqueeze(1))
        # int32: counting in it takes half the time of int64.
        better.append((similarities > own).sum(dim=1, dtype=torch.int32))
        tied.append((similarities == own).sum(dim=1, dtype=torch.int32))
    return torch.cat(better), torch.cat(tied)


def recall(better: Tensor, tied: Tensor, cutoff: int) -> float:
    """R@*cutoff* in percent, from the counts of :func:`competitors`.

    Images that are equally similar count as ranked at random: with b better ones and t tied, the own image is
    among the first K with probability ``(K - b) / t``, within 0 and 1. So a feature that is the same for all
    sentences reaches the chance level, and not 0 or 100.
    """
    return 100 * ((cutoff - better).double() / tied).clamp(0, 1).mean().item()


def chance(images: int, cutoff: int) -> float:
    """R@*cutoff* in percent of a ranking of *images* at random."""
    return 100 * min(cutoff, images) / images


def draw(rows: Sequence[tuple]):
    """A figure of the table's *rows*: recall over K, the chance level dashed in the same colour."""
    figure = new_figure(6, 4, layout="constrained")
    axes = figure.subplots()
    for number, (split, _, images, *values) in enumerate(rows):
        found, by_chance = values[: len(CUTOFFS)], values[len(CUTOFFS) :]
        axes.plot(CUTOFFS, found, color=f"C{number}", marker="o", label=f"{split} ({images} images)")
        axes.plot(CUTOFFS, by_chance, color=f"C{number}", linestyle="--")
    axes.set(xlabel="K", ylabel="R@K in %, chance dashed", xticks=CUTOFFS)
    axes.set_ylim(bottom=0)
    axes.legend()
    return figure


def run(
    *,
    split: Sequence[str],
    output: str,
    max_tokens: int,
    centre: bool,
    teacher_weights: str | None = None,
    **model: Any,
) -> Table:
    """Writes ``retrieval.tsv`` and ``retrieval.png``."""
    require("matplotlib")
    check_folder(output)
    trained = load_trained(**model, architecture=GENERATING)
    # All of them, before the first one takes its minutes.
    opened = [open_pictured(trained, name) for name in split]
    rows: list[tuple] = []
    for name, (dataset, pack) in zip(split, opened):
        pairs = compared_features(trained, dataset, pack, max_tokens, centre, teacher_weights)
        queries, gallery, targets = (
            tensor.to(trained.device) for tensor in (pairs.generated, pairs.seen, pairs.targets)
        )
        better, tied = competitors(queries, gallery, targets)
        found = [recall(better, tied, cutoff) for cutoff in CUTOFFS]
        by_chance = [chance(len(gallery), cutoff) for cutoff in CUTOFFS]
        rows.append((name, len(queries), len(gallery), *found, *by_chance))
    columns = [f"{kind}@{cutoff}" for kind in ("R", "chance") for cutoff in CUTOFFS]
    table = Table(["split", "sentences", "images", *columns], rows)
    write_files(output, {"retrieval.tsv": table, "retrieval.png": draw(rows)})
    return table
