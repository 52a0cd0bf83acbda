"""What generated features have in common: clusters and images. Peng et al. 2022, section 5.1, Figure 3.

The generated features of all sentences with an image, averaged over regions and scaled to length 1 (so that
distance orders as cosine similarity does), are clustered by k-means and projected onto a plane. Each cluster
is shown by its central sentence, the one nearest to its centre: that sentence's image, and the other images
nearest to its generated feature by cosine similarity with the frozen CNN's last map.

The paper names neither the clustering nor the projection nor any centring: these are choices of ours. It
shows two clusters that were picked; here all are shown. (The released script draws its plane from random
numbers; its pictures alone are of features.)
"""

import logging
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import check
from .features import (
    GENERATING,
    compared_features,
    load_trained,
    open_pictured,
    source_text,
)
from .output import Table, check_folder, new_figure, require, write_files

logger = logging.getLogger(__name__)

_PERPLEXITY = 30  # of t-SNE, scikit-learn's default, where there are enough sentences


class Example(NamedTuple):
    """An image, uint8 ``H x W x 3``, and the source text of a sentence that it belongs to."""

    image: np.ndarray
    caption: str


def cluster(features: Tensor, clusters: int, seed: int) -> tuple[Tensor, Tensor]:
    """k-means of ``S x C``, from the best of ten starts.

    Returns:
        The cluster of each feature, int64 ``S``, numbered by size, largest first; and for each cluster the
        place of the feature nearest to its centre. Both have fewer clusters where fewer features differ.
    """
    from sklearn.cluster import KMeans

    found = KMeans(clusters, n_init=10, random_state=seed).fit(features.numpy())
    numbers, sizes = np.unique(found.labels_, return_counts=True)
    numbers = numbers[np.argsort(-sizes, kind="stable")]
    labels = torch.from_numpy((found.labels_[:, None] == numbers).argmax(axis=1))
    centres = torch.from_numpy(found.cluster_centers_[numbers]).to(features)
    distances = torch.cdist(features, centres)  # S x clusters
    outside = labels.unsqueeze(1) != torch.arange(len(numbers))
    return labels, distances.masked_fill(outside, float("inf")).argmin(dim=0)


def project(features: Tensor, projection: str, seed: int) -> np.ndarray:
    """A place on the plane for each feature: ``S x C``, both at least 2, to float ``S x 2``.

    *projection* is ``tsne`` (by cosine similarity; takes minutes beyond ten thousand features) or ``pca``.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if projection == "pca":
        return PCA(2, random_state=seed).fit_transform(features.numpy())
    perplexity = min(_PERPLEXITY, (len(features) - 1) / 3)
    return TSNE(2, metric="cosine", perplexity=perplexity, random_state=seed).fit_transform(features.numpy())


def nearest(query: Tensor, gallery: Tensor, count: int, without: int | None = None) -> list[int]:
    """The *count* rows of ``G x C`` most similar to the query, ``C``, most similar first, but for one row.

    There are fewer where the gallery is smaller.
    """
    similarities = gallery @ query
    if without is not None:
        similarities[without] = float("-inf")
    return similarities.topk(min(count, len(gallery) - (without is not None))).indices.tolist()


def draw(points: np.ndarray, labels: Tensor, central: Sequence[int], examples: Sequence[Sequence[Example]]):
    """A figure: the plane of S sentences, and a line of thumbnails for each of K clusters in its colour.

    *points* are ``S x 2``, *labels* int64 ``S`` below K, *central* the K places of central sentences, and
    *examples* K lists: the central sentence's image, then the nearest others.
    """
    from matplotlib import colormaps

    # Of this map every other colour is the one before it in pale.
    order = [*range(0, 20, 2), *range(1, 20, 2)]
    colours = [colormaps["tab20"](order[number % 20]) for number in range(len(central))]
    columns = max(map(len, examples))
    figure = new_figure(6 + 1.5 * columns, max(6, 1.8 * len(central)), dpi=100, layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[6, 1.5 * columns])
    plane = left.subplots()
    plane.scatter(*points.T, c=[colours[label] for label in labels.tolist()], s=12)
    for number, place in enumerate(central):
        plane.scatter(*points[place], color=colours[number], marker="*", s=160, edgecolors="black")
        plane.annotate(str(number), points[place], xytext=(6, 6), textcoords="offset points")
    plane.set(xticks=[], yticks=[], box_aspect=1)
    plane.set_aspect("equal", adjustable="datalim")
    grid = right.subplots(len(central), columns, squeeze=False)
    for number, (line, of_cluster) in enumerate(zip(grid, examples)):
        for axes in line[len(of_cluster) :]:
            axes.set_axis_off()
        for axes, example in zip(line, of_cluster):
            axes.imshow(example.image)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(color=colours[number], linewidth=3)
            caption = textwrap.fill(example.caption, 24, max_lines=4, placeholder=" ...")
            axes.set_xlabel(caption, fontsize=6, parse_math=False)
        line[0].set_ylabel(f"{number}", rotation=0, labelpad=10)
    grid[0][0].set_title("centre", fontsize=8)
    if columns > 1:
        grid[0][1].set_title("nearest others", fontsize=8)
    return figure


def run(
    *,
    split: str,
    output: str,
    max_tokens: int,
    clusters: int,
    neighbours: int,
    projection: str,
    seed: int,
    centre: bool,
    teacher_weights: str | None = None,
    **model: Any,
) -> Table:
    """Writes ``clusters.tsv``, ``.png`` and every sentence's cluster and place, ``clusters.points.tsv``."""
    require("matplotlib", "sklearn")
    check_folder(output)
    trained = load_trained(**model, architecture=GENERATING)
    dataset, pack = open_pictured(trained, split)
    sentences = pack.with_entry
    pictured = f"{len(sentences)} sentences with an image, too few for so many clusters on a plane"
    check(len(sentences) >= max(clusters, 2), f"--clusters {clusters}: {split} has {pictured}")
    pairs = compared_features(trained, dataset, pack, max_tokens, centre, teacher_weights)
    generated = pairs.generated
    logger.info("clustering and projecting %d features", len(generated))
    labels, central = cluster(generated, clusters, seed)
    points = project(generated, projection, seed)

    examples, rows_of_table = [], []
    for number, (place, size) in enumerate(zip(central.tolist(), torch.bincount(labels).tolist())):
        others = nearest(generated[place], pairs.seen, neighbours, without=int(pairs.targets[place]))
        shown = [int(sentences[place]), *pairs.shown_by[others].tolist()]
        texts = [source_text(trained, dataset, sentence) for sentence in shown]
        examples.append([Example(*entry) for entry in zip(map(pack.__getitem__, shown), texts)])
        rows_of_table.append((number, size, shown[0], texts[0], " ".join(map(str, shown[1:]))))
    table = Table(["cluster", "sentences", "central", "source", "nearest others"], rows_of_table)
    places = zip(sentences.tolist(), labels.tolist(), *points.T.tolist())
    files = {
        "clusters.tsv": table,
        "clusters.points.tsv": Table(["sentence", "cluster", "x", "y"], list(places)),
        "clusters.png": draw(points, labels, central.tolist(), examples),
    }
    write_files(output, files)
    return table
