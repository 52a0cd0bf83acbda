"""Every distance, granularity and choice of losses of Table 2 against sums over maps collected by hand."""

from functools import cache

import numpy as np
import pytest
import torch
from torchvision.models.feature_extraction import create_feature_extractor

from ikd_fairseq.criterions import inversion_distillation
from ikd_fairseq.criterions.inversion_distillation import (
    InversionDistillationConfig,
    InversionDistillationCriterion,
)
from ikd_fairseq.vision.backbones import get_backbone
from ikd_fairseq.vision.frozen_cnn import FrozenCNN, UnregisteredCNN
from tests import toy

# ResNet-18 by hand: for each layer, the node of the traced teacher whose value it hands on, shallow to deep.
BLOCKS = [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
LAYERS = ["relu", "maxpool"] + [f"{block}.{part}" for block in BLOCKS for part in ("relu", "relu_1")]
NODES = {
    "model": ["layer4.1.relu_1"],
    "block": ["relu", "layer1.1.relu_1", "layer2.1.relu_1", "layer3.1.relu_1", "layer4.1.relu_1"],
    "layer": LAYERS,
}
# The weights of IrM, IaM and image.
CHOICES = {
    "both": (1.0, 1.0, 2.0),
    "image alone": (0.0, 0.0, 2.0),
    "without IaM": (1.0, 0.0, 1.0),
    "without IrM": (0.0, 1.0, 1.0),
    "none": (0.0, 0.0, 0.0),
}


def softmax(x):
    e = np.exp(x - x.max(axis=0))
    return e / e.sum(axis=0)


# Of one image's maps, C x H x W.
DISTANCES = {
    "l1": lambda a, b: np.abs(a - b).mean(),
    "l2": lambda a, b: np.sqrt(((a - b) ** 2).mean()),
    "linf": lambda a, b: np.abs(a - b).max(),
    "cosine": lambda a, b: 1 - (a * b).sum() / (np.linalg.norm(a.ravel()) * np.linalg.norm(b.ravel())),
    "kl": lambda a, b: (softmax(a) * np.log(softmax(a) / softmax(b))).sum(axis=0).mean(),
}


def by_image(name, a, b):
    """Mean distance over images, of maps ``K x C x H x W``."""
    return np.mean([DISTANCES[name](x, y) for x, y in zip(a.double().numpy(), b.double().numpy())])


def student_maps(student, regions):
    """The student's maps by granularity, from the image's side to the regions, and its image."""
    current = regions.transpose(1, 2).unflatten(2, (2, 2))
    layers, stages = [current], [current]
    for stage in student.stages:
        for block in stage:
            if hasattr(block, "body"):
                layers.append(block.body[:3](current))  # convolution, batch norm and ReLU between the two
            current = block(current)
            layers.append(current)
        stages.append(current)
    return {"model": [stages[0]], "block": stages[::-1], "layer": layers[::-1]}, student.to_image(current)


@pytest.fixture(scope="module")
def setting():
    """A model away from its initial values, a batch, and (IrM, IaM, image) by distance and granularity."""
    model = toy.ikd_model(backbone="resnet18").eval()
    sources, targets = toy.tokens([1, 2, 3], [4, 5], [6]), toy.tokens([3, 2, 1, 1], [5, 4], [6, 6])
    sample = toy.batch(sources, targets, images=toy.images(2), image_positions=torch.tensor([0, 2]))
    teacher = FrozenCNN(model.backbone, "random")
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        real = ((sample["net_input"]["images"] / 255 - mean) / std).permute(0, 3, 1, 2)
        encoder_out = model.encoder(sources, None)
        made, inverse = student_maps(model.student, encoder_out["regions"][0][[0, 2]])
        trace = create_feature_extractor(teacher.cnn, LAYERS)
        seen, reseen = trace(real), trace(inverse)

    terms = {}
    for granularity, nodes in NODES.items():
        taught, again = [seen[node] for node in nodes], [reseen[node] for node in nodes]
        assert [m.shape for m in taught] == [m.shape for m in made[granularity]]
        for name in DISTANCES:
            irm, iam = (
                sum(by_image(name, a, b) for a, b in zip(taught, others))
                for others in (made[granularity], again)
            )
            terms[name, granularity] = irm, iam, by_image(name, real, inverse)
    return model, sample, terms


@cache
def cached_teacher(backbone_name, weights, granularity):
    return UnregisteredCNN(get_backbone(backbone_name), weights, granularity)


# Which terms count has nothing to do with the distance.
VARIANTS = [(d, g, c) for d in DISTANCES for g in NODES for c in (CHOICES if d == "l2" else ["both"])]


@pytest.mark.parametrize("distance, granularity, choice", VARIANTS)
def test_loss_of_every_variant(distance, granularity, choice, setting, monkeypatch):
    model, sample, terms = setting[0], setting[1], setting[2][distance, granularity]
    monkeypatch.setattr(
        inversion_distillation,
        "UnregisteredCNN",
        lambda backbone, *rest: cached_teacher(backbone.name, *rest),
    )
    weights = dict(zip(("irm_weight", "iam_weight", "image_weight"), CHOICES[choice]))
    cfg = InversionDistillationConfig(
        sentence_avg=False,
        label_smoothing=0.1,
        teacher_weights="random",
        granularity=granularity,
        distance=distance,
        kd_weight=0.5,
        **weights,
    )
    criterion = InversionDistillationCriterion(cfg, toy.toy_task(models=[model])).eval()
    with torch.no_grad():
        loss, sample_size, logged = criterion(model, sample)
        tokens = {key: value for key, value in sample["net_input"].items() if not key.startswith("image")}
        translation = criterion.compute_loss(model, model(**tokens), sample)[0]
    expected = 0.5 * sum(weight * term for weight, term in zip(CHOICES[choice], terms))
    assert (expected > 0) == (choice != "none")
    assert float(loss - translation) / sample_size == pytest.approx(expected, rel=2e-4, abs=1e-6)
    for name, weight, term in zip(("irm", "iam", "image"), CHOICES[choice], terms):
        if choice != "none":
            assert logged["kd_images"] == 2
            assert float(logged[f"kd_{name}"]) == pytest.approx(2 * term if weight else 0, rel=2e-4)
