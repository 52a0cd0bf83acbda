"""Clusters of features that lie apart, their central members and nearest images."""

import numpy as np
import pytest
import torch

from ikd_fairseq.analysis.clusters import Example, cluster, draw, nearest, project
from ikd_fairseq.analysis.features import for_cosine
from ikd_fairseq.analysis.output import write_files

SIZES = [4, 9, 6]


@pytest.fixture
def apart():
    """Three bundles of directions, of 4, 9 and 6 features in mixed order; and which bundle each is of."""
    pytest.importorskip("sklearn")
    torch.manual_seed(2)
    bundles = torch.tensor([bundle for bundle, size in enumerate(SIZES) for _ in range(size)])
    bundles = bundles[torch.randperm(len(bundles))]
    return for_cosine(torch.eye(5)[bundles] + 0.05 * torch.randn(len(bundles), 5), False), bundles


def test_bundles_become_clusters_numbered_by_size(apart):
    features, bundles = apart
    labels, central = cluster(features, 3, seed=1)
    by_size = torch.tensor([2, 0, 1])  # bundle 1 is the largest, then 2, then 0
    assert torch.equal(labels, by_size[bundles])
    assert bundles[central].tolist() == [1, 2, 0]


def test_central_member_is_the_one_nearest_to_the_mean_of_its_cluster(apart):
    features, bundles = apart
    _, central = cluster(features, 3, seed=1)
    for place in central.tolist():
        members = (bundles == bundles[place]).nonzero().flatten().tolist()
        mean = features[members].mean(dim=0)
        assert place == min(members, key=lambda member: float((features[member] - mean).norm()))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fewer_different_features_than_clusters_give_fewer_clusters():
    pytest.importorskip("sklearn")
    labels, central = cluster(torch.eye(3)[torch.tensor([0, 1, 0, 1, 0])], 4, seed=1)
    assert labels.tolist() == [0, 1, 0, 1, 0]
    assert len(central) == 2


@pytest.mark.parametrize("projection", ["tsne", "pca"])
def test_bundles_stay_apart_on_the_plane_and_a_seed_gives_the_same_one(apart, projection):
    features, bundles = apart
    points = project(features, projection, seed=3)
    assert points.shape == (len(features), 2) and np.isfinite(points).all()
    assert np.array_equal(points, project(features, projection, seed=3))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert np.array_equal(bundles[distances.argmin(axis=1)], bundles)  # the neighbour is of the same bundle


def test_nearest_images_are_sorted_by_cosine_without_the_sentences_own():
    gallery = for_cosine(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [-1.0, 0.0]]), False)
    query = torch.tensor([1.0, 0.0])
    assert nearest(query, gallery, 2, without=0) == [1, 2]
    assert nearest(query, gallery, 2, without=3) == [0, 1]
    assert nearest(query, gallery, 9, without=1) == [0, 2, 3]
    assert nearest(query, gallery, 9) == [0, 1, 2, 3]
    assert nearest(query, gallery[:1], 2, without=0) == []


def test_picture_has_the_plane_and_every_thumbnail_with_its_caption(tmp_path):
    pytest.importorskip("matplotlib")
    images = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    first, second, third = (Example(image, f"caption ${number}_") for number, image in enumerate(images))
    figure = draw(np.eye(3)[:, :2], torch.tensor([0, 1, 0]), [0, 1], [[first, second, third], [second]])
    shown = [axes for axes in figure.axes if axes.images]
    assert [axes.get_xlabel() for axes in shown] == [f"caption ${number}_" for number in (0, 1, 2, 1)]
    assert all(
        np.array_equal(axes.images[0].get_array(), images[number])
        for axes, number in zip(shown, (0, 1, 2, 1))
    )
    write_files(str(tmp_path), {"clusters.png": figure})
