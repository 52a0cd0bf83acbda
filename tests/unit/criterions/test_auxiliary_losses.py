"""The criterion against terms written out by hand, for the models that have some."""

import pytest
import torch
from fairseq.distributed import utils as distributed
from fairseq.logging import metrics

from ikd_fairseq.criterions.auxiliary_losses import (
    AuxiliaryLossesConfig,
    AuxiliaryLossesCriterion,
    parse_weights,
)
from ikd_fairseq.errors import IkdError
from ikd_fairseq.models.imagination_transformer import margin_loss
from ikd_fairseq.vision.frozen_cnn import FrozenCNN
from tests import toy
from tests.closeness import assert_close_to_scale
from tests.unit.models.image_free import hallucination_model, imagination_model

SOURCES = toy.tokens([1, 2, 3], [4, 5], [6], [7, 8, 9, 10])
TARGETS = toy.tokens([3, 2, 1, 1], [5, 4], [6, 6], [9, 8, 7])
PAD = toy.dictionary().pad()
MODELS = [imagination_model, hallucination_model]


def criterion_of(model, label_smoothing=0.1, **options):
    options = {"backbone_weights": "random", **options}
    task = toy.toy_task(models=[model])
    cfg = AuxiliaryLossesConfig(sentence_avg=False, label_smoothing=label_smoothing, **options)
    return AuxiliaryLossesCriterion(cfg, task)


def sample_with(positions, sources=SOURCES, targets=TARGETS):
    return toy.batch(
        sources, targets, images=toy.images(len(positions)), image_positions=torch.tensor(positions).long()
    )


def features_of(model, images):
    teacher = FrozenCNN(model.backbone, "random")
    with torch.no_grad():
        return teacher(model.backbone.normalise(images))[-1].flatten(2).transpose(1, 2)


def text_of(sample):
    return {key: value for key, value in sample["net_input"].items() if not key.startswith("image")}


def translation_loss(criterion, model, sample):
    return criterion.compute_loss(model, model(**text_of(sample)), sample)[0]


def added(criterion, model, sample):
    """What is added to the translation loss, by token."""
    loss, sample_size, _ = criterion(model, sample)
    return ((loss - translation_loss(criterion, model, sample)) / sample_size).item()


def test_margin_term_is_the_mean_over_images():
    model = imagination_model().eval()
    criterion, sample = criterion_of(model, auxiliary_weights="margin=0.7").eval(), sample_with([0, 2, 3])
    with torch.no_grad():
        out = model.encoder(SOURCES)["encoder_out"][0].transpose(0, 1)
        means = torch.stack([out[row][SOURCES[row].ne(PAD)].mean(0) for row in (0, 2, 3)])
        real = features_of(model, sample["net_input"]["images"]).mean(1)
        expected = margin_loss(torch.tanh(model.imagination.projection(means)), real, model.margin).mean()
        assert expected > 0.01
        assert added(criterion, model, sample) == pytest.approx(0.7 * expected.item(), rel=1e-4)


def test_hallucination_terms_are_those_of_a_loop_over_sentences():
    model = hallucination_model().eval()
    criterion = criterion_of(model, auxiliary_weights="real=0.5,feature=2,consistency=3").eval()
    sample = sample_with([1, 3])
    with torch.no_grad():
        features = features_of(model, sample["net_input"]["images"])
        real_loss = divergence = distance = tokens = 0.0
        for row, feature in zip((1, 3), features):
            source, target = SOURCES[row : row + 1], TARGETS[row : row + 1]
            source, target = source[source.ne(PAD)].view(1, -1), target[target.ne(PAD)].view(1, -1)
            alone = toy.batch(source, target)
            previous = alone["net_input"]["prev_output_tokens"]
            predicted = model.encoder(source)
            by_prediction = model.decoder(previous, encoder_out=predicted)[0]
            by_image = model.decoder(previous, encoder_out=model.encoder(source, real=feature[None]))[0]
            real_loss += criterion.compute_loss(model, (by_image, {}), alone)[0].item()
            p, q = by_image.softmax(-1), by_prediction.softmax(-1)
            divergence += (p * (p / q).log()).sum().item()
            distance += ((predicted["regions"][0][0] - feature) ** 2).mean().sqrt().item()
            tokens += target.numel()
        every = TARGETS.ne(PAD).sum().item()
        expected = 0.5 * real_loss / every + 2 * distance / 2 + 3 * divergence / every
        assert min(real_loss, distance, divergence) > 1e-3
        assert added(criterion, model, sample) == pytest.approx(expected, rel=1e-3)
    logged = criterion(model, sample)[2]
    assert (logged["aux_count_feature"], int(logged["aux_count_consistency"])) == (2, tokens)
    assert float(logged["aux_real"]) == pytest.approx(real_loss, rel=1e-3)
    logged = criterion_of(model, ignore_prefix_size=1).eval()(model, sample)[2]
    assert int(logged["aux_count_real"]) == int(logged["aux_count_consistency"]) == tokens - 2


@pytest.mark.parametrize(
    "make, weights", [(imagination_model, ""), (hallucination_model, "real=0,consistency=0")]
)
def test_a_term_of_images_is_their_mean_whatever_the_share_of_sentences_that_have_one(make, weights):
    model = make().eval()
    criterion = criterion_of(model, auxiliary_weights=weights).eval()
    among_others = added(criterion, model, sample_with([0, 1]))
    by_themselves = added(criterion, model, sample_with([0, 1], SOURCES[:2], TARGETS[:2]))
    assert among_others > 1e-4
    assert among_others == pytest.approx(by_themselves, rel=1e-3)


def test_a_token_counts_as_often_whatever_the_share_of_sentences_with_an_image():
    model = hallucination_model().eval()
    criterion = criterion_of(model, auxiliary_weights="feature=0").eval()
    of_batch = {}
    for count in (2, 4):
        sample = sample_with([0, 1], SOURCES[:count], TARGETS[:count])
        of_batch[count] = criterion(model, sample)[0] - translation_loss(criterion, model, sample)
    assert_close_to_scale(of_batch[2], of_batch[4])


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("carried", ["no key", "no image"])
def test_batch_without_images_trains_on_translation_alone_and_touches_every_weight(make, carried):
    model = make().train()
    criterion = criterion_of(model).train()
    sample = toy.batch(SOURCES, TARGETS) if carried == "no key" else sample_with([])
    loss, _, logged = criterion(model, sample)
    assert_close_to_scale(loss, translation_loss(criterion, model, sample))
    # Workers add up what they log in its order, numbers and tensors apart.
    others = criterion(model, sample_with([0, 1]))[2]
    assert [(name, torch.is_tensor(value)) for name, value in logged.items()] == [
        (name, torch.is_tensor(value)) for name, value in others.items()
    ]
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        if name.startswith("imagination."):
            assert not parameter.grad.any(), name


@pytest.mark.parametrize("make", MODELS)
def test_every_part_learns_and_the_cnn_is_no_part_of_model_or_criterion(make):
    model = make().train()
    criterion = criterion_of(model).train()
    assert not list(criterion.parameters()) and not criterion.state_dict()
    assert not any("cnn" in name for name in model.state_dict())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    for _ in range(2):
        optimizer.zero_grad()
        criterion(model, sample_with([0, 1, 2, 3]))[0].backward()
        optimizer.step()
    assert not [name for name, value in model.named_parameters() if torch.equal(value, before[name])]


def test_in_its_first_updates_hallucination_learns_to_predict_features_alone():
    model = hallucination_model(feature_warmup_updates=3).train()
    criterion, sample = criterion_of(model).train(), sample_with([1, 3])
    model.set_num_updates(2)
    loss, sample_size, logged = criterion(model, sample)
    assert_close_to_scale(loss, sample_size * logged["aux_feature"] / 2)
    assert logged["aux_count_feature"] == 2 and logged["aux_count_real"] == 0  # not computed
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert not any(parameter.grad.any() for parameter in model.decoder.layers.parameters())
    assert all(parameter.grad.any() for parameter in model.encoder.hallucinator.projection.parameters())

    model.eval()  # what checkpoints are chosen by is one loss from the first update to the last
    validation = float(criterion(model, sample)[0])
    model.set_num_updates(3)
    assert float(criterion(model, sample)[0]) == pytest.approx(validation, rel=1e-6)
    assert float(criterion(model.train(), sample)[0]) == pytest.approx(validation, rel=1e-6)

    model.set_num_updates(0)  # a split without images has nothing to warm up with
    text_alone = toy.batch(SOURCES, TARGETS)
    assert_close_to_scale(criterion(model, text_alone)[0], translation_loss(criterion, model, text_alone))


@pytest.mark.parametrize("make", MODELS)
def test_features_of_the_cnn_stand_for_its_images(make):
    model = make().eval()
    criterion, sample = criterion_of(model).eval(), sample_with([0, 2, 3])
    net_input = {**text_of(sample), "image_positions": sample["net_input"]["image_positions"]}
    net_input["features"] = features_of(model, sample["net_input"]["images"])
    with torch.no_grad():
        from_features = criterion(model, {**sample, "net_input": net_input})[0]
        torch.testing.assert_close(criterion(model, sample)[0], from_features, rtol=1e-4, atol=1e-4)


def test_workers_count_images_and_tokens_together(monkeypatch):
    model = hallucination_model().train()
    criterion, sample = criterion_of(model).train(), sample_with([1, 3])
    others = torch.tensor([80.0, 30.0, 6.0, 30.0], dtype=torch.float64)  # tokens, then counts of the terms

    def all_reduce(numbers, group):
        numbers += others

    monkeypatch.setattr(distributed, "get_data_parallel_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_reduce", all_reduce)
    loss, sample_size, logged = criterion(model, sample)
    expected = translation_loss(criterion, model, sample)
    for name, weight in criterion.weights.items():
        scale = (80 + sample_size) / (6 + 2) if name == "feature" else 1
        expected = expected + weight * scale * logged[f"aux_{name}"]
    assert_close_to_scale(loss, expected)
    # A repeated batch, whose loss is dropped: what the other workers have counts alone.
    again = criterion(model, {**sample, "ignored": True})[0] - translation_loss(criterion, model, sample)
    expected = sum(
        scale * criterion.weights[name] * logged[f"aux_{name}"]
        for name, scale in (("real", 1), ("feature", 80 / 6), ("consistency", 1))
    )
    assert_close_to_scale(again, expected)


@pytest.mark.parametrize("make", MODELS)
def test_a_second_pass_leaves_the_terms_alone(make):
    model, sample = make(dropout=0.0).train(), sample_with([0, 2, 3])
    plain, twice = (criterion_of(model, consistency_weight=w).train()(model, sample) for w in (0.0, 3.0))
    assert_close_to_scale(twice[0], plain[0])
    assert twice[2]["consistency"].abs() < 1e-4
    for name, value in plain[2].items():
        assert float(twice[2][name]) == pytest.approx(float(value), rel=1e-4), name


def test_each_term_is_logged_as_its_mean():
    translation = {"loss": 1.0, "nll_loss": 1.0, "ntokens": 4, "sample_size": 4}
    outputs = [
        {**translation, "aux_margin": 3.0, "aux_count_margin": 2},
        {**translation, "aux_margin": 1.0, "aux_count_margin": 6},
    ]
    with metrics.aggregate(new_root=True) as log:
        AuxiliaryLossesCriterion.reduce_metrics(outputs)
    assert log.get_smoothed_values()["aux_margin"] == 0.5
    for output in outputs:
        output.update(aux_margin=0.0, aux_count_margin=0)
    with metrics.aggregate(new_root=True) as log:
        AuxiliaryLossesCriterion.reduce_metrics(outputs)
    assert "aux_margin" not in log.get_smoothed_values()


@pytest.mark.parametrize("kept", ["real", "feature", "consistency"])
def test_a_term_of_weight_0_is_not_computed_nor_logged_and_changes_nothing(kept):
    model, sample = hallucination_model().train(), sample_with([1, 3])
    passes = []
    model.decoder.register_forward_hook(lambda *_: passes.append(1))
    zeros = [f"{name}=0" for name in model.auxiliary_weights if name != kept]
    loss, sample_size, logged = criterion_of(model, auxiliary_weights=",".join(zeros)).train()(model, sample)
    assert len(passes) == (1 if kept == "feature" else 2)
    whole = criterion_of(model).train()(model, sample)[2]
    for name in model.auxiliary_weights:
        assert logged[f"aux_{name}"] == (whole[f"aux_{name}"] if name == kept else 0)
    times = sample_size / whole["aux_count_feature"] if kept == "feature" else 1
    expected = translation_loss(criterion_of(model), model, sample)
    assert_close_to_scale(loss, expected + model.auxiliary_weights[kept] * times * whole[f"aux_{kept}"])
    kinds = [[(name, torch.is_tensor(value)) for name, value in log.items()] for log in (logged, whole)]
    assert kinds[0] == kinds[1]


def test_without_weights_there_is_no_cnn_and_no_image_is_read():
    model = imagination_model().train()
    criterion = criterion_of(model, auxiliary_weights="margin=0", backbone_weights="/nowhere").train()
    assert not criterion.uses_images and criterion.cnn is None
    sample = sample_with([0, 1])
    assert_close_to_scale(criterion(model, sample)[0], translation_loss(criterion, model, sample))


def test_weights_are_read_by_name_and_the_rest_keeps_its_own():
    defaults = {"real": 1.0, "feature": 1.0, "consistency": 0.5}
    assert parse_weights("", defaults) == defaults
    changed = {"real": 1.0, "feature": 2.0, "consistency": 0.0}
    assert parse_weights("feature=2, consistency=0", defaults) == changed
    with pytest.raises(IkdError, match="has no term 'margin'; choose from real, feature, consistency"):
        parse_weights("margin=1", defaults)
    for text in ("real", "real=x", "real=-1", "real=nan", "real=inf"):
        with pytest.raises(IkdError, match=f"--auxiliary-weights {text}: the weight of real is no number"):
            parse_weights(text, defaults)


def test_other_models_and_missing_cnn_weights_are_refused_in_a_sentence():
    with pytest.raises(IkdError, match="models that have auxiliary terms.*not MultimodalTransformerModel"):
        criterion_of(toy.image_must_model())
    with pytest.raises(IkdError, match="--no-imagination leaves out what --criterion auxiliary_losses"):
        criterion_of(imagination_model(no_imagination=True), auxiliary_weights="margin=0")
    with pytest.raises(IkdError, match="/nowhere.pt"):
        criterion_of(imagination_model(), backbone_weights="/nowhere.pt")
