"""Both multimodal models: what a sentence's output may depend on, and what it may not."""

import pytest
import torch
from fairseq.sequence_generator import EnsembleModel, SequenceGenerator

from ikd_fairseq.constants import STUDENT
from ikd_fairseq.errors import IkdError
from ikd_fairseq.models.ikd_transformer import IKDTransformerConfig, IKDTransformerModel
from ikd_fairseq.modules.feature_generator import UNPOOLS
from tests import toy
from tests.closeness import assert_close_to_scale

SENTENCES = ([1, 2, 3], [4, 5], [6, 7, 8, 9, 10])


def encode(model, source, **images):
    """Encoder output of each sentence without its padding: text positions, then regions."""
    out = model.encoder(source, **images)
    states, mask = out["encoder_out"][0].transpose(0, 1), out["encoder_padding_mask"][0]
    return [rows[~hidden] for rows, hidden in zip(states, mask)]


@pytest.mark.parametrize("text_memory", ["layer", "embedding"])
@pytest.mark.parametrize("unpool", list(UNPOOLS))
def test_batch_mates_and_padding_side_do_not_matter(unpool, text_memory):
    model = toy.trained(toy.ikd_model(unpool=unpool, text_memory=text_memory))
    with torch.no_grad():
        together = encode(model, toy.tokens(*SENTENCES))
        left_padded = encode(model, toy.tokens(*SENTENCES, left_pad=True))
        for sentence, a, b in zip(SENTENCES, together, left_padded):
            (alone,) = encode(model, toy.tokens(sentence))
            assert alone.shape == (len(sentence) + 1 + toy.REGIONS, 16)
            assert_close_to_scale(a, alone)
            assert_close_to_scale(b, alone)


def test_text_memories_differ():
    states = [
        encode(toy.trained(toy.ikd_model(text_memory=memory)), toy.tokens([1, 2, 3]))[0]
        for memory in ("layer", "embedding")
    ]
    assert not torch.allclose(*states)


def test_beam_search_gives_the_same_alone_and_in_any_batch():
    model = toy.trained(toy.ikd_model())
    search = SequenceGenerator([model], toy.dictionary(), beam_size=4, max_len_b=12)

    def translate(source):
        net_input = {"src_tokens": source, "src_lengths": source.ne(toy.dictionary().pad()).sum(1)}
        return [hypotheses for hypotheses in search.generate([model], {"net_input": net_input})]

    together = translate(toy.tokens(*SENTENCES, left_pad=True))
    for sentence, hypotheses in zip(SENTENCES, together):
        (alone,) = translate(toy.tokens(sentence))
        for a, b in zip(hypotheses, alone):
            assert a["tokens"].tolist() == b["tokens"].tolist()
            assert float(a["score"]) == pytest.approx(float(b["score"]), abs=1e-4)


def test_reordering_for_beam_search_reorders_everything():
    model = toy.trained(toy.ikd_model())
    out = model.encoder(toy.tokens(*SENTENCES), return_all_hiddens=True)
    states = [state.clone() for state in out["encoder_states"]]
    order = torch.tensor([2, 0, 0, 1])
    new = model.encoder.reorder_encoder_out(dict(out, encoder_states=list(states)), order)
    assert torch.equal(new["encoder_out"][0], out["encoder_out"][0][:, order])
    for key in ("encoder_padding_mask", "encoder_embedding", "src_lengths", "regions"):
        assert torch.equal(new[key][0], out[key][0][order]), key
    for state, old in zip(new["encoder_states"], states):
        assert torch.equal(state, old[:, order])


@pytest.mark.parametrize("make", [toy.ikd_model, toy.image_must_model])
def test_beam_search_carries_no_channels_of_regions_along(make):
    model = toy.trained(make())
    net_input = {"src_tokens": toy.tokens(*SENTENCES), "src_lengths": None}
    if make is toy.image_must_model:
        net_input |= {"images": toy.images(2), "image_positions": torch.tensor([0, 2])}
    with torch.no_grad():
        (out,) = EnsembleModel([model]).forward_encoder(net_input)
        whole = model.encoder(**net_input)
    assert out["regions"][0].shape == (len(SENTENCES), toy.REGIONS, 0)
    assert whole["regions"][0].shape == (len(SENTENCES), toy.REGIONS, toy.CHANNELS)
    assert torch.equal(out["encoder_out"][0], whole["encoder_out"][0])


def test_student_turns_the_asked_for_sentences_into_images():
    model = toy.trained(toy.ikd_model())
    sample = toy.batch(toy.tokens(*SENTENCES), toy.tokens(*SENTENCES))
    logits, extra = model(**sample["net_input"], student_positions=torch.tensor([2, 0]))
    regions = model.encoder(sample["net_input"]["src_tokens"])["regions"][0]
    student = extra[STUDENT]
    assert student.image.shape == (2, 3, toy.IMAGE_SIZE, toy.IMAGE_SIZE)
    assert_close_to_scale(student.maps[-1].flatten(2).transpose(1, 2), regions[[2, 0]])
    plain, extra = model(**sample["net_input"])
    assert STUDENT not in extra
    assert_close_to_scale(plain, logits)


def test_student_is_saved_loaded_and_can_be_left_out():
    model, other = toy.trained(toy.ikd_model()), toy.ikd_model(unpool="depthwise").eval()
    state = model.state_dict()
    assert any(key.startswith("student.") for key in state)
    other.load_state_dict(dict(state), strict=True)
    m = torch.rand(1, toy.REGIONS, toy.CHANNELS)
    assert_close_to_scale(model.student(m).image, other.student(m).image)
    lean = toy.ikd_model(no_student=True).eval()
    lean.load_state_dict(dict(state), strict=True)
    assert lean.student is None
    source = toy.tokens(*SENTENCES)
    for a, b in zip(encode(model, source), encode(lean, source)):
        assert torch.equal(a, b)


# ---------------------------------------------------------------- image-must


def test_image_must_model_reads_the_last_map_of_the_image():
    model = toy.trained(toy.image_must_model())
    source, pictures = toy.tokens(*SENTENCES), toy.images(1)
    out = model.encoder(source, images=pictures, image_positions=torch.tensor([1]))
    backbone = model.encoder.backbone
    last = model.encoder.cnn(backbone.normalise(pictures))[-1]
    assert_close_to_scale(out["regions"][0][1], last[0].flatten(1).T)
    assert not out["regions"][0][[0, 2]].any()


# ---------------------------------------------------------------- names and options


def test_bad_options_are_refused_in_a_sentence():
    with pytest.raises(IkdError, match="--image-size 16"):
        toy.ikd_model(image_size=16)
    with pytest.raises(IkdError, match="--backbone resnet51: unknown; choose from"):
        IKDTransformerModel.build_model(
            IKDTransformerConfig(**{**toy.SIZES, "backbone": "resnet51"}), toy.toy_task()
        )
