"""The image-must systems: what all of them have to keep, whatever they do with the image."""

from argparse import Namespace

import pytest
import torch
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_DATACLASS_REGISTRY
from fairseq.sequence_generator import SequenceGenerator

from ikd_fairseq.constants import LOGGED
from ikd_fairseq.errors import IkdError
from tests import toy
from tests.closeness import assert_close_to_scale

PARALLEL = "doubly_attentive_transformer --combine parallel"
SYSTEMS = [
    "multimodal_transformer",
    "gated_fusion",
    "doubly_attentive_transformer",
    PARALLEL,
    "selective_attention_transformer",
]
SENTENCES = ([1, 2, 3], [4, 5], [6, 7, 8, 9, 10])
NO_IMAGES = {"images": toy.images(0), "image_positions": torch.tensor([]).long()}
every_system = pytest.mark.parametrize("name", SYSTEMS)


def build(name, task=None, **options):
    """A system of a few thousand weights, moved away from their initial values, in eval mode."""
    torch.manual_seed(1)
    name, *combine = name.split(" --combine ")
    options |= {"combine": combine[0]} if combine else {}
    options = {"backbone_weights": "random", "decoder_layers": 2, **options}
    cfg = MODEL_DATACLASS_REGISTRY[name](**{**toy.SIZES, **options})
    model = ARCH_MODEL_REGISTRY[name].build_model(cfg, task or toy.toy_task())
    for parameter in model.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def features_of(count, regions=toy.REGIONS, seed=2):
    return torch.rand(count, regions, toy.CHANNELS, generator=torch.Generator().manual_seed(seed))


def sample_of(*sentences, left_pad=False, **net_input):
    """A batch in which the target of a sentence is the sentence."""
    return toy.batch(toy.tokens(*sentences, left_pad=left_pad), toy.tokens(*sentences), **net_input)


def logits_of(model, sample):
    with torch.no_grad():
        return model(**sample["net_input"])[0]


@every_system
def test_image_changes_the_translation_of_its_own_sentence_alone(name):
    model = build(name)
    text_path = logits_of(model, sample_of(*SENTENCES))
    one = logits_of(model, sample_of(*SENTENCES, images=toy.images(1), image_positions=torch.tensor([1])))
    none = logits_of(model, sample_of(*SENTENCES, **NO_IMAGES))
    masked = name == "multimodal_transformer"  # where others are to the bit as without regions
    for found, expected in ((one[[0, 2]], text_path[[0, 2]]), (none, text_path)):
        assert_close_to_scale(found, expected)
        assert masked or torch.equal(found, expected)
    assert not torch.allclose(one[1], text_path[1], atol=1e-3)


@every_system
@pytest.mark.parametrize("normalize_before", [True, False])
def test_batch_mates_and_padding_side_do_not_matter(name, normalize_before):
    model = build(name, encoder_normalize_before=normalize_before, decoder_normalize_before=normalize_before)
    given = {"features": features_of(2), "image_positions": torch.tensor([0, 2])}
    together = logits_of(model, sample_of(*SENTENCES, **given))
    left_padded = logits_of(model, sample_of(*SENTENCES, left_pad=True, **given))
    for row, image in ((0, given["features"][:1]), (1, None), (2, given["features"][1:])):
        own = {} if image is None else {"features": image, "image_positions": torch.tensor([0])}
        alone = logits_of(model, sample_of(SENTENCES[row], **own))[0]
        for batched in (together, left_padded):
            assert_close_to_scale(batched[row, : len(alone)], alone)


@every_system
def test_features_of_the_cnn_stand_for_its_images_and_may_be_one_vector(name):
    model = build(name)
    positions, pictures = torch.tensor([2, 0]), toy.images(2)
    from_images = logits_of(model, sample_of(*SENTENCES, images=pictures, image_positions=positions))
    last = model.encoder.cnn(model.encoder.backbone.normalise(pictures))[-1]
    features = last.flatten(2).transpose(1, 2)
    assert_close_to_scale(
        logits_of(model, sample_of(*SENTENCES, features=features, image_positions=positions)), from_images
    )
    vectors = features.mean(dim=1, keepdim=True)
    from_vectors = logits_of(model, sample_of(*SENTENCES, features=vectors, image_positions=positions))
    # Only the global vector of gated fusion is the same for a map and its mean.
    assert torch.allclose(from_vectors, from_images, atol=1e-4) == (name == "gated_fusion")


@every_system
def test_regions_have_no_order(name):
    model, positions = build(name), torch.tensor([0, 1, 2])
    features = features_of(3)
    turned = features[:, [2, 0, 3, 1]]
    a, b = (
        logits_of(model, sample_of(*SENTENCES, features=each, image_positions=positions))
        for each in (features, turned)
    )
    assert_close_to_scale(a, b)


@every_system
@pytest.mark.parametrize("normalize_before", [True, False])
def test_decoding_step_by_step_equals_the_full_pass(name, normalize_before):
    model = build(name, decoder_normalize_before=normalize_before)
    sample = sample_of(*SENTENCES, features=features_of(2), image_positions=torch.tensor([0, 2]))["net_input"]
    with torch.no_grad():
        encoder_out = model.encoder(
            sample["src_tokens"], features=sample["features"], image_positions=sample["image_positions"]
        )
        full, _ = model.decoder(sample["prev_output_tokens"], encoder_out=encoder_out)
        state = {}
        for step in range(1, full.size(1) + 1):
            prefix = sample["prev_output_tokens"][:, :step]
            stepwise, _ = model.decoder(prefix, encoder_out=encoder_out, incremental_state=state)
            seen = prefix[:, -1].ne(toy.dictionary().pad())
            assert_close_to_scale(stepwise[seen, 0], full[seen, step - 1])


@every_system
def test_sentences_reordered_for_beam_search_keep_their_images(name):
    model, order = build(name), torch.tensor([2, 0, 0, 1])
    features, positions = features_of(2), torch.tensor([0, 2])
    previous = sample_of(*SENTENCES)["net_input"]["prev_output_tokens"]
    with torch.no_grad():
        out = model.encoder(toy.tokens(*SENTENCES), features=features, image_positions=positions)
        expected, _ = model.decoder(previous, encoder_out=out)
        new = model.encoder.reorder_encoder_out(out, order)
        found, _ = model.decoder(previous[order], encoder_out=new)
    assert_close_to_scale(found, expected[order])


@every_system
def test_beam_search_gives_the_same_alone_and_in_any_batch(name):
    model = build(name)
    search = SequenceGenerator([model], toy.dictionary(), beam_size=4, max_len_b=12)

    def translate(*sentences, **images):
        net_input = sample_of(*sentences, left_pad=True, **images)["net_input"]
        del net_input["prev_output_tokens"]
        return search.generate([model], {"net_input": net_input})

    features = features_of(2)
    together = translate(*SENTENCES, features=features, image_positions=torch.tensor([0, 2]))
    for row, image in ((0, features[:1]), (1, None), (2, features[1:])):
        own = {} if image is None else {"features": image, "image_positions": torch.tensor([0])}
        (alone,) = translate(SENTENCES[row], **own)
        for a, b in zip(together[row], alone):
            assert a["tokens"].tolist() == b["tokens"].tolist()
            assert float(a["score"]) == pytest.approx(float(b["score"]), abs=1e-4)


@every_system
def test_ten_sentences_that_only_their_images_tell_apart_are_learnt(name):
    model = build(name).train()
    sources = [[1]] * 10  # one word for all: only the image says which target is right
    targets = [[2 + number, 19 - number] for number in range(10)]
    features = torch.eye(10).repeat_interleave(toy.CHANNELS // 10, dim=1)  # channels of its own for each
    features = features.unsqueeze(1).repeat(1, toy.REGIONS, 1)
    sample = toy.batch(
        toy.tokens(*sources), toy.tokens(*targets), features=features, image_positions=torch.arange(10)
    )
    criterion = LabelSmoothedCrossEntropyCriterion(toy.toy_task(), sentence_avg=False, label_smoothing=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(120):
        loss, sample_size, _ = criterion(model, sample)
        optimizer.zero_grad()
        (loss / sample_size).backward()
        optimizer.step()
        losses.append(float(loss) / sample_size)
    assert losses[0] > 2 and losses[-1] < 0.1


@every_system
@pytest.mark.parametrize("net_input", [{}, NO_IMAGES])
def test_batch_without_image_gives_every_weight_a_gradient(name, net_input):
    model = build(name).train()
    model(**sample_of(*SENTENCES, **net_input)["net_input"])[0].sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@every_system
def test_state_dict_holds_all_of_the_model_and_no_cnn(name):
    model = build(name)
    sample = sample_of(*SENTENCES, images=toy.images(2), image_positions=torch.tensor([0, 2]))
    expected = logits_of(model, sample)
    assert not any("cnn" in key for key in model.state_dict())
    other = build(name)
    for parameter in other.parameters():
        parameter.data.zero_()
    other.load_state_dict(dict(model.state_dict()), strict=True)
    assert torch.equal(logits_of(other, sample), expected)


@every_system
def test_activation_checkpointing_changes_no_gradient(name):
    gradients = []
    for checkpoint in (False, True):
        model = build(name, checkpoint_activations=checkpoint).train().double()
        features = features_of(2).double()
        sample = sample_of(*SENTENCES, features=features, image_positions=torch.tensor([0, 2]))
        model(**sample["net_input"])[0].square().sum().backward()
        gradients.append({key: parameter.grad for key, parameter in model.named_parameters()})
    assert gradients[0].keys() == gradients[1].keys()
    largest = max(gradient.abs().max().item() for gradient in gradients[0].values())
    for key, gradient in gradients[0].items():
        assert_close_to_scale(gradients[1][key], gradient, 1e-12, what=key, scale=largest)


@pytest.mark.parametrize("name", ["gated_fusion", "selective_attention_transformer"])
def test_mean_gate_comes_with_the_models_output(name):
    model = build(name)
    sample = sample_of(*SENTENCES, features=features_of(1), image_positions=torch.tensor([1]))
    _, extra = model(**sample["net_input"])
    total, count = extra[LOGGED]["gate"]
    assert 0 < total < count == 3 * 16


@every_system
def test_what_cannot_work_is_refused_in_a_sentence(name):
    assert ARCH_MODEL_REGISTRY[name.split()[0]].requires_images
    with pytest.raises(IkdError, match="--task multimodal_translation"):
        build(name, task=Namespace(cfg=Namespace()))
    with pytest.raises(IkdError, match="--image-size 16"):
        build(name, image_size=16)
    with pytest.raises(IkdError, match="/nowhere.pt"):
        build(name, backbone_weights="/nowhere.pt")


@pytest.mark.parametrize("option", ["no_cross_attention", "cross_self_attention"])
def test_doubly_attentive_decoder_refuses_to_go_without_one_of_its_attentions(option):
    with pytest.raises(IkdError, match=f"--{option.replace('_', '-')}"):
        build("doubly_attentive_transformer", **{option: True})


@every_system
@pytest.mark.parametrize("regions, channels", [(1, 2048), (196, 1024), (577, 192)])
def test_features_of_any_width_and_number_train(name, regions, channels):
    with pytest.raises(IkdError, match=f"looks at features of {channels} channels.*--image-features"):
        build(name, feature_channels=channels)
    task = toy.toy_task()
    task.cfg.image_features = "wide"
    model = build(name, task, feature_channels=channels, feature_regions=regions).train()
    assert model.feature_channels == channels
    features = torch.rand(2, regions, channels)
    sample = sample_of(*SENTENCES, features=features, image_positions=torch.tensor([0, 2]))
    model(**sample["net_input"])[0].sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model(**sample_of(*SENTENCES)["net_input"])[0].sum().backward()  # a batch without any image
