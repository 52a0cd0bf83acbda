"""Blank images and one image for many sentences are told, when they are packed and when they are read."""

import logging

import numpy as np
import pytest

from ikd_fairseq.data.image_pack import ImagePackWriter
from ikd_fairseq.data.image_variety import SENTENCES, variety_of
from ikd_fairseq.data.pairs.split_images import Demands, Part, open_split_images
from ikd_fairseq.io.manifests import text_fingerprint

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 3), dtype=np.uint8)
OF_ONE_COLOUR = np.broadcast_to(IMAGES[:, :1, :1], IMAGES.shape)
INDEX = np.arange(40, dtype=np.int32)


@pytest.mark.parametrize(
    "index, rows, blank, same",
    [
        (INDEX, IMAGES, 0, 1 / 40),
        (INDEX, OF_ONE_COLOUR, 1, 1 / 40),
        (INDEX, np.zeros_like(IMAGES), 1, 1),
        (INDEX * 0, IMAGES, 0, 1),
        (INDEX, np.concatenate([IMAGES[:30], IMAGES[:1].repeat(10, 0)]), 0, 11 / 40),
        (np.where(INDEX % 2, INDEX, -1), np.concatenate([IMAGES[:20], OF_ONE_COLOUR[20:]]), 1 / 2, 1 / 20),
        (INDEX, IMAGES.reshape(40, 1, 48).astype(np.float16), 0, 1 / 40),
        (INDEX, np.ones((40, 4, 3), dtype=np.float16), 1, 1),
        (np.full(40, -1), IMAGES, 0, 0),
    ],
)
def test_shares_are_those_counted_by_hand(index, rows, blank, same):
    found = variety_of(index, rows)
    assert (found.blank, found.same) == pytest.approx((blank, same))
    assert found.suspicious == (max(blank, same) >= 0.2)


def test_of_many_sentences_some_all_over_the_split_are_looked_at_and_of_few_nothing_is_told():
    index = np.arange(10_000, dtype=np.int32) % 40
    index[5000:] = 0
    found = variety_of(index, IMAGES)
    assert found.sentences == SENTENCES and 0.5 <= found.same < 0.55
    assert not variety_of(index[-9:], IMAGES).suspicious


@pytest.mark.parametrize("images, told", [(IMAGES, False), (OF_ONE_COLOUR, True)])
def test_training_tells(tmp_path, write_text_split, caplog, images, told):
    write_text_split(tmp_path, "train", len(images))
    prefix = str(tmp_path / "train")
    with ImagePackWriter(prefix, 4, INDEX, len(images), "digest") as writer:
        for row, image in enumerate(images):
            writer.write(row, image)
        writer.commit({"text": text_fingerprint(str(tmp_path), "train")})
    with caplog.at_level(logging.WARNING):
        open_split_images([Part(str(tmp_path), "train", 40)], Demands(None, [], None, False))
    said = "images.npy: of 40 sentences with an image that were looked at, 100% have one without any content"
    assert (said in caplog.text) == told
