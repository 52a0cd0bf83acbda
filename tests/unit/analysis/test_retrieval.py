"""R@K against plain loops, ties, and the chance level."""

import pytest
import torch

from ikd_fairseq.analysis.features import for_cosine
from ikd_fairseq.analysis.retrieval import _QUERIES_AT_ONCE, chance, competitors, recall
from tests.closeness import assert_close_to_scale


def plain_recall(queries, gallery, targets, cutoff) -> float:
    """Sorts the gallery for each query; for features without ties."""
    found = 0
    for query, target in zip(queries, targets.tolist()):
        cosines = [float(torch.nn.functional.cosine_similarity(query, image, dim=0)) for image in gallery]
        ranking = sorted(range(len(gallery)), key=cosines.__getitem__, reverse=True)
        found += target in ranking[:cutoff]
    return 100 * found / len(queries)


@pytest.fixture
def features():
    """Queries that lean towards their image: some find it, some do not. Images shared by two sentences."""
    torch.manual_seed(3)
    gallery = torch.randn(12, 6)
    targets = torch.arange(20) % 12
    return gallery[targets] + 2 * torch.randn(20, 6), gallery, targets


@pytest.mark.parametrize("cutoff", [1, 5, 10, 12, 15])
def test_recall_is_that_of_a_plain_loop(features, cutoff):
    queries, gallery, targets = features
    better, tied = competitors(for_cosine(queries, False), for_cosine(gallery, False), targets)
    assert recall(better, tied, cutoff) == pytest.approx(plain_recall(queries, gallery, targets, cutoff))


def test_examples_neither_find_nothing_nor_everything(features):
    queries, gallery, targets = features
    assert 0 < plain_recall(queries, gallery, targets, 1) < plain_recall(queries, gallery, targets, 5) < 100


def test_blocks_of_queries_are_put_together_in_order():
    torch.manual_seed(4)
    gallery = for_cosine(torch.randn(5, 4), False)
    targets = torch.randint(0, 5, (2 * _QUERIES_AT_ONCE + 3,))
    better, tied = competitors(gallery[targets], gallery, targets)
    assert better.sum() == 0 and tied.tolist() == [1] * len(targets)
    better, _ = competitors(-gallery[targets], gallery, targets)
    assert better.tolist() == [4] * len(targets)


def test_ties_count_as_a_draw_at_random():
    # Better ones, and equal ones with the own image: by hand 0, 2/3, 1, 1 of the time within the first three.
    better, tied = torch.tensor([3, 1, 0, 2]), torch.tensor([2, 3, 3, 1])
    assert recall(better, tied, 3) == pytest.approx(100 * (0 + 2 / 3 + 1 + 1) / 4)


@pytest.mark.parametrize("centre", [True, False])
def test_feature_that_is_the_same_for_all_sentences_reaches_the_chance_level(centre):
    torch.manual_seed(5)
    queries = for_cosine(torch.ones(8, 4), centre)
    gallery = for_cosine(torch.randn(8, 4), centre)
    better, tied = competitors(queries, gallery, torch.arange(8))
    for cutoff in (1, 5, 8):
        assert recall(better, tied, cutoff) == pytest.approx(chance(8, cutoff))


def test_chance_is_a_share_of_the_images_and_no_more_than_all():
    assert chance(242, 1) == pytest.approx(0.4132, abs=1e-4)
    assert chance(242, 10) == pytest.approx(4.1322, abs=1e-4)
    assert chance(6, 10) == 100


def test_centring_removes_what_all_features_have_in_common():
    torch.manual_seed(6)
    details, common = torch.randn(9, 5), 50 * torch.ones(5)
    centred = for_cosine(details + common, True)
    torch.testing.assert_close(centred, for_cosine(details, True), rtol=0, atol=1e-4)
    assert for_cosine(details + common, False).std(dim=0).max() < 0.05
    assert_close_to_scale(centred.norm(dim=1), torch.ones(9))
