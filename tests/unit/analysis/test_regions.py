"""Regions in a trained model: attention on them, what tells sentences apart in them, nll without them."""

import math

import pytest
import torch

from ikd_fairseq.analysis.features import Trained
from ikd_fairseq.analysis.regions import Spread, biases, read
from tests import toy


def test_the_share_of_the_variance_between_sentences():
    torch.manual_seed(1)
    sentences, regions = torch.randn(400, 1, 2), 3 * torch.randn(1, 5, 2)
    parts = {
        "both": sentences + regions,
        "regions": regions.expand(400, 5, 2),
        "sentences": sentences.expand(400, 5, 2),
    }
    found = {}
    for name, values in parts.items():
        spread = Spread()
        for some in values.split(150):
            spread.add(some)
        found[name] = spread.between_sentences()
    assert found["regions"] == pytest.approx(0, abs=1e-9) and found["sentences"] == pytest.approx(1)
    within = parts["sentences"].double().var(dim=0, unbiased=False).mean(dim=0).sum()
    across = regions[0].double().var(dim=0, unbiased=False).sum()
    assert found["both"] == pytest.approx(float(within / (within + across)), rel=1e-6)


@pytest.mark.parametrize("max_tokens", [6, 100])
def test_reading_counts_every_target_word_once(dataset, max_tokens):
    model = toy.trained(toy.ikd_model(region_bias="learned", decoder_layers=2))
    trained = Trained(model, toy.toy_task(), "data", "random", "cpu")
    trained.task.target_dictionary = trained.task.source_dictionary
    reading = read(trained, dataset, max_tokens)
    bits, tokens, uniform, on_regions = {"shown": 0.0, "hidden": 0.0}, 0, 0.0, [0.0, 0.0]
    for number in range(len(dataset)):
        source = dataset.src[number].unsqueeze(0)
        sample = toy.batch(source, source)["net_input"]
        with torch.no_grad():
            for view in bits:
                logits, _ = model(**sample, hide_regions=view == "hidden")
                scores = logits.log_softmax(-1)[0].gather(1, source.T)
                bits[view] -= float(scores.sum()) / math.log(2)
            for layer in range(2):
                _, extra = model(**sample, alignment_layer=layer)
                on_regions[layer] += float((1 - extra["attn"][0].sum(dim=-1)).sum())
        tokens += source.numel()
        uniform += source.numel() * toy.REGIONS / (toy.REGIONS + source.numel())
    assert reading.tokens == tokens and reading.uniform == pytest.approx(uniform)
    assert reading.attention == pytest.approx(on_regions, rel=1e-4)
    assert reading.bits == pytest.approx(bits, rel=1e-4)
    assert reading.feature.count == reading.encoded.count == len(dataset)
    offsets = [float(layer.encoder_attn.region_bias.offset) for layer in model.decoder.layers]
    assert biases(trained) == pytest.approx([offset - math.log(toy.REGIONS) for offset in offsets])


def test_a_model_without_a_bias_has_none(trained):
    assert biases(trained) == [None]
