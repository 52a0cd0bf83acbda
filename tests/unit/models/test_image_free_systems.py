"""IKD-MMT and its image-free rivals: what a translation depends on, what learns, what is saved."""

import math

import pytest
import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.sequence_generator import SequenceGenerator

from ikd_fairseq.constants import AUXILIARY, LOGGED
from ikd_fairseq.criterions.auxiliary_losses import AuxiliaryLossesConfig, AuxiliaryLossesCriterion
from ikd_fairseq.criterions.inversion_distillation import (
    InversionDistillationConfig,
    InversionDistillationCriterion,
)
from ikd_fairseq.errors import IkdError
from ikd_fairseq.models.hallucination_transformer import grid_positions
from tests import toy
from tests.closeness import assert_close_to_scale
from tests.unit.models.image_free import hallucination_model, imagination_model, retrieval_model, write_index

SYSTEMS = ("ikd", "imagination", "hallucination", "topic", "dense")
POSITIONS = torch.tensor([0, 2, 3, 4, 7, 9])  # of the images, in a batch of ten
SENTENCES = ([1, 2, 3], [4, 5], [6, 7, 8, 9, 10])


@pytest.fixture
def build(tmp_path):
    """Builds a system by name."""
    for kind in ("topic", "dense"):
        write_index(tmp_path, kind)

    def model(system):
        if system == "ikd":
            return toy.ikd_model(**toy.PRESET)
        if system == "imagination":
            return imagination_model()
        return hallucination_model() if system == "hallucination" else retrieval_model(tmp_path, system)

    return model


def translate(model, source, beam=4):
    search = SequenceGenerator([model], toy.dictionary(), beam_size=beam, max_len_b=12)
    net_input = {"src_tokens": source, "src_lengths": source.ne(toy.dictionary().pad()).sum(1)}
    return search.generate([model], {"net_input": net_input})


@pytest.mark.parametrize("system", SYSTEMS)
def test_beam_search_gives_the_same_alone_and_in_any_batch(build, system):
    model = toy.trained(build(system))
    for left_pad in (True, False):
        together = translate(model, toy.tokens(*SENTENCES, left_pad=left_pad))
        for sentence, hypotheses in zip(SENTENCES, together):
            (alone,) = translate(model, toy.tokens(sentence))
            for a, b in zip(hypotheses, alone):
                assert a["tokens"].tolist() == b["tokens"].tolist()
                assert float(a["score"]) == pytest.approx(float(b["score"]), abs=1e-4)


@pytest.mark.parametrize("system", SYSTEMS)
def test_encoder_looks_at_no_image_of_the_sentence(build, system):
    model, source = toy.trained(build(system)), toy.tokens(*SENTENCES)
    with torch.no_grad():
        without = model.encoder(source)["encoder_out"][0]
        handed = model.encoder(source, images=toy.images(1), image_positions=torch.tensor([1]))
    assert torch.equal(without, handed["encoder_out"][0])
    assert not model.requires_images


@pytest.mark.parametrize("system", SYSTEMS)
def test_ten_sentences_are_learnt_by_heart(build, system):
    torch.manual_seed(3)
    model = build(system).train()
    sources, targets = (toy.tokens(*torch.randint(0, 20, (10, length)).tolist()) for length in (4, 3))
    task, images = toy.toy_task(models=[model]), {}
    if system in ("topic", "dense"):
        criterion = LabelSmoothedCrossEntropyCriterion(task, False, 0.0)
    elif system == "ikd":
        cfg = InversionDistillationConfig(
            sentence_avg=False, label_smoothing=0.0, teacher_weights="random", kd_images_per_batch=2
        )
        criterion = InversionDistillationCriterion(cfg, task).train()
        images = {"images": toy.images(6), "image_positions": POSITIONS}
    else:
        cfg = AuxiliaryLossesConfig(sentence_avg=False, label_smoothing=0.0, backbone_weights="random")
        criterion = AuxiliaryLossesCriterion(cfg, task).train()
        features = torch.randn(6, toy.REGIONS, toy.CHANNELS)
        images = {"features": features, "image_positions": POSITIONS}
    sample = toy.batch(sources, targets, **images)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        loss, size, _ = criterion(model, sample)
        (loss / size).backward()
        optimizer.step()
    eos = toy.dictionary().eos()
    for (hypothesis, *_), target in zip(translate(model.eval(), sources, beam=1), targets):
        assert hypothesis["tokens"].tolist() == target[: target.tolist().index(eos) + 1].tolist()


@pytest.mark.parametrize("system", SYSTEMS)
def test_checkpoint_gives_the_model_back(build, system):
    model, other = toy.trained(build(system)), build(system).eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    other.load_state_dict(state, strict=True)
    net_input = toy.batch(toy.tokens(*SENTENCES), toy.tokens(*SENTENCES))["net_input"]
    with torch.no_grad():
        assert torch.equal(model(**net_input)[0], other(**net_input)[0])
    assert not any("index" in name or "cnn" in name for name in state)


@pytest.mark.parametrize(
    "make", [toy.ikd_model, toy.image_must_model, hallucination_model, imagination_model]
)
def test_layer_normalisation_may_come_last(make):
    model = toy.trained(make(encoder_normalize_before=False, decoder_normalize_before=False))
    assert model.encoder.layer_norm is None and model.decoder.layer_norm is None
    with torch.no_grad():
        batch = toy.batch(toy.tokens(*SENTENCES), toy.tokens(*SENTENCES))["net_input"]
        together = model(**batch)[0]
        for row, sentence in enumerate(SENTENCES):
            alone = model(**toy.batch(toy.tokens(sentence), toy.tokens(sentence))["net_input"])[0][0]
            assert_close_to_scale(together[row, : len(alone)], alone)


# ---------------------------------------------------------------- hallucination


def test_predicted_feature_differs_by_region_and_real_one_takes_its_place():
    model = toy.trained(hallucination_model())
    source, real = toy.tokens(*SENTENCES), torch.randn(3, toy.REGIONS, toy.CHANNELS)
    with torch.no_grad():
        predicted = model.encoder(source)["regions"][0]
        assert predicted.shape == real.shape
        assert predicted.std(dim=1).min() > 0
        by_image = model.encoder(source, real=real)
        assert torch.equal(by_image["regions"][0], real)
        again = model.encoder(source, real=predicted)["encoder_out"][0]
        assert_close_to_scale(again, model.encoder(source)["encoder_out"][0])
        assert not torch.allclose(by_image["encoder_out"][0], again)


def test_consistency_is_zero_where_the_prediction_is_the_real_feature():
    model = toy.trained(hallucination_model())
    sample = toy.batch(toy.tokens(*SENTENCES), toy.tokens(*SENTENCES))
    with torch.no_grad():
        predicted = model.encoder(sample["net_input"]["src_tokens"])["regions"][0]
        for features, is_zero in ((predicted, True), (torch.randn_like(predicted), False)):
            _, extra = model(
                **sample["net_input"],
                features=features,
                image_positions=torch.arange(3),
                auxiliary=model.auxiliary_weights,
            )
            assert (float(extra[AUXILIARY]["consistency"].values.sum()) < 1e-4) == is_zero
            assert (float(extra[AUXILIARY]["feature"].total) < 1e-4) == is_zero


def test_features_of_another_shape_are_refused_in_a_sentence():
    with pytest.raises(IkdError, match="have 1 regions of 320 channels, but .* predicts 4 of 320"):
        hallucination_model().encoder(toy.tokens([1]), real=torch.zeros(1, 1, toy.CHANNELS))
    with pytest.raises(IkdError, match="--hallucination-layers 0"):
        hallucination_model(hallucination_layers=0)
    with pytest.raises(IkdError, match="--feature-warmup-updates -1"):
        hallucination_model(feature_warmup_updates=-1)


def test_weights_of_hallucination_are_the_released_ones():
    # (CE_real + CE_hal) / 2 + .5 KL + .5 feature, a mean beside sums over 2,048 tokens; times 2.
    assert hallucination_model().auxiliary_weights == {"real": 1, "feature": 2 * 0.5 / 2048, "consistency": 1}


def test_layers_that_predict_regions_begin_apart_and_have_the_encoders_dropout():
    dropout = {"dropout": 0.3, "attention_dropout": 0.2, "activation_dropout": 0.1}
    first, second = hallucination_model(**dropout).encoder.hallucinator.layers.layers
    assert not torch.equal(first.linear1.weight, second.linear1.weight)
    for layer in (first, second):
        assert (layer.self_attn.dropout, layer.multihead_attn.dropout, layer.dropout.p) == (0.2, 0.2, 0.1)
        assert layer.dropout1.p == layer.dropout2.p == layer.dropout3.p == 0.3


def test_positions_of_regions_are_sums_of_a_row_and_a_column_and_a_class_token_has_none():
    def sinusoid(number):
        steps = [10000 ** -(k / 2) for k in range(3)]  # of half the width less one
        angles = [number * step for step in steps]
        return torch.tensor([math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles])

    grid = grid_positions(9, 6)
    for row in range(3):
        for column in range(3):
            assert_close_to_scale(grid[3 * row + column], sinusoid(row) + sinusoid(column))
    with_class = grid_positions(10, 6)
    assert not with_class[0].any() and torch.equal(with_class[1:], grid)
    line = grid_positions(7, 6)
    assert_close_to_scale(line, torch.stack([sinusoid(number) for number in range(7)]))


def test_regions_are_told_apart_by_their_positions_unless_the_checkpoint_knew_none():
    model, source = toy.trained(hallucination_model()), toy.tokens([1, 2])
    same = torch.rand(1, 1, toy.CHANNELS).expand(1, toy.REGIONS, -1)

    def encoded():
        with torch.no_grad():
            return model.encoder(source, real=same)["encoder_out"][0][-toy.REGIONS :, 0]

    assert not torch.allclose(encoded()[0], encoded()[3], atol=1e-2)
    old = {name: value for name, value in model.state_dict().items() if not name.endswith(".placed")}
    model.load_state_dict(old, strict=True)
    assert_close_to_scale(encoded()[3], encoded()[0])


@pytest.mark.parametrize("regions, channels", [(1, 2048), (197, 768)])
def test_regions_of_any_width_and_number_are_predicted(regions, channels):
    model = hallucination_model(feature_regions=regions, feature_channels=channels)
    assert (model.feature_regions, model.feature_channels) == (regions, channels)
    assert model.encoder(toy.tokens([1, 2]))["regions"][0].shape == (1, regions, channels)
    assert imagination_model(feature_channels=channels).imagination.projection.out_features == channels


# ---------------------------------------------------------------- retrieval


@pytest.mark.parametrize("kind", ["topic", "dense"])
def test_gate_is_logged_as_a_mean_over_tokens_that_have_images(build, kind):
    model = toy.trained(build(kind))
    gates = []
    model.encoder.fusion.register_forward_hook(lambda module, inputs, output: gates.append(output[1]))
    source = toy.tokens([1, 2, 3], [4, 5], [])  # nothing is found for a sentence without words
    _, extra = model(**toy.batch(source, toy.tokens([1], [2], [3]))["net_input"])
    total, count = extra[LOGGED]["gate"]
    (gate,) = gates
    assert int(count) == (4 + 3) * 16
    assert float(total) == pytest.approx(float(gate[0, :4].sum() + gate[1, :3].sum()), rel=1e-5)
    assert 0 < float(total / count) < 1


def test_index_is_found_in_the_first_data_folder_or_by_option_and_not_written_into_the_options(tmp_path):
    (tmp_path / "data").mkdir()
    path = write_index(tmp_path, "topic")
    with pytest.raises(IkdError, match=r"data/image-index.topic.pt does not exist"):
        retrieval_model(tmp_path / "data", "topic")
    assert retrieval_model(tmp_path / "data", "topic", image_index=path).encoder.index.kind == "topic"
    assert retrieval_model(f"{tmp_path}:{tmp_path / 'data'}", "topic").encoder.index.kind == "topic"
    model = retrieval_model(tmp_path, "topic")
    assert model.cfg.image_index == path  # the model's own copy


def test_unfit_indices_are_refused_in_a_sentence(tmp_path):
    write_index(tmp_path, "topic", words=21)
    with pytest.raises(IkdError, match="built from another vocabulary than the model's source dictionary"):
        retrieval_model(tmp_path, "topic")
    path = write_index(tmp_path, "dense")
    with pytest.raises(IkdError, match="--retriever dense, but the model has --retriever topic"):
        retrieval_model(tmp_path, "topic", image_index=path)
    state = retrieval_model(tmp_path, "dense").state_dict()
    means = retrieval_model(tmp_path, "dense", merge="mean").state_dict()
    with pytest.raises(
        IkdError, match=r"takes the mean of retrieved images, .*--model-overrides.*'merge': 'mean'"
    ):
        retrieval_model(tmp_path, "dense").load_state_dict(means)
    write_index(tmp_path, "dense", channels=8)
    with pytest.raises(IkdError, match="the image index has vectors of 8 channels"):
        retrieval_model(tmp_path, "dense").load_state_dict(state)
    with pytest.raises(IkdError, match="--retrieved-images 0"):
        retrieval_model(tmp_path, "dense", retrieved_images=0)
