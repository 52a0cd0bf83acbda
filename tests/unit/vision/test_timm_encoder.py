"""Encoders of timm: their own normalisation and forward pass, weights from a file or timm's cache."""

import pytest
import timm
import torch

from ikd_fairseq.errors import IkdError
from ikd_fairseq.vision.backbones import get_backbone
from ikd_fairseq.vision.timm_encoder import TimmEncoder
from tests.closeness import assert_close_to_scale

PICTURES = torch.randint(
    0, 256, (2, 64, 64, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An encoder with weights of its own, and the file of them."""
    torch.manual_seed(3)
    encoder = timm.create_model("resnet10t").eval()
    path = tmp_path_factory.mktemp("timm") / "resnet10t.pth"
    torch.save(encoder.state_dict(), path)
    return encoder, str(path)


def test_positions_of_a_map_come_row_by_row_after_timms_own_normalisation(trained):
    plain, path = trained
    regions = TimmEncoder("resnet10t", path)(PICTURES)
    config = timm.data.resolve_model_data_config(plain)
    mean, std = (torch.tensor(config[key]).view(1, 1, 1, 3) for key in ("mean", "std"))
    with torch.no_grad():
        maps = plain.forward_features(((PICTURES / 255 - mean) / std).permute(0, 3, 1, 2))
    assert regions.shape == (2, 4, 512)
    for row in range(2):
        for column in range(2):
            assert_close_to_scale(regions[:, 2 * row + column], maps[:, :, row, column])


def test_a_map_with_channels_last_is_read_so():
    encoder = TimmEncoder("swin_tiny_patch4_window7_224", "random")
    pictures = torch.zeros(1, 224, 224, 3, dtype=torch.uint8)
    with torch.no_grad():
        expected = encoder.encoder.forward_features(
            (torch.zeros(1, 3, 224, 224) - encoder.mean) / encoder.std
        )
    assert expected.shape == (1, 7, 7, 768)
    assert_close_to_scale(encoder(pictures), expected.flatten(1, 2))


def test_images_are_resized_to_the_one_size_that_an_encoder_knows():
    encoder = TimmEncoder("vit_tiny_patch16_224", "random")
    tokens = encoder(PICTURES)
    assert tokens.shape == (2, 197, 192) and not tokens.requires_grad
    assert torch.equal(encoder(PICTURES), TimmEncoder("vit_tiny_patch16_224", "random")(PICTURES))


def test_weights_come_from_timms_cache_and_nowhere_else(trained, monkeypatch):
    plain, path = trained
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repository, file: path)
    assert torch.equal(TimmEncoder("resnet10t").encoder.conv1[0].weight, plain.conv1[0].weight)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repository, file: None)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "/nowhere")
    with pytest.raises(IkdError, match="the weights of timm's resnet10t are not in its cache: run python -c"):
        TimmEncoder("resnet10t")


def test_what_cannot_be_had_or_used_is_refused_in_a_sentence(trained, tmp_path):
    with pytest.raises(IkdError, match="--backbone timm:nonsense: timm .* has no encoder of that name"):
        TimmEncoder("nonsense")
    with pytest.raises(IkdError, match="/nowhere.pth: no such file"):
        TimmEncoder("resnet10t", "/nowhere.pth")
    with pytest.raises(IkdError, match=f"{trained[1]}: not the weights of timm's resnet18"):
        TimmEncoder("resnet18", trained[1])
    torch.save(print, tmp_path / "code.pth")
    with pytest.raises(IkdError, match="code.pth is refused: .*would run code"):
        TimmEncoder("resnet10t", str(tmp_path / "code.pth"))
    with pytest.raises(IkdError, match="timm:resnet10t: an encoder of timm has no inverse"):
        get_backbone("timm:resnet10t")
