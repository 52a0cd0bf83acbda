"""Painted images in the order asked for, as pixels, and exact on the contact sheet."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from ikd_fairseq.analysis.inverse import _GAP, cell_size, contact_sheet, distances, paint, to_pixels
from ikd_fairseq.vision.backbones import get_backbone
from tests import toy


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_lite0"])
def test_pixels_come_back_from_their_normalisation(name):
    backbone = get_backbone(name)
    images = toy.images(2)
    images[0, 0, :4, 0] = torch.tensor([0, 1, 254, 255])
    assert torch.equal(to_pixels(backbone.normalise(images), backbone), images)


def test_values_beyond_those_of_an_image_are_clipped():
    backbone = get_backbone("resnet50")
    beyond = torch.tensor([-9.0, 9.0]).view(2, 1, 1, 1).expand(2, 3, 4, 4)
    dark, bright = to_pixels(beyond, backbone)
    assert (dark == 0).all() and (bright == 255).all()


@pytest.mark.parametrize("max_tokens", [5, 100])
def test_sentences_are_painted_in_the_order_asked_for(trained, dataset, max_tokens):
    order = [3, 0, 1]
    painted = paint(trained, dataset, order, max_tokens)
    model = trained.model
    assert painted.dtype == torch.uint8 and painted.shape == (3, toy.IMAGE_SIZE, toy.IMAGE_SIZE, 3)
    with torch.no_grad():
        for image, sentence in zip(painted, order):
            regions = model.encoder(dataset.src[sentence].unsqueeze(0))["regions"][0]
            expected = to_pixels(model.student(regions).image, model.backbone)[0]
            assert (image.int() - expected.int()).abs().max() <= 1  # the rest is rounding


def test_distances_to_the_own_image_and_to_the_mean():
    real = torch.tensor([0, 100], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 2, 2, 3)
    painted = torch.tensor([30, 60], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 2, 2, 3)
    to_real, to_mean = distances(real, painted)
    assert to_real == pytest.approx([30, 40])
    assert to_mean == pytest.approx([20, 10])


@pytest.mark.parametrize("size, factor", [(64, 2), (112, 2), (150, 1)])
def test_both_images_are_exact_on_the_sheet(size, factor):
    pytest.importorskip("matplotlib")
    pixels = np.random.default_rng(1).integers(0, 256, (2, 3, size, size, 3), dtype=np.uint8)
    stream = io.BytesIO()
    figure = contact_sheet(pixels, ["a", "a long caption " * 20, "$b_"])
    figure.savefig(stream, format="png", dpi=figure.dpi)
    sheet = np.array(Image.open(stream).convert("RGB"))
    cell, found_factor = cell_size(size)
    assert (cell, found_factor) == (size * factor, factor)
    for column, images in enumerate(pixels):
        left = _GAP + column * (cell + _GAP)
        for line, image in enumerate(images):
            top = _GAP + line * (cell + _GAP)
            shown = sheet[top : top + cell, left : left + cell]
            assert np.array_equal(shown, image.repeat(factor, axis=0).repeat(factor, axis=1))
