"""Features of a split: what an encoder makes of its images equals a plain forward."""

import numpy as np
import pytest
import torch

from ikd_fairseq.cli.extract_features import main
from ikd_fairseq.data import feature_extraction
from ikd_fairseq.data.feature_extraction import extract_features, open_encoder, region_features
from ikd_fairseq.data.feature_pack import FeaturePack
from ikd_fairseq.data.image_pack import ImagePack
from ikd_fairseq.errors import IkdError
from ikd_fairseq.vision.backbones import get_backbone
from ikd_fairseq.vision.frozen_cnn import FrozenCNN
from tests.split_with_images import INDEX, random_images, save, write_images

SIZE = 64  # a 2 x 2 grid at stride 32
IMAGES = random_images(SIZE)


def test_features_are_the_last_map_row_by_row(data, monkeypatch):
    write_images(data, IMAGES)
    teachers = []

    def keep(*args, **options):
        teachers.append(FrozenCNN(*args, **options))
        return teachers[-1]

    monkeypatch.setattr(feature_extraction, "FrozenCNN", keep)
    torch.manual_seed(1)
    pack = extract_features(data, "train", "efficientnet_lite0", backbone_weights="random", batch_size=2)
    assert (pack.name, pack.regions, pack.channels) == ("efficientnet_lite0", 4, 320)
    assert pack[1] is None

    teacher = teachers[0]
    for sentence, row in enumerate(INDEX):
        if row < 0:
            continue
        # Plainly: scale to -1 ... 1, as this CNN was trained, channels first, one image at a time.
        image = torch.from_numpy(IMAGES[row] / 127.5 - 1.0).float().permute(2, 0, 1).unsqueeze(0)
        with torch.no_grad():
            last = teacher(image)[-1][0]
        for region in range(4):
            expected = last[:, region // 2, region % 2].numpy()
            np.testing.assert_allclose(
                pack[sentence][region], expected, rtol=2e-3, atol=1e-4 * np.abs(last).max()
            )


def test_whoever_asks_for_features_may_train_between_two_batches(data):
    write_images(data, IMAGES)
    pack, rows = ImagePack.open(f"{data}/train"), np.array([0, 1])
    for _ in region_features(pack, rows, "efficientnet_lite0", "random", 1, "cpu"):
        assert not torch.is_inference_mode_enabled()


def test_extraction_needs_an_image_pack_for_this_text(data, write_text_split):
    with pytest.raises(IkdError, match="no image pack .*train.images.npy: run ikd-pack-images first"):
        extract_features(data, "train")
    write_images(data, IMAGES)
    write_text_split(data, "train", 5, length=7)
    with pytest.raises(IkdError, match="another preparation of the text"):
        extract_features(data, "train")


@pytest.mark.parametrize(
    "options, named",
    [
        (["--from-file", "f.npy"], "--name"),
        (["--rows", "images"], "--from-file"),
        (["--layout", "channels-last", "--list", "l.txt"], "--layout, --list: only for --from-file"),
        (["--from-file", "f.npy", "--name", "own", "--stage", "res4f"], "runs no CNN"),
        (["--from-file", "f.npy", "--name", "own", "--backbone", "resnet50"], "runs no CNN"),
        (["--name", "a/b"], "--name 'a/b'"),
    ],
)
def test_options_that_contradict_each_other_are_refused(data, options, named, capsys):
    assert main(["--data", data, "--split", "train", *options]) == 1
    assert named in capsys.readouterr().err


def test_the_command_brings_features_in(data):
    path = save(data, np.ones((5, 2)))
    assert not main(["--data", data, "--split", "train", "--from-file", path, "--name", "own"])
    assert FeaturePack.open(f"{data}/train", "own").coverage == 5


def test_a_gpu_that_is_not_there_is_refused(data, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(IkdError, match="--device cuda"):
        extract_features(data, "train", device="cuda")


def test_a_stage_is_the_map_of_its_last_block(data):
    write_images(data, IMAGES)
    pack = extract_features(data, "train", "resnet50", backbone_weights="random", stage="res4f")
    assert (pack.name, pack.regions, pack.channels) == ("resnet50-res4f", 16, 1024)
    assert pack.manifest["stage"] == "res4f"
    whole = FrozenCNN(get_backbone("resnet50"), "random", "block")
    with torch.no_grad():
        maps = whole(whole.backbone.normalise(torch.from_numpy(IMAGES)))
    expected = maps[3].flatten(2).transpose(1, 2).numpy()
    np.testing.assert_allclose(pack.features, expected, rtol=2e-3, atol=1e-3 * np.abs(expected).max())
    with pytest.raises(IkdError, match=r"--stage res4g: resnet50 has none .*layer3 \(res4f\)"):
        extract_features(data, "train", "resnet50", backbone_weights="random", stage="res4g")
    with pytest.raises(IkdError, match="--stage res4f: only a listed CNN"):
        open_encoder("timm:resnet18", "random", SIZE, "res4f")


def test_an_encoder_of_timm_gives_its_tokens_under_a_name_of_its_own(data):
    write_images(data, IMAGES)
    pack = extract_features(data, "train", "timm:vit_tiny_patch16_224.augreg_in21k", "random", batch_size=2)
    assert (pack.name, pack.regions, pack.channels) == ("timm-vit_tiny_patch16_224-augreg_in21k", 197, 192)
    assert np.isfinite(pack.features).all()
