"""Inverse CNNs of both kinds of kernels, side by side on the same images."""

import json

import numpy as np
import pytest
import torch

from ikd_fairseq.analysis.inversion import batches, image_term, roughness, run
from ikd_fairseq.errors import IkdError
from ikd_fairseq.vision.inverse_cnn import KERNELS
from tests import toy


def test_every_image_comes_once_an_epoch_in_another_order_by_seed():
    found = list(batches(10, 5, 4, seed=1))
    for epoch in (found[:2], found[2:]):
        assert sorted(np.concatenate(epoch).tolist()) == list(range(10))
    assert [b.tolist() for b in batches(10, 5, 4, seed=1)] == [b.tolist() for b in found]
    assert [b.tolist() for b in batches(10, 5, 4, seed=2)] != [b.tolist() for b in found]


def test_roughness_is_that_of_neighbours_and_the_image_term_that_of_the_distillation():
    chequered = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(4, 4).expand(2, 3, 8, 8)
    assert roughness(chequered) == 1 and roughness(torch.ones(2, 3, 8, 8)) == 0
    assert float(image_term(chequered, torch.zeros(2, 3, 8, 8))) == pytest.approx(0.5**0.5)


class Pack:
    def __init__(self, count):
        self.images = toy.images(count).numpy()


@pytest.fixture
def invert(monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")

    def invert(count=12, size=2, updates=3):
        monkeypatch.setattr("ikd_fairseq.analysis.inversion.ImagePack.open", lambda prefix: Pack(count))
        options = dict(data="d", split="s", output=str(tmp_path), backbone="efficientnet_lite0", seed=1)
        more = dict(teacher_weights="random", updates=updates, images_per_update=size, device="cpu")
        return run(**options, **more), tmp_path

    return invert


def test_both_kinds_learn_from_the_same_images(invert):
    table, folder = invert()
    assert [row[0] for row in table.rows][:2] == list(KERNELS)
    assert all(row[3] > 0 for row in table.rows[:3]) and table.rows[3][3] == 0
    report = json.loads((folder / "inversion.json").read_text())
    assert report["images"] == 9 and all(len(report["losses"][kernels]) == 3 for kernels in KERNELS)
    assert {"inversion.tsv", "inversion.png", "inversion.images.png"} <= {
        path.name for path in folder.iterdir()
    }


def test_too_few_images_are_refused(invert):
    with pytest.raises(IkdError, match="has 3 images, too few .* fewer --images-per-update"):
        invert(count=3)
    with pytest.raises(IkdError, match="has 12 images, too few to learn from 10 at a time"):
        invert(size=10)
